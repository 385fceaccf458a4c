/* SPDX-License-Identifier: BSD-3-Clause
 *
 * restore.bpf.c for programs of tc: puts the next of many frames there, with its mark, before each run.
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
__u32 mark;

SEC("tc")
int restore(struct __sk_buff *skb)
{
	const __u32 index = next_frame;
	const struct restore_frame *frame = bpf_map_lookup_elem(&frames, &index);
	if (!frame) return -1;
	next_frame = index + 1 == frame_count ? 0 : index + 1;

	__u32 length = frame->length;
	if (length == 0 || length > RESTORE_BYTES) return -1;
	bpf_skb_store_bytes(skb, 0, frame->bytes, length, 0);
	skb->mark = mark;
	bpf_tail_call(skb, &measured, 0);
	return -1;
}

/* What the restoring itself takes. */
SEC("tc")
int nothing(struct __sk_buff *skb)
{
	(void)skb;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
