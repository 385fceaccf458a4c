/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finds the key in an HTTP/1 request line (RFC 9112 section 3) that is whole in one segment: what the kernel
 * decides by itself. It never guesses: whatever is not plainly right is user space's to judge, and where it
 * does give a key, user space gives the same (a fuzzer holds them together).
 */
#ifndef LIBSPLICE_DATAPATH_REQUEST_LINE_H
#define LIBSPLICE_DATAPATH_REQUEST_LINE_H

#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/hash.h"

SPLICE_HEADER_BEGIN

enum splice_key_kind {
	SPLICE_KEY_SOURCE = 0, /* the client's address */
	SPLICE_KEY_URI = 1, /* path and query, cut by depth and len */
	SPLICE_KEY_PATH = 2, /* path without query, cut likewise */
	SPLICE_KEY_USER_SPACE = 3, /* needs headers, TLS, or parameters: not decided in the kernel */
};

/* What in a target is user space's to judge, because the rule may write it otherwise in the key. */
enum splice_key_asks {
	SPLICE_ASKS_ABOUT_QUERY = 1, /* '?' */
	SPLICE_ASKS_ABOUT_PERCENT = 2, /* '%' */
	SPLICE_ASKS_ABOUT_DOTS = 4, /* a segment that begins with a dot */
};

struct splice_key_rule {
	__u16 length; /* at most so many bytes of the key; 0 = all */
	__u8 kind; /* enum splice_key_kind */
	__u8 depth; /* at most so many directories: the key ends before slash depth + 1; 0 = all */
	__u8 asks; /* enum splice_key_asks */
	__u8 zero;
};

enum splice_request_line_answer {
	SPLICE_REQUEST_KEY, /* offset and length say where the key stands */
	SPLICE_REQUEST_ASK_USER_SPACE, /* incomplete, odd, too long, absolute form, or not HTTP */
};

struct splice_request_key {
	__u32 offset; /* from the start of the payload */
	__u32 length; /* 1 to SPLICE_HASH_MAX */
};

/* Bytes of a request target, and of the space that ends it, that are looked through; a multiple of
 * SPLICE_TARGET_STRIDE. */
#define SPLICE_TARGET_MAX 1472
#define SPLICE_TARGET_STRIDE 32
#define SPLICE_METHOD_MAX 16
/* Longer than any target: "not found". */
#define SPLICE_NOWHERE 0xffff

/* Eight bytes at once. A lane of a mask is the high bit of a byte; the lowest marked lane is always right, lanes
 * above it are so only where a comment says exact. */
#define SPLICE_LANES(byte) ((byte) * 0x0101010101010101ULL)
#define SPLICE_LANE_HIGH SPLICE_LANES(0x80ULL)

/* Bytes below `limit` (at most 0x80). */
SPLICE_INLINE __u64 splice_lanes_below(__u64 word, __u8 limit)
{
	return (word - SPLICE_LANES((__u64)limit)) & ~word & SPLICE_LANE_HIGH;
}

SPLICE_INLINE __u64 splice_lanes_equal(__u64 word, __u8 byte)
{
	return splice_lanes_below(word ^ SPLICE_LANES((__u64)byte), 1);
}

/* Exact in every lane. */
SPLICE_INLINE __u64 splice_lanes_equal_exact(__u64 word, __u8 byte)
{
	const __u64 zero = word ^ SPLICE_LANES((__u64)byte);
	return ~(((zero & ~SPLICE_LANE_HIGH) + ~SPLICE_LANE_HIGH) | zero) & SPLICE_LANE_HIGH;
}

/* The index of the lowest marked lane; `lanes` is not 0. */
SPLICE_INLINE __u32 splice_first_lane(__u64 lanes)
{
	const __u64 below = (lanes & (0 - lanes)) - 1;
	return (__u32)(((below & SPLICE_LANES(1ULL)) * SPLICE_LANES(1ULL)) >> 56) - 1;
}

/* The walks over the target. Offsets are from the target's first byte. What a walk writes stands at offsets that are no
 * multiples of 8, so that the verifier finds all its steps alike. */
struct splice_target_walk {
	const __u8 *target;
	const void *end;
	__u8 depth; /* of the rule */
	__u8 stop_at_query; /* of the rule */
	__u8 slashes; /* passed so far; at most depth */
	__u8 asks; /* of the rule */
	__u32 target_end; /* where its SP is; SPLICE_NOWHERE until found */
	__u8 slash_before; /* the word before ended in '/' */
	__u8 odd; /* the target has what the rule asks about */
	__u8 zero[2];
	__u32 cut; /* where the rule ends the key; SPLICE_NOWHERE until found */
};

