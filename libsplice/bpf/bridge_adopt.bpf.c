// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
//
// The bridge that adopts (docs/ebpf.md), for Linux 6.9 and newer: the first payload is handed to the listening
// socket together with what its cookie says, and the kernel creates the connection at the cookie's own number. No
// flow is remembered here: the kernel's socket table is the truth, and only addresses change.
//
// A backend that listens on an address of its own needs bridge_ad_out, which gives the VIP to what its sockets send.
// Those are told from the host's other connections by skb->mark: adoption marks the first segment, and the stack
// hands the mark down (net.ipv4.tcp_fwmark_accept=1) to the socket, to what it sends, to the ACKs of its TIME_WAIT
// and to RSTs. A backend that listens on the VIP itself needs neither.
#include "libsplice/bpf/bridge_tc.h"
#include "libsplice/datapath/sample.h"
#include "libsplice/datapath/segment.h"

char bridge_license[] SEC("license") = "Dual BSD/GPL";

// Where a bridge adopts for some services and translates for others, the programs that translate stand behind these: what
// is of no service here is theirs.
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, SPLICE_BESIDE_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} beside SEC(".maps");

// Of the connections that begin those that are in the connection log's sample. Who hears of their end: adopted_ends.bpf.c.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SPLICE_SAMPLED_CONNECTIONS);
	__type(key, struct splice_flow_key);
	__type(value, struct splice_sampled_connection);
} sampled SEC(".maps");

// Of the kernel's structs what is read here, found by name when the program is loaded (CO-RE).
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	__u32 skc_tw_rcv_nxt;
};

struct sock {
	struct sock_common __sk_common;
};

struct tcp_sock {
	__u32 tsoffset;
	__u32 rcv_nxt;
	__u32 snd_una;
	__u64 bytes_acked;
	__u64 bytes_received;
};

struct inet_timewait_sock {
	struct sock_common __tw_common;
};

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	__u32 tw_ts_offset;
};

struct bpf_tcp_req_attrs {
	__u32 rcv_tsval;
	__u32 rcv_tsecr;
	__u16 mss;
	__u8 rcv_wscale;
	__u8 snd_wscale;
	__u8 ecn_ok;
	__u8 wscale_ok;
	__u8 sack_ok;
	__u8 tstamp_ok;
	__u8 usec_ts_ok;
	__u8 reserved[3];
};

#pragma clang attribute pop

extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff *skb, struct sock *sk, struct bpf_tcp_req_attrs *attrs,
				   int attrs__sz) __ksym;

// Whether the backend's address or port is not the VIP's.
static __always_inline int splice_rewrites(const struct splice_bridge_service_entry *service)
{
	return !splice_address_equal(&service->vip, &service->backend) || service->vip_port != service->backend_port;
}

