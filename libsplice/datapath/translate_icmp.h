/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Translation of ICMP errors, which quote a packet of the connection: path MTU discovery and its like must reach the
 * socket that sent the quoted packet, in that socket's own numbers. User space only.
 */
#ifndef LIBSPLICE_DATAPATH_TRANSLATE_ICMP_H
#define LIBSPLICE_DATAPATH_TRANSLATE_ICMP_H

#include "libsplice/datapath/parse_icmp.h"
#include "libsplice/datapath/translate.h"
#include "libsplice/datapath/verify.h"

SPLICE_HEADER_BEGIN

/* What is to be written into the quoted packet: one end's address and port, and a number shifted. */
struct splice_quote_edit {
	enum splice_end side;
	const struct splice_address *address;
	__u16 port; /* network order */
	__u32 seq_shift;
	__u32 ack_shift;
};

/* Edits the quoted segment; its TCP checksum follows when it is quoted too, so that a receiver that checks what it
 * can finds it right. */
SPLICE_INLINE void splice_rewrite_quote(void *data, const void *end, const struct splice_packet *quoted,
					const struct splice_quote_edit *edit)
{
	const struct splice_ip_edit ip_edit = {edit->side, (__u8)(quoted->traffic_class & 3), quoted->ttl};
	__u8 *tcp = (__u8 *)data + quoted->l4_offset;
	const int whole = quoted->payload_offset - quoted->l4_offset >= SPLICE_TCP_HEADER_MIN;
	__u8 *port = edit->side == SPLICE_SOURCE ? tcp : tcp + 2;
	splice_sum delta = 0;

	if (!splice_rewrite_ip(data, end, quoted, ip_edit, edit->address, &delta)) return;
	delta = splice_sum_replace16(delta, splice_load16(port), edit->port);
	splice_store16(port, edit->port);
	splice_shift_number(tcp + 4, edit->seq_shift, 0, &delta);
	if (!whole) return;
	splice_shift_number(tcp + 8, edit->ack_shift, 0, &delta);
	splice_store16(tcp + 16, splice_checksum_update(splice_load16(tcp + 16), delta));
}

/* The quoted packet of an ICMP error that may be translated: its checksum is right and it quotes TCP. A wrong one must
 * not be made right by computing it anew. */
SPLICE_INLINE enum splice_verdict splice_judge_icmp_quote(const void *data, const void *end,
							  const struct splice_packet *packet,
							  struct splice_packet *quoted)
{
	if (!splice_verify_icmp_checksum(data, packet)) return SPLICE_drop_bad_icmp;
	if (splice_parse_icmp_error(data, end, packet, quoted) != SPLICE_CONTINUE) return SPLICE_drop_bad_icmp;
	return SPLICE_CONTINUE;
}

/* Writes the outer header's address on `side` and then the ICMP checksum. */
SPLICE_INLINE void splice_finish_icmp(void *data, const void *end, const struct splice_packet *packet,
				      enum splice_end side, const struct splice_address *address)
{
	struct splice_packet edited = *packet;
	splice_sum delta = 0;

	(void)splice_rewrite_ip(data, end, packet, splice_translate_ip_edit(packet, side), address, &delta);
	if (side == SPLICE_SOURCE)
		edited.ends.source = *address;
	else
		edited.ends.destination = *address;
	splice_finish_icmp_checksum(data, &edited);
}

/* An ICMP error toward the backend: outer destination and the quoted packet's source address and port become
 * the backend's, its seq is shifted back, DSCP cleared; quoted and outer checksums are updated (that of ICMP by
 * computing it anew). The quoted packet is one that travelled toward the client.
 * SPLICE_CONTINUE or SPLICE_drop_bad_icmp, with nothing written. */
SPLICE_INLINE enum splice_verdict splice_translate_icmp_toward_backend(void *data, void *end,
									const struct splice_packet *packet,
									const struct splice_translation *translation)
{
	struct splice_packet quoted;
	const enum splice_verdict verdict = splice_judge_icmp_quote(data, end, packet, &quoted);
	if (verdict != SPLICE_CONTINUE) return verdict;

	const struct splice_quote_edit edit = {SPLICE_SOURCE, &translation->backend, translation->backend_port,
					       0U - translation->seq_shift, 0};
	splice_rewrite_quote(data, end, &quoted, &edit);
	splice_finish_icmp(data, end, packet, SPLICE_DESTINATION, &translation->backend);
	return SPLICE_CONTINUE;
}

/* And one from the backend's host or cache toward the client, whose quoted packet travelled toward the backend:
 * outer source (when it is the backend's address) and quoted destination become the VIP's; quoted ack is shifted
 * where it is there whole. SPLICE_CONTINUE or SPLICE_drop_bad_icmp, with nothing written. */
SPLICE_INLINE enum splice_verdict splice_translate_icmp_toward_client(void *data, void *end,
								       const struct splice_packet *packet,
								       const struct splice_translation *translation)
{
	struct splice_packet quoted;
	const enum splice_verdict verdict = splice_judge_icmp_quote(data, end, packet, &quoted);
	if (verdict != SPLICE_CONTINUE) return verdict;

	const struct splice_quote_edit edit = {SPLICE_DESTINATION, &translation->vip, translation->vip_port, 0,
					       translation->seq_shift};
	const int from_backend = splice_address_equal(&packet->ends.source, &translation->backend);
	splice_rewrite_quote(data, end, &quoted, &edit);
	splice_finish_icmp(data, end, packet, SPLICE_SOURCE, from_backend ? &translation->vip : &packet->ends.source);
	return SPLICE_CONTINUE;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_TRANSLATE_ICMP_H */
