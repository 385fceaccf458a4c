/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How long connections wait, as counts of a logarithmic histogram; and when they were opened, which a flow's entry says in
 * whole seconds alone.
 */
#ifndef LIBSPLICE_DATAPATH_LATENCY_H
#define LIBSPLICE_DATAPATH_LATENCY_H

#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

/* Bucket i but the last: at most 2^i microseconds, and more than the bucket before. The last: all above 2^23, 8.4 s. */
#define SPLICE_LATENCY_BUCKETS 25

struct splice_latency {
	__u64 buckets[SPLICE_LATENCY_BUCKETS];
	__u64 sum_us;
};

/* Of a service. */
struct splice_latencies {
	struct splice_latency first_payload; /* from its first segment until it goes to a bridge */
	struct splice_latency answer; /* from then until the client has acknowledged a byte of the server */
};

SPLICE_INLINE __u32 splice_latency_bucket(__u32 us)
{
	__u32 rest = us ? us - 1 : 0; /* a power of two is in its own bucket */
	__u32 bucket = 0;

	SPLICE_UNROLL
	for (__u32 bits = 16; bits; bits >>= 1) {
		if (!(rest >> bits)) continue;
		rest >>= bits;
		bucket += bits;
	}
	bucket += rest != 0;
	return bucket < SPLICE_LATENCY_BUCKETS ? bucket : SPLICE_LATENCY_BUCKETS - 1;
}

SPLICE_INLINE void splice_latency_add(struct splice_latency *latency, __u32 us)
{
	latency->buckets[splice_latency_bucket(us)]++;
	latency->sum_us += us;
}

/* When connections were opened, by their flows. Each flow has one slot, which another flow may take from it: then its answer
 * is not timed. A slot is read and written as one word, by kernel and user space alike. */
#define SPLICE_OPENING_SLOTS_SHIFT 16

struct splice_opening_times {
	__u64 slots[1U << SPLICE_OPENING_SLOTS_SHIFT]; /* upper half: who; lower half: microseconds, which wrap. 0: nobody */
};

#define SPLICE_OPENING_UNKNOWN 0xffffffffU

/* No secret is needed: who meets another's slot on purpose takes two measurements away, and nothing else. */
SPLICE_INLINE __u64 splice_opening_hash(const struct splice_flow_key *key)
{
	__u64 hash = key->client.halves[0] * 0x9e3779b185ebca87ULL + key->client.halves[1] * 0xc2b2ae3d27d4eb4fULL +
		     key->server.halves[0] * 0x85ebca77c2b2ae63ULL + key->server.halves[1] * 0x27d4eb2f165667c5ULL +
		     ((__u64)key->client_port << 16 | key->server_port) * 0x165667b19e3779f9ULL;
	hash ^= hash >> 32;
	return hash * 0x9e3779b185ebca87ULL;
}

SPLICE_INLINE volatile __u64 *splice_opening_slot(struct splice_opening_times *times, __u64 hash)
{
	return &times->slots[hash >> (64 - SPLICE_OPENING_SLOTS_SHIFT)];
}

/* Never 0: that is nobody's. */
SPLICE_INLINE __u32 splice_opening_name(__u64 hash)
{
	return (__u32)(hash >> 8) | 1;
}

/* The flow is opened now; `now_us`: the monotonic clock. */
SPLICE_INLINE void splice_opening_note(struct splice_opening_times *times, const struct splice_flow_key *key, __u32 now_us)
{
	const __u64 hash = splice_opening_hash(key);
	*splice_opening_slot(times, hash) = (__u64)splice_opening_name(hash) << 32 | now_us;
}

/* Microseconds since it was opened, once; SPLICE_OPENING_UNKNOWN. */
SPLICE_INLINE __u32 splice_opening_take(struct splice_opening_times *times, const struct splice_flow_key *key, __u32 now_us)
{
	const __u64 hash = splice_opening_hash(key);
	volatile __u64 *slot = splice_opening_slot(times, hash);
	const __u64 is = *slot;

	if ((__u32)(is >> 32) != splice_opening_name(hash)) return SPLICE_OPENING_UNKNOWN;
	*slot = 0;
	return now_us - (__u32)is;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_LATENCY_H */
