/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who bounced a packet (docs/refusal.md). A bridge sends back what it cannot take, with the mark of a refusal: openings that
 * it refuses, and segments of connections that are none of its own. Packets of one first flight may be bounced more than once:
 * the network doubles them, the client repeats them, a bare ACK and the first payload both begin a connection. A balancer that
 * took every bounce for one of the current choice would pass over a bridge that has accepted, and two servers would answer one
 * client. So a bridge names itself where nobody else looks: in the identification of an IPv4 packet, which means nothing to a
 * packet that is not fragmented (RFC 6864 section 4.1), and in the low 16 bits of an IPv6 flow label, which such a packet's
 * next hop has no use for (RFC 6437 section 3).
 *
 *   written     name of the bridge ^ seal of the segment
 *   the name    16 bits of a hash of the address that the balancer knows the bridge by
 *   the seal    16 bits of SipHash, keyed with the secret, of the flow and of what the segment acknowledges
 *
 * So who does not hold the secret names a bridge by luck only. A packet with the refusal's DSCP that names nobody is a client's
 * own: its network marks as it likes.
 */
#ifndef LIBSPLICE_DATAPATH_REFUSAL_H
#define LIBSPLICE_DATAPATH_REFUSAL_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* The name of a bridge, by the address that the balancer sends to; written little-endian. */
SPLICE_INLINE __u16 splice_refuser_name(const struct splice_address *bridge)
{
	return (__u16)(((bridge->halves[0] + bridge->halves[1]) * 0x9e3779b97f4a7c15ULL) >> 48);
}

/* What seals the name in a segment's bounce. The ports in network order, `ack` as splice_packet has it. The last word tells
 * this message from a cookie's, whose epoch and options byte are shorter. */
SPLICE_INLINE __u16 splice_refusal_seal(const struct splice_key *key, const struct splice_address *client,
					const struct splice_address *vip, __u16 client_port, __u16 vip_port, __u32 ack)
{
	const __u64 ports = (__u64)client_port | (__u64)vip_port << 16;

	return (__u16)(splice_siphash_48(key, client->halves[0], client->halves[1], vip->halves[0], vip->halves[1],
					 ports | (__u64)splice_htonl(ack) << 32, ~0ULL) >> 48);
}

/* What `bridge` writes into a segment that it bounces: sealed with the first key. `packet` was addressed to it, and was sent
 * to `vip`. */
SPLICE_INLINE __u16 splice_refusal_mark(const struct splice_secret *secret, const struct splice_packet *packet,
					const struct splice_address *vip, const struct splice_address *bridge)
{
	const struct splice_ends *ends = &packet->ends;

	return splice_refuser_name(bridge) ^ splice_refusal_seal(&secret->keys[0], &ends->source, vip, ends->source_port,
								 ends->destination_port, packet->ack);
}

/* Where the mark stands, from the IP header's first byte. */
SPLICE_INLINE __u32 splice_refusal_offset(const struct splice_packet *packet)
{
	return packet->family == 4 ? 4 : 2;
}

/* Marks a packet that is about to be bounced; the IPv4 header checksum follows. */
SPLICE_INLINE void splice_write_refusal(void *data, const void *end, const struct splice_packet *packet, __u16 mark)
{
	__u8 *ip = splice_at(data, packet->l3_offset);
	__u8 *at = ip + splice_refusal_offset(packet);

	if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return;
	if (packet->family == 4) {
		const splice_sum delta = splice_sum_replace16(0, splice_load16(at), mark);
		splice_store16(ip + 10, splice_checksum_update(splice_load16(ip + 10), delta));
	}
	splice_store16(at, mark);
}

/* The name that a bounced packet bears, by either key of the secret. */
struct splice_refusal {
	__u16 names[2];
};

/* `packet` is the bounced segment as the parse says of it: addressed to the VIP again. */
SPLICE_INLINE struct splice_refusal splice_read_refusal(const void *data, const void *end, const struct splice_packet *packet,
							const struct splice_secret *secret)
{
	const __u8 *ip = splice_at(data, packet->l3_offset);
	const struct splice_ends *ends = &packet->ends;
	struct splice_refusal refusal = { { 0, 0 } };
	__u16 mark;

	if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return refusal;
	mark = splice_load16(ip + splice_refusal_offset(packet));
	for (__u32 key = 0; key < 2; key++)
		refusal.names[key] = mark ^ splice_refusal_seal(&secret->keys[key && secret->count > 1], &ends->source,
								&ends->destination, ends->source_port,
								ends->destination_port, packet->ack);
	return refusal;
}

SPLICE_INLINE int splice_refusal_is_of(const struct splice_refusal *refusal, const struct splice_address *bridge)
{
	const __u16 name = splice_refuser_name(bridge);

	return refusal->names[0] == name || refusal->names[1] == name;
}

/* Who bounced a packet, to its flow's entry. */
enum splice_refuser {
	SPLICE_REFUSER_NONE, /* nobody: an ordinary packet, whatever its DSCP */
	SPLICE_REFUSER_PRESENT, /* the entry's bridge */
	SPLICE_REFUSER_OTHER, /* another bridge of the entry's row: an earlier choice, mostly */
	SPLICE_REFUSER_UNKNOWN, /* there is no open entry to tell by */
};

/* To a flow that is not open, by no marks: one that is pending has no bridge yet. */
SPLICE_INLINE enum splice_refuser splice_refuser_without_bridge(const struct splice_flow_entry *entry)
{
	return entry && entry->state == SPLICE_FLOW_PENDING ? SPLICE_REFUSER_NONE : SPLICE_REFUSER_UNKNOWN;
}

/* One more bridge that the bounce may be of: the entry's own or one of its row's. The entry's goes before the others: a reload
 * may have moved it to an earlier place of the row, and a packet that went to it again would come back until its TTL ends. */
SPLICE_INLINE enum splice_refuser splice_refuser_is(enum splice_refuser so_far, const struct splice_refusal *refusal,
						    const struct splice_address *bridge, int present)
{
	if (so_far == SPLICE_REFUSER_PRESENT || !splice_refusal_is_of(refusal, bridge)) return so_far;
	return present ? SPLICE_REFUSER_PRESENT : SPLICE_REFUSER_OTHER;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REFUSAL_H */
