/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Judges a packet's bytes once: Ethernet (RFC 894), one or two VLAN tags (IEEE 802.1Q), IPv4 (RFC 791), IPv6
 * (RFC 8200), TCP (RFC 9293) and ICMP errors (RFC 792, RFC 4443). What it says in struct splice_packet holds
 * for the bytes from `data`: offsets are from `data`, every header that it names lies before `end` whole.
 */
#ifndef LIBSPLICE_DATAPATH_PARSE_H
#define LIBSPLICE_DATAPATH_PARSE_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/options.h"
#include "libsplice/datapath/verdicts.h"

SPLICE_HEADER_BEGIN

#define SPLICE_ETHERTYPE_IPV4 0x0800
#define SPLICE_ETHERTYPE_IPV6 0x86dd
#define SPLICE_ETHERTYPE_VLAN 0x8100
#define SPLICE_ETHERTYPE_QINQ 0x88a8
#define SPLICE_PROTOCOL_ICMP 1
#define SPLICE_PROTOCOL_TCP 6
#define SPLICE_PROTOCOL_ICMPV6 58

#define SPLICE_NEXT_HOP_BY_HOP 0
#define SPLICE_NEXT_ROUTING 43
#define SPLICE_NEXT_FRAGMENT 44
#define SPLICE_NEXT_DESTINATION 60

/* IPv6 extension headers that are walked before TCP, and their bytes together. */
#define SPLICE_MAX_EXTENSION_HEADERS 4
#define SPLICE_MAX_EXTENSION_BYTES 1024
/* TCP: the header's length in bytes, without and with all the options it can have. */
#define SPLICE_TCP_HEADER_MIN 20
#define SPLICE_TCP_HEADER_MAX 60
#define SPLICE_TCP_OPTIONS_MAX 40

enum splice_tcp_flags {
	SPLICE_FIN = 0x01,
	SPLICE_SYN = 0x02,
	SPLICE_RST = 0x04,
	SPLICE_PSH = 0x08,
	SPLICE_ACK = 0x10,
	SPLICE_URG = 0x20,
	SPLICE_ECE = 0x40,
	SPLICE_CWR = 0x80,
};

struct splice_ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__u16 ethertype;
} SPLICE_WIRE;

struct splice_ipv4_header {
	__u8 version_ihl;
	__u8 tos; /* DSCP in bits 7..2, ECN in 1..0 (RFC 2474, RFC 3168) */
	__u16 total_length;
	__u16 identification;
	__u16 fragment; /* flags in bits 15..13, offset in units of 8 bytes */
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
} SPLICE_WIRE;

struct splice_ipv6_header {
	__u32 version_class_label; /* 4, 8 and 20 bits */
	__u16 payload_length;
	__u8 next_header;
	__u8 hop_limit;
	__u32 source[4];
	__u32 destination[4];
} SPLICE_WIRE;

struct splice_tcp_header {
	__u16 source_port;
	__u16 destination_port;
	__u32 seq;
	__u32 ack;
	__u8 offset; /* header length in words of 4 bytes, in bits 7..4 */
	__u8 flags;
	__u16 window;
	__u16 checksum;
	__u16 urgent;
} SPLICE_WIRE;

SPLICE_STATIC_ASSERT(sizeof(struct splice_ethernet_header) == 14, "Ethernet header");
SPLICE_STATIC_ASSERT(sizeof(struct splice_ipv4_header) == 20, "IPv4 header");
SPLICE_STATIC_ASSERT(sizeof(struct splice_ipv6_header) == 40, "IPv6 header");
SPLICE_STATIC_ASSERT(sizeof(struct splice_tcp_header) == 20, "TCP header");

/* One packet, judged. */
struct splice_packet {
	union {
		struct splice_ends ends;
		struct splice_flow_key as_from_client; /* by splice_flow_toward_server() only */
	};
	__u32 seq;
	__u32 payload_length; /* bytes from payload_offset on, by the IP header (a link's padding does not count) */
	__u32 ack;
	__u16 l3_offset;
	__u16 l4_offset;
	__u16 window; /* as it stands: not scaled */
	__u16 payload_offset; /* from data; for ICMP: of the ICMP message's body (the quoted IP header) */
	__u8 family; /* 4 or 6; 0 as long as no IP header was read */
	__u8 protocol; /* SPLICE_PROTOCOL_TCP, _ICMP or _ICMPV6 */
	__u8 tcp_flags;
	__u8 traffic_class; /* IPv4's TOS byte: DSCP << 2 | ECN */
	__u8 ttl; /* or hop limit */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 zero;
};

