/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A spliced connection at a bridge that translates: the portable machine's state of it, and the value of the kernel
 * map in which established ones live when the kernel carries them. The key is {client, backend}.
 */
#ifndef LIBSPLICE_DATAPATH_BRIDGE_FLOW_H
#define LIBSPLICE_DATAPATH_BRIDGE_FLOW_H

#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/translate.h"

SPLICE_HEADER_BEGIN

enum splice_bridge_flow_state {
	SPLICE_BRIDGE_OPENING = 1, /* the handshake is being replayed: user space takes every packet of it */
	SPLICE_BRIDGE_ESTABLISHED = 2,
};

enum splice_bridge_flow_flags {
	SPLICE_BRIDGE_CLIENT_FIN = 1, /* the client has sent FIN */
	SPLICE_BRIDGE_BACKEND_FIN = 4, /* the backend has */
	SPLICE_BRIDGE_RESET = 2, /* the last packet was a RST: of either side, or forged */
	SPLICE_BRIDGE_SAMPLED = 8, /* its end is to be told (sample.h), and was not yet */
};

struct splice_bridge_flow {
	struct splice_translation translation;
	__u32 client_isn;
	__u32 cookie_isn;
	__u32 client_next; /* after the farthest byte that the client sent: what comes there is no new connection */
	__u32 client_tsval; /* of the first payload; 0 without timestamps */
	__u32 last_seen_s; /* seconds of the monotonic clock */
	__u16 client_window; /* of the first payload, as it stands in the header */
	__u8 state; /* enum splice_bridge_flow_state */
	__u8 flags; /* enum splice_bridge_flow_flags */
	__u16 service; /* the service's number */
	__u8 timestamps; /* 1: both sides use them */
	__u8 wraps; /* how often server_next (low four bits) and client_next have passed 2^32 bytes: 15 is the most */
	__u32 client_ack; /* the farthest that the client acknowledged, in the cookie's numbers */
	__u32 server_next; /* after the farthest byte that the backend sent, in the cookie's numbers */
	__u32 client_una; /* the farthest byte of the client's that the backend acknowledged */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_bridge_flow) == 96, "the bridge's flow is 96 bytes");

/* The key of a marked segment, which the client wrote to the VIP: the bridge's flows name the backend. */
SPLICE_INLINE struct splice_flow_key splice_bridge_key_of_marked(const struct splice_packet *packet,
								 const struct splice_address *backend,
								 __u16 backend_port)
{
	const struct splice_flow_key key = { packet->ends.source, *backend, packet->ends.source_port, backend_port, 0 };

	return key;
}

/* `fin`: the flag of the side that sends. Each packet renews the idle time-out; what shortens it, see
 * splice_bridge_is_closing(). */
SPLICE_INLINE void splice_bridge_flow_touch(struct splice_bridge_flow *flow, __u8 tcp_flags,
					    enum splice_bridge_flow_flags fin, __u32 now_s)
{
	const __u8 flags = (__u8)((flow->flags & ~SPLICE_BRIDGE_RESET) | (tcp_flags & SPLICE_FIN ? fin : 0) |
				  (tcp_flags & SPLICE_RST ? SPLICE_BRIDGE_RESET : 0));

	if (flow->last_seen_s != now_s) flow->last_seen_s = now_s;
	if (SPLICE_UNLIKELY(flow->flags != flags)) flow->flags = flags;
}

/* A connection's numbers when it begins, by its first segment. */
SPLICE_INLINE void splice_bridge_flow_begin(struct splice_bridge_flow *flow, __u32 client_isn, __u32 cookie_isn)
{
	flow->client_isn = client_isn;
	flow->cookie_isn = cookie_isn;
	flow->client_next = client_isn + 1;
	flow->client_una = client_isn + 1;
	flow->client_ack = cookie_isn + 1;
	flow->server_next = cookie_isn + 1;
}

/* Beyond the numbers that are known of a connection its segments may be so far: some of them took another way, or came
 * while nobody looked. */
#define SPLICE_SEQ_LEAP_MAX (1U << 24)
/* No window is larger (RFC 7323 section 2.3). */
#define SPLICE_WINDOW_MAX (1U << 30)

/* Whether `a` is after `b` (RFC 9293 section 3.4). */
SPLICE_INLINE int splice_seq_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* Moves flow->server_next or flow->client_next on, `to` a later number of a stream that began at `from`. `wrap`: 1 or 16, its
 * unit in flow->wraps. */
SPLICE_INLINE void splice_bridge_flow_advance(struct splice_bridge_flow *flow, __u32 *next, __u32 to, __u32 from, __u8 wrap)
{
	if (SPLICE_UNLIKELY(to - from < *next - from) && (flow->wraps / wrap & 15) < 15) flow->wraps += wrap;
	*next = to;
}

