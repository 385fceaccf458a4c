/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How a service's packets are marked on the way from a balancer to a bridge, how the bridge tells the service of a marked
 * packet, and how it sends back what it refuses. Nothing outside this header knows by what a packet is marked.
 *
 *   dscp   the value of the DSCP field in the packet's own IP header (RFC 2474): 1 to 62, one a service; 63 says that a
 *          bridge refused the packet. The bridge's address is the packet's destination.
 *
 * Carriages that put another header around the packet (ipip, gue) find their room here: a kind of their own, whose inner
 * destination tells the service.
 */
#ifndef LIBSPLICE_DATAPATH_CARRIAGE_H
#define LIBSPLICE_DATAPATH_CARRIAGE_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/rewrite.h"

SPLICE_HEADER_BEGIN

/* splice_carriage.kind. The mark of a dscp is the field's value. */
enum splice_carriage_kind {
	SPLICE_CARRIAGE_NONE, /* not marked: no packet of ours */
	SPLICE_CARRIAGE_DSCP,
};

/* Marks of a kind: 1 to SPLICE_CARRIAGE_LAST are services'. */
#define SPLICE_CARRIAGE_LAST 62
#define SPLICE_CARRIAGE_BOUNCE 63
#define SPLICE_CARRIAGE_MARKS 64

/* Services of one configuration: each has a mark of its own. */
#define SPLICE_MAX_SERVICES SPLICE_CARRIAGE_LAST

SPLICE_INLINE struct splice_carriage splice_carriage_by_dscp(__u8 dscp)
{
	const struct splice_carriage carriage = { (__u8)(dscp ? SPLICE_CARRIAGE_DSCP : SPLICE_CARRIAGE_NONE),
						    dscp };

	return carriage;
}

/* What the DSCP field holds of a service's packets, for rules of the host that look at it. */
SPLICE_INLINE __u8 splice_carriage_dscp(struct splice_carriage carriage)
{
	return carriage.mark;
}

SPLICE_INLINE int splice_carriage_equal(struct splice_carriage one, struct splice_carriage other)
{
	return one.kind == other.kind && one.mark == other.mark;
}

/* The IP header's traffic class under that mark; ECN stays (RFC 3168). Mark 0 clears it. */
SPLICE_INLINE __u8 splice_carriage_traffic_class(__u8 mark, __u8 traffic_class)
{
	return (__u8)(mark << 2 | (traffic_class & 3));
}

/* How the packet is marked, of a bridge's refusal too. */
SPLICE_INLINE struct splice_carriage splice_uncarry(const struct splice_packet *packet)
{
	return splice_carriage_by_dscp(packet->traffic_class >> 2);
}

/* The same of the first two bytes of an IP header, before anything is judged. */
SPLICE_INLINE struct splice_carriage splice_uncarry_early(const __u8 *ip)
{
	return splice_carriage_by_dscp(ip[0] >> 4 == 4 ? ip[1] >> 2 : (splice_load_be16(ip) >> 6) & 63);
}

/* 1: a bridge may have sent the packet back; its mark says whether (refusal.h). */
SPLICE_INLINE int splice_is_bounced(const struct splice_packet *packet)
{
	return packet->traffic_class >> 2 == SPLICE_CARRIAGE_BOUNCE;
}

/* The same for a segment whose TCP checksum is the caller's to settle: by *delta what the pseudo header gained, and
 * *packet stays as it was judged. */
SPLICE_INLINE enum splice_verdict splice_carry_ip(void *data, const void *end, const struct splice_packet *packet,
						  const struct splice_address *destination, __u8 mark, splice_sum *delta)
{
	const struct splice_ip_edit edit = {
		SPLICE_DESTINATION,
		splice_carriage_traffic_class(mark, packet->traffic_class),
		(__u8)(packet->ttl - 1),
	};

	if (packet->ttl <= 1) return SPLICE_drop_ttl_expired;
	if (!splice_rewrite_ip(data, end, packet, edit, destination, delta)) return SPLICE_drop_truncated;
	return SPLICE_CONTINUE;
}

SPLICE_INLINE enum splice_verdict splice_carry_by_mark(void *data, void *end, struct splice_packet *packet,
						       const struct splice_address *destination, __u8 mark)
{
	/* ICMP has no pseudo header: nothing in it knows the address. */
	const __u32 check_offset = packet->protocol == SPLICE_PROTOCOL_TCP ? 16 : 2;
	__u8 *check = splice_at(data, packet->l4_offset) + check_offset;
	splice_sum delta = 0;

	if (check + sizeof(__u16) > (__u8 *)end) return SPLICE_drop_truncated;
	const enum splice_verdict verdict = splice_carry_ip(data, end, packet, destination, mark, &delta);
	if (verdict != SPLICE_CONTINUE) return verdict;
	if (packet->protocol != SPLICE_PROTOCOL_ICMP)
		splice_store16(check, splice_checksum_update(splice_load16(check), delta));
	packet->ends.destination = *destination;
	packet->traffic_class = splice_carriage_traffic_class(mark, packet->traffic_class);
	packet->ttl--;
	return SPLICE_CONTINUE;
}

/* To a bridge, in place: destination = `bridge` (of the packet's family), the mark with ECN kept, TTL or hop limit one
 * less. The IPv4 header's checksum and the TCP or ICMPv6 checksum, which is finished, are updated by the difference, and
 * *packet is brought up to date. Source, ports and every TCP field stay as the client wrote them. SPLICE_CONTINUE, or
 * SPLICE_drop_ttl_expired or SPLICE_drop_truncated with nothing written. */
SPLICE_INLINE enum splice_verdict splice_carry(void *data, void *end, struct splice_packet *packet,
					       const struct splice_address *bridge, struct splice_carriage carriage)
{
	return splice_carry_by_mark(data, end, packet, bridge, carriage.mark);
}

/* Back to the balancer: the same with destination = `vip` and the mark of a refusal. Who refused, see refusal.h. */
SPLICE_INLINE enum splice_verdict splice_carry_back(void *data, void *end, struct splice_packet *packet,
						    const struct splice_address *vip)
{
	return splice_carry_by_mark(data, end, packet, vip, SPLICE_CARRIAGE_BOUNCE);
}

/* splice_carry_back() for a segment whose TCP checksum is the caller's to settle, see splice_carry_ip(). */
SPLICE_INLINE enum splice_verdict splice_carry_back_ip(void *data, const void *end, const struct splice_packet *packet,
						       const struct splice_address *vip, splice_sum *delta)
{
	return splice_carry_ip(data, end, packet, vip, SPLICE_CARRIAGE_BOUNCE, delta);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_CARRIAGE_H */
