/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where clients come from, as far as limits go: by address, or by what one customer is given of IPv6. Sources are counted
 * in a fixed number of places, which a keyed hash gives them: nothing is stored of a source, nothing has to be evicted,
 * and nobody can choose whose place to share.
 */
#ifndef LIBSPLICE_DATAPATH_SOURCE_H
#define LIBSPLICE_DATAPATH_SOURCE_H

#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/siphash.h"

SPLICE_HEADER_BEGIN

#define SPLICE_SOURCE_PLACES 65536

/* The place of the client's IPv4 address or IPv6 /64. `key`: prepared (splice_key_prepare()), and random for each process. */
SPLICE_INLINE __u32 splice_source_place(const struct splice_key *key, const struct splice_address *client)
{
	const __u64 low = splice_address_is_ipv4(client) ? client->halves[1] : 0;

	return (__u32)splice_siphash_48(key, client->halves[0], low, 0, 0, 0, 0) & (SPLICE_SOURCE_PLACES - 1);
}

/* The flows of each source, as far as they are counted. */
struct splice_source_flows {
	struct splice_key key; /* splice_source_place()'s */
	__u32 share; /* the most of one source; 0: whatever it likes */
	__u32 zero;
	__u32 flows[SPLICE_SOURCE_PLACES];
};

SPLICE_INLINE int splice_source_has_room(const struct splice_source_flows *sources, __u32 place)
{
	return !sources->share || sources->flows[place & (SPLICE_SOURCE_PLACES - 1)] < sources->share;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SOURCE_H */
