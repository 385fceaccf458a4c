/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A TCP segment's checksum in a kernel program that sees packets before the stack does (XDP). Neither the verifier nor
 * a helper takes a length that it does not know, so the length is taken apart into powers of two.
 */
#ifndef LIBSPLICE_BPF_SEGMENT_CHECKSUM_H
#define LIBSPLICE_BPF_SEGMENT_CHECKSUM_H

#include <bpf/bpf_helpers.h>

#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/verify.h"

/* Longer segments are for user space to judge. */
#define SPLICE_CHECKED_SEGMENT_MAX SPLICE_OFFSET_MAX
/* bpf_csum_diff() takes at most so many bytes. */
#define SPLICE_CSUM_DIFF_MAX 512

/* From here on the kernel's routine is faster than loads of our own, its call included. */
#define SPLICE_CSUM_DIFF_MIN 128

/* Adds the `size` bytes from `at`, a multiple of 4. 0 when they are not before `end`. */
SPLICE_INLINE int splice_add_bytes(splice_sum *sum, __u8 *at, const void *end, const __u32 size)
{
	if (splice_beyond(at, size, end)) return 0;
	if (size >= SPLICE_CSUM_DIFF_MIN) {
		*sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)at, size, 0);
		return 1;
	}
	SPLICE_UNROLL
	for (__u32 i = 0; i < size; i += 4) *sum += splice_load32(at + i);
	return 1;
}

/* 1 when the checksum of the segment, which is at most SPLICE_CHECKED_SEGMENT_MAX long, is right. */
SPLICE_SUBPROGRAM int splice_segment_checksum_right(struct xdp_md *ctx, const struct splice_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u8 *tcp = splice_at(data, packet->l4_offset);
	const __u32 length = splice_l4_length(packet);
	splice_sum sum = splice_sum_pseudo_header(packet, length);

	if (length & 1024) {
		if (!splice_add_bytes(&sum, tcp, end, SPLICE_CSUM_DIFF_MAX)) return 0;
		if (!splice_add_bytes(&sum, tcp + SPLICE_CSUM_DIFF_MAX, end, SPLICE_CSUM_DIFF_MAX)) return 0;
	}
	SPLICE_UNROLL
	for (__u32 size = SPLICE_CSUM_DIFF_MAX; size >= 4; size /= 2) {
		__u8 *at = splice_at(tcp, length & ~(2 * size - 1));
		if ((length & size) && !splice_add_bytes(&sum, at, end, size)) return 0;
	}
	if (length & 2) {
		__u8 *at = splice_at(tcp, length & ~3U);
		if (splice_beyond(at, 2, end)) return 0;
		sum += splice_load16(at);
	}
	if (length & 1) {
		__u8 *at = splice_at(tcp, length & ~1U);
		if (splice_beyond(at, 1, end)) return 0;
		sum += *at;
	}
	return splice_sum_fold(sum) == 0xffff;
}

#endif /* LIBSPLICE_BPF_SEGMENT_CHECKSUM_H */
