/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whole checksums of TCP and ICMP: verified, and written anew. In user space, where a packet is there whole, packet.h
 * includes it; kernel programs take the pseudo header's sum alone.
 */
#ifndef LIBSPLICE_DATAPATH_VERIFY_H
#define LIBSPLICE_DATAPATH_VERIFY_H

#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* The sum of the pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1) for `length` bytes of its protocol. */
SPLICE_INLINE splice_sum splice_sum_pseudo_header(const struct splice_packet *packet, __u32 length)
{
	splice_sum sum = splice_htonl(length) + (splice_sum)splice_htons(packet->protocol);
	for (int i = packet->family == 4 ? 3 : 0; i < 4; i++)
		sum += (splice_sum)packet->ends.source.words[i] + packet->ends.destination.words[i];
	return sum;
}

/* The bytes from the layer 4 header to the end, by the IP header. */
SPLICE_INLINE __u32 splice_l4_length(const struct splice_packet *packet)
{
	return (__u32)(packet->payload_offset - packet->l4_offset) + packet->payload_length;
}

#if !SPLICE_BPF
/* 1 when the TCP checksum (with its pseudo header) of a segment that is here whole is right. */
SPLICE_INLINE int splice_verify_tcp_checksum(const void *data, const struct splice_packet *packet)
{
	const __u32 length = splice_l4_length(packet);
	const splice_sum sum = splice_sum_pseudo_header(packet, length);
	return splice_sum_fold(splice_sum_bytes(sum, (const __u8 *)data + packet->l4_offset, length)) == 0xffff;
}

/* Writes the right TCP checksum, whatever stood there: for packets that the kernel hands over unfinished. */
SPLICE_INLINE void splice_finish_tcp_checksum(void *data, const struct splice_packet *packet)
{
	const __u32 length = splice_l4_length(packet);
	__u8 *tcp = (__u8 *)data + packet->l4_offset;

	splice_store16(tcp + 16, 0);
	const splice_sum sum = splice_sum_pseudo_header(packet, length);
	splice_store16(tcp + 16, (__u16)~splice_sum_fold(splice_sum_bytes(sum, tcp, length)));
}

/* 1 when the TCP checksum is one that the kernel left to the card: the sum of the pseudo header alone. One that is
 * finished looks so once in 65,536, and finishing it again does it no harm when it was right. */
SPLICE_INLINE int splice_tcp_checksum_is_unfinished(const void *data, const struct splice_packet *packet)
{
	const splice_sum pseudo = splice_sum_pseudo_header(packet, splice_l4_length(packet));
	return splice_load16((const __u8 *)data + packet->l4_offset + 16) == splice_sum_fold(pseudo);
}

/* 1 when the checksum of an ICMP message that is here whole is right; ICMPv6's has a pseudo header. */
SPLICE_INLINE int splice_verify_icmp_checksum(const void *data, const struct splice_packet *packet)
{
	const __u32 length = splice_l4_length(packet);
	const splice_sum sum = packet->family == 6 ? splice_sum_pseudo_header(packet, length) : 0;
	return splice_sum_fold(splice_sum_bytes(sum, (const __u8 *)data + packet->l4_offset, length)) == 0xffff;
}

/* Writes the right checksum of an ICMP message. */
SPLICE_INLINE void splice_finish_icmp_checksum(void *data, const struct splice_packet *packet)
{
	const __u32 length = splice_l4_length(packet);
	__u8 *icmp = (__u8 *)data + packet->l4_offset;

	splice_store16(icmp + 2, 0);
	const splice_sum sum = packet->family == 6 ? splice_sum_pseudo_header(packet, length) : 0;
	splice_store16(icmp + 2, (__u16)~splice_sum_fold(splice_sum_bytes(sum, icmp, length)));
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_VERIFY_H */
