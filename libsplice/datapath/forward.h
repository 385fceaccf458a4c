/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the balancer does to a packet that it sends on: destination, DSCP, TTL. Source, ports and every TCP
 * field stay as the client wrote them.
 */
#ifndef LIBSPLICE_DATAPATH_FORWARD_H
#define LIBSPLICE_DATAPATH_FORWARD_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/rewrite.h"

SPLICE_HEADER_BEGIN

#define SPLICE_DSCP_BOUNCE 63

SPLICE_INLINE __u8 splice_dscp(const struct splice_packet *packet)
{
	return packet->traffic_class >> 2;
}

/* In place: destination = `destination` (of the packet's family), DSCP = `dscp` with ECN kept (RFC 3168), TTL or hop
 * limit one less, IPv4 header checksum updated. By *delta what the pseudo header gained. SPLICE_CONTINUE, or
 * SPLICE_drop_ttl_expired or SPLICE_drop_truncated with nothing written. */
SPLICE_INLINE enum splice_verdict splice_forward_ip(void *data, const void *end, const struct splice_packet *packet,
						    const struct splice_address *destination, __u8 dscp,
						    splice_sum *delta)
{
	const struct splice_ip_edit edit = {
		SPLICE_DESTINATION,
		(__u8)(dscp << 2 | (packet->traffic_class & 3)),
		(__u8)(packet->ttl - 1),
	};

	if (packet->ttl <= 1) return SPLICE_drop_ttl_expired;
	if (!splice_rewrite_ip(data, end, packet, edit, destination, delta)) return SPLICE_drop_truncated;
	return SPLICE_CONTINUE;
}

/* The same, with the TCP or ICMPv6 checksum, which is finished, updated by the difference, and *packet brought up to
 * date. Also what a bridge does to bounce a refused packet (destination = VIP, dscp = SPLICE_DSCP_BOUNCE). */
SPLICE_INLINE enum splice_verdict splice_forward(void *data, void *end, struct splice_packet *packet,
						 const struct splice_address *destination, __u8 dscp)
{
	/* ICMP has no pseudo header: nothing in it knows the address. */
	const __u32 check_offset = packet->protocol == SPLICE_PROTOCOL_TCP ? 16 : 2;
	__u8 *check = splice_at(data, packet->l4_offset) + check_offset;
	splice_sum delta = 0;

	if (check + sizeof(__u16) > (__u8 *)end) return SPLICE_drop_truncated;
	const enum splice_verdict verdict = splice_forward_ip(data, end, packet, destination, dscp, &delta);
	if (verdict != SPLICE_CONTINUE) return verdict;
	if (packet->protocol != SPLICE_PROTOCOL_ICMP)
		splice_store16(check, splice_checksum_update(splice_load16(check), delta));
	packet->ends.destination = *destination;
	packet->traffic_class = (__u8)(dscp << 2 | (packet->traffic_class & 3));
	packet->ttl--;
	return SPLICE_CONTINUE;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_FORWARD_H */
