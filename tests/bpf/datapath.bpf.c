// SPDX-License-Identifier: BSD-3-Clause
//
// Every function of the datapath, in programs that the verifier must accept and whose results a test compares with
// those of the same lines in user space. Results go to global data; packets are edited in place.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "tests/bpf/datapath_vector.h"

struct vector vector;
#define input vector.input
#define output vector.output

static __always_inline int judge(const void *data, const void *end, struct splice_packet *packet)
{
	output.ethernet = splice_parse_ethernet(data, end, packet);
	if (output.ethernet != SPLICE_CONTINUE) return 0;
	output.ip = splice_parse_ip(data, end, packet);
	return output.ip == SPLICE_CONTINUE;
}

SEC("xdp")
int vector_parse(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet = {};
	struct splice_tcp_options options = {};

	if (!judge(data, end, &packet)) {
		output.packet = packet;
		return XDP_PASS;
	}
	if (packet.protocol == SPLICE_PROTOCOL_TCP)
		splice_parse_tcp_options(data, end, &packet, &options);
	else
		output.quote = splice_parse_icmp_error(data, end, &packet, &output.quoted);
	output.packet = packet;
	output.options = options;
	return XDP_PASS;
}

SEC("xdp")
int vector_syn_ack(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;
	struct splice_tcp_options options;

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return XDP_DROP;
	splice_parse_tcp_options(data, end, &packet, &options);
	output.cookie = splice_cookie_make(&input.secret, &packet, &options, input.unix_s);
	splice_write_syn_ack(&output.syn_ack, &packet, &options, output.cookie, &input.terms);
	return XDP_TX;
}

SEC("xdp")
int vector_segments(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return XDP_DROP;
	splice_write_rst(&output.rst, &packet);
	splice_write_replay_syn(&output.replay_syn, &input.backend_flow, input.family, input.client_isn, packet.window,
				&input.negotiated, input.tsval_present, input.tsval);
	splice_write_ack(&output.ack, &input.backend_flow, input.family, packet.seq, packet.ack, packet.window,
			 input.tsval_present, input.tsval, input.client_isn);
	return XDP_PASS;
}

SEC("xdp")
int vector_cookie_check(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return XDP_DROP;
	output.cookie_valid = splice_cookie_check_segment(&input.secret, &packet, input.unix_s, &output.negotiated);
	return XDP_PASS;
}

SEC("xdp")
int vector_forward(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;

	if (!judge(data, end, &packet)) return XDP_DROP;
	output.edit = splice_carry(data, end, &packet, &input.destination, splice_carriage_by_dscp(input.dscp));
	return XDP_TX;
}

static __always_inline int translate(void *data, void *end, int toward_client)
{
	struct splice_packet packet;
	struct splice_tcp_options options;
	struct splice_translate_deltas deltas = {};

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return 0;
	splice_parse_tcp_options(data, end, &packet, &options);
	if (toward_client)
		output.edit = splice_translate_toward_client(data, end, &packet, &options, &input.translation, &deltas);
	else
		output.edit = splice_translate_toward_backend(data, end, &packet, &options, &input.translation, &deltas);
	output.deltas = deltas;
	splice_translate_finish(data, end, &packet, &deltas);
	return 1;
}

SEC("tc")
int vector_toward_client(struct __sk_buff *skb)
{
	return translate((void *)(long)skb->data, (void *)(long)skb->data_end, 1) ? 0 : 2;
}

SEC("tc")
int vector_toward_backend(struct __sk_buff *skb)
{
	return translate((void *)(long)skb->data, (void *)(long)skb->data_end, 0) ? 0 : 2;
}

SEC("xdp")
int vector_request_line(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;
	struct splice_request_key key = {};

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return XDP_DROP;
	const void *payload = splice_at(data, packet.payload_offset);
	output.answer = splice_request_line(payload, end, packet.payload_length, input.rule, &key);
	output.key = key;
	if (output.answer != SPLICE_REQUEST_KEY) return XDP_PASS;
	output.hash = splice_xxh64(splice_at(payload, key.offset), end, key.length);
	output.row = splice_placement_row_of(output.hash, 1 << 16);
	return XDP_PASS;
}

// A hash of the whole payload: lengths that no request line has.
SEC("xdp")
int vector_hash(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet packet;

	if (!judge(data, end, &packet) || packet.protocol != SPLICE_PROTOCOL_TCP) return XDP_DROP;
	output.hash = splice_xxh64(splice_at(data, packet.payload_offset), end, packet.payload_length);
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