static __always_inline struct bpf_sock *splice_find_socket(struct __sk_buff *skb, const struct splice_marked *marked)
{
	const struct splice_packet *packet = &marked->packet;
	const struct splice_bridge_service_entry *service = marked->service;
	struct bpf_sock_tuple tuple;

	if (packet->family == 4) {
		tuple.ipv4.saddr = packet->ends.source.words[3];
		tuple.ipv4.daddr = service->backend.words[3];
		tuple.ipv4.sport = packet->ends.source_port;
		tuple.ipv4.dport = service->backend_port;
		return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	SPLICE_UNROLL
	for (int i = 0; i < 4; i++) {
		tuple.ipv6.saddr[i] = packet->ends.source.words[i];
		tuple.ipv6.daddr[i] = service->backend.words[i];
	}
	tuple.ipv6.sport = packet->ends.source_port;
	tuple.ipv6.dport = service->backend_port;
	return bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

// Whether the connection was adopted for the segment's service. Where nothing is rewritten there is no mark, and the VIP
// tells connections apart.
static __always_inline int splice_is_of_service(struct bpf_sock *socket, const struct splice_marked *marked)
{
	const struct splice_mark_field field = splice_our_marks();
	const struct bpf_sock *full = splice_rewrites(marked->service) ? bpf_sk_fullsock(socket) : 0;

	return !full || full->mark == splice_mark_adopted(&field, full->mark, splice_uncarry(&marked->packet));
}

// What the socket is to the segment, the seq at which it takes a RST, and how far its TSvals are ahead of the kernel's clock.
static __always_inline enum splice_bridge_known splice_known_socket(struct bpf_sock *socket,
								    const struct splice_marked *marked, __u32 *rst_seq,
								    __u32 *ts_offset)
{
	struct splice_socket_facts facts = {.kind = SPLICE_SOCKET_NONE};

	if (!socket || socket->state == BPF_TCP_LISTEN) return splice_bridge_known_socket(&facts, &marked->packet);
	facts.kind = SPLICE_SOCKET_HANDSHAKE;
	if (socket->state == BPF_TCP_TIME_WAIT) {
		const struct tcp_timewait_sock *old = bpf_skc_to_tcp_timewait_sock(socket);
		if (old) {
			facts.kind = SPLICE_SOCKET_TIME_WAIT;
			*rst_seq = old->tw_sk.__tw_common.skc_tw_rcv_nxt;
			*ts_offset = old->tw_ts_offset;
		}
		return splice_bridge_known_socket(&facts, &marked->packet);
	}
	const struct tcp_sock *tcp = bpf_skc_to_tcp_sock(socket);
	if (tcp) {
		facts.kind = SPLICE_SOCKET_CONNECTION;
		facts.next = *rst_seq = tcp->rcv_nxt;
		*ts_offset = tcp->tsoffset;
		facts.first_seq = facts.next - (__u32)tcp->bytes_received;
		facts.first_ack = tcp->snd_una - (__u32)tcp->bytes_acked;
		facts.of_service = splice_bridge_is_next_of(&facts, &marked->packet) ||
				   splice_is_of_service(socket, marked);
	}
	return splice_bridge_known_socket(&facts, &marked->packet);
}

// Whether a socket's clock is one that this bridge began. The kernel's own is in milliseconds (TCP_TS_HZ).
static __noinline int splice_is_own_clock(const struct splice_marked *marked, __u32 ts_offset)
{
	if (!marked || !marked->service) return 0; /* never */
	const __u32 hash = splice_bridge_lane_hash(&marked->packet, &marked->service->vip,
						   splice_secret_in_use(&settings.common));

	const __u32 tsval = (__u32)(bpf_ktime_get_ns() / 1000000) + ts_offset;

	return splice_lane_compare(splice_lane_of(hash, tsval, splice_unix_ms()), settings.number) == SPLICE_LANE_IS_ITS;
}

// The segment takes the backend's address and loses the mark: translation by nothing.
static __always_inline enum splice_verdict splice_address_backend(struct __sk_buff *skb,
								  const struct splice_marked *marked)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	const struct splice_packet *packet = &marked->packet;
	const struct splice_tcp_options nothing = {0};
	const struct splice_translation translation = {
		.backend = marked->service->backend,
		.backend_port = marked->service->backend_port,
	};
	struct splice_translate_deltas deltas = {0};
	const enum splice_verdict verdict =
		splice_translate_toward_backend(data, end, packet, &nothing, &translation, &deltas);

	if (verdict != SPLICE_CONTINUE) return verdict;
	splice_settle_checksum(skb, packet, &deltas,
			       splice_translate_ip_edit(packet, SPLICE_DESTINATION).traffic_class);
	return SPLICE_CONTINUE;
}

static __noinline __u16 splice_mark_of_refusal(const struct splice_marked *marked)
{
	return splice_refusal_mark(splice_secret_in_use(&settings.common), &marked->packet, &marked->service->vip,
				   &marked->packet.ends.destination);
}

// Back to the hop that it came from, so that the balancer takes the flow's next choice. One on this host sends from no
// Ethernet address, and hears at lo.
static __noinline int splice_bounce(struct __sk_buff *skb, const struct splice_marked *marked, enum splice_verdict why)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct splice_translate_deltas deltas = {0};
	__u32 hop[3];

	if (data + 14 > end) return splice_drop(SPLICE_drop_truncated);
	const enum splice_verdict verdict = splice_carry_back_ip(data, end, &marked->packet, &marked->service->vip,
								 &deltas.pseudo_header);
	if (verdict != SPLICE_CONTINUE) return splice_drop(verdict);
	splice_write_refusal(data, end, &marked->packet, splice_mark_of_refusal(marked));
	const int from_here = !(splice_load32(data + 6) | splice_load16(data + 10));
	// Source and destination of the frame change places, as words of 2, 4, 4 and 2 bytes.
	hop[0] = splice_load32(data);
	hop[1] = splice_load16(data + 4);
	splice_store32(data, splice_load32(data + 6));
	splice_store16(data + 4, splice_load16(data + 10));
	splice_store32(data + 6, hop[0]);
	splice_store16(data + 10, (__u16)hop[1]);
	splice_settle_checksum(skb, &marked->packet, &deltas, marked->packet.traffic_class);
	splice_conclude(why, 0);
	return bpf_redirect(from_here ? SPLICE_LOOPBACK_INTERFACE : skb->ifindex, 0);
}

