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
#include "libsplice/datapath/verdicts.h"

SPLICE_HEADER_BEGIN

#define SPLICE_ETHERTYPE_IPV4 0x0800
#define SPLICE_ETHERTYPE_IPV6 0x86dd
#define SPLICE_ETHERTYPE_VLAN 0x8100
#define SPLICE_ETHERTYPE_QINQ 0x88a8
#define SPLICE_PROTOCOL_ICMP 1
#define SPLICE_PROTOCOL_TCP 6
#define SPLICE_PROTOCOL_ICMPV6 58

/* IPv6 extension headers that are walked before TCP. */
#define SPLICE_MAX_EXTENSION_HEADERS 4
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
	/* client = source address and port, vip = destination address and port: as they stand in this packet,
	 * whichever way it goes. Ports are 0 unless it is TCP. */
	struct splice_flow_key key;
	__u32 seq;
	__u32 ack;
	__u32 payload_length; /* bytes of TCP payload, by the IP header (a link's padding does not count) */
	__u16 l3_offset;
	__u16 l4_offset;
	__u16 payload_offset; /* from data; for ICMP: of the ICMP message's body (the quoted IP header) */
	__u16 window; /* as it stands: not scaled */
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* SPLICE_PROTOCOL_TCP, _ICMP or _ICMPV6 */
	__u8 tcp_flags;
	__u8 traffic_class; /* IPv4's TOS byte: DSCP << 2 | ECN */
	__u8 ttl; /* or hop limit */
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 zero;
};

/* What an option walk found. Offsets are from the start of the TCP header, 0 = not there. */
struct splice_tcp_options {
	__u16 mss; /* 0 = not offered */
	__u8 window_scale; /* shift count, at most 14 (RFC 7323 section 2.3); SPLICE_NO_WINDOW_SCALE = not offered */
	__u8 sack_permitted; /* 0 or 1 */
	__u8 timestamps_offset; /* of the kind byte */
	__u8 sack_offset; /* of the kind byte of a SACK option (kind 5) */
	__u8 sack_blocks; /* 0 to 4 */
	__u8 malformed; /* 1: an option overruns the header; what stands before it is valid */
	__u32 tsval;
	__u32 tsecr;
};

#define SPLICE_NO_WINDOW_SCALE 15

/* Judges an Ethernet frame: sets packet->l3_offset and *ethertype (host order, behind up to two VLAN
 * tags). SPLICE_CONTINUE, SPLICE_drop_truncated or SPLICE_pass_not_ip. */
SPLICE_INLINE enum splice_verdict splice_parse_ethernet(const void *data, const void *end,
							 struct splice_packet *packet);

/* Judges IP and what it carries from packet->l3_offset on, which splice_parse_ethernet() or the caller set.
 * SPLICE_CONTINUE: a TCP segment or an ICMP message (packet->protocol says which), every field of *packet
 * is set. Otherwise the packet's verdict: a pass_not_... or a drop_... of the "bytes alone" group; then only
 * family, key addresses and traffic_class may be read, and only after pass_not_tcp.
 * The checksum of TCP is not looked at: splice_verify_tcp_checksum(). */
SPLICE_INLINE enum splice_verdict splice_parse_ip(const void *data, const void *end, struct splice_packet *packet);

/* Judges the packet that an ICMP error quotes: *quoted as splice_parse_ip() would say it, with payload_length
 * 0. Eight bytes of TCP are enough (RFC 792): then only ports and seq are set, tcp_flags, ack and window are 0.
 * SPLICE_CONTINUE, SPLICE_pass_icmp_not_ours (not an error message, or not about TCP) or SPLICE_drop_bad_icmp. */
SPLICE_INLINE enum splice_verdict splice_parse_icmp_error(const void *data, const void *end,
							   const struct splice_packet *packet,
							   struct splice_packet *quoted);

/* Walks the options of a TCP header (RFC 9293 section 3.1) that splice_parse_ip() has judged. Unknown options
 * are stepped over; the walk ends at the first that overruns the header, which sets `malformed`. */
SPLICE_INLINE void splice_parse_tcp_options(const void *data, const void *end, const struct splice_packet *packet,
					    struct splice_tcp_options *options);

#if !SPLICE_BPF
/* 1 when the TCP checksum (with its pseudo header) of a segment that is here whole is right. */
SPLICE_INLINE int splice_verify_tcp_checksum(const void *data, const struct splice_packet *packet);
/* Writes the right TCP checksum, whatever stood there: for packets that the kernel hands over unfinished. */
SPLICE_INLINE void splice_finish_tcp_checksum(void *data, const struct splice_packet *packet);
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PARSE_H */
