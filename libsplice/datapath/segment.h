/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments that we make ourselves: the balancer's SYN-ACK, the bridge's replayed SYN, RSTs. Written whole into
 * a local buffer from IP header to options, checksums finished; the caller adds what stands before IP.
 */
#ifndef LIBSPLICE_DATAPATH_SEGMENT_H
#define LIBSPLICE_DATAPATH_SEGMENT_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/parse_options.h"
#include "libsplice/datapath/verify.h"

SPLICE_HEADER_BEGIN

/* IPv6 header, TCP header, 20 bytes of options. */
#define SPLICE_SEGMENT_MAX 80

struct splice_segment {
	union {
		__u8 bytes[SPLICE_SEGMENT_MAX];
		__u32 words[SPLICE_SEGMENT_MAX / 4]; /* network order */
	};
	__u32 length; /* used of them */
} __attribute__((aligned(8)));

/* What the balancer says of itself in a SYN-ACK. */
struct splice_syn_ack_terms {
	__u16 mss; /* the service's, for this family */
	__u16 window; /* never scaled in a SYN-ACK (RFC 7323 section 2.2) */
	__u8 window_scale; /* the service's, said only to a client that offered one */
	__u8 zero[3];
	__u32 tsval; /* this host's millisecond clock */
};

/* Options as words of the header, in network order and padded with NOP; words behind the last are 0, so that all five
 * can be written and summed whatever their number is. */
struct splice_option_words {
	__u32 words[5];
	__u32 count;
};

/* A segment without payload, in terms of who sends it. Ports and words are in network order. */
struct splice_segment_draft {
	const struct splice_address *from;
	const struct splice_address *to;
	__u32 family;
	__u16 from_port;
	__u16 to_port;
	__u32 seq;
	__u32 ack;
	__u16 window;
	__u8 flags;
};

/* The options of a SYN or SYN-ACK, in the order in which Linux writes them: MSS (none when it is 0), SACK-permitted,
 * timestamps, window scale; no variable offset anywhere. */
SPLICE_INLINE struct splice_option_words splice_syn_options(__u16 mss, int sack_permitted, __u8 window_scale,
							    int timestamps, __u32 tsval, __u32 tsecr)
{
	const __u32 scale_word = splice_htonl(0x01030300U | window_scale);
	const __u32 scale_count = window_scale != SPLICE_NO_WINDOW_SCALE;
	const __u32 scale = scale_count ? scale_word : 0;
	struct splice_option_words options = {{splice_htonl(0x02040000U | mss), 0, 0, 0, 0}, 0};

	if (timestamps) {
		options.words[1] = sack_permitted ? splice_htonl(0x0402080a) : splice_htonl(0x0101080a);
		options.words[2] = splice_htonl(tsval);
		options.words[3] = splice_htonl(tsecr);
		options.words[4] = scale;
		options.count = 4 + scale_count;
	} else if (sack_permitted) {
		options.words[1] = splice_htonl(0x01010402);
		options.words[2] = scale;
		options.count = 2 + scale_count;
	} else {
		options.words[1] = scale;
		options.count = 1 + scale_count;
	}
	if (SPLICE_UNLIKELY(!mss)) {
		SPLICE_UNROLL
		for (int i = 0; i < 4; i++) options.words[i] = options.words[i + 1];
		options.words[4] = 0;
		options.count--;
	}
	return options;
}

/* The options of a segment that is no SYN: timestamps or nothing. */
SPLICE_INLINE struct splice_option_words splice_timestamps_option(int present, __u32 tsval, __u32 tsecr)
{
	return splice_syn_options(0, 0, SPLICE_NO_WINDOW_SCALE, present, tsval, tsecr);
}

/* The TCP header, from `at`, and its checksum; sums saved values only. `pseudo` is the addresses' sum. */
SPLICE_INLINE void splice_write_tcp(__u32 *at, const struct splice_segment_draft *draft,
				    const struct splice_option_words *options, splice_sum pseudo)
{
	const __u32 tcp_length = SPLICE_TCP_HEADER_MIN + options->count * 4;
	const __u32 ports = (__u32)draft->from_port | (__u32)draft->to_port << 16;
	const __u32 seq = splice_htonl(draft->seq);
	const __u32 ack = splice_htonl(draft->ack);
	const __u32 fourth = splice_htonl(tcp_length << 26 | (__u32)draft->flags << 16 | draft->window);
	splice_sum sum = pseudo + splice_htons(SPLICE_PROTOCOL_TCP) + splice_htons(tcp_length) + ports + seq + ack +
			 fourth;

	SPLICE_UNROLL
	for (int i = 0; i < 5; i++) sum += options->words[i];
	at[0] = ports;
	at[1] = seq;
	at[2] = ack;
	at[3] = fourth;
	at[4] = (__u16)~splice_sum_fold(sum); /* checksum; the urgent pointer is 0 */
	SPLICE_UNROLL
	for (int i = 0; i < 5; i++) at[5 + i] = options->words[i];
}