/* The flow of a packet that goes from client to server. It lives as long as the packet does. */
SPLICE_INLINE const struct splice_flow_key *splice_flow_toward_server(const struct splice_packet *packet)
{
	return &packet->as_from_client;
}

/* The flow of a packet that goes from server to client. */
SPLICE_INLINE struct splice_flow_key splice_flow_toward_client(const struct splice_packet *packet)
{
	const struct splice_flow_key key = { packet->ends.destination, packet->ends.source,
					     packet->ends.destination_port, packet->ends.source_port, 0 };

	return key;
}

/* Bytes from the IP header to where that says the packet ends. */
SPLICE_INLINE __u32 splice_ip_length(const struct splice_packet *packet)
{
	return packet->payload_offset + packet->payload_length - packet->l3_offset;
}

/* Judges an Ethernet frame: sets packet->l3_offset, behind up to two VLAN tags. SPLICE_CONTINUE,
 * SPLICE_drop_truncated, SPLICE_pass_not_ip, or SPLICE_drop_bad_ip_header when ethertype and IP version differ. */
SPLICE_INLINE enum splice_verdict splice_parse_ethernet(const void *data, const void *end,
							 struct splice_packet *packet)
{
	const __u8 *frame = (const __u8 *)data;
	__u32 offset = sizeof(struct splice_ethernet_header);

	packet->family = 0;
	if (frame + 14 + 1 > (const __u8 *)end) return SPLICE_drop_truncated;
	__u16 ethertype = splice_load16(frame + 12);
	__u8 version = frame[14] >> 4;

	if (SPLICE_UNLIKELY(ethertype == splice_htons(SPLICE_ETHERTYPE_VLAN) ||
			    ethertype == splice_htons(SPLICE_ETHERTYPE_QINQ))) {
		if (frame + 18 + 1 > (const __u8 *)end) return SPLICE_drop_truncated;
		ethertype = splice_load16(frame + 16);
		version = frame[18] >> 4;
		offset = 18;
		if (ethertype == splice_htons(SPLICE_ETHERTYPE_VLAN)) {
			if (frame + 22 + 1 > (const __u8 *)end) return SPLICE_drop_truncated;
			ethertype = splice_load16(frame + 20);
			version = frame[22] >> 4;
			offset = 22;
		}
		packet->l3_offset = (__u16)offset;
		splice_forget(packet);
		offset = packet->l3_offset;
	}
	packet->l3_offset = (__u16)offset;
	if (ethertype == splice_htons(SPLICE_ETHERTYPE_IPV4))
		return version == 4 ? SPLICE_CONTINUE : SPLICE_drop_bad_ip_header;
	if (ethertype == splice_htons(SPLICE_ETHERTYPE_IPV6))
		return version == 6 ? SPLICE_CONTINUE : SPLICE_drop_bad_ip_header;
	return SPLICE_pass_not_ip;
}

/* A step over one IPv4 option; ends at a source route (RFC 791 section 3.1: loose 131, strict 137). */
SPLICE_LOOP_BODY splice_ipv4_option_step(__u32 index, void *context)
{
	struct splice_option_walk *walk = (struct splice_option_walk *)context;
	struct splice_option option;

	(void)index;
	if (!splice_option_next(walk, &option)) return 1;
	if (option.kind != 131 && option.kind != 137) return 0;
	walk->source_route = (__u8)(option.at + 1);
	return 1;
}

/* The options of an IPv4 header: adds their words to *sum; SPLICE_CONTINUE or the packet's verdict. */
SPLICE_SUBPROGRAM enum splice_verdict splice_judge_ipv4_options(const __u8 *options, const void *end, __u32 length,
							    splice_sum *sum)
{
	struct splice_option_walk walk;

	if (!splice_option_begin(&walk, options, end, length)) return SPLICE_drop_truncated;
	SPLICE_UNROLL
	for (__u32 i = 0; i < SPLICE_OPTION_BYTES_MAX / 4; i++) *sum += walk.words[i];
	splice_loop(SPLICE_OPTION_BYTES_MAX, splice_ipv4_option_step, &walk);
	if (walk.source_route != SPLICE_NOT_THERE) return SPLICE_drop_source_routed;
	return walk.malformed == SPLICE_NOT_THERE ? SPLICE_CONTINUE : SPLICE_drop_bad_ip_header;
}

