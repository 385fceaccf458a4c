/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where clients come from, as far as limits go: by address, or by what one customer is given of IPv6. Sources are counted
 * in a fixed number of places, which a keyed hash gives them: nothing is stored of a source, nothing has to be evicted,
 * and nobody can choose whose place to share.
 */
#ifndef LIBSPLICE_DATAPATH_SOURCE_H
#define LIBSPLICE_DATAPATH_SOURCE_H

#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

#define SPLICE_SOURCE_PLACES_SHIFT 16
#define SPLICE_SOURCE_PLACES (1U << SPLICE_SOURCE_PLACES_SHIFT)

/* Random for each process, and secret. All zero is one place for everybody. */
struct splice_source_key {
	__u64 multipliers[3];
	__u64 addend;
};

/* So many bits of an IPv4 address, at most 32, and of an IPv6 address, at most 64, are one source. */
struct splice_source_prefix {
	__u8 ipv4;
	__u8 ipv6;
};

#define SPLICE_ONE_SOURCE { 32, 64 }
#define SPLICE_ONE_NETWORK { 16, 48 }

/* `bits`: of the 64 of that half of an address, which is in network order. */
SPLICE_INLINE __u64 splice_source_head(__u64 half, __u32 bits)
{
	if (bits >= 64) return half;
	return bits ? half & splice_htonll(~0ULL << (64 - bits)) : 0;
}

/* Of the source that the client is of, for one of the purposes that share places (a service's number, say). Multiply-shift
 * over 32-bit words (Thorup, "High Speed Hashing for Integers and Strings", section 3.5): the upper bits are a place, up to
 * 2^32 of them, which two sources share by chance alone. */
SPLICE_INLINE __u64 splice_source_hash(const struct splice_source_key *key, const struct splice_address *client,
				       struct splice_source_prefix prefix, __u16 purpose)
{
	const __u32 ipv4 = splice_address_is_ipv4(client) != 0;
	const __u64 half = ipv4 ? splice_source_head(client->halves[1], 32U + prefix.ipv4) :
				  splice_source_head(client->halves[0], prefix.ipv6);

	return key->multipliers[0] * (__u32)half + key->multipliers[1] * (__u32)(half >> 32) +
	       key->multipliers[2] * (ipv4 | (__u32)purpose << 1) + key->addend;
}

SPLICE_INLINE __u32 splice_source_place_of(const struct splice_source_key *key, const struct splice_address *client,
					   struct splice_source_prefix prefix)
{
	return (__u32)(splice_source_hash(key, client, prefix, 0) >> (64 - SPLICE_SOURCE_PLACES_SHIFT));
}

/* Of the client's IPv4 address or IPv6 /64. */
SPLICE_INLINE __u32 splice_source_place(const struct splice_source_key *key, const struct splice_address *client)
{
	const struct splice_source_prefix prefix = SPLICE_ONE_SOURCE;

	return splice_source_place_of(key, client, prefix);
}

/* The flows of each source, as far as they are counted. */
struct splice_source_flows {
	struct splice_source_key key;
	__u32 share; /* the most of one source; 0: whatever it likes */
	__u32 zero;
	__u32 flows[SPLICE_SOURCE_PLACES];
};

SPLICE_INLINE int splice_source_has_room(const struct splice_source_flows *sources, __u32 place)
{
	return !sources->share || sources->flows[place & (SPLICE_SOURCE_PLACES - 1)] < sources->share;
}

/* A count of one second: the upper half says which, so that it begins anew by itself. Written without a lock: processors that
 * count in the same moment may count one for two. */
SPLICE_INLINE __u32 splice_second_count(__u64 count, __u32 second)
{
	return (__u32)(count >> 32) == second ? (__u32)count : 0;
}

/* One more, up to `limit`, above which nothing is written. 1: the limit is reached by this one. */
SPLICE_INLINE int splice_second_add(__u64 *count, __u32 second, __u32 limit)
{
	const __u32 is = splice_second_count(*count, second);

	if (is >= limit) return 0;
	*count = (__u64)second << 32 | (is + 1);
	return is + 1 == limit;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SOURCE_H */
