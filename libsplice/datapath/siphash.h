/* SPDX-License-Identifier: BSD-3-Clause
 *
 * SipHash-2-4 (Aumasson and Bernstein, 2012) of exactly 48 bytes, unrolled: the length that a cookie hashes.
 */
#ifndef LIBSPLICE_DATAPATH_SIPHASH_H
#define LIBSPLICE_DATAPATH_SIPHASH_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

struct splice_sip_state {
	__u64 v0, v1, v2, v3;
};

/* One 128-bit key: the bytes of the secret file's hex as two little-endian words, as SipHash's authors do. */
struct splice_key {
	__u64 k0;
	__u64 k1;
	struct splice_sip_state after_zero; /* of splice_key_prepare(); all zero is right too, and slower */
};

SPLICE_INLINE __u64 splice_rotate_left(__u64 value, int bits)
{
	return value << bits | value >> (64 - bits);
}

SPLICE_INLINE void splice_sip_round(struct splice_sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = splice_rotate_left(s->v1, 13) ^ s->v0;
	s->v0 = splice_rotate_left(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = splice_rotate_left(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = splice_rotate_left(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = splice_rotate_left(s->v1, 17) ^ s->v2;
	s->v2 = splice_rotate_left(s->v2, 32);
}

SPLICE_INLINE void splice_sip_word(struct splice_sip_state *s, __u64 word)
{
	s->v3 ^= word;
	splice_sip_round(s);
	splice_sip_round(s);
	s->v0 ^= word;
}

/* Behind a message's first word. */
SPLICE_INLINE struct splice_sip_state splice_sip_begin(const struct splice_key *key, __u64 word)
{
	struct splice_sip_state s = {
		key->k0 ^ 0x736f6d6570736575ULL,
		key->k1 ^ 0x646f72616e646f6dULL,
		key->k0 ^ 0x6c7967656e657261ULL,
		key->k1 ^ 0x7465646279746573ULL,
	};

	splice_sip_word(&s, word);
	return s;
}

/* An IPv4 address begins with a word of zero (RFC 4291 section 2.5.5.2): what that makes of the key, made once. */
SPLICE_INLINE void splice_key_prepare(struct splice_key *key)
{
	key->after_zero = splice_sip_begin(key, 0);
}

/* The message as six little-endian words. */
SPLICE_INLINE __u64 splice_siphash_48(const struct splice_key *key, __u64 m0, __u64 m1, __u64 m2, __u64 m3, __u64 m4,
				      __u64 m5)
{
	struct splice_sip_state s = key->after_zero;

	if (m0 || !s.v0) s = splice_sip_begin(key, m0);
	splice_sip_word(&s, m1);
	splice_sip_word(&s, m2);
	splice_sip_word(&s, m3);
	splice_sip_word(&s, m4);
	splice_sip_word(&s, m5);
	splice_sip_word(&s, 48ULL << 56);
	s.v2 ^= 0xff;
	splice_sip_round(&s);
	splice_sip_round(&s);
	splice_sip_round(&s);
	splice_sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SIPHASH_H */