SPLICE_INLINE void splice_write_ipv4_segment(struct splice_segment *out, const struct splice_segment_draft *draft,
					     const struct splice_option_words *options)
{
	const __u32 length = 40 + options->count * 4;
	const __u32 from = draft->from->words[3];
	const __u32 to = draft->to->words[3];
	const __u32 first = splice_htonl(0x45000000U | length);
	const __u32 second = splice_htonl(0x00004000U); /* identification 0, do not fragment (RFC 6864) */
	const __u32 third = splice_htonl(64U << 24 | SPLICE_PROTOCOL_TCP << 16);
	const splice_sum addresses = (splice_sum)from + to;
	const splice_sum sum = addresses + first + second + third;

	out->words[0] = first;
	out->words[1] = second;
	out->words[2] = third | (__u32)(__u16)~splice_sum_fold(sum) << 16;
	out->words[3] = from;
	out->words[4] = to;
	splice_write_tcp(&out->words[5], draft, options, addresses);
	out->length = length;
}

SPLICE_INLINE void splice_write_ipv6_segment(struct splice_segment *out, const struct splice_segment_draft *draft,
					     const struct splice_option_words *options)
{
	const __u32 payload_length = SPLICE_TCP_HEADER_MIN + options->count * 4;
	splice_sum addresses = 0;

	out->words[0] = splice_htonl(0x60000000U);
	out->words[1] = splice_htonl(payload_length << 16 | SPLICE_PROTOCOL_TCP << 8 | 64);
	SPLICE_UNROLL
	for (int i = 0; i < 4; i++) {
		const __u32 from = draft->from->words[i];
		const __u32 to = draft->to->words[i];
		out->words[2 + i] = from;
		out->words[6 + i] = to;
		addresses += (splice_sum)from + to;
	}
	splice_write_tcp(&out->words[10], draft, options, addresses);
	out->length = 40 + payload_length;
}

/* In the 80 bytes of an IPv4 segment the last 20 stay as they were; `length` says where it ends. */
SPLICE_INLINE void splice_write_segment(struct splice_segment *out, const struct splice_segment_draft *draft,
					const struct splice_option_words *options)
{
	if (draft->family == 4)
		splice_write_ipv4_segment(out, draft, options);
	else
		splice_write_ipv6_segment(out, draft, options);
}

/* The SYN-ACK for `syn`: addresses and ports swapped, seq = cookie, ack = the SYN's seq + 1 (data on the SYN is
 * not acknowledged), no ECN bit, TTL 64, and of the options only those offered out of MSS, SACK-permitted,
 * timestamps (TSecr = the SYN's TSval) and window scale. Never longer than the SYN. */
SPLICE_INLINE void splice_write_syn_ack(struct splice_segment *out, const struct splice_packet *syn,
					const struct splice_tcp_options *offered, __u32 cookie,
					const struct splice_syn_ack_terms *terms)
{
	const struct splice_option_words options = splice_syn_options(
		offered->mss ? terms->mss : 0, offered->sack_permitted,
		offered->window_scale == SPLICE_NO_WINDOW_SCALE ? SPLICE_NO_WINDOW_SCALE : terms->window_scale,
		offered->timestamps_offset != 0, terms->tsval, offered->tsval);
	const struct splice_segment_draft draft = {
		&syn->ends.destination,	    &syn->ends.source, syn->family,  syn->ends.destination_port,	    syn->ends.source_port,
		cookie,		    syn->seq + 1,     terms->window, SPLICE_SYN | SPLICE_ACK,
	};

	splice_write_segment(out, &draft, &options);
}

/* The SYN with which a bridge replays the client's handshake to the backend: source the client, destination
 * `backend`; the cookie's options; timestamps when `tsval_present`, with TSecr 0; window as given (not scaled). */
SPLICE_INLINE void splice_write_replay_syn(struct splice_segment *out, const struct splice_flow_key *backend_flow,
					   __u32 family, __u32 client_isn, __u16 window,
					   const struct splice_negotiated *negotiated, int tsval_present, __u32 tsval)
{
	const struct splice_option_words options = splice_syn_options(
		negotiated->mss, negotiated->sack_permitted, negotiated->window_scale, tsval_present, tsval, 0);
	const struct splice_segment_draft draft = {
		&backend_flow->client,	    &backend_flow->server, family, backend_flow->client_port,
		backend_flow->server_port, client_isn,		0,	window,
		SPLICE_SYN,
	};

	splice_write_segment(out, &draft, &options);
}

/* A bare ACK toward the backend in the client's name: what the client would say to a repeated SYN-ACK. `window` as it
 * stands in the header; timestamps when `tsval_present`. */
SPLICE_INLINE void splice_write_ack(struct splice_segment *out, const struct splice_flow_key *backend_flow,
				    __u32 family, __u32 seq, __u32 ack, __u16 window, int tsval_present, __u32 tsval,
				    __u32 tsecr)
{
	const struct splice_option_words options = splice_timestamps_option(tsval_present, tsval, tsecr);
	const struct splice_segment_draft draft = {
		&backend_flow->client,	&backend_flow->server, family, backend_flow->client_port,
		backend_flow->server_port, seq,		    ack,    window,
		SPLICE_ACK,
	};

	splice_write_segment(out, &draft, &options);
}