/* Judges an IPv4 header; sets family, addresses, traffic class, TTL, protocol, l4_offset, and payload_length as the
 * bytes behind the header. `room`: bytes that there are from `ip` on. */
SPLICE_INLINE enum splice_verdict splice_judge_ipv4(const __u8 *ip, const void *end, __u64 room,
						    struct splice_packet *packet)
{
	if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return SPLICE_drop_truncated;
	const struct splice_ipv4_header *header = (const struct splice_ipv4_header *)ip;
	const __u32 header_length = (__u32)(header->version_ihl & 15) * 4;
	const __u32 total_length = splice_ntohs(header->total_length);
	const __u8 protocol = header->protocol;

	packet->family = 4;
	packet->traffic_class = header->tos;
	packet->ttl = header->ttl;
	packet->protocol = protocol;
	splice_address_from_ipv4(&packet->ends.source, header->source);
	splice_address_from_ipv4(&packet->ends.destination, header->destination);
	if (protocol != SPLICE_PROTOCOL_TCP && protocol != SPLICE_PROTOCOL_ICMP) return SPLICE_pass_not_tcp;

	if (header_length < sizeof(*header) || total_length < header_length) return SPLICE_drop_bad_ip_header;
	if (total_length > room) return SPLICE_drop_truncated;
	splice_sum sum = (splice_sum)splice_load32(ip) + splice_load32(ip + 4) + splice_load32(ip + 8) +
			 splice_load32(ip + 12) + splice_load32(ip + 16);
	if (SPLICE_UNLIKELY(header_length > sizeof(*header))) {
		const enum splice_verdict verdict = splice_judge_ipv4_options(
			ip + sizeof(*header), end, header_length - (__u32)sizeof(*header), &sum);
		if (verdict != SPLICE_CONTINUE) return verdict;
		packet->l4_offset = (__u16)(packet->l3_offset + header_length);
		splice_forget(packet);
	} else {
		packet->l4_offset = (__u16)(packet->l3_offset + sizeof(*header));
	}
	if (splice_sum_fold(sum) != 0xffff) return SPLICE_drop_bad_ip_checksum;
	if (header->fragment & splice_htons(0x3fff))
		return protocol == SPLICE_PROTOCOL_TCP ? SPLICE_drop_fragment : SPLICE_pass_not_tcp;
	packet->payload_length = total_length - header_length;
	return SPLICE_CONTINUE;
}

/* Whether a fragment header (RFC 8200 section 4.5), which lies before `end` whole, says offset 0 and no more fragments:
 * then the packet is whole (an atomic fragment, RFC 6946 section 4). Hosts behind NAT64 send them. */
SPLICE_INLINE int splice_is_atomic_fragment(const __u8 *header)
{
	return (splice_load16(header + 2) & splice_htons(0xfff9)) == 0;
}

/* Steps over the extension headers of IPv6 (RFC 8200 section 4) that may stand before TCP. *offset: from data, of
 * the first one; *next: its kind. SPLICE_CONTINUE: *next is TCP or ICMPv6 and stands at *offset. */
