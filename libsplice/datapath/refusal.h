/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whose refusal a bounced packet is. Packets of one first flight may be bounced more than once: the network doubles
 * them, the client repeats them, a bare ACK and the first payload both begin a connection. A balancer that took every
 * bounce for one of the current choice would pass over a bridge that has accepted, and two servers would answer one
 * client. So a bridge writes a mark of its own address where nobody else looks: into the identification of an IPv4
 * packet, which means nothing to a packet that is not fragmented (RFC 6864 section 4.1), and into the low 16 bits of
 * an IPv6 flow label, which such a packet's next hop has no use for (RFC 6437 section 3). A bounce that names none of
 * the flow's earlier choices is the current one's: a bridge that writes no mark is understood too.
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

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REFUSAL_H */
