/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Clients by the hundred thousand, on the segment's port toward the balancer. `speak` makes their frames out of one, run
 * by user space (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18): no socket and no skb, so that one core makes more than a
 * million a second. `hear`, attached to the port, takes what the balancer answers them and what it forwards of theirs;
 * everything else passes.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "libsplice/datapath/packet.h"
#include "tests/support/client_crowd/crowd.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crowd_client);
} clients SEC(".maps");

struct crowd_settings settings;

/* Four letters from a to p for 16 bits. */
static __always_inline __u32 letters(__u32 number)
{
	return 0x61616161 + ((number >> 12 & 15) | (number >> 8 & 15) << 8 | (number >> 4 & 15) << 16 | (number & 15) << 24);
}

/* A frame's memory comes back with what the balancer made of it: it is written whole. */
static __always_inline void write_frame(__u8 *to, const __u8 *end)
{
	__u32 i = 0;

	for (; i + 8 <= CROWD_FRAME_MAX; i += 8) {
		if (to + i + 8 > end) break;
		splice_store64(to + i, splice_load64(settings.frame.bytes + i));
	}
	for (; i < CROWD_FRAME_MAX; i++) {
		if (to + i + 1 > end) break;
		to[i] = settings.frame.bytes[i];
	}
}

/* The client's own numbers; `address` is where the last four bytes of its address stand, `tcp` where TCP begins. */
static __always_inline int write_client(__u8 *frame, const __u8 *end, __u32 address, __u32 tcp, __u32 number, __u32 cookie)
{
	const __u32 step = settings.step;
	const __u32 hosts = settings.hosts ? settings.hosts : 1;
	const __u32 host = splice_htonl(number % hosts & 0xffff);
	const __u16 port = splice_htons(CROWD_FIRST_PORT + number / hosts);
	const __u32 seq = splice_htonl(number * CROWD_ISN_FACTOR + settings.seq_offset);
	const __u32 ack = step <= CROWD_SYN ? 0 : splice_htonl(cookie + 1);
	splice_sum sum = settings.frame.tcp_sum + host + port + seq + ack;

	if (frame + tcp + 20 > end) return 0;
	splice_store32(frame + address, splice_load32(frame + address) | host);
	splice_store16(frame + tcp, port);
	splice_store32(frame + tcp + 4, seq);
	splice_store32(frame + tcp + 8, ack);
	if (step == CROWD_FIRST) {
		const __u32 high = letters(number >> 16), low = letters(number);
		if (frame + tcp + CROWD_NAME_OFFSET + 8 > end) return 0;
		splice_store32(frame + tcp + CROWD_NAME_OFFSET, high);
		splice_store32(frame + tcp + CROWD_NAME_OFFSET + 4, low);
		sum += (splice_sum)high + low;
	}
	splice_store16(frame + tcp + 16, (__u16)~splice_sum_fold(sum));
	if (settings.frame.family == 4)
		splice_store16(frame + 14 + 10, (__u16)~splice_sum_fold(settings.frame.ip_sum + host));
	return 1;
}

SEC("xdp")
int speak(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data;
	const __u8 *end = (void *)(long)ctx->data_end;
	const __u32 at = settings.next;
	const __u32 number = settings.first + at;
	const struct crowd_client *client;
	__u32 cookie = 0;
	int written;

	if (at >= settings.count) return XDP_DROP;
	settings.next = at + 1;
	if (settings.step != CROWD_FLOOD) {
		client = bpf_map_lookup_elem(&clients, &number);
		if (!client || client->answered_in == settings.round) return XDP_DROP;
		if (settings.step != CROWD_SYN && !client->answered_in) return XDP_DROP;
		cookie = client->cookie;
	}
	write_frame(frame, end);
	if (settings.frame.family == 4)
		written = write_client(frame, end, 14 + 12, 14 + 20, number, cookie);
	else
		written = write_client(frame, end, 14 + 8 + 12, 14 + 40, number, cookie);
	if (!written) return XDP_ABORTED;
	settings.sent++;
	return (int)bpf_redirect(settings.interface, 0);
}

static __always_inline int is_of_crowd(const struct splice_address *address)
{
	return address->halves[0] == settings.prefix.halves[0] && address->words[2] == settings.prefix.words[2] &&
	       (address->words[3] & splice_htonl(0xffff0000U)) == settings.prefix.words[3];
}

static __always_inline struct crowd_client *find_client(const struct splice_address *address, __u16 port)
{
	const __u32 number = (splice_ntohl(address->words[3]) & 0xffff) +
			     (__u32)(splice_ntohs(port) - CROWD_FIRST_PORT) * settings.hosts;
	return bpf_map_lookup_elem(&clients, &number);
}

static __always_inline void hear_answer(const struct splice_packet *packet)
{
	struct crowd_client *client;

	if (packet->tcp_flags != (SPLICE_SYN | SPLICE_ACK)) return;
	__sync_fetch_and_add(&settings.answered, 1);
	if (settings.step != CROWD_SYN) return;
	client = find_client(&packet->ends.destination, packet->ends.destination_port);
	if (!client) return;
	client->cookie = packet->seq;
	client->answered_in = settings.round;
}

static __always_inline void hear_forwarded(const struct splice_packet *packet)
{
	struct crowd_client *client = find_client(&packet->ends.source, packet->ends.source_port);
	const __u32 bridge = packet->ends.destination.words[3];

	if (client && !client->bridge) client->bridge = bridge;
	if (!client || client->bridge != bridge || packet->traffic_class >> 2 != settings.dscp) {
		__sync_fetch_and_add(&settings.strayed, 1);
		return;
	}
	client->answered_in = settings.round;
	__sync_fetch_and_add(&settings.forwarded, 1);
}

SEC("xdp")
int hear(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;

	if (splice_parse_ethernet(data, end, &packet) != SPLICE_CONTINUE ||
	    splice_parse_ip(data, end, &packet) != SPLICE_CONTINUE || packet.protocol != SPLICE_PROTOCOL_TCP)
		return XDP_PASS;
	if (is_of_crowd(&packet.ends.destination)) {
		hear_answer(&packet);
		return XDP_DROP;
	}
	if (!is_of_crowd(&packet.ends.source)) return XDP_PASS;
	hear_forwarded(&packet);
	return XDP_DROP;
}

char _license[] SEC("license") = "Dual BSD/GPL";