SPLICE_INLINE enum splice_verdict splice_judge_extension_headers(const void *data, const void *end, __u32 *offset,
								 __u8 *next)
{
	/* In a packet that an ICMP error quotes the first one may stand behind those of the error itself. */
	const __u32 far = *offset + SPLICE_MAX_EXTENSION_BYTES;
	const __u32 limit = far < SPLICE_OFFSET_MAX ? far : SPLICE_OFFSET_MAX;

	SPLICE_UNROLL
	for (int i = 0; i <= SPLICE_MAX_EXTENSION_HEADERS; i++) {
		if (*next == SPLICE_PROTOCOL_TCP || *next == SPLICE_PROTOCOL_ICMPV6) return SPLICE_CONTINUE;
		if (*next != SPLICE_NEXT_HOP_BY_HOP && *next != SPLICE_NEXT_DESTINATION &&
		    *next != SPLICE_NEXT_ROUTING && *next != SPLICE_NEXT_FRAGMENT)
			return SPLICE_pass_not_tcp;
		const __u8 *extension = splice_at(data, *offset);
		if (extension + 8 > (const __u8 *)end) return SPLICE_drop_truncated;
		const int is_fragment = *next == SPLICE_NEXT_FRAGMENT;
		if (is_fragment && !splice_is_atomic_fragment(extension))
			return extension[0] == SPLICE_PROTOCOL_TCP ? SPLICE_drop_fragment : SPLICE_pass_not_tcp;
		if (*next == SPLICE_NEXT_ROUTING) return SPLICE_drop_source_routed;
		if (i == SPLICE_MAX_EXTENSION_HEADERS) break;
		*next = extension[0];
		/* A fragment header says no length: it has 8 bytes. */
		*offset += is_fragment ? 8 : ((__u32)extension[1] + 1) * 8;
		if (*offset > limit) break;
	}
	return SPLICE_drop_extension_headers;
}

/* Judges an IPv6 header as splice_judge_ipv4() does an IPv4 header. */
SPLICE_INLINE enum splice_verdict splice_judge_ipv6(const void *data, const __u8 *ip, const void *end, __u64 room,
						    struct splice_packet *packet)
{
	if (ip + sizeof(struct splice_ipv6_header) > (const __u8 *)end) return SPLICE_drop_truncated;
	const struct splice_ipv6_header *header = (const struct splice_ipv6_header *)ip;
	const __u32 first = packet->l3_offset + (__u32)sizeof(*header);
	const __u32 length = splice_ntohs(header->payload_length);
	__u32 offset = first;
	__u8 next = header->next_header;

	packet->family = 6;
	packet->traffic_class = (__u8)(splice_ntohl(header->version_class_label) >> 20);
	packet->ttl = header->hop_limit;
	packet->ends.source.words[0] = header->source[0];
	packet->ends.source.words[1] = header->source[1];
	packet->ends.source.words[2] = header->source[2];
	packet->ends.source.words[3] = header->source[3];
	packet->ends.destination.words[0] = header->destination[0];
	packet->ends.destination.words[1] = header->destination[1];
	packet->ends.destination.words[2] = header->destination[2];
	packet->ends.destination.words[3] = header->destination[3];
	if (next != SPLICE_PROTOCOL_TCP) {
		const enum splice_verdict verdict = splice_judge_extension_headers(data, end, &offset, &next);
		if (verdict != SPLICE_CONTINUE) return verdict;
	}
	packet->protocol = next;
	if (length + sizeof(*header) > room) return SPLICE_drop_truncated;
	if (offset - first > length) return SPLICE_drop_bad_ip_header;
	packet->l4_offset = (__u16)offset;
	packet->payload_length = length - (offset - first);
	splice_forget(packet);
	return SPLICE_CONTINUE;
}

/* 1 for flags that no connection sends: SYN with FIN or RST, or none of SYN, RST and ACK (RFC 9293 section 3.10.7
 * discards what has no ACK). A RST with FIN is a RST. One bit for each value of the low five flags. */
SPLICE_INLINE int splice_bad_tcp_flags(__u8 flags)
{
	__u32 bad = 0;
	for (__u32 low = 0; low < 32; low++) {
		const int contradicts = (low & SPLICE_SYN) && (low & (SPLICE_FIN | SPLICE_RST));
		if (contradicts || !(low & (SPLICE_SYN | SPLICE_RST | SPLICE_ACK))) bad |= 1U << low;
	}
	return (bad >> (flags & 31)) & 1;
}

/* `length`: bytes from the TCP header on, by the IP header. */
SPLICE_INLINE enum splice_verdict splice_judge_tcp(const void *data, const void *end, __u32 length,
						   struct splice_packet *packet)
{
	const __u8 *at = splice_at(data, packet->l4_offset);
	if (length < SPLICE_TCP_HEADER_MIN) return SPLICE_drop_truncated;
	if (at + SPLICE_TCP_HEADER_MIN > (const __u8 *)end) return SPLICE_drop_truncated;
	const struct splice_tcp_header *tcp = (const struct splice_tcp_header *)at;
	const __u32 header_length = (__u32)(tcp->offset >> 4) * 4;
	const __u8 flags = tcp->flags;

