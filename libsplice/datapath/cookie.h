/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cookie: the initial sequence number K with which the balancer answers a SYN, and which alone hands the
 * connection to a bridge. docs/cookie.md draws it and works an example; a test decodes that example.
 *
 *   31           8   7    6..5   4    3..0
 *  +--------------+-----+------+-----+-------+
 *  | SipHash-2-4  |epoch| MSS  |SACK |window |
 *  | 24 bits      |parity index|perm.|scale  |
 *  +--------------+-----+------+-----+-------+
 *                  \______ options byte _____/
 */
#ifndef LIBSPLICE_DATAPATH_COOKIE_H
#define LIBSPLICE_DATAPATH_COOKIE_H

#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/parse_options.h"
#include "libsplice/datapath/siphash.h"

SPLICE_HEADER_BEGIN

/* What splice_lane_hash() multiplies by. */
struct splice_lane_key {
	__u64 words[10];
};

/* The secret: the first key issues, both verify. */
struct splice_secret {
	struct splice_key keys[2];
	__u32 count; /* 1 or 2 */
	__u32 lane_is_derived; /* 1: from the first key, and changes with it */
	struct splice_lane_key lane; /* not rotated with the keys: flows' timestamps are read by it (lane.h) */
};

/* `key`: the secret file's `lane` line, or its first key. */
SPLICE_INLINE struct splice_lane_key splice_lane_key_from(const struct splice_key *key)
{
	struct splice_lane_key lane;

	/* The second word tells these messages from cookies' and marks': it is no address that a client has. */
	for (__u64 i = 0; i < 10; i++) lane.words[i] = splice_siphash_48(key, ~0ULL, i, 0, 0, 0, 0);
	return lane;
}

/* A copy for a kernel program. */
SPLICE_INLINE struct splice_secret splice_secret_prepared(const struct splice_secret *secret)
{
	struct splice_secret prepared = *secret;

	splice_key_prepare(&prepared.keys[0]);
	splice_key_prepare(&prepared.keys[1]);
	return prepared;
}

/* Seconds of one epoch; the epoch's parity is in the cookie. */
#define SPLICE_EPOCH_SECONDS 64

/* What the client negotiated, as a cookie carries it. */
struct splice_negotiated {
	__u16 mss; /* the largest of the family's table that is not above the client's */
	__u8 window_scale; /* the client's; SPLICE_NO_WINDOW_SCALE: not offered */
	__u8 sack_permitted;
	__u16 proof; /* SPLICE_PROOF_BITS more of the cookie's hash, which the SYN-ACK's clock carries (lane.h) */
	__u16 zero;
};

#define SPLICE_PROOF_BITS 13

/* The fields of the options byte, which is the cookie's low byte. */
#define SPLICE_COOKIE_PARITY_SHIFT 7
#define SPLICE_COOKIE_MSS_SHIFT 5
#define SPLICE_COOKIE_SACK 0x10
#define SPLICE_COOKIE_SCALE 0x0f

/* The MSS values that two bits can name, ascending. family is 4 or 6. */
SPLICE_INLINE __u16 splice_cookie_mss(__u32 family, __u32 index)
{
	if (family == 6) return index == 0 ? 1220 : index == 1 ? 1300 : index == 2 ? 1420 : 1440;
	return index == 0 ? 536 : index == 1 ? 1300 : index == 2 ? 1440 : 1460;
}

/* The index of the largest that is not above `mss`; 0 when all are. */
SPLICE_INLINE __u32 splice_cookie_mss_index(__u32 family, __u16 mss)
{
	return (__u32)(mss >= splice_cookie_mss(family, 1)) + (mss >= splice_cookie_mss(family, 2)) +
	       (mss >= splice_cookie_mss(family, 3));
}

/* SipHash-2-4 of 48 bytes (Aumasson and Bernstein, 2012):
 * client address 16, VIP 16, client port 2, VIP port 2, client ISN 4, epoch 4, options byte 1, zero 3;
 * ports, ISN and epoch big-endian. */
SPLICE_INLINE __u64 splice_cookie_hash(const struct splice_key *key, const struct splice_flow_key *flow,
				       __u32 client_isn, __u32 epoch, __u8 options_byte)
{
	const __u64 ports = (__u64)flow->client_port | (__u64)flow->server_port << 16;
	return splice_siphash_48(key, flow->client.halves[0], flow->client.halves[1], flow->server.halves[0],
				 flow->server.halves[1], ports | (__u64)splice_htonl(client_isn) << 32,
				 (__u64)splice_htonl(epoch) | (__u64)options_byte << 32);
}

/* The hash's most significant 24 bits above the options byte. */
SPLICE_INLINE __u32 splice_cookie_of_hash(__u64 hash, __u8 options_byte)
{
	return (__u32)(hash >> 40) << 8 | options_byte;
}

/* The 13 bits that follow them. */
SPLICE_INLINE __u16 splice_proof_of_hash(__u64 hash)
{
	return (__u16)((hash >> (40 - SPLICE_PROOF_BITS)) & ((1U << SPLICE_PROOF_BITS) - 1));
}

SPLICE_INLINE __u32 splice_cookie_of(const struct splice_key *key, const struct splice_flow_key *flow, __u32 client_isn,
				     __u32 epoch, __u8 options_byte)
{
	return splice_cookie_of_hash(splice_cookie_hash(key, flow, client_isn, epoch, options_byte), options_byte);
}

