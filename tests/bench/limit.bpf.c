/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The limit of the path: what any balancer that touches each of the client's packets costs at least. It exchanges the two
 * Ethernet addresses of what goes to the VIP and sends it back out of the interface that it came in by; it reads no flow,
 * keeps nothing and edits nothing above Ethernet.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* Written before the program is attached: the VIP as it stands in a packet, and the new Ethernet addresses. */
__u32 vip;
__u8 addresses[12];

SEC("xdp")
int limit(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	const __u8 *end = (void *)(long)ctx->data_end;

	if (frame + 34 > end) return XDP_PASS;
	if (frame[12] != 0x08 || frame[13] != 0x00 || *(__u32 *)(frame + 30) != vip) return XDP_PASS;
	__builtin_memcpy(frame, addresses, sizeof(addresses));
	return (int)bpf_redirect(ctx->ingress_ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