/* Bytes of payload that the backend, and the client, have sent so far; exact below 64 GiB. */
SPLICE_INLINE __u64 splice_bridge_flow_sent(const struct splice_bridge_flow *flow)
{
	return ((__u64)(flow->wraps & 15) << 32 | (flow->server_next - (flow->cookie_isn + 1))) -
	       ((flow->flags & SPLICE_BRIDGE_BACKEND_FIN) != 0);
}

SPLICE_INLINE __u64 splice_bridge_flow_received(const struct splice_bridge_flow *flow)
{
	return ((__u64)(flow->wraps >> 4) << 32 | (flow->client_next - (flow->client_isn + 1))) -
	       ((flow->flags & SPLICE_BRIDGE_CLIENT_FIN) != 0);
}

/* 1 for a number farther than SPLICE_SEQ_LEAP_MAX from all that lies between `from` and `to`, which is not before it. */
SPLICE_INLINE int splice_bridge_is_far(__u32 number, __u32 from, __u32 to)
{
	return number - from + SPLICE_SEQ_LEAP_MAX > to - from + 2 * SPLICE_SEQ_LEAP_MAX;
}

/* 1 for a segment of the next connection on these ports, that has overtaken its first payload. The old connection's
 * socket would answer it with a RST, which translated back is the new connection's death. Cookies are random: when the
 * client's sequence numbers continue from the last connection, this misses 1 in 128. */
SPLICE_INLINE int splice_bridge_is_alien(const struct splice_bridge_flow *flow, const struct splice_packet *packet)
{
	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) != SPLICE_ACK) return 0;
	return splice_bridge_is_far(packet->ack, flow->client_ack, flow->server_next) ||
	       splice_bridge_is_far(packet->seq, flow->client_una, flow->client_next);
}

/* What a segment of the client's, which is no alien, leaves in the flow. Anyone can forge one: it is believed as far as
 * the backend's numbers allow, which knows what it sent and what it may receive. */
SPLICE_INLINE void splice_bridge_flow_touch_by_client(struct splice_bridge_flow *flow,
						      const struct splice_packet *packet, __u32 now_s)
{
	const __u32 next = packet->seq + packet->payload_length + ((packet->tcp_flags & SPLICE_FIN) != 0);
	__u8 flags = packet->tcp_flags;

	/* A RST of other numbers than these the backend does not believe either (RFC 9293 section 3.10.7.4). */
	if (SPLICE_UNLIKELY(flags & SPLICE_RST) &&
	    packet->seq - flow->client_una > flow->client_next - flow->client_una)
		flags &= (__u8)~SPLICE_RST;
	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK) {
		if (splice_seq_after(next, flow->client_next) && next - flow->client_una <= SPLICE_WINDOW_MAX)
			splice_bridge_flow_advance(flow, &flow->client_next, next, flow->client_isn + 1, 16);
		if (splice_seq_after(packet->ack, flow->client_ack) && !splice_seq_after(packet->ack, flow->server_next))
			flow->client_ack = packet->ack;
	}
	splice_bridge_flow_touch(flow, flags, SPLICE_BRIDGE_CLIENT_FIN, now_s);
}

/* What a segment of the backend's leaves in the flow; `packet` as the backend wrote it. A RST says nothing, for it repeats
 * the numbers of what it answers. */
SPLICE_INLINE void splice_bridge_flow_touch_by_backend(struct splice_bridge_flow *flow,
						       const struct splice_packet *packet, __u32 now_s)
{
	const __u32 next = packet->seq + packet->payload_length + ((packet->tcp_flags & SPLICE_FIN) != 0) +
			   flow->translation.seq_shift;

	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_RST)) == SPLICE_ACK) {
		if (splice_seq_after(next, flow->server_next))
			splice_bridge_flow_advance(flow, &flow->server_next, next, flow->cookie_isn + 1, 1);
		if (splice_seq_after(packet->ack, flow->client_una)) flow->client_una = packet->ack;
		/* The backend has got what we did not see. */
		if (SPLICE_UNLIKELY(splice_seq_after(packet->ack, flow->client_next)))
			splice_bridge_flow_advance(flow, &flow->client_next, packet->ack, flow->client_isn + 1, 16);
	}
	splice_bridge_flow_touch(flow, packet->tcp_flags, SPLICE_BRIDGE_BACKEND_FIN, now_s);
}

/* A connection is closed when both sides have sent FIN: until then one may go on for long. A RST closes it only until
 * the flow speaks again: anyone can forge one, and a receiver that does not believe it goes on (RFC 5961 section 3). */
SPLICE_INLINE int splice_bridge_is_closing(const struct splice_bridge_flow *flow)
{
	const __u8 both = SPLICE_BRIDGE_CLIENT_FIN | SPLICE_BRIDGE_BACKEND_FIN;

	return (flow->flags & SPLICE_BRIDGE_RESET) || (flow->flags & both) == both;
}

SPLICE_INLINE __u32 splice_bridge_idle_limit_s(const struct splice_bridge_flow *flow,
					       const struct splice_idle_timeouts *timeouts)
{
	return splice_bridge_is_closing(flow) ? timeouts->closing_s : timeouts->open_s;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BRIDGE_FLOW_H */
