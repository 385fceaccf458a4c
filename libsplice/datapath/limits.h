/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What an operator allows: new connections a second of each source, a service's share of the flow table, and who is served at
 * all (deny lists). Each limits what begins; what has begun goes on.
 */
#ifndef LIBSPLICE_DATAPATH_LIMITS_H
#define LIBSPLICE_DATAPATH_LIMITS_H

#include "libsplice/datapath/source.h"

SPLICE_HEADER_BEGIN

/* --- New connections a second ------------------------------------------------------------------------------------ */

/* Of a service. */
struct splice_rate_limit {
	__u32 a_second; /* of one source; 0: any number */
	struct splice_source_prefix source;
	__u16 zero;
};

#define SPLICE_RATE_PLACES_SHIFT 18

/* What sources have opened. A SYN proves nothing of its source, so it is not counted: whoever sends SYNs with another's
 * address would take that one's connections away. It is looked at: who has opened enough in this second gets no SYN-ACK, and
 * his SYN comes again. */
struct splice_source_rates {
	struct splice_source_key key;
	__u64 counts[1U << SPLICE_RATE_PLACES_SHIFT]; /* as splice_second_count() reads them */
};

SPLICE_INLINE __u32 splice_rate_place(const struct splice_source_rates *rates, const struct splice_rate_limit *limit,
				      __u16 service, const struct splice_address *client)
{
	return (__u32)(splice_source_hash(&rates->key, client, limit->source, service) >> (64 - SPLICE_RATE_PLACES_SHIFT));
}

/* Whether the client's SYN is answered. `now_s`: the monotonic clock. */
SPLICE_INLINE int splice_rate_has_room(const struct splice_source_rates *rates, const struct splice_rate_limit *limit,
				       __u16 service, const struct splice_address *client, __u32 now_s)
{
	if (SPLICE_LIKELY(!limit->a_second)) return 1;
	const __u32 place = splice_rate_place(rates, limit, service, client) & ((1U << SPLICE_RATE_PLACES_SHIFT) - 1);
	return splice_second_count(rates->counts[place], now_s) < limit->a_second;
}

/* Whether its first payload opens a connection, which is counted then. */
SPLICE_INLINE int splice_rate_take(struct splice_source_rates *rates, const struct splice_rate_limit *limit, __u16 service,
				   const struct splice_address *client, __u32 now_s)
{
	if (SPLICE_LIKELY(!limit->a_second)) return 1;
	const __u32 place = splice_rate_place(rates, limit, service, client) & ((1U << SPLICE_RATE_PLACES_SHIFT) - 1);
	if (splice_second_count(rates->counts[place], now_s) >= limit->a_second) return 0;
	splice_second_add(&rates->counts[place], now_s, limit->a_second);
	return 1;
}

/* --- A service's share of the flow table ---------------------------------------------------------------------------- */

/* By service number. */
struct splice_service_flows {
	__u32 most[SPLICE_SERVICE_NUMBERS]; /* 0: as many as the table has room for */
	__u32 flows[SPLICE_SERVICE_NUMBERS]; /* as far as they are counted */
};

SPLICE_INLINE int splice_service_flows_have_room(const struct splice_service_flows *services, __u16 service)
{
	const __u32 number = service & (SPLICE_SERVICE_NUMBERS - 1);

	return SPLICE_LIKELY(!services->most[number]) || services->flows[number] < services->most[number];
}

/* 1: it may have one more, which is counted then. */
SPLICE_INLINE int splice_service_flows_take(struct splice_service_flows *services, __u16 service)
{
	const __u32 number = service & (SPLICE_SERVICE_NUMBERS - 1);

	if (!splice_service_flows_have_room(services, service)) return 0;
	if (services->most[number]) __sync_fetch_and_add(&services->flows[number], 1);
	return 1;
}

/* --- Deny lists ------------------------------------------------------------------------------------------------------ */

/* A key of a longest-prefix match (BPF_MAP_TYPE_LPM_TRIE). The family is among its bits, so that no IPv6 prefix matches an
 * IPv4 address, which is written as an IPv6 one. */
struct splice_prefix {
	__u32 bits; /* SPLICE_PREFIX_HEAD and those of 128; an IPv4 prefix has 96 more than its own */
	__u32 family; /* 4, 6 */
	struct splice_address address; /* the bits beyond are 0 */
};

#define SPLICE_PREFIX_HEAD 32U

SPLICE_INLINE struct splice_prefix splice_prefix_of(const struct splice_address *address, __u32 bits)
{
	const struct splice_prefix prefix = { SPLICE_PREFIX_HEAD + bits, splice_address_is_ipv4(address) ? 4U : 6U, *address };
	return prefix;
}

/* Most clients are told from those of the lists by a bit or two: 1 where a prefix of the lists may begin so. */
#define SPLICE_DENIED_IPV4_SHIFT 24
#define SPLICE_DENIED_IPV6_SHIFT 22
#define SPLICE_DENIED_SHORT_SHIFT 16

struct splice_denied_heads {
	__u64 ipv4[1U << (SPLICE_DENIED_IPV4_SHIFT - 6)]; /* by the first 24 bits */
	__u64 ipv6[1U << (SPLICE_DENIED_IPV6_SHIFT - 6)]; /* of prefixes of 48 bits and more: by a hash of the first 48 */
	__u64 ipv6_short[1U << (SPLICE_DENIED_SHORT_SHIFT - 6)]; /* of the others: by a hash of the first 32 bits */
};

SPLICE_INLINE __u32 splice_denied_head_ipv4(const struct splice_address *address)
{
	return splice_ntohl(address->words[3]) >> (32 - SPLICE_DENIED_IPV4_SHIFT);
}

SPLICE_INLINE __u32 splice_denied_head_ipv6(const struct splice_address *address)
{
	return (__u32)(splice_source_head(address->halves[0], 48) * 0x9e3779b97f4a7c15ULL >> (64 - SPLICE_DENIED_IPV6_SHIFT));
}

SPLICE_INLINE __u32 splice_denied_head_ipv6_short(const struct splice_address *address)
{
	return (address->words[0] * 0x9e3779b1U) >> (32 - SPLICE_DENIED_SHORT_SHIFT);
}

SPLICE_INLINE int splice_denied_may_have(const struct splice_denied_heads *heads, const struct splice_address *client)
{
	__u32 head;

	if (splice_address_is_ipv4(client)) {
		head = splice_denied_head_ipv4(client) & ((1U << SPLICE_DENIED_IPV4_SHIFT) - 1);
		return (int)(heads->ipv4[head >> 6] >> (head & 63) & 1);
	}
	head = splice_denied_head_ipv6(client) & ((1U << SPLICE_DENIED_IPV6_SHIFT) - 1);
	if (heads->ipv6[head >> 6] >> (head & 63) & 1) return 1;
	head = splice_denied_head_ipv6_short(client) & ((1U << SPLICE_DENIED_SHORT_SHIFT) - 1);
	return (int)(heads->ipv6_short[head >> 6] >> (head & 63) & 1);
}

SPLICE_STATIC_ASSERT(sizeof(struct splice_prefix) == 24, "a prefix without padding, as the kernel reads it");

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_LIMITS_H */
