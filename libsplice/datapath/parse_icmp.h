/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Judges the packet that an ICMP error quotes (RFC 792, RFC 4443). Included by parse.h.
 */
#ifndef LIBSPLICE_DATAPATH_PARSE_ICMP_H
#define LIBSPLICE_DATAPATH_PARSE_ICMP_H

#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* 1 for the ICMP messages that quote the packet they are about: destination unreachable, time exceeded, parameter
 * problem (RFC 792), and all of ICMPv6 below 128 (RFC 4443 section 2.1). */
SPLICE_INLINE int splice_is_icmp_error(const struct splice_packet *packet)
{
	if (packet->protocol == SPLICE_PROTOCOL_ICMPV6) return packet->icmp_type < 128;
	return packet->protocol == SPLICE_PROTOCOL_ICMP &&
	       (packet->icmp_type == 3 || packet->icmp_type == 11 || packet->icmp_type == 12);
}

/* The IP header that an ICMP error quotes; its checksum and lengths are those of the packet on its way and are not
 * judged. Sets l4_offset. */
SPLICE_INLINE enum splice_verdict splice_judge_quoted_ip(const void *data, const void *end, struct splice_packet *quoted)
{
	const __u8 *ip = splice_at(data, quoted->l3_offset);

	if (quoted->family == 4) {
		if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return SPLICE_drop_bad_icmp;
		const struct splice_ipv4_header *header = (const struct splice_ipv4_header *)ip;
		const __u32 header_length = (__u32)(header->version_ihl & 15) * 4;
		if (header->version_ihl >> 4 != 4 || header_length < sizeof(*header)) return SPLICE_drop_bad_icmp;
		if (header->protocol != SPLICE_PROTOCOL_TCP) return SPLICE_pass_icmp_not_ours;
		if (header->fragment & splice_htons(0x1fff)) return SPLICE_drop_bad_icmp;
		quoted->traffic_class = header->tos;
		quoted->ttl = header->ttl;
		splice_address_from_ipv4(&quoted->ends.source, header->source);
		splice_address_from_ipv4(&quoted->ends.destination, header->destination);
		quoted->l4_offset = (__u16)(quoted->l3_offset + header_length);
		return SPLICE_CONTINUE;
	}
	if (ip + sizeof(struct splice_ipv6_header) > (const __u8 *)end) return SPLICE_drop_bad_icmp;
	const struct splice_ipv6_header *header = (const struct splice_ipv6_header *)ip;
	__u32 offset = quoted->l3_offset + (__u32)sizeof(*header);
	__u8 next = header->next_header;
	const __u32 first_word = splice_ntohl(header->version_class_label);
	if (first_word >> 28 != 6) return SPLICE_drop_bad_icmp;
	quoted->traffic_class = (__u8)(first_word >> 20);
	quoted->ttl = header->hop_limit;
	for (int i = 0; i < 4; i++) {
		quoted->ends.source.words[i] = header->source[i];
		quoted->ends.destination.words[i] = header->destination[i];
	}
	const enum splice_verdict verdict = splice_judge_extension_headers(data, end, &offset, &next);
	if (verdict == SPLICE_pass_not_tcp) return SPLICE_pass_icmp_not_ours;
	if (verdict != SPLICE_CONTINUE) return SPLICE_drop_bad_icmp;
	if (next != SPLICE_PROTOCOL_TCP) return SPLICE_pass_icmp_not_ours;
	quoted->l4_offset = (__u16)offset;
	return SPLICE_CONTINUE;
}

/* Judges the packet that an ICMP error quotes: *quoted as splice_parse_ip() would say it, with payload_length
 * 0. Eight bytes of TCP are enough (RFC 792): then only ports and seq are set, tcp_flags, ack and window are 0.
 * payload_offset ends what was read: l4_offset + 8, or + 20 when the whole TCP header is quoted.
 * SPLICE_CONTINUE, SPLICE_pass_icmp_not_ours (not an error message, or not about TCP) or SPLICE_drop_bad_icmp. */
SPLICE_INLINE enum splice_verdict splice_parse_icmp_error(const void *data, const void *end,
							   const struct splice_packet *packet,
							   struct splice_packet *quoted)
{
	if (!splice_is_icmp_error(packet)) return SPLICE_pass_icmp_not_ours;
	__builtin_memset(quoted, 0, sizeof(*quoted));
	quoted->family = packet->family;
	quoted->protocol = SPLICE_PROTOCOL_TCP;
	quoted->l3_offset = packet->payload_offset;
	const enum splice_verdict verdict = splice_judge_quoted_ip(data, end, quoted);
	if (verdict != SPLICE_CONTINUE) return verdict;

	const __u32 message_end = packet->payload_offset + packet->payload_length;
	const __u8 *tcp = splice_at(data, quoted->l4_offset);
	if (quoted->l4_offset + 8U > message_end || tcp + 8 > (const __u8 *)end) return SPLICE_drop_bad_icmp;
	quoted->ends.source_port = splice_load16(tcp);
	quoted->ends.destination_port = splice_load16(tcp + 2);
	quoted->seq = splice_load_be32(tcp + 4);
	quoted->payload_offset = (__u16)(quoted->l4_offset + 8);
	if (quoted->l4_offset + 20U > message_end || tcp + 20 > (const __u8 *)end) return SPLICE_CONTINUE;
	quoted->ack = splice_load_be32(tcp + 8);
	quoted->tcp_flags = tcp[13];
	quoted->window = splice_load_be16(tcp + 14);
	quoted->payload_offset = (__u16)(quoted->l4_offset + 20);
	return SPLICE_CONTINUE;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PARSE_ICMP_H */
