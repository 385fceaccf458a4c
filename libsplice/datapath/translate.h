/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Translation between the numbers that the client knows (cookie_isn, the balancer's clock) and those of the
 * backend's socket. docs/translation.md draws it.
 *
 *                    seq             ack, SACK edges   TSval       TSecr       window
 *   toward_client    + seq_shift     as is             + ts_shift  as is       rescaled
 *   toward_backend   as is           - seq_shift       as is       - ts_shift  as is, or unscaled
 *
 * A TSecr from before the lane (splice_echo_shift()) becomes the TSval of the backend's SYN-ACK.
 */
#ifndef LIBSPLICE_DATAPATH_TRANSLATE_H
#define LIBSPLICE_DATAPATH_TRANSLATE_H

#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/parse_options.h"
#include "libsplice/datapath/rewrite.h"

SPLICE_HEADER_BEGIN

/* What a spliced connection's packets need, both ways; also a value of the bridge's kernel map. 56 bytes. */
struct splice_translation {
	struct splice_address vip;
	struct splice_address backend;
	__u16 vip_port; /* network order */
	__u16 backend_port; /* network order */
	__u32 seq_shift; /* cookie_isn - backend_isn, modulo 2^32 */
	__u32 ts_shift; /* first TSval that the client gets - TSval of the backend's SYN-ACK; 0 without timestamps */
	__u8 advertised_window_scale; /* what the client was told: 0 when scaling is not in use */
	__u8 backend_window_scale; /* what the backend means: 0 when scaling is not in use */
	__u8 client_window_scale; /* what the client means, where the backend takes windows as they stand; else 0 */
	__u8 zero;
	__u32 lane_from; /* that first TSval, where it begins a lane (lane.h); 0: the clock of the SYN-ACK goes on */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_translation) == 56, "the translation is 56 bytes");

/* What changed, for whoever owns the checksum field: user space applies both to a finished checksum at once;
 * the TC program hands them to bpf_l4_csum_replace() apart, because an unfinished checksum (CHECKSUM_PARTIAL)
 * holds the sum of the pseudo header only. */
struct splice_translate_deltas {
	splice_sum pseudo_header; /* addresses */
	splice_sum segment; /* everything in the TCP header */
};

/* A window field in other units: `window` means window << meant, and is said in units of 1 << said, rounded down, at
 * most 65535. A window that is not zero stays at least 1. Scales: 0 to 14. */
SPLICE_INLINE __u16 splice_rescale_window(__u16 window, __u8 meant, __u8 said)
{
	const __u32 rescaled = (__u32)window << (meant & 15) >> (said & 15);

	if (rescaled == 0) return window != 0;
	return rescaled > 65535 ? 65535 : (__u16)rescaled;
}

/* Adds `shift` to the number at `at` and tells *delta. `odd`: it stands at an odd offset of the segment. */
SPLICE_INLINE void splice_shift_number(__u8 *at, __u32 shift, int odd, splice_sum *delta)
{
	const __u32 was = splice_load32(at);
	const __u32 is = splice_htonl(splice_ntohl(was) + shift);
	const splice_sum difference = splice_sum_replace32(0, was, is);

	splice_store32(at, is);
	*delta += odd ? splice_sum_swap(difference) : difference;
}

/* Shifts the TSval (field 0) or TSecr (field 1) of a segment that has them. */
SPLICE_INLINE int splice_shift_timestamp(__u8 *tcp, const void *end, const struct splice_tcp_options *options,
					 __u32 field, __u32 shift, splice_sum *delta)
{
	const __u32 offset = options->timestamps_offset & 63;
	__u8 *at = tcp + offset;

	if (offset == 0 || shift == 0) return 1;
	if (at + 10 > (const __u8 *)end) return 0;
	splice_shift_number(field == 0 ? at + 2 : at + 6, shift, offset & 1, delta);
	return 1;
}

/* Shifts every edge of a SACK option: edges name the server's bytes, as the ACK does (RFC 2018 section 3). */
SPLICE_INLINE int splice_shift_sack(__u8 *tcp, const void *end, const struct splice_tcp_options *options, __u32 shift,
				    splice_sum *delta)
{
	const __u32 offset = options->sack_offset & 63;
	const __u32 edges = options->sack_blocks * 2U;
	__u8 *at = tcp + offset + 2;

	if (offset == 0) return 1;
	for (__u32 i = 0; i < 8; i++) {
		if (i >= edges) break;
		if (splice_beyond(at + i * 4, 4, end)) return 0;
		splice_shift_number(at + i * 4, shift, offset & 1, delta);
	}
	return 1;
}

/* What to add to the TSecr of a client's segment for the backend. Until the client has heard the bridge's clock it echoes
 * the SYN-ACK's, which lies before the lane: that is the echo of the backend's own SYN-ACK. */
