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

struct splice_option_walk {
	union {
		__u8 bytes[64]; /* more than there can be, so that an index is bounded by a mask */
		__u32 words[16];
	};
	__u32 length; /* bytes of options; at most SPLICE_OPTION_BYTES_MAX */
	/* From here on single bytes, on purpose: the verifier does not remember their values from one step to the
	 * next, and so finds all steps alike. */
	__u8 lead;
	__u8 at; /* the next option */
	__u8 malformed;
	/* What was found. */
	__u8 source_route;
	__u8 window_scale;
	__u8 sack_permitted;
	__u8 timestamps_at; /* offsets plus 1; 0 = not there */
	__u8 sack_at;
	__u8 sack_blocks;
	__u8 mss_high;
	__u8 mss_low;
};

/* One option, judged: *kind and *size (at least 1). 0 when the list ends here, of itself or malformed. */
SPLICE_INLINE int splice_option_here(struct splice_option_walk *walk, __u32 *at, __u8 *kind, __u32 *size)
{
	*at = walk->at;
	if (*at >= walk->length) return 0;
	*kind = walk->bytes[*at & 63];
	*size = 1;
	if (*kind == SPLICE_OPTION_END) return 0;
	if (*kind == SPLICE_OPTION_PADDING) return 1;
	*size = walk->bytes[(*at + 1) & 63];
	if (*at + 1 < walk->length && *size >= 2 && *at + *size <= walk->length) return 1;
	walk->malformed = 1;
	return 0;
}

/* Copies `length` bytes of options (a multiple of 4) and zeroes what is behind them. 0 when they reach beyond
 * `end`. */
SPLICE_INLINE int splice_option_copy(struct splice_option_walk *walk, const __u8 *from, const void *end, __u32 length)
{
	__builtin_memset(walk, 0, sizeof(*walk));
	walk->length = length;
	SPLICE_UNROLL
	for (__u32 i = 0; i < SPLICE_OPTION_BYTES_MAX / 4; i++) {
		if (i * 4 >= length) break;
		if (from + i * 4 + 4 > (const __u8 *)end) return 0;
		walk->words[i] = splice_load32(from + i * 4);
	}
	return 1;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_OPTIONS_H */