/* Eight bytes of the target from `offset`. 1 when the walk is over. The line behind the target has more than eight
 * bytes, so a word that reaches beyond the packet means that the line is not whole. */
SPLICE_INLINE int splice_target_word(struct splice_target_walk *walk, const __u8 *at, __u32 offset)
{
	if (splice_beyond(at, 8, walk->end)) return 1;
	const __u64 word = splice_load64(at);
	/* Space and controls, '#', DEL, bytes above 0x7f: what no target has, or what ends it. */
	const __u64 stops = splice_lanes_below(word, 0x21) | splice_lanes_equal(word, '#') |
			    ((word | (word + SPLICE_LANES(1ULL))) & SPLICE_LANE_HIGH);

	if (SPLICE_LIKELY(!stops)) return 0;
	const __u32 stop = splice_first_lane(stops);
	if (((word >> (stop * 8)) & 0xff) == ' ') walk->target_end = offset + stop;
	return 1;
}

SPLICE_LOOP_BODY splice_target_step(__u32 index, void *context)
{
	struct splice_target_walk *walk = (struct splice_target_walk *)context;
	const __u32 offset = (index & 63) * SPLICE_TARGET_STRIDE;
	const __u8 *at = walk->target + offset;

	return splice_target_word(walk, at, offset) || splice_target_word(walk, at + 8, offset + 8) ||
	       splice_target_word(walk, at + 16, offset + 16) || splice_target_word(walk, at + 24, offset + 24);
}

/* Eight bytes more of a target whose end is known: finds slash depth + 1 and, when the rule stops there, the '?'. */
SPLICE_LOOP_BODY splice_cut_step(__u32 index, void *context)
{
	struct splice_target_walk *walk = (struct splice_target_walk *)context;
	const __u32 offset = (index & 255) * 8;
	const __u8 *at = walk->target + offset;

	if (offset >= walk->target_end || splice_beyond(at, 8, walk->end)) return 1;
	const __u64 word = splice_load64(at);
	const __u64 queries = walk->stop_at_query ? splice_lanes_equal(word, '?') : 0;
	__u64 slashes = walk->depth ? splice_lanes_equal_exact(word, '/') : 0;
	if (queries) slashes &= (queries & (0 - queries)) - 1;

	const __u32 count = (__u32)(((slashes >> 7) * SPLICE_LANES(1ULL)) >> 56);
	const __u32 remaining = (__u32)walk->depth - walk->slashes;
	if (SPLICE_LIKELY(count <= remaining)) {
		walk->slashes = (__u8)(walk->slashes + count);
		if (!queries) return 0;
		walk->cut = offset + splice_first_lane(queries);
		return 1;
	}
	for (__u32 i = 0; i < 8; i++) {
		if (i >= remaining) break;
		slashes &= slashes - 1;
	}
	walk->cut = offset + splice_first_lane(slashes);
	return 1;
}

/* Eight bytes more of a target whose end is known: whether it has what the rule asks about. What comes after the target
 * in its last word, " HTTP/1" at most, is nothing of that. */
SPLICE_LOOP_BODY splice_asks_step(__u32 index, void *context)
{
	struct splice_target_walk *walk = (struct splice_target_walk *)context;
	const __u32 offset = (index & 255) * 8;
	const __u8 *at = walk->target + offset;

	if (offset >= walk->target_end || splice_beyond(at, 8, walk->end)) return 1;
	const __u64 word = splice_load64(at);
	const __u64 slashes = splice_lanes_equal_exact(word, '/');
	__u64 odd = 0;
	if (walk->asks & SPLICE_ASKS_ABOUT_QUERY) odd |= splice_lanes_equal(word, '?');
	if (walk->asks & SPLICE_ASKS_ABOUT_PERCENT) odd |= splice_lanes_equal(word, '%');
	if (walk->asks & SPLICE_ASKS_ABOUT_DOTS)
		odd |= splice_lanes_equal_exact(word, '.') & (slashes << 8 | (walk->slash_before ? 0x80 : 0));
	walk->slash_before = slashes >> 63 != 0;
	if (SPLICE_LIKELY(!odd)) return 0;
	walk->odd = 1;
	return 1;
}

/* The length of a method of 1 to 16 letters A to Z, which a space must follow; 0 when it is none. A line with a
 * method of n letters has n + 12 bytes at least, so each word here is in it. */