SPLICE_INLINE __u32 splice_echo_shift(const struct splice_translation *translation, __u32 tsecr)
{
	const __u32 before = translation->lane_from - tsecr;
	const int of_syn_ack = translation->lane_from != 0 && (__s32)before > 0;

	return (of_syn_ack ? before : 0) - translation->ts_shift;
}

/* Writes the window of a segment that is no SYN's in other units, and tells *delta. `tcp` has a whole header. */
SPLICE_INLINE void splice_translate_window(__u8 *tcp, const struct splice_packet *packet, __u8 meant, __u8 said,
					   splice_sum *delta)
{
	__u16 window;

	if (meant == said || (packet->tcp_flags & SPLICE_SYN)) return;
	window = splice_htons(splice_rescale_window(packet->window, meant, said));
	*delta = splice_sum_replace16(*delta, splice_htons(packet->window), window);
	splice_store16(tcp + 14, window);
}

/* Both directions clear the mark and keep ECN; TTL stays. */
SPLICE_INLINE struct splice_ip_edit splice_translate_ip_edit(const struct splice_packet *packet, enum splice_end side)
{
	const struct splice_ip_edit edit = {side, splice_carriage_traffic_class(0, packet->traffic_class), packet->ttl};
	return edit;
}

/* Edits a segment in place, all of it but the TCP checksum; clears the mark and keeps ECN; the IPv4 header
 * checksum is updated. `options` is what splice_parse_tcp_options() said of it. TTL stays.
 * SPLICE_CONTINUE, or SPLICE_drop_truncated when a field is not where the parse said. */
SPLICE_INLINE enum splice_verdict splice_translate_toward_client(void *data, void *end,
								  const struct splice_packet *packet,
								  const struct splice_tcp_options *options,
								  const struct splice_translation *translation,
								  struct splice_translate_deltas *deltas)
{
	__u8 *tcp = splice_at(data, packet->l4_offset);
	splice_sum delta = 0;

	if (tcp + SPLICE_TCP_HEADER_MIN > (__u8 *)end) return SPLICE_drop_truncated;
	if (!splice_rewrite_ip(data, end, packet, splice_translate_ip_edit(packet, SPLICE_SOURCE), &translation->vip,
			       &deltas->pseudo_header))
		return SPLICE_drop_truncated;
	delta = splice_sum_replace16(delta, packet->ends.source_port, translation->vip_port);
	splice_store16(tcp, translation->vip_port);
	splice_shift_number(tcp + 4, translation->seq_shift, 0, &delta);
	splice_translate_window(tcp, packet, translation->backend_window_scale, translation->advertised_window_scale,
				&delta);
	if (!splice_shift_timestamp(tcp, end, options, 0, translation->ts_shift, &delta)) return SPLICE_drop_truncated;
	deltas->segment = delta;
	return SPLICE_CONTINUE;
}

SPLICE_INLINE enum splice_verdict splice_translate_toward_backend(void *data, void *end,
								   const struct splice_packet *packet,
								   const struct splice_tcp_options *options,
								   const struct splice_translation *translation,
								   struct splice_translate_deltas *deltas)
{
	const __u32 back = 0U - translation->seq_shift;
	__u8 *tcp = splice_at(data, packet->l4_offset);
	splice_sum delta = 0;

	if (tcp + SPLICE_TCP_HEADER_MIN > (__u8 *)end) return SPLICE_drop_truncated;
	if (!splice_rewrite_ip(data, end, packet, splice_translate_ip_edit(packet, SPLICE_DESTINATION),
			       &translation->backend, &deltas->pseudo_header))
		return SPLICE_drop_truncated;
	delta = splice_sum_replace16(delta, packet->ends.destination_port, translation->backend_port);
	splice_store16(tcp + 2, translation->backend_port);
	if (packet->tcp_flags & SPLICE_ACK) splice_shift_number(tcp + 8, back, 0, &delta);
	splice_translate_window(tcp, packet, translation->client_window_scale, 0, &delta);
	if (!splice_shift_sack(tcp, end, options, back, &delta)) return SPLICE_drop_truncated;
	if (!splice_shift_timestamp(tcp, end, options, 1, splice_echo_shift(translation, options->tsecr), &delta))
		return SPLICE_drop_truncated;
	deltas->segment = delta;
	return SPLICE_CONTINUE;
}

/* Applies both deltas to the finished checksum of the segment at packet->l4_offset. */
SPLICE_INLINE void splice_translate_finish(void *data, void *end, const struct splice_packet *packet,
					   const struct splice_translate_deltas *deltas)
{
	__u8 *check = splice_at(data, packet->l4_offset) + 16;

	if (check + sizeof(__u16) > (__u8 *)end) return;
	splice_store16(check, splice_checksum_update(splice_load16(check), deltas->pseudo_header + deltas->segment));
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_TRANSLATE_H */
