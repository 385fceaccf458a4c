/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lanes: the timestamps that a client echoes name its bridge, so that any balancer finds the bridge of any flow without
 * having seen it before (docs/lanes.md draws it and works an example; a test decodes that example). Clocks are in
 * milliseconds, all arithmetic is modulo 2^32.
 *
 *   SYN-ACK          TSval = unix_ms + H - (proof << 17)
 *   bridge n         its first TSval is T = unix_ms + H + ((n + 5) << 20) - 65536, and goes on as a clock
 *   what comes back  p = (TSecr - unix_ms - H) >> 20: n + 4, for 983 s after the bridge wrote it
 *
 * H is a hash of the flow. It makes two flows' clocks tell nothing of each other, and proves nothing: every client can
 * reckon its own. The proof is 13 more bits of the cookie's SipHash. Between the two clocks lie more than 35.8 minutes and
 * less than 2^31 ms: a receiver takes the second as later than the first (PAWS, RFC 7323 section 5), and takes no round
 * trip from an echo of the first.
 */
#ifndef LIBSPLICE_DATAPATH_LANE_H
#define LIBSPLICE_DATAPATH_LANE_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

/* Milliseconds of one lane, as a power of two: for so long, less the clocks' difference, an echo names its bridge. */
#define SPLICE_LANE_SHIFT 20
/* Bridges are numbered from 1 to this. */
#define SPLICE_LANE_MAX 1018
#define SPLICE_NO_LANE 0xffffffffU
/* So much a bridge's clock is behind the end of its lane: by so much may clocks of hosts differ, twice. */
#define SPLICE_LANE_MARGIN_MS 65536U
/* An echo of the SYN-ACK's clock is no older, and no more ahead of ours (a cookie's own bounds). */
#define SPLICE_CLOCK_OLD_MS 96000U
#define SPLICE_CLOCK_AHEAD_MS 32000U

/* H: pair-multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014) of the key as ten
 * words of 32 bits. Five multiplications that wait for nothing. */
SPLICE_INLINE __u32 splice_lane_hash_of(const struct splice_lane_key *key, const struct splice_address *client,
					const struct splice_address *vip, __u16 client_port, __u16 vip_port)
{
	const __u32 ports = (__u32)client_port | (__u32)vip_port << 16;
	__u64 sum = (key->words[0] + client->words[0]) * (key->words[1] + client->words[1]);

	sum += (key->words[2] + client->words[2]) * (key->words[3] + client->words[3]);
	sum += (key->words[4] + vip->words[0]) * (key->words[5] + vip->words[1]);
	sum += (key->words[6] + vip->words[2]) * (key->words[7] + vip->words[3]);
	sum += (key->words[8] + ports) * key->words[9];
	return (__u32)(sum >> 32);
}

SPLICE_INLINE __u32 splice_lane_hash(const struct splice_lane_key *key, const struct splice_flow_key *flow)
{
	return splice_lane_hash_of(key, &flow->client, &flow->server, flow->client_port, flow->server_port);
}

/* The TSval of a SYN-ACK. `proof`: splice_negotiated's, 13 bits. */
SPLICE_INLINE __u32 splice_clock_of_syn_ack(__u32 hash, __u32 proof, __u32 unix_ms)
{
	return unix_ms + hash - (proof << 17);
}

/* 1 when `tsecr` echoes what splice_clock_of_syn_ack() wrote with the same proof, at most 96 s ago by a clock that is at
 * most 32 s ahead of ours. */
SPLICE_INLINE int splice_clock_proves(__u32 hash, __u32 proof, __u32 tsecr, __u32 unix_ms)
{
	return tsecr - hash + (proof << 17) - unix_ms + SPLICE_CLOCK_OLD_MS <= SPLICE_CLOCK_OLD_MS + SPLICE_CLOCK_AHEAD_MS;
}

/* T: the first TSval of bridge `number` (1 to SPLICE_LANE_MAX) on the flow. Never 0, which is nobody's. */
SPLICE_INLINE __u32 splice_lane_begin(__u32 hash, __u32 number, __u32 unix_ms)
{
	const __u32 first = unix_ms + hash + ((number + 5) << SPLICE_LANE_SHIFT) - SPLICE_LANE_MARGIN_MS;

	return first ? first : 1;
}

/* The number that an echo names: 1 to SPLICE_LANE_MAX; 0 is an old echo of bridge 1, as n may be one of n + 1 that is
 * older than 983 s; SPLICE_NO_LANE: it echoes no bridge's clock. */
SPLICE_INLINE __u32 splice_lane_of(__u32 hash, __u32 tsecr, __u32 unix_ms)
{
	const __u32 lane = ((tsecr - unix_ms - hash) >> SPLICE_LANE_SHIFT) - 4;

	return lane <= SPLICE_LANE_MAX ? lane : SPLICE_NO_LANE;
}

/* What a lane says of the bridge that a flow goes to. */
enum splice_lane_word {
	SPLICE_LANE_SAYS_NOTHING, /* there is none, or the bridge has no number, or the echo may be an old one of its */
	SPLICE_LANE_IS_ITS,
	SPLICE_LANE_DISAGREES, /* another bridge's: one number on two hosts, or a number that differs on the two sides */
};

/* `number`: the bridge's, or 0. */
SPLICE_INLINE enum splice_lane_word splice_lane_compare(__u32 lane, __u32 number)
{
	if (lane == SPLICE_NO_LANE || !number || lane + 1 == number) return SPLICE_LANE_SAYS_NOTHING;
	return lane == number ? SPLICE_LANE_IS_ITS : SPLICE_LANE_DISAGREES;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_LANE_H */
