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

SPLICE_HEADER_BEGIN

/* One 128-bit key: the bytes of the secret file's hex as two little-endian words, as SipHash's authors do. */
struct splice_key {
	__u64 k0;
	__u64 k1;
};

/* The secret: the first key issues, both verify. */
struct splice_secret {
	struct splice_key keys[2];
	__u32 count; /* 1 or 2 */
	__u32 zero;
};

/* Seconds of one epoch; the epoch's parity is in the cookie. */
#define SPLICE_EPOCH_SECONDS 64

/* What the client negotiated, as a cookie carries it. */
struct splice_negotiated {
	__u16 mss; /* the largest of the family's table that is not above the client's */
	__u8 window_scale; /* the client's; SPLICE_NO_WINDOW_SCALE: not offered */
	__u8 sack_permitted;
};

/* The MSS values that two bits can name, ascending. family is 4 or 6. */
SPLICE_INLINE __u16 splice_cookie_mss(__u32 family, __u32 index);

/* SipHash-2-4 of 48 bytes (Aumasson and Bernstein, 2012):
 * client address 16, VIP 16, client port 2, VIP port 2, client ISN 4, epoch 4, options byte 1, zero 3;
 * ports, ISN and epoch big-endian. */
SPLICE_INLINE __u64 splice_cookie_hash(const struct splice_key *key, const struct splice_flow_key *flow,
				       __u32 client_isn, __u32 epoch, __u8 options_byte);

/* The cookie for a SYN. `offered` are the SYN's options (an MSS that is not offered counts as the family's
 * default: 536 or 1220, RFC 9293 section 3.7.1); unix_s is this host's wall clock in seconds. */
SPLICE_INLINE __u32 splice_cookie_make(const struct splice_secret *secret, const struct splice_packet *syn,
				       const struct splice_tcp_options *offered, __u64 unix_s);

/* 1 when `cookie` is one that a holder of either key gave for `client_isn` of this flow within the last 32 s at
 * least (64 + 32 at most); then *negotiated says what it carries. */
SPLICE_INLINE int splice_cookie_check(const struct splice_secret *secret, const struct splice_flow_key *flow,
				      __u32 family, __u32 client_isn, __u32 cookie, __u64 unix_s,
				      struct splice_negotiated *negotiated);

/* 1 when a segment's numbers (seq - 1, ack - 1) are a client's ISN and our cookie for it. */
SPLICE_INLINE int splice_cookie_check_segment(const struct splice_secret *secret, const struct splice_packet *packet,
					      __u64 unix_s, struct splice_negotiated *negotiated)
{
	return splice_cookie_check(secret, &packet->key, packet->family, packet->seq - 1, packet->ack - 1, unix_s,
				   negotiated);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_COOKIE_H */
