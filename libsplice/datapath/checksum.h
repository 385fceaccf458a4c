/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The Internet checksum (RFC 1071) and its incremental update (RFC 1624, equation 3). The one owner of the
 * arithmetic: everything else speaks of a `delta`, an unfolded sum of the 16-bit words that came minus those
 * that went, in the byte order in which the words stand in the packet.
 */
#ifndef LIBSPLICE_DATAPATH_CHECKSUM_H
#define LIBSPLICE_DATAPATH_CHECKSUM_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

/* A running one's-complement sum of 16-bit words as they stand in the packet. 64 bits wide, so that
 * thousands of words are added before it must be folded. */
typedef __u64 splice_sum;

SPLICE_INLINE __u16 splice_sum_fold(splice_sum sum)
{
	/* A number and its halves exchanged: the upper half of their sum is that of the halves, and the carry out of the
	 * lower half is the one that goes around. */
	sum += sum << 32 | sum >> 32;
	__u32 half = (__u32)(sum >> 32);
	half += half << 16 | half >> 16;
	return (__u16)(half >> 16);
}

/* Values are given as they stand in the packet (network order). */
SPLICE_INLINE splice_sum splice_sum_replace16(splice_sum delta, __u16 was, __u16 is)
{
	return delta + (__u16)~was + is;
}

SPLICE_INLINE splice_sum splice_sum_replace32(splice_sum delta, __u32 was, __u32 is)
{
	return delta + (__u32)~was + is;
}

SPLICE_INLINE splice_sum splice_sum_replace_address(splice_sum delta, const __u32 was[4], const __u32 is[4])
{
	for (int i = 0; i < 4; i++) delta = splice_sum_replace32(delta, was[i], is[i]);
	return delta;
}

/* The same delta for a value at an odd offset from the start of the checksummed bytes: its bytes stand in
 * the other halves of the words (RFC 1071 section 2B). */
SPLICE_INLINE splice_sum splice_sum_swap(splice_sum delta)
{
	return splice_bswap16(splice_sum_fold(delta));
}

/* The checksum field after `delta`; both as they stand in the packet. */
SPLICE_INLINE __u16 splice_checksum_update(__u16 check, splice_sum delta)
{
	return (__u16)~splice_sum_fold((__u16)~check + delta);
}

#if !SPLICE_BPF
/* The sum over any number of bytes at any address; an odd last byte counts as the high half of a word. */
SPLICE_INLINE splice_sum splice_sum_bytes(splice_sum sum, const void *from, __u64 length)
{
	const __u8 *at = (const __u8 *)from;
	while (length >= 16) {
		sum += (__u64)splice_load32(at) + splice_load32(at + 4);
		sum += (__u64)splice_load32(at + 8) + splice_load32(at + 12);
		at += 16;
		length -= 16;
	}
	while (length >= 2) {
		sum += splice_load16(at);
		at += 2;
		length -= 2;
	}
	if (length) sum += *at; /* little-endian: the byte that stands first */
	return sum;
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_CHECKSUM_H */
