/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Translation between the numbers that the client knows (cookie_isn, the balancer's clock) and those of the
 * backend's socket. docs/translation.md draws it.
 *
 *                    seq             ack, SACK edges   TSval       TSecr       window
 *   toward_client    + seq_shift     as is             + ts_shift  as is       rescaled
 *   toward_backend   as is           - seq_shift       as is       - ts_shift  as is
 */
#ifndef LIBSPLICE_DATAPATH_TRANSLATE_H
#define LIBSPLICE_DATAPATH_TRANSLATE_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* What a spliced connection's packets need, both ways; also a value of the bridge's kernel map. 56 bytes. */
struct splice_translation {
	struct splice_address vip;
	struct splice_address backend;
	__u16 vip_port; /* network order */
	__u16 backend_port; /* network order */
	__u32 seq_shift; /* cookie_isn - backend_isn, modulo 2^32 */
	__u32 ts_shift; /* TSecr of the first payload - TSval of the backend's SYN-ACK; 0 without timestamps */
	__u8 advertised_window_scale; /* what the client was told: 0 when scaling is not in use */
	__u8 backend_window_scale; /* what the backend means: 0 when scaling is not in use */
	__u8 zero[2];
	__u32 zero_too;
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_translation) == 56, "the translation is 56 bytes");

/* What changed, for whoever owns the checksum field: user space applies both to a finished checksum at once;
 * the TC program hands them to bpf_l4_csum_replace() apart, because an unfinished checksum (CHECKSUM_PARTIAL)
 * holds the sum of the pseudo header only. */
struct splice_translate_deltas {
	splice_sum pseudo_header; /* addresses */
	splice_sum segment; /* everything in the TCP header */
};

/* Edits a segment in place, all of it but the TCP checksum; clears the DSCP and keeps ECN; the IPv4 header
 * checksum is updated. `options` is what splice_parse_tcp_options() said of it. TTL stays.
 * SPLICE_CONTINUE, or SPLICE_drop_truncated when a field is not where the parse said. */
SPLICE_INLINE enum splice_verdict splice_translate_toward_client(void *data, void *end,
								  const struct splice_packet *packet,
								  const struct splice_tcp_options *options,
								  const struct splice_translation *translation,
								  struct splice_translate_deltas *deltas);

SPLICE_INLINE enum splice_verdict splice_translate_toward_backend(void *data, void *end,
								   const struct splice_packet *packet,
								   const struct splice_tcp_options *options,
								   const struct splice_translation *translation,
								   struct splice_translate_deltas *deltas);

/* The window field toward the client: `window` means window << backend_scale, and is said in units of
 * 1 << advertised_scale, rounded down, at most 65535. A window that is not zero stays at least 1. */
SPLICE_INLINE __u16 splice_rescale_window(__u16 window, __u8 backend_scale, __u8 advertised_scale);

/* Applies both deltas to the finished checksum of the segment at packet->l4_offset. */
SPLICE_INLINE void splice_translate_finish(void *data, void *end, const struct splice_packet *packet,
					   const struct splice_translate_deltas *deltas);

#if !SPLICE_BPF
/* An ICMP error toward the backend: outer destination and the quoted packet's source address and port become
 * the backend's, its seq is shifted back, DSCP cleared; quoted and outer checksums are updated (that of ICMP by
 * computing it anew). The quoted packet is one that travelled toward the client.
 * And one from the backend's host or cache toward the client, whose quoted packet travelled toward the backend:
 * outer source (when it is the backend's address) and quoted destination become the VIP's; quoted ack is shifted
 * where it is there whole. SPLICE_CONTINUE or SPLICE_drop_bad_icmp. */
SPLICE_INLINE enum splice_verdict splice_translate_icmp_toward_backend(void *data, void *end,
									const struct splice_packet *packet,
									const struct splice_translation *translation);
SPLICE_INLINE enum splice_verdict splice_translate_icmp_toward_client(void *data, void *end,
								       const struct splice_packet *packet,
								       const struct splice_translation *translation);
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_TRANSLATE_H */
