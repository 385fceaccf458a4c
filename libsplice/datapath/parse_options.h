/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Judges the options of a TCP header (RFC 9293 section 3.1, RFC 7323, RFC 2018). Included by parse.h.
 */
#ifndef LIBSPLICE_DATAPATH_PARSE_OPTIONS_H
#define LIBSPLICE_DATAPATH_PARSE_OPTIONS_H

#include "libsplice/datapath/options.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

#define SPLICE_TCP_OPTION_MSS 2
#define SPLICE_TCP_OPTION_WINDOW_SCALE 3
#define SPLICE_TCP_OPTION_SACK_PERMITTED 4
#define SPLICE_TCP_OPTION_SACK 5
#define SPLICE_TCP_OPTION_TIMESTAMPS 8

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

/* A shift count above 14 counts as 14 (RFC 7323 section 2.3). */
SPLICE_INLINE __u8 splice_window_scale_limited(__u32 shift)
{
	return shift > 14 ? 14 : (__u8)shift;
}

/* A step over one TCP option. One of a length that is not its own is stepped over; of one that stands there twice
 * the last counts, as in Linux. */
SPLICE_LOOP_BODY splice_tcp_option_step(__u32 index, void *context)
{
	struct splice_option_walk *walk = (struct splice_option_walk *)context;
	struct splice_option option;

	(void)index;
	if (!splice_option_next(walk, &option)) return 1;
	const __u8 here = (__u8)(option.at + 1);
	if (option.kind == SPLICE_TCP_OPTION_MSS && option.size == 4) walk->mss = here;
	if (option.kind == SPLICE_TCP_OPTION_WINDOW_SCALE && option.size == 3)
		walk->window_scale = splice_window_scale_limited(splice_option_byte(walk, option.at + 2));
	if (option.kind == SPLICE_TCP_OPTION_SACK_PERMITTED && option.size == 2) walk->sack_permitted = here;
	if (option.kind == SPLICE_TCP_OPTION_SACK && option.size >= 10 && option.size % 8 == 2) walk->sack = here;
	if (option.kind == SPLICE_TCP_OPTION_TIMESTAMPS && option.size == 10) walk->timestamps = here;
	return 0;
}

/* The number in the two bytes from index `at` of the options. */
SPLICE_INLINE __u32 splice_option_be16(const struct splice_option_walk *walk, __u32 at)
{
	return (__u32)splice_option_byte(walk, at) << 8 | splice_option_byte(walk, at + 1);
}

SPLICE_INLINE __u32 splice_option_be32(const struct splice_option_walk *walk, __u32 at)
{
	return splice_option_be16(walk, at) << 16 | splice_option_be16(walk, at + 2);
}

/* The offset from the start of the TCP header of what a walk found; 0 = not there. */
SPLICE_INLINE __u8 splice_found_offset(__u8 found)
{
	return (__u8)((found - 1U + SPLICE_TCP_HEADER_MIN) & splice_option_mask(found));
}

/* Any layout. `at`: the first of `length` bytes of options. No branches behind the walk: see splice_opaque(). */
SPLICE_INLINE void splice_walk_tcp_options(const __u8 *at, const void *end, __u32 length,
					   struct splice_tcp_options *options)
{
	struct splice_option_walk walk;

	if (!splice_option_begin(&walk, at, end, length)) return;
	walk.window_scale = SPLICE_NO_WINDOW_SCALE; /* of this one the value is kept */
	splice_loop(SPLICE_OPTION_BYTES_MAX, splice_tcp_option_step, &walk);
	const __u32 timestamps_mask = splice_option_mask(walk.timestamps);
	options->mss = (__u16)(splice_option_be16(&walk, walk.mss + 1U) & splice_option_mask(walk.mss));
	options->window_scale = walk.window_scale;
	options->sack_permitted = splice_option_mask(walk.sack_permitted) & 1;
	options->sack_offset = splice_found_offset(walk.sack);
	options->sack_blocks = (__u8)(splice_option_byte(&walk, walk.sack) / 8 & splice_option_mask(walk.sack));
	options->timestamps_offset = splice_found_offset(walk.timestamps);
	options->tsval = splice_option_be32(&walk, walk.timestamps + 1U) & timestamps_mask;
	options->tsecr = splice_option_be32(&walk, walk.timestamps + 5U) & timestamps_mask;
	options->malformed = splice_option_mask(walk.malformed) & 1;
	splice_forget(options);
}

/* Walks the options of a TCP header (RFC 9293 section 3.1) that splice_parse_ip() has judged. Unknown options
 * are stepped over; the walk ends at the first that overruns the header, which sets `malformed`. The two layouts that
 * nearly every packet has are recognised whole. */
SPLICE_INLINE void splice_parse_tcp_options(const void *data, const void *end, const struct splice_packet *packet,
					    struct splice_tcp_options *options)
{
	const __u32 length = (__u32)packet->payload_offset - packet->l4_offset - SPLICE_TCP_HEADER_MIN;
	const __u8 *at = splice_at(data, packet->l4_offset) + SPLICE_TCP_HEADER_MIN;

	__builtin_memset(options, 0, sizeof(*options));
	options->window_scale = SPLICE_NO_WINDOW_SCALE;
	if (length == 0) return;
	/* NOP, NOP, timestamps: RFC 7323 appendix A. */
	if (SPLICE_LIKELY(length == 12 && at + 12 <= (const __u8 *)end)) {
		if (splice_load32(at) == splice_htonl(0x0101080a)) {
			options->timestamps_offset = SPLICE_TCP_HEADER_MIN + 2;
			options->tsval = splice_load_be32(at + 4);
			options->tsecr = splice_load_be32(at + 8);
			return;
		}
	}
	/* MSS, SACK-permitted, timestamps, NOP, window scale: a SYN of Linux. */
	if (length == 20 && at + 20 <= (const __u8 *)end) {
		const __u32 first = splice_load_be32(at);
		const __u32 last = splice_load_be32(at + 16);
		if (first >> 16 == 0x0204 && splice_load32(at + 4) == splice_htonl(0x0402080a) &&
		    last >> 8 == 0x010303) {
			options->mss = (__u16)first;
			options->sack_permitted = 1;
			options->timestamps_offset = SPLICE_TCP_HEADER_MIN + 6;
			options->tsval = splice_load_be32(at + 8);
			options->tsecr = splice_load_be32(at + 12);
			options->window_scale = splice_window_scale_limited(last & 0xff);
			return;
		}
	}
	splice_walk_tcp_options(at, end, length, options);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PARSE_OPTIONS_H */
