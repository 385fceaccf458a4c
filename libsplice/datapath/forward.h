/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the balancer does to a packet that it sends on: destination, DSCP, TTL. Source, ports and every TCP
 * field stay as the client wrote them.
 */
#ifndef LIBSPLICE_DATAPATH_FORWARD_H
#define LIBSPLICE_DATAPATH_FORWARD_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

#define SPLICE_DSCP_BOUNCE 63

SPLICE_INLINE __u8 splice_dscp(const struct splice_packet *packet)
{
	return packet->traffic_class >> 2;
}

/* In place: destination = `destination` (of the packet's family), DSCP = `dscp` with ECN kept (RFC 3168), TTL or
 * hop limit one less, IPv4 header checksum and the TCP or ICMPv6 checksum updated by the difference.
 * Also what a bridge does to bounce a refused packet (destination = VIP, dscp = SPLICE_DSCP_BOUNCE).
 * SPLICE_CONTINUE, or SPLICE_drop_ttl_expired with nothing written. *packet is brought up to date. */
SPLICE_INLINE enum splice_verdict splice_forward(void *data, void *end, struct splice_packet *packet,
						 const struct splice_address *destination, __u8 dscp);

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_FORWARD_H */