// A valid cookie on an old socket: a RST for that one comes in at ingress first, then this packet again. The RST has
// the IP length of its headers alone; what of the packet stands behind it is cut off by the stack.
static __noinline int splice_clear_old_socket(struct __sk_buff *skb, const struct splice_marked *marked, __u32 rst_seq)
{
	const struct splice_packet *packet = &marked->packet;
	const struct splice_option_words none = {0};
	const __u32 at = packet->l3_offset;
	const struct splice_segment_draft draft = {
		.from = &packet->ends.source,
		.to = &marked->service->backend,
		.family = packet->family,
		.from_port = packet->ends.source_port,
		.to_port = marked->service->backend_port,
		.seq = rst_seq,
		.flags = SPLICE_RST,
	};
	struct splice_segment reset;
	__u8 saved[60];
	long failed;

	const struct splice_mark_field field = splice_our_marks();
	if (splice_mark_is_seen(&field, skb->mark)) return splice_drop(SPLICE_drop_old_socket);
	skb->mark = splice_mark_seen(&field, skb->mark);
	splice_write_segment(&reset, &draft, &none);
	if (packet->family == 4) {
		failed = bpf_skb_load_bytes(skb, at, saved, 40) ||
			 bpf_skb_store_bytes(skb, at, reset.bytes, 40, BPF_F_RECOMPUTE_CSUM) ||
			 bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS) ||
			 bpf_skb_store_bytes(skb, at, saved, 40, BPF_F_RECOMPUTE_CSUM);
	} else {
		failed = bpf_skb_load_bytes(skb, at, saved, 60) ||
			 bpf_skb_store_bytes(skb, at, reset.bytes, 60, BPF_F_RECOMPUTE_CSUM) ||
			 bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS) ||
			 bpf_skb_store_bytes(skb, at, saved, 60, BPF_F_RECOMPUTE_CSUM);
	}
	if (failed) return splice_drop(SPLICE_drop_old_socket);
	splice_conclude(SPLICE_clear_old_socket, 0);
	return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

// The clocks that the new socket goes on from.
struct splice_clocks {
	__u32 tsval; // the client's
	__u32 tsecr; // its own: what it would have said last
	__u32 used; // 0: the client sends no timestamps
};

// Each of these a function of its own, for the stack that it takes.
static __noinline int splice_read_clocks(struct __sk_buff *skb, const struct splice_marked *marked,
					 struct splice_clocks *clocks)
{
	struct splice_tcp_options options;

	if (!marked || !clocks) return 0; /* never */
	splice_parse_tcp_options((void *)(long)skb->data, (void *)(long)skb->data_end, &marked->packet, &options);
	clocks->used = options.timestamps_offset != 0;
	clocks->tsval = options.tsval;
	clocks->tsecr = options.tsecr;
	return 0;
}

static __noinline int splice_begin_lane(const struct splice_marked *marked, __u32 proof, struct splice_clocks *clocks)
{
	if (!marked || !clocks) return 0; /* never */
	const __u32 hash = splice_bridge_lane_hash(&marked->packet, &marked->service->vip,
						   splice_secret_in_use(&settings.common));
	if (clocks->used)
		clocks->tsecr = splice_bridge_first_tsval(hash, clocks->tsecr, (__u16)proof, settings.number, splice_unix_ms());
	return 0;
}

static __noinline int splice_address_listener(struct __sk_buff *skb, const struct splice_marked *marked)
{
	const struct splice_mark_field field = splice_our_marks();

	if (!marked) return SPLICE_drop_adopt_refused; /* never */
	const enum splice_verdict verdict = splice_address_backend(skb, marked);
	if (verdict != SPLICE_CONTINUE) return verdict;
	if (splice_rewrites(marked->service))
		skb->mark = splice_mark_adopted(&field, skb->mark, splice_uncarry(&marked->packet));
	else
		splice_mark_for_vip(skb);
	return SPLICE_CONTINUE;
}

