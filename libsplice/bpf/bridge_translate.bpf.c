// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
//
// The bridge that translates (docs/translation.md), for Linux 6.1 and newer: established flows are carried here, both
// ways; openings, ICMP errors and whatever needs an answer are user space's, which makes and removes the flows.
#include "libsplice/bpf/bridge_tc.h"
#include "libsplice/datapath/sample.h"

char bridge_license[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); // set before loading
	__type(key, struct splice_flow_key);
	__type(value, struct splice_bridge_flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 64);
	__type(key, __u32);
	__type(value, __u64);
} ports SEC(".maps");

/* A connection of the sample has ended: once. `client` and its port are of its packet. */
static __noinline int splice_tell_end(const struct splice_address *client, __u32 client_port, struct splice_bridge_flow *flow,
				      enum splice_connection_end end)
{
	struct splice_bridge_counters *mine = bpf_map_lookup_elem(&counters, &zero_key);
	struct splice_told_end *record;

	if (!client || !flow) return 0; /* never */
	flow->flags &= (__u8)~SPLICE_BRIDGE_SAMPLED;
	record = bpf_ringbuf_reserve(&told, sizeof(*record), 0);
	if (!record) {
		if (mine) mine->common.untold++;
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->flow.client = *client;
	record->flow.client_port = (__u16)client_port;
	record->flow.server = flow->translation.backend;
	record->flow.server_port = flow->translation.backend_port;
	record->until_ns = bpf_ktime_get_ns();
	record->sent = splice_bridge_flow_sent(flow);
	record->received = splice_bridge_flow_received(flow);
	record->service = flow->service;
	record->end = (__u8)end;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* Whether what the packet has left in the flow is the end of it, and that is to be told. */
static __always_inline int splice_is_end(const struct splice_bridge_flow *flow)
{
	return SPLICE_UNLIKELY(flow->flags & SPLICE_BRIDGE_SAMPLED) && splice_bridge_is_closing(flow);
}

static __always_inline enum splice_connection_end splice_end_of(const struct splice_bridge_flow *flow)
{
	return flow->flags & SPLICE_BRIDGE_RESET ? SPLICE_END_RESET : SPLICE_END_FIN;
}

/* Of its own, as splice_flow_of_marked() below. */
static __noinline int splice_carry_toward_backend(struct __sk_buff *skb, const struct splice_packet *packet,
						  struct splice_bridge_flow *flow)
{
	if (!packet || !flow) return TC_ACT_SHOT; /* never */
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct splice_translate_deltas deltas = {0};
	struct splice_tcp_options options;

	splice_parse_tcp_options(data, end, packet, &options);
	const enum splice_verdict verdict =
		splice_translate_toward_backend(data, end, packet, &options, &flow->translation, &deltas);
	if (verdict != SPLICE_CONTINUE) return splice_drop(verdict);
	splice_bridge_flow_touch_by_client(flow, packet, splice_now_s());
	if (splice_is_end(flow))
		splice_tell_end(&packet->ends.source, packet->ends.source_port, flow, splice_end_of(flow));
	if (splice_address_equal(&flow->translation.vip, &flow->translation.backend)) splice_mark_for_vip(skb);
	splice_settle_checksum(skb, packet, &deltas,
			       splice_translate_ip_edit(packet, SPLICE_DESTINATION).traffic_class);
	return splice_conclude(SPLICE_deliver, TC_ACT_OK);
}

static __always_inline int splice_carry_toward_client(struct __sk_buff *skb, const struct splice_packet *packet,
						      struct splice_bridge_flow *flow)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct splice_translate_deltas deltas = {0};
	struct splice_tcp_options options;

	splice_parse_tcp_options(data, end, packet, &options);
	const enum splice_verdict verdict =
		splice_translate_toward_client(data, end, packet, &options, &flow->translation, &deltas);
	if (verdict != SPLICE_CONTINUE) return splice_drop(verdict);
	splice_bridge_flow_touch_by_backend(flow, packet, splice_now_s());
	if (splice_is_end(flow))
		splice_tell_end(&packet->ends.destination, packet->ends.destination_port, flow, splice_end_of(flow));
	/* A device below this one (a VLAN's) has the program too, and there the packet would look untranslated. */
	if (splice_address_equal(&flow->translation.vip, &flow->translation.backend)) splice_mark_for_vip(skb);
	splice_settle_checksum(skb, packet, &deltas, splice_translate_ip_edit(packet, SPLICE_SOURCE).traffic_class);
	return splice_conclude(SPLICE_toward_client, TC_ACT_OK);
}

/* Of its own, for the stack that the key takes: Linux 6.1 counts 512 bytes from the program down to the step over an option. */
static __noinline struct splice_bridge_flow *splice_flow_of_marked(const struct splice_marked *marked)
{
	if (!marked || !marked->service) return NULL; /* never */
	const struct splice_flow_key key = splice_bridge_key_of_marked(&marked->packet, &marked->service->backend,
								      marked->service->backend_port);

	return bpf_map_lookup_elem(&flows, &key);
}

SEC("tc")
int bridge_tr_in(struct __sk_buff *skb)
{
	struct splice_marked marked;
	struct splice_negotiated negotiated;
	const enum splice_verdict verdict = splice_read_marked(skb, &marked);

	if (verdict != SPLICE_CONTINUE) return splice_conclude_unread(skb, &marked, verdict);
	if (marked.packet.protocol != SPLICE_PROTOCOL_TCP)
		return splice_ask(skb, &marked.packet, SPLICE_FROM_BALANCER);
	struct splice_bridge_flow *flow = splice_flow_of_marked(&marked);
	const enum splice_bridge_known known =
		splice_bridge_known_flow(flow, &marked.packet, (__u16)marked.number);
	const struct splice_bridge_decision decision = splice_decide_marked(
		skb, &marked, known, flow && flow->translation.lane_from, &negotiated);
	if (decision.step == SPLICE_BRIDGE_DROP) return splice_drop(decision.verdict);
	if (decision.step == SPLICE_BRIDGE_DELIVER && flow && flow->state == SPLICE_BRIDGE_ESTABLISHED)
		return splice_carry_toward_backend(skb, &marked.packet, flow);
	// From here on the ports are the new connection's: what comes right behind its first segment waits for user
	// space too. The old connection's socket would answer it with a RST, in the new one's numbers.
	if (decision.step == SPLICE_BRIDGE_REOPEN && flow) {
		flow->state = SPLICE_BRIDGE_OPENING;
		if (flow->flags & SPLICE_BRIDGE_SAMPLED)
			splice_tell_end(&marked.packet.ends.source, marked.packet.ends.source_port, flow,
					SPLICE_END_REPLACED);
	}
	return splice_ask(skb, &marked.packet, SPLICE_FROM_BALANCER);
}

// An ICMP error about a segment of a flow of ours, which went from the client to the backend.
static __noinline int splice_backend_icmp(struct __sk_buff *skb, const struct splice_packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct splice_packet quoted;

	if (splice_parse_icmp_error(data, end, packet, &quoted) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	quoted.ends.zero = 0;
	const struct splice_bridge_flow *flow = bpf_map_lookup_elem(&flows, splice_flow_toward_server(&quoted));
	if (!flow || flow->state != SPLICE_BRIDGE_ESTABLISHED) return TC_ACT_UNSPEC;
	return splice_ask(skb, packet, SPLICE_FROM_BACKEND);
}

SEC("tc")
int bridge_tr_out(struct __sk_buff *skb)
{
	struct splice_packet packet;

	splice_make_linear(skb);
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	if (splice_parse_ethernet(data, end, &packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	if (splice_parse_ip_beginning(data, end, skb->len, &packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	if (SPLICE_UNLIKELY(packet.protocol != SPLICE_PROTOCOL_TCP)) return splice_backend_icmp(skb, &packet);

	const __u32 port = splice_ntohs(packet.ends.source_port);
	const __u32 word = port / 64;
	const __u64 *bits = bpf_map_lookup_elem(&ports, &word);
	if (!bits || !(*bits >> (port & 63) & 1)) return TC_ACT_UNSPEC;
	const struct splice_flow_key key = splice_flow_toward_client(&packet);
	struct splice_bridge_flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) return splice_conclude(SPLICE_pass_not_spliced, TC_ACT_UNSPEC);
	const struct splice_mark_field field = splice_our_marks();
	if (SPLICE_UNLIKELY(splice_mark_is_seen(&field, skb->mark)) &&
	    splice_address_equal(&flow->translation.vip, &flow->translation.backend))
		return TC_ACT_UNSPEC;
	if (flow->state == SPLICE_BRIDGE_ESTABLISHED &&
	    (packet.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) != (SPLICE_SYN | SPLICE_ACK))
		return splice_carry_toward_client(skb, &packet, flow);
	return splice_ask(skb, &packet, SPLICE_FROM_BACKEND);
}
