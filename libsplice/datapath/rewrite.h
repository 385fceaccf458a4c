/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Edits of an IP header in place: one address, the DSCP, the TTL. What stood there is taken from the judged packet,
 * not read again. The IPv4 header checksum is updated; what the transport's checksum must learn is returned.
 */
#ifndef LIBSPLICE_DATAPATH_REWRITE_H
#define LIBSPLICE_DATAPATH_REWRITE_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

enum splice_end { SPLICE_SOURCE, SPLICE_DESTINATION };

struct splice_ip_edit {
	enum splice_end side; /* whose address is replaced */
	__u8 traffic_class;
	__u8 ttl;
};

SPLICE_INLINE splice_sum splice_rewrite_ipv4(__u8 *ip, const struct splice_packet *packet, struct splice_ip_edit edit,
					     const struct splice_address *address)
{
	struct splice_ipv4_header *header = (struct splice_ipv4_header *)ip;
	const struct splice_address *old = edit.side == SPLICE_SOURCE ? &packet->ends.source : &packet->ends.destination;
	const __u32 is = address->words[3];
	const splice_sum delta = splice_sum_replace32(0, old->words[3], is);
	const __u16 check = header->checksum;
	/* The other byte of each word (version, protocol) stays and cancels out. */
	splice_sum header_delta = splice_sum_replace16(delta, (__u16)(packet->traffic_class << 8),
						       (__u16)(edit.traffic_class << 8));
	header_delta = splice_sum_replace16(header_delta, packet->ttl, edit.ttl);

	header->tos = edit.traffic_class;
	header->ttl = edit.ttl;
	header->checksum = splice_checksum_update(check, header_delta);
	if (edit.side == SPLICE_SOURCE)
		header->source = is;
	else
		header->destination = is;
	return delta;
}

SPLICE_INLINE splice_sum splice_rewrite_ipv6(__u8 *ip, const struct splice_packet *packet, struct splice_ip_edit edit,
					     const struct splice_address *address)
{
	struct splice_ipv6_header *header = (struct splice_ipv6_header *)ip;
	const struct splice_address *old = edit.side == SPLICE_SOURCE ? &packet->ends.source : &packet->ends.destination;
	const splice_sum delta = splice_sum_replace_address(0, old->words, address->words);
	const __u32 first = header->version_class_label & splice_htonl(0xf00fffff);

	header->version_class_label = first | splice_htonl((__u32)edit.traffic_class << 20);
	header->hop_limit = edit.ttl;
	if (edit.side == SPLICE_SOURCE) {
		for (int i = 0; i < 4; i++) header->source[i] = address->words[i];
	} else {
		for (int i = 0; i < 4; i++) header->destination[i] = address->words[i];
	}
	return delta;
}

/* Edits the IP header at packet->l3_offset and says by *delta what the pseudo header gained. 0 when the header is not
 * before `end`; then nothing is written. */
SPLICE_INLINE int splice_rewrite_ip(void *data, const void *end, const struct splice_packet *packet,
				    struct splice_ip_edit edit, const struct splice_address *address, splice_sum *delta)
{
	__u8 *ip = splice_at(data, packet->l3_offset);

	if (packet->family == 4) {
		if (ip + sizeof(struct splice_ipv4_header) > (const __u8 *)end) return 0;
		*delta = splice_rewrite_ipv4(ip, packet, edit, address);
		return 1;
	}
	if (ip + sizeof(struct splice_ipv6_header) > (const __u8 *)end) return 0;
	*delta = splice_rewrite_ipv6(ip, packet, edit, address);
	return 1;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REWRITE_H */
