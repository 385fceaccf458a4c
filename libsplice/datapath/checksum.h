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
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
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
	return (__u16)~splice_sum_fold((__u16)~check + (splice_sum)splice_sum_fold(delta));
}

/* The sum of up to `max` words that stand in a local copy; `bytes` must be even and at most `max_bytes`, a
 * constant, so that the verifier sees a bounded loop. */
SPLICE_INLINE splice_sum splice_sum_words(const __u16 *words, __u32 bytes, const __u32 max_bytes)
{
	splice_sum sum = 0;
	for (__u32 i = 0; i < max_bytes / 2; i++) {
		if (i * 2 >= bytes) break;
		sum += words[i];
	}
	return sum;
}

#if !SPLICE_BPF
/* The sum over any number of bytes at any address; an odd last byte counts as the high half of a word. */
SPLICE_INLINE splice_sum splice_sum_bytes(splice_sum sum, const void *from, __u64 length)
{
	const __u8 *at = (const __u8 *)from;
	while (length >= 32) {
		__u32 words[8];
		__builtin_memcpy(words, at, sizeof(words));
		sum += (__u64)words[0] + words[1] + words[2] + words[3];
		sum += (__u64)words[4] + words[5] + words[6] + words[7];
		at += 32;
		length -= 32;
	}
	while (length >= 2) {
		__u16 word;
		__builtin_memcpy(&word, at, sizeof(word));
		sum += word;
		at += 2;
		length -= 2;
	}
	if (length) sum += *at; /* little-endian: the byte that stands first */
	return sum;
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_CHECKSUM_H */