/* The ACK that answers a keep-alive probe of a client that has not asked yet, from its numbers alone: seq = its ack, ack =
 * its seq + 1. `window` as it stands in the header. Never longer than the probe. */
SPLICE_INLINE void splice_write_keep_alive(struct splice_segment *out, const struct splice_packet *probe, __u16 window,
					   int tsval_present, __u32 tsval, __u32 tsecr)
{
	const struct splice_option_words options = splice_timestamps_option(tsval_present, tsval, tsecr);
	const struct splice_segment_draft draft = {
		&probe->ends.destination, &probe->ends.source, probe->family, probe->ends.destination_port, probe->ends.source_port,
		probe->ack,	 probe->seq + 1,     window,	    SPLICE_ACK,
	};

	splice_write_segment(out, &draft, &options);
}

/* The window that `terms` promised in a SYN-ACK, as a later segment's header says it. */
SPLICE_INLINE __u16 splice_scaled_window(const struct splice_syn_ack_terms *terms,
					 const struct splice_negotiated *negotiated)
{
	const __u32 scale = negotiated->window_scale == SPLICE_NO_WINDOW_SCALE ? 0 : terms->window_scale & 15;

	return (__u16)((terms->window + (1U << scale) - 1) >> scale);
}

/* The RST that answers `packet` as a closed port would (RFC 9293 section 3.10.7.1), from the packet's destination
 * to its source: seq = its ack when it has one, else seq 0 and ACK of all it sent. Nothing answers a RST, nor what is
 * not TCP: then length is 0. */
SPLICE_INLINE void splice_write_rst(struct splice_segment *out, const struct splice_packet *packet)
{
	const __u8 flags = packet->tcp_flags;
	const int acknowledges = (flags & SPLICE_ACK) != 0;
	const __u32 sent = packet->payload_length + ((flags & SPLICE_SYN) != 0) + ((flags & SPLICE_FIN) != 0);
	const struct splice_option_words none = {{0, 0, 0, 0, 0}, 0};
	const struct splice_segment_draft draft = {
		&packet->ends.destination,
		&packet->ends.source,
		packet->family,
		packet->ends.destination_port,
		packet->ends.source_port,
		acknowledges ? packet->ack : 0,
		acknowledges ? 0 : packet->seq + sent,
		0,
		(__u8)(acknowledges ? SPLICE_RST : SPLICE_RST | SPLICE_ACK),
	};

	out->length = 0;
	if (packet->protocol != SPLICE_PROTOCOL_TCP || (flags & SPLICE_RST)) return;
	splice_write_segment(out, &draft, &none);
}

/* A RST out of nothing but a connection's numbers, toward `ends`' destination. `seq`: what the receiver expects next, for
 * only that ends it at once (RFC 9293 section 3.10.7.4, RFC 5961 section 3.2). */
SPLICE_INLINE void splice_write_ending_rst(struct splice_segment *out, const struct splice_ends *ends, __u32 family,
					   __u32 seq)
{
	const struct splice_option_words none = {{0, 0, 0, 0, 0}, 0};
	const struct splice_segment_draft draft = {
		&ends->source, &ends->destination, family, ends->source_port, ends->destination_port, seq, 0, 0, SPLICE_RST,
	};

	splice_write_segment(out, &draft, &none);
}

#if !SPLICE_BPF
/* A segment with `length` bytes of payload, from its IP header on, into `out`, which has room for SPLICE_SEGMENT_MAX +
 * length bytes (together at most 65535). Both checksums are finished. The number of bytes written. */
SPLICE_INLINE __u32 splice_write_segment_with_payload(void *out, const struct splice_segment_draft *draft,
						      const struct splice_option_words *options, const void *payload,
						      __u32 length)
{
	__u8 *bytes = (__u8 *)out;
	struct splice_segment head;
	struct splice_packet written;
	__u32 all;

	splice_write_segment(&head, draft, options);
	all = head.length + length;
	__builtin_memcpy(bytes, head.bytes, head.length);
	__builtin_memcpy(bytes + head.length, payload, length);
	if (draft->family == 4) {
		const __u16 was = splice_load16(bytes + 2);
		const __u16 is = splice_htons((__u16)all);
		splice_store16(bytes + 2, is);
		splice_store16(bytes + 10,
			       splice_checksum_update(splice_load16(bytes + 10), splice_sum_replace16(0, was, is)));
	} else {
		splice_store16(bytes + 4, splice_htons((__u16)(all - sizeof(struct splice_ipv6_header))));
	}
	written.l3_offset = 0;
	if (splice_parse_ip(bytes, bytes + all, &written) == SPLICE_CONTINUE) splice_finish_tcp_checksum(bytes, &written);
	return all;
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SEGMENT_H */
