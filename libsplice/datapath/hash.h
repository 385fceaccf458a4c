/* SPDX-License-Identifier: BSD-3-Clause
 *
 * XXH64 (Yann Collet) with seed 0 over a key of bounded length: the kernel's twin of xxHash's, held equal by a
 * test over every length.
 */
#ifndef LIBSPLICE_DATAPATH_HASH_H
#define LIBSPLICE_DATAPATH_HASH_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

/* The longest key that is hashed where the verifier looks on; longer ones go to user space. */
#define SPLICE_HASH_MAX 1408

#define SPLICE_XXH_PRIME1 0x9e3779b185ebca87ULL
#define SPLICE_XXH_PRIME2 0xc2b2ae3d27d4eb4fULL
#define SPLICE_XXH_PRIME3 0x165667b19e3779f9ULL
#define SPLICE_XXH_PRIME4 0x85ebca77c2b2ae63ULL
#define SPLICE_XXH_PRIME5 0x27d4eb2f165667c5ULL
#define SPLICE_XXH_STRIPE 32

SPLICE_INLINE __u64 splice_xxh_rotate(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

SPLICE_INLINE __u64 splice_xxh_round(__u64 lane, __u64 word)
{
	return splice_xxh_rotate(lane + word * SPLICE_XXH_PRIME2, 31) * SPLICE_XXH_PRIME1;
}

SPLICE_INLINE __u64 splice_xxh_merge(__u64 hash, __u64 lane)
{
	return (hash ^ splice_xxh_round(0, lane)) * SPLICE_XXH_PRIME1 + SPLICE_XXH_PRIME4;
}

SPLICE_INLINE __u64 splice_xxh_word(__u64 hash, __u64 word)
{
	return splice_xxh_rotate(hash ^ splice_xxh_round(0, word), 27) * SPLICE_XXH_PRIME1 + SPLICE_XXH_PRIME4;
}

/* What is behind the last whole stripe: up to three words of 8, one of 4, three bytes. Each piece is found from the
 * length's own bits, so that the verifier has nothing to remember of the way it came. */
SPLICE_INLINE __u64 splice_xxh_tail(__u64 hash, const void *key, const void *end, __u32 length)
{
	const __u8 *at;

	if (length & 16) {
		at = splice_at(key, length & ~31U);
		if (at + 16 > (const __u8 *)end) return 0;
		hash = splice_xxh_word(hash, splice_load64(at));
		hash = splice_xxh_word(hash, splice_load64(at + 8));
	}
	if (length & 8) {
		at = splice_at(key, length & ~15U);
		if (at + 8 > (const __u8 *)end) return 0;
		hash = splice_xxh_word(hash, splice_load64(at));
	}
	if (length & 4) {
		at = splice_at(key, length & ~7U);
		if (at + 4 > (const __u8 *)end) return 0;
		hash = splice_xxh_rotate(hash ^ splice_load32(at) * SPLICE_XXH_PRIME1, 23) * SPLICE_XXH_PRIME2 +
		       SPLICE_XXH_PRIME3;
	}
	for (__u32 i = 0; i < 3; i++) {
		if (i >= (length & 3)) break;
		at = splice_at(key, (length & ~3U) + i);
		if (splice_beyond(at, 1, end)) return 0;
		hash = splice_xxh_rotate(hash ^ *at * SPLICE_XXH_PRIME5, 11) * SPLICE_XXH_PRIME1;
	}
	return hash;
}

/* XXH64 of the `length` bytes from `key` (at most SPLICE_HASH_MAX, all before `end`); 0 when they are not. */
SPLICE_INLINE __u64 splice_xxh64(const void *key, const void *end, __u32 length)
{
	__u64 hash = SPLICE_XXH_PRIME5;

	if (length > SPLICE_HASH_MAX) return 0;
	if (length >= SPLICE_XXH_STRIPE) {
		__u64 v1 = SPLICE_XXH_PRIME1 + SPLICE_XXH_PRIME2;
		__u64 v2 = SPLICE_XXH_PRIME2;
		__u64 v3 = 0;
		__u64 v4 = 0 - SPLICE_XXH_PRIME1;
		const __u8 *at = (const __u8 *)key;
		/* Opaque, or the compiler drops the constant bound that it implies, and older verifiers (Linux 6.1) see a
		 * loop without end. */
		const __u32 stripes = splice_opaque(length / SPLICE_XXH_STRIPE);
		for (__u32 i = 0; i < SPLICE_HASH_MAX / SPLICE_XXH_STRIPE; i++) {
			if (i >= stripes) break;
			if (splice_beyond(at, SPLICE_XXH_STRIPE, end)) return 0;
			v1 = splice_xxh_round(v1, splice_load64(at));
			v2 = splice_xxh_round(v2, splice_load64(at + 8));
			v3 = splice_xxh_round(v3, splice_load64(at + 16));
			v4 = splice_xxh_round(v4, splice_load64(at + 24));
			at += SPLICE_XXH_STRIPE;
		}
		hash = splice_xxh_rotate(v1, 1) + splice_xxh_rotate(v2, 7) + splice_xxh_rotate(v3, 12) +
		       splice_xxh_rotate(v4, 18);
		hash = splice_xxh_merge(hash, v1);
		hash = splice_xxh_merge(hash, v2);
		hash = splice_xxh_merge(hash, v3);
		hash = splice_xxh_merge(hash, v4);
	}
	hash = splice_xxh_tail(hash + length, key, end, length);
	hash = (hash ^ hash >> 33) * SPLICE_XXH_PRIME2;
	hash = (hash ^ hash >> 29) * SPLICE_XXH_PRIME3;
	return hash ^ hash >> 32;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_HASH_H */