static __noinline int splice_assign(struct __sk_buff *skb, const struct splice_marked *marked,
				    const struct splice_negotiated *negotiated, struct bpf_sock *listener,
				    const struct splice_clocks *clocks)
{
	const int scales = negotiated->window_scale != SPLICE_NO_WINDOW_SCALE;
	struct sock *sk = (struct sock *)bpf_skc_to_tcp_sock(listener);
	struct bpf_tcp_req_attrs attributes = {
		.mss = negotiated->mss,
		.sack_ok = negotiated->sack_permitted,
		.wscale_ok = (__u8)scales,
		.snd_wscale = scales ? negotiated->window_scale : 0,
		.rcv_wscale = scales ? marked->service->window_scale : 0,
		.tstamp_ok = clocks->used != 0,
		.rcv_tsval = clocks->tsval,
		.rcv_tsecr = clocks->tsecr,
	};

	if (!sk || bpf_sk_assign_tcp_reqsk(skb, sk, &attributes, sizeof(attributes)))
		return splice_drop(SPLICE_drop_adopt_refused);
	return splice_conclude(SPLICE_open_adopt, TC_ACT_OK);
}

// Hands the first segment to `listener`: the kernel creates the connection when the segment reaches it.
static __noinline int splice_adopt(struct __sk_buff *skb, const struct splice_marked *marked,
				   const struct splice_negotiated *negotiated, struct bpf_sock *listener)
{
	struct splice_clocks clocks = {0};

	splice_read_clocks(skb, marked, &clocks);
	splice_begin_lane(marked, negotiated->proof, &clocks);
	const int verdict = splice_address_listener(skb, marked);
	if (verdict != SPLICE_CONTINUE) return splice_drop((enum splice_verdict)verdict);
	return splice_assign(skb, marked, negotiated, listener, &clocks);
}

// A segment that may begin a connection, and what the lookup found: a listening socket or none.
static __always_inline int splice_open(struct __sk_buff *skb, const struct splice_marked *marked,
				       const struct splice_negotiated *negotiated, struct bpf_sock *listener)
{
	struct bpf_sock *full;

	if (!listener) return splice_bounce(skb, marked, SPLICE_bounce_refused);
	full = bpf_sk_fullsock(listener);
	// A mark of the listener's own would go to its connections in the place of ours.
	if (!full || (full->mark && splice_rewrites(marked->service))) return splice_drop(SPLICE_drop_adopt_refused);
	return splice_adopt(skb, marked, negotiated, listener);
}

// Of its own, for the stack that it takes.
static __noinline int splice_note_sampled(const struct splice_marked *marked)
{
	if (!marked || !marked->service) return 0; /* never */
	const struct splice_flow_key key = splice_bridge_key_of_marked(&marked->packet, &marked->service->backend,
								      marked->service->backend_port);
	const struct splice_sampled_connection connection = {.since_ns = bpf_ktime_get_ns(),
							     .service = (__u16)marked->number};

	bpf_map_update_elem(&sampled, &key, &connection, BPF_ANY);
	return 0;
}

static __always_inline int splice_deliver(struct __sk_buff *skb, const struct splice_marked *marked)
{
	const enum splice_verdict verdict = splice_address_backend(skb, marked);

	if (verdict != SPLICE_CONTINUE) return splice_drop(verdict);
	if (!splice_rewrites(marked->service)) splice_mark_for_vip(skb);
	return splice_conclude(SPLICE_deliver_adopted, TC_ACT_OK);
}

// What this bridge tries by itself (packetbridge/self_test), sent at loopback with the mark of what was seen: it comes in as
// clients' packets do, so that it meets what they meet.
static __noinline int splice_enter_by_uplink(struct __sk_buff *skb)
{
	const struct splice_mark_field field = splice_our_marks();
	__u8 *data = (void *)(long)skb->data;
	const __u8 *end = (void *)(long)skb->data_end;

	if (data + 14 > end) return splice_drop(SPLICE_drop_truncated);
	splice_store16(data, splice_load16(settings.uplink_mac));
	splice_store32(data + 2, splice_load32(settings.uplink_mac + 2));
	skb->mark &= ~field.mask;
	return bpf_redirect(settings.uplink, BPF_F_INGRESS);
}

