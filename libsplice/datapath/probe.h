/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The balancer's own health checks, told from clients' packets by their addresses and ports alone: a check comes from the
 * balancer's own address and one of the ports that are kept for it, and goes to a service as a client's does. Its answers
 * come from the service's address and port to there.
 */
#ifndef LIBSPLICE_DATAPATH_PROBE_H
#define LIBSPLICE_DATAPATH_PROBE_H

#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

/* Above those that Linux gives to connections unless net.ipv4.ip_local_port_range says otherwise (32768 to 60999). */
#define SPLICE_PROBE_PORT_FIRST 61440
#define SPLICE_PROBE_PORTS 4096 /* to 65535 */

/* `port` is in network order. */
SPLICE_INLINE int splice_is_probe_port(__u16 port)
{
	return (splice_ntohs(port) & (0x10000 - SPLICE_PROBE_PORTS)) == SPLICE_PROBE_PORT_FIRST;
}

/* What checks come from; a family that has none: all zeros. */
struct splice_own_addresses {
	struct splice_address ipv4;
	struct splice_address ipv6;
};

SPLICE_INLINE int splice_is_own_address(const struct splice_own_addresses *own, const struct splice_address *address)
{
	return splice_address_equal(&own->ipv4, address) || splice_address_equal(&own->ipv6, address);
}

/* Whether a packet with these ends may answer a check. That it comes from a service is the caller's to see. */
SPLICE_INLINE int splice_may_answer_probe(const struct splice_own_addresses *own, const struct splice_ends *ends)
{
	return splice_is_probe_port(ends->destination_port) && splice_is_own_address(own, &ends->destination);
}

/* Whether a packet with these ends may be a check's, which only comes back here when a bridge has refused it. */
SPLICE_INLINE int splice_may_be_probe(const struct splice_own_addresses *own, const struct splice_ends *ends)
{
	return splice_is_probe_port(ends->source_port) && splice_is_own_address(own, &ends->source);
}

SPLICE_STATIC_ASSERT(SPLICE_PROBE_PORT_FIRST + SPLICE_PROBE_PORTS == 0x10000 &&
			     (SPLICE_PROBE_PORTS & (SPLICE_PROBE_PORTS - 1)) == 0,
		     "the ports of checks are told by their high bits");

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PROBE_H */
