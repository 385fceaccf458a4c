/* SPDX-License-Identifier: BSD-3-Clause
 *
 * BPF_PROG_TEST_RUN hands a program its own output when it repeats: a rewriting program would be measured on packets
 * that it has rewritten already. This one puts the next of many frames there and goes on to the program behind it.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tests/bench/restore.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct restore_frame);
} frames SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

__u32 frame_count = 1;
__u32 next_frame;

SEC("xdp")
int restore(struct xdp_md *ctx)
{
	const __u32 index = next_frame;
	const struct restore_frame *frame = bpf_map_lookup_elem(&frames, &index);
	if (!frame) return XDP_ABORTED;
	next_frame = index + 1 == frame_count ? 0 : index + 1;

	const int missing = (int)frame->length - (int)(ctx->data_end - ctx->data);
	if (missing && bpf_xdp_adjust_tail(ctx, missing)) return XDP_ABORTED;
	__u8 *to = (void *)(long)ctx->data;
	const __u8 *end = (void *)(long)ctx->data_end;
	__u32 i = 0;
	for (; i + 8 <= RESTORE_BYTES; i += 8) {
		if (to + i + 8 > end) break;
		*(__u64 *)(to + i) = *(const __u64 *)(frame->bytes + i);
	}
	for (; i < RESTORE_BYTES; i++) {
		if (to + i + 1 > end) break;
		to[i] = frame->bytes[i];
	}
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

/* What the restoring itself takes. */
SEC("xdp")
int nothing(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

char _license[] SEC("license") = "Dual BSD/GPL";