/* The cookie for a SYN, and *proof. `offered` are the SYN's options (an MSS that is not offered counts as the family's
 * default: 536 or 1220, RFC 9293 section 3.7.1); unix_s is this host's wall clock in seconds. */
SPLICE_INLINE __u32 splice_cookie_issue(const struct splice_secret *secret, const struct splice_packet *syn,
					const struct splice_tcp_options *offered, __u64 unix_s, __u16 *proof)
{
	const __u32 epoch = (__u32)(unix_s / SPLICE_EPOCH_SECONDS);
	const __u32 mss_index = splice_cookie_mss_index(syn->family, offered->mss);
	const __u8 options_byte = (__u8)((epoch & 1) << SPLICE_COOKIE_PARITY_SHIFT |
					 mss_index << SPLICE_COOKIE_MSS_SHIFT |
					 (offered->sack_permitted ? SPLICE_COOKIE_SACK : 0) |
					 (offered->window_scale & SPLICE_COOKIE_SCALE));
	const __u64 hash = splice_cookie_hash(&secret->keys[0], splice_flow_toward_server(syn), syn->seq, epoch,
					      options_byte);

	*proof = splice_proof_of_hash(hash);
	return splice_cookie_of_hash(hash, options_byte);
}

/* The same without its proof. */
SPLICE_INLINE __u32 splice_cookie_make(const struct splice_secret *secret, const struct splice_packet *syn,
				       const struct splice_tcp_options *offered, __u64 unix_s)
{
	__u16 proof;

	return splice_cookie_issue(secret, syn, offered, unix_s, &proof);
}

/* The epoch of the given parity that is nearest to this host's clock. */
SPLICE_INLINE __u32 splice_cookie_epoch(__u64 unix_s, __u32 parity)
{
	const __u32 epoch = (__u32)(unix_s / SPLICE_EPOCH_SECONDS);
	if ((epoch & 1) == parity) return epoch;
	return unix_s % SPLICE_EPOCH_SECONDS < SPLICE_EPOCH_SECONDS / 2 ? epoch - 1 : epoch + 1;
}

/* 1 when `cookie` is one that a holder of either key gave for `client_isn` of this flow within the last 32 s at
 * least (64 + 32 at most); then *negotiated says what it carries. */
SPLICE_INLINE int splice_cookie_check(const struct splice_secret *secret, const struct splice_flow_key *flow,
				      __u32 family, __u32 client_isn, __u32 cookie, __u64 unix_s,
				      struct splice_negotiated *negotiated)
{
	const __u8 options_byte = (__u8)cookie;
	const __u32 epoch = splice_cookie_epoch(unix_s, options_byte >> SPLICE_COOKIE_PARITY_SHIFT);
	__u64 hash = splice_cookie_hash(&secret->keys[0], flow, client_isn, epoch, options_byte);

	if (cookie != splice_cookie_of_hash(hash, options_byte)) {
		if (secret->count < 2) return 0;
		hash = splice_cookie_hash(&secret->keys[1], flow, client_isn, epoch, options_byte);
		if (cookie != splice_cookie_of_hash(hash, options_byte)) return 0;
	}
	negotiated->proof = splice_proof_of_hash(hash);
	negotiated->zero = 0;
	negotiated->mss = splice_cookie_mss(family, (options_byte >> SPLICE_COOKIE_MSS_SHIFT) & 3);
	negotiated->window_scale = options_byte & SPLICE_COOKIE_SCALE;
	negotiated->sack_permitted = (options_byte & SPLICE_COOKIE_SACK) != 0;
	return 1;
}

/* 1 when a segment's numbers (seq - 1, ack - 1) are a client's ISN and our cookie for it. */
SPLICE_INLINE int splice_cookie_check_segment(const struct splice_secret *secret, const struct splice_packet *packet,
					      __u64 unix_s, struct splice_negotiated *negotiated)
{
	return splice_cookie_check(secret, splice_flow_toward_server(packet), packet->family, packet->seq - 1,
				   packet->ack - 1, unix_s, negotiated);
}

#if !SPLICE_BPF
/* Expired cookies are recognised for this many epochs of their parity: 16 x 64 s. */
#define SPLICE_COOKIE_EXPIRED_EPOCHS 8

/* 1 when `cookie` is one that a holder of either key gave for `client_isn` of this flow, but too long ago: within the last
 * 17 minutes. It proves nothing that may be acted on but a refusal: 8 epochs make a guess 8 times as likely. */
SPLICE_INLINE int splice_cookie_expired(const struct splice_secret *secret, const struct splice_flow_key *flow,
					__u32 client_isn, __u32 cookie, __u64 unix_s)
{
	const __u8 options_byte = (__u8)cookie;
	const __u32 epoch = splice_cookie_epoch(unix_s, options_byte >> SPLICE_COOKIE_PARITY_SHIFT);

	for (__u32 age = 1; age <= SPLICE_COOKIE_EXPIRED_EPOCHS; age++)
		for (__u32 key = 0; key < secret->count; key++)
			if (cookie == splice_cookie_of(&secret->keys[key], flow, client_isn, epoch - 2 * age, options_byte))
				return 1;
	return 0;
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_COOKIE_H */
