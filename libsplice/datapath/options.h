/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Walks kind-length-value options, the one way in which IPv4 (RFC 791 section 3.1) and TCP (RFC 9293 section
 * 3.1) write them: kind 0 ends the list, kind 1 is one byte of padding, every other kind has a length byte.
 *
 * The bytes are copied to the stack first and walked there with a masked index, one option a step: so the
 * verifier looks at one step, not at every way in which 40 bytes can be cut into options.
 */
#ifndef LIBSPLICE_DATAPATH_OPTIONS_H
#define LIBSPLICE_DATAPATH_OPTIONS_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

/* What a header's length field leaves room for, in IPv4 and in TCP. */
#define SPLICE_OPTION_BYTES_MAX 40
#define SPLICE_OPTION_END 0
#define SPLICE_OPTION_PADDING 1

/* In a walk: no such option so far. */
#define SPLICE_NOT_THERE 0xff

/* Behind the bytes come single bytes that are never 0, behind a first one that nobody uses. That is on purpose: the
 * verifier remembers zeroes, and numbers at offsets that are multiples of 8; all others it takes for unknown. So one
 * step looks like the other, and it verifies one instead of every sequence. */
struct splice_option_walk {
	union {
		__u8 bytes[64]; /* more than there can be, so that an index is bounded by a mask */
		__u32 words[16];
	};
	__u8 lead;
	__u8 behind; /* bytes of options, plus 1 */
	__u8 next; /* offset of the next option, plus 1 */
	__u8 malformed; /* 1, or SPLICE_NOT_THERE */
	/* What was found, or SPLICE_NOT_THERE: offsets of kind bytes, plus 1. */
	__u8 source_route;
	__u8 mss;
	__u8 window_scale;
	__u8 sack_permitted;
	__u8 lead_too;
	__u8 sack;
	__u8 timestamps;
	__u8 trail[5];
};

/* All ones for an option that was found, 0 for one that was not; without a branch. */
SPLICE_INLINE __u32 splice_option_mask(__u8 found)
{
	return (splice_opaque(found + 1U) >> 8) - 1;
}

/* One option, judged. */
struct splice_option {
	__u32 at; /* the index of its kind byte */
	__u32 size; /* its bytes, at least 1 */
	__u8 kind;
};

SPLICE_INLINE __u8 splice_option_byte(const struct splice_option_walk *walk, __u32 at)
{
	return walk->bytes[at & 63];
}

/* Steps over one option and says what it is. 0 when the list ends here, of itself or malformed. */
SPLICE_INLINE int splice_option_next(struct splice_option_walk *walk, struct splice_option *option)
{
	const __u32 length = walk->behind - 1U;
	const __u32 at = walk->next - 1U;

	if (at >= length) return 0;
	option->at = at;
	option->size = 1;
	option->kind = splice_option_byte(walk, at);
	if (option->kind == SPLICE_OPTION_END) return 0;
	if (option->kind != SPLICE_OPTION_PADDING) {
		option->size = splice_option_byte(walk, at + 1);
		if (at + 1 >= length || option->size < 2 || at + option->size > length) {
			walk->malformed = 1;
			return 0;
		}
	}
	walk->next = (__u8)(at + option->size + 1);
	return 1;
}

/* Begins a walk: copies `length` bytes of options (a multiple of 4, at most SPLICE_OPTION_BYTES_MAX) and zeroes what
 * is behind them. 0 when they reach beyond `end`. */
SPLICE_INLINE int splice_option_begin(struct splice_option_walk *walk, const __u8 *from, const void *end, __u32 length)
{
	__builtin_memset(walk->words, 0, sizeof(walk->words));
	__builtin_memset(&walk->lead, SPLICE_NOT_THERE, sizeof(*walk) - sizeof(walk->words));
	walk->behind = (__u8)(length + 1);
	walk->next = 1;
	SPLICE_UNROLL
	for (__u32 i = 0; i < SPLICE_OPTION_BYTES_MAX / 4; i++) {
		if (i * 4 >= length) break;
		if (from + i * 4 + 4 > (const __u8 *)end) return 0;
		walk->words[i] = splice_load32(from + i * 4);
	}
	splice_forget(walk);
	return 1;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_OPTIONS_H */