SPLICE_INLINE __u32 splice_method_length(const __u8 *payload, const void *end)
{
	__u32 length = 0;

	SPLICE_UNROLL
	for (__u32 i = 0; i < SPLICE_METHOD_MAX; i += 8) {
		if (payload + i + 8 > (const __u8 *)end) return 0;
		const __u64 word = splice_load64(payload + i);
		/* Not a letter: below 'A', or above 'Z' (adding 0x25 carries into the high bit), or that itself. */
		const __u64 others = splice_lanes_below(word, 'A') |
				     ((word | (word + SPLICE_LANES(0x25ULL))) & SPLICE_LANE_HIGH);
		if (others) {
			const __u32 lane = splice_first_lane(others);
			length = i + lane;
			return ((word >> (lane * 8)) & 0xff) == ' ' ? length : 0;
		}
	}
	if (payload + SPLICE_METHOD_MAX + 1 > (const __u8 *)end) return 0;
	return payload[SPLICE_METHOD_MAX] == ' ' ? SPLICE_METHOD_MAX : 0;
}

/* 1 when " HTTP/1.0" or " HTTP/1.1" and CRLF stand at `at`. */
SPLICE_INLINE int splice_version_here(const __u8 *at, const void *end)
{
	const __u64 http_1 = 0x00312e312f505454ULL; /* "TTP/1.1" */
	if (at + 11 > (const __u8 *)end) return 0;
	const __u64 version = splice_load64(at + 2);
	return at[1] == 'H' && at[10] == '\n' && (version >> 56) == '\r' &&
	       ((version & 0x00ffffffffffffffULL) == http_1 ||
		(version & 0x00ffffffffffffffULL) == (http_1 ^ 1ULL << 48));
}

/* `payload` to `end` holds the payload of a first segment, `payload_length` bytes by its IP header (`end` may be
 * farther: links pad). A key comes only from "METHOD SP origin-form SP HTTP/1.[01] CRLF" with the method of one to 16
 * letters A-Z, the target of visible ASCII without '#' and without what the rule asks about, and the whole line there. Of a key that is cut, the rule's
 * length and depth both hold; slashes are counted in all that the kind takes, as HAProxy does. */
SPLICE_INLINE enum splice_request_line_answer splice_request_line(const void *payload, const void *end,
								   __u32 payload_length, struct splice_key_rule rule,
								   struct splice_request_key *key)
{
	struct splice_target_walk walk;
	const __u32 method = splice_method_length((const __u8 *)payload, end);
	const __u8 *target = splice_at(payload, method + 1);

	if (rule.kind != SPLICE_KEY_URI && rule.kind != SPLICE_KEY_PATH) return SPLICE_REQUEST_ASK_USER_SPACE;
	if (method == 0 || target + 1 > (const __u8 *)end) return SPLICE_REQUEST_ASK_USER_SPACE;
	if (*target != '/') return SPLICE_REQUEST_ASK_USER_SPACE;
	walk.target = target;
	walk.end = end;
	walk.target_end = SPLICE_NOWHERE;
	walk.cut = SPLICE_NOWHERE;
	walk.slashes = 0;
	walk.slash_before = 0;
	walk.odd = 0;
	walk.asks = rule.asks;
	walk.depth = rule.depth;
	walk.stop_at_query = rule.kind == SPLICE_KEY_PATH;
	splice_loop(SPLICE_TARGET_MAX / SPLICE_TARGET_STRIDE, splice_target_step, &walk);
	if (walk.target_end > SPLICE_TARGET_MAX) return SPLICE_REQUEST_ASK_USER_SPACE;
	if (!splice_version_here(splice_at(target, walk.target_end), end)) return SPLICE_REQUEST_ASK_USER_SPACE;
	if (method + 1 + walk.target_end + 11 > payload_length) return SPLICE_REQUEST_ASK_USER_SPACE;

	if (walk.asks) {
		splice_loop(SPLICE_TARGET_MAX / 8, splice_asks_step, &walk);
		if (walk.odd) return SPLICE_REQUEST_ASK_USER_SPACE;
	}
	if (walk.depth || walk.stop_at_query) splice_loop(SPLICE_TARGET_MAX / 8, splice_cut_step, &walk);
	__u32 length = walk.target_end;
	if (walk.cut < length) length = walk.cut;
	if (rule.length != 0 && rule.length < length) length = rule.length;
	if (length > SPLICE_HASH_MAX) return SPLICE_REQUEST_ASK_USER_SPACE;
	key->offset = method + 1;
	key->length = length;
	splice_forget(key);
	return SPLICE_REQUEST_KEY;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REQUEST_LINE_H */