SEC("tc")
int bridge_ad_in(struct __sk_buff *skb)
{
	struct splice_negotiated negotiated = {0};
	struct splice_marked marked;
	__u32 rst_seq = 0, ts_offset = 0;
	int action;
	const enum splice_verdict verdict = splice_read_marked(skb, &marked);

	if (verdict != SPLICE_CONTINUE) {
		action = splice_conclude_unread(skb, &marked, verdict);
		if (SPLICE_UNLIKELY(settings.beside) && !marked.service) bpf_tail_call(skb, &beside, SPLICE_BESIDE_INGRESS);
		return action;
	}
	if (SPLICE_UNLIKELY(skb->ifindex == SPLICE_LOOPBACK_INTERFACE) && settings.uplink) {
		const struct splice_mark_field field = splice_our_marks();
		if (splice_mark_is_seen(&field, skb->mark)) return splice_enter_by_uplink(skb);
	}
	if (marked.packet.protocol != SPLICE_PROTOCOL_TCP)
		return splice_ask(skb, &marked.packet, SPLICE_FROM_BALANCER);
	struct bpf_sock *socket = splice_find_socket(skb, &marked);
	const enum splice_bridge_known known = splice_known_socket(socket, &marked, &rst_seq, &ts_offset);
	const int laned = known == SPLICE_KNOWN_OTHER && splice_is_own_clock(&marked, ts_offset);
	const struct splice_bridge_decision decision = splice_decide_marked(skb, &marked, known, laned, &negotiated);
	switch (decision.step) {
	case SPLICE_BRIDGE_DELIVER: action = splice_deliver(skb, &marked); break;
	case SPLICE_BRIDGE_OPEN:
		action = splice_open(skb, &marked, &negotiated, socket);
		if (SPLICE_UNLIKELY(settings.sample) && action == TC_ACT_OK &&
		    splice_in_sample(splice_secret_in_use(&settings.common), (marked.packet.ack - 1) >> 8, settings.sample))
			splice_note_sampled(&marked);
		break;
	case SPLICE_BRIDGE_REOPEN: action = splice_clear_old_socket(skb, &marked, rst_seq); break;
	case SPLICE_BRIDGE_BOUNCE: action = splice_bounce(skb, &marked, decision.verdict); break;
	case SPLICE_BRIDGE_UNKNOWN: action = splice_ask(skb, &marked.packet, SPLICE_FROM_BALANCER); break;
	default: action = splice_drop(decision.verdict); break;
	}
	if (socket) bpf_sk_release(socket);
	return action;
}

SEC("tc")
int bridge_ad_out(struct __sk_buff *skb)
{
	const struct splice_tcp_options nothing = {0};
	struct splice_translate_deltas deltas = {0};
	struct splice_packet packet;

	const struct splice_mark_field field = splice_our_marks();

	if (!splice_mark_is_adopted(&field, skb->mark)) {
		if (SPLICE_UNLIKELY(settings.beside)) bpf_tail_call(skb, &beside, SPLICE_BESIDE_EGRESS);
		return TC_ACT_UNSPEC;
	}
	splice_make_linear(skb);
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	if (splice_parse_ethernet(data, end, &packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	if (splice_parse_ip_beginning(data, end, skb->len, &packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	const struct splice_bridge_service_entry *service = splice_service(
		splice_bridge_carried(&settings, packet.family, splice_mark_carriage(&field, skb->mark)));
	if (!service || packet.protocol != SPLICE_PROTOCOL_TCP || packet.ends.source_port != service->backend_port ||
	    !splice_address_equal(&packet.ends.source, &service->backend))
		return splice_conclude(SPLICE_pass_not_spliced, TC_ACT_UNSPEC);

	const struct splice_translation translation = {.vip = service->vip, .vip_port = service->vip_port};
	const enum splice_verdict verdict =
		splice_translate_toward_client(data, end, &packet, &nothing, &translation, &deltas);
	if (verdict != SPLICE_CONTINUE) return splice_drop(verdict);
	splice_settle_checksum(skb, &packet, &deltas, splice_translate_ip_edit(&packet, SPLICE_SOURCE).traffic_class);
	return splice_conclude(SPLICE_toward_client_adopted, TC_ACT_OK);
}