	splice_ends_set_ports(&packet->ends, splice_load32(at));
	if (header_length < SPLICE_TCP_HEADER_MIN || header_length > length) return SPLICE_drop_bad_tcp_header;
	if (at + header_length > (const __u8 *)end) return SPLICE_drop_truncated;
	if (splice_bad_tcp_flags(flags)) return SPLICE_drop_bad_tcp_flags;
	packet->seq = splice_ntohl(tcp->seq);
	packet->ack = splice_ntohl(tcp->ack);
	packet->window = splice_ntohs(tcp->window);
	packet->tcp_flags = flags;
	packet->payload_offset = (__u16)(packet->l4_offset + header_length);
	packet->payload_length = length - header_length;
	packet->icmp_type = 0;
	packet->icmp_code = 0;
	return SPLICE_CONTINUE;
}

/* `length`: bytes from the ICMP header on, by the IP header. */
SPLICE_INLINE enum splice_verdict splice_judge_icmp(const void *data, const void *end, __u32 length,
						    struct splice_packet *packet)
{
	const __u8 *icmp = splice_at(data, packet->l4_offset);
	if (length < 8) return SPLICE_drop_bad_icmp;
	if (icmp + 8 > (const __u8 *)end) return SPLICE_drop_bad_icmp;
	packet->seq = 0;
	packet->ack = 0;
	packet->window = 0;
	packet->tcp_flags = 0;
	packet->payload_offset = (__u16)(packet->l4_offset + 8);
	packet->payload_length = length - 8;
	packet->icmp_type = icmp[0];
	packet->icmp_code = icmp[1];
	return SPLICE_CONTINUE;
}

/* As splice_parse_ip(), of a packet of which only the beginning lies before `end` (a TC program sees the linear part
 * of an skb): `length` is the bytes that the whole packet has from `data` on. Headers must be before `end`. */
SPLICE_INLINE enum splice_verdict splice_parse_ip_beginning(const void *data, const void *end, __u64 length,
							     struct splice_packet *packet)
{
	const __u8 *ip = splice_at(data, packet->l3_offset);
	enum splice_verdict verdict;

	packet->family = 0;
	packet->ends.source_port = 0;
	packet->ends.destination_port = 0;
	packet->ends.zero = 0;
	packet->zero = 0;
	if (ip + 1 > (const __u8 *)end) return SPLICE_drop_truncated;
	const __u8 version = *ip >> 4;
	if (SPLICE_LIKELY(version == 4))
		verdict = splice_judge_ipv4(ip, end, length - packet->l3_offset, packet);
	else if (version == 6)
		verdict = splice_judge_ipv6(data, ip, end, length - packet->l3_offset, packet);
	else
		return SPLICE_drop_bad_ip_header;
	if (verdict != SPLICE_CONTINUE) return verdict;
	if (SPLICE_LIKELY(packet->protocol == SPLICE_PROTOCOL_TCP))
		return splice_judge_tcp(data, end, packet->payload_length, packet);
	return splice_judge_icmp(data, end, packet->payload_length, packet);
}

/* Judges IP and what it carries from packet->l3_offset on (at most 64), which splice_parse_ethernet() or the caller
 * set.
 * SPLICE_CONTINUE: a TCP segment or an ICMP message (packet->protocol says which), every field of *packet is set.
 * Otherwise the packet's verdict: SPLICE_pass_not_tcp or a drop of the "bytes alone" group. Whether a drop is ours to
 * make is the caller's question, for the packet may be on its way to another service of the host: therefore the
 * addresses and traffic_class may be read whenever packet->family is not 0, and the ports are either right or 0.
 * The checksum of TCP is not looked at: splice_verify_tcp_checksum(). */
SPLICE_INLINE enum splice_verdict splice_parse_ip(const void *data, const void *end, struct splice_packet *packet)
{
	return splice_parse_ip_beginning(data, end, (__u64)((const __u8 *)end - (const __u8 *)data), packet);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PARSE_H */
