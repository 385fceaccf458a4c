/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whose refusal a bounced packet is. Packets of one first flight may be bounced more than once: the network doubles
 * them, the client repeats them, a bare ACK and the first payload both begin a connection. A balancer that took every
 * bounce for one of the current choice would pass over a bridge that has accepted, and two servers would answer one
 * client. So a bridge writes a mark of its own address where nobody else looks: into the identification of an IPv4
 * packet, which means nothing to a packet that is not fragmented (RFC 6864 section 4.1), and into the low 16 bits of
 * an IPv6 flow label, which such a packet's next hop has no use for (RFC 6437 section 3). A bounce that names none of
 * the flow's choices says nothing about the present one: its bridge has left the row since.
 */
#ifndef LIBSPLICE_DATAPATH_REFUSAL_H
#define LIBSPLICE_DATAPATH_REFUSAL_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* The mark of a bridge, by the address that the balancer knows it by; as it stands in the packet. */
SPLICE_INLINE __u16 splice_refusal_mark(const struct splice_address *bridge)
{
	return (__u16)(((bridge->halves[0] + bridge->halves[1]) * 0x9e3779b97f4a7c15ULL) >> 48);
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

/* The mark of a bounced packet. */
SPLICE_INLINE __u16 splice_read_refusal(const void *data, const void *end, const struct splice_packet *packet)
{
	const __u8 *ip = splice_at(data, packet->l3_offset);

	if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return 0;
	return splice_load16(ip + splice_refusal_offset(packet));
}

/* The marks that may stand in a flow's bounces, as far as the bridges' addresses are known. */
struct splice_refusers {
	__u16 present; /* of the entry's bridge */
	__u16 choices[SPLICE_CHOICES]; /* of the bridges of the entry's row */
	__u8 known; /* bit i: choices[i] is set; bit SPLICE_CHOICES: present is */
	__u8 zero;
};

SPLICE_INLINE void splice_refusers_add(struct splice_refusers *refusers, __u32 number,
				       const struct splice_address *bridge)
{
	const __u16 mark = splice_refusal_mark(bridge);

	if (number < SPLICE_CHOICES)
		refusers->choices[number] = mark;
	else
		refusers->present = mark;
	refusers->known |= (__u8)(1U << number);
}

/* What a bounce means to its flow. */
enum splice_refusal {
	SPLICE_REFUSAL_AGAIN, /* of an earlier choice, come again: the flow has moved on and the packet follows it */
	SPLICE_REFUSAL_STRAY, /* of a bridge that is none of the flow's choices: a copy that outlived a reload, or forged */
	SPLICE_REFUSAL_NEXT, /* of the present choice: the entry now names the next one */
	SPLICE_REFUSAL_LAST, /* of the present choice, and none is left; the entry is unchanged */
};

/* The rule for a bounce that carries `mark`. The present bridge's own mark is never an earlier choice's: a reload may have
 * moved that bridge to an earlier place of the row, and a packet that went to it again would come back until its TTL
 * ends. */
SPLICE_INLINE enum splice_refusal splice_flow_take_refusal(struct splice_flow_entry *entry,
							   const struct splice_placement_row *row,
							   const struct splice_refusers *refusers, __u16 mark)
{
	if (!(refusers->known >> SPLICE_CHOICES & 1) || mark != refusers->present) {
		SPLICE_UNROLL
		for (__u32 choice = 0; choice < SPLICE_CHOICES; choice++)
			if ((refusers->known >> choice & 1) && mark == refusers->choices[choice])
				return SPLICE_REFUSAL_AGAIN;
		return SPLICE_REFUSAL_STRAY;
	}
	return splice_flow_take_next_choice(entry, row) == SPLICE_NO_BRIDGE ? SPLICE_REFUSAL_LAST : SPLICE_REFUSAL_NEXT;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REFUSAL_H */
