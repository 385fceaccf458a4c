/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The balancer in the kernel (docs/ebpf.md): answers handshakes, chooses by request lines that are whole in their
 * segment, forwards. What it does not decide it hands to user space, where core/splicer.cpp applies the same rules
 * (datapath/balancer_rules.h) to the same flow table.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/bpf/segment_checksum.h"
#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/limits.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/probe.h"
#include "libsplice/datapath/proxy_header.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/request_line.h"
#include "libsplice/datapath/sample.h"
#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/source.h"

/* A hash that never evicts: a flow's URL is gone, so a living entry that is lost cannot be made again. Allocated at
 * once, which costs less a flow and lets a flood of flows fail in one way only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000000);
	__type(key, struct splice_flow_key);
	__type(value, struct splice_flow_entry);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPLICE_MAX_BRIDGES);
	__type(key, __u32);
	__type(value, struct splice_bridge_entry);
} bridges SEC(".maps");

struct placement_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, sizeof(struct splice_placement_row));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SPLICE_TABLE_SLOTS);
	__type(key, __u32);
	__array(values, struct placement_table);
} tables SEC(".maps");

struct denied_prefixes {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(struct splice_prefix));
	__uint(value_size, sizeof(__u8));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct denied_prefixes);
} denied SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPLICE_SERVICE_NUMBERS);
	__type(key, __u32);
	__type(value, struct splice_service_name);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct splice_balancer_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPLICE_STATES);
	__type(key, __u32);
	__type(value, struct splice_openings);
} openings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPLICE_SIGNS);
	__type(key, __u32);
	__type(value, struct splice_traffic);
} traffic SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SPLICE_CARRIAGE_MARKS);
	__type(key, __u32);
	__type(value, struct splice_latencies);
} latencies SEC(".maps");

struct splice_balancer_settings settings;

/* An entry that bpf_map_update_elem() with BPF_NOEXIST found (EEXIST): another processor has handled a copy of the same
 * segment at this moment. Its entry holds and this copy follows it. */
#define ALREADY_THERE (-17)

/* --- What happened ---------------------------------------------------------------------------------------------- */

static __always_inline struct splice_balancer_counters *my_counters(void)
{
	const __u32 only = 0;
	return bpf_map_lookup_elem(&counters, &only);
}

/* Counts the verdict and hands `action` through. */
static __always_inline int count(enum splice_verdict verdict, int action)
{
	struct splice_balancer_counters *mine = my_counters();
	if (mine && verdict < SPLICE_VERDICT_COUNT) mine->common.verdicts[verdict]++;
	return action;
}

static __always_inline __u64 jiffies_since(void)
{
	return bpf_jiffies64() - settings.jiffies;
}

static __always_inline __u64 now_s(void)
{
	return settings.monotonic_s + ((jiffies_since() * settings.seconds_per_jiffy) >> SPLICE_SECONDS_SHIFT);
}

static __always_inline __u64 unix_s(void)
{
	return now_s() + (__u64)settings.common.unix_minus_monotonic_s;
}

/* The millisecond clock of SYN-ACKs that carry no proof. */
static __always_inline __u32 now_ms(void)
{
	const __u64 since = (jiffies_since() * settings.ms_per_jiffy) >> SPLICE_MS_SHIFT;
	return (__u32)(settings.monotonic_s * 1000 + since);
}

/* The wall clock in milliseconds; wraps. */
static __always_inline __u32 unix_ms(void)
{
	return now_ms() + (__u32)settings.common.unix_minus_monotonic_ms;
}

/* The monotonic clock, for what is timed once or twice a connection; wraps. */
static __always_inline __u32 now_us(void)
{
	return (__u32)(bpf_ktime_get_ns() / 1000);
}

static __always_inline const struct splice_secret *secret(void)
{
	return splice_secret_in_use(&settings.common);
}

static __always_inline const struct splice_service_table *service_table(void)
{
	return &settings.services[*(volatile __u32 *)&settings.service_table & 1];
}

/* Port 0 is no service's: what stands under it is an address alone. */
static __always_inline const struct splice_service_entry *find_service(const struct splice_flow_key *key)
{
	return key->server_port ? splice_service_find(service_table(), &key->server, key->server_port) : 0;
}

/* Whether a packet of which no port is known is addressed to one of our VIPs. */
static __always_inline int to_vip(const struct splice_packet *packet)
{
	return splice_service_find(service_table(), &packet->ends.destination, 0) != 0;
}

/* --- What user space decides ------------------------------------------------------------------------------------ */

static __always_inline int not_asked(void)
{
	return count(SPLICE_drop_ask_overrun, XDP_DROP);
}

/* `last` is the length less one, because older verifiers (Linux 6.1) do not learn from a comparison with 0 that a length
 * is not 0. It grows behind the reservation, where the compiler cannot draw the sum before the comparison. */
static __always_inline int ask_in_class(struct xdp_md *ctx, const struct splice_packet *packet, __u32 last,
					const __u32 class)
{
	__u32 length;
	struct splice_asked *record = bpf_ringbuf_reserve(&asked, sizeof(*record) + class, 0);
	struct splice_balancer_counters *mine;

	if (!record) return not_asked();
	__asm__ volatile("" : "+r"(last));
	length = last + 1;
	if (bpf_xdp_load_bytes(ctx, packet->l3_offset, record->bytes, length)) {
		bpf_ringbuf_discard(record, 0);
		return not_asked();
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->length = length;
	record->interface = ctx->ingress_ifindex;
	bpf_ringbuf_submit(record, 0);
	mine = my_counters();
	if (mine) mine->common.asked++;
	return XDP_DROP;
}

/* Hands the packet to user space, from its IP header to where that says it ends. */
SPLICE_SUBPROGRAM int ask(struct xdp_md *ctx, const struct splice_packet *packet)
{
	__u32 last = splice_ip_length(packet) - 1;

	__asm__ volatile("" : "+r"(last));
	if (last >= SPLICE_ASKED_LONG) return not_asked();
	if (last >= SPLICE_ASKED_SHORT) return ask_in_class(ctx, packet, last, SPLICE_ASKED_LONG);
	return ask_in_class(ctx, packet, last, SPLICE_ASKED_SHORT);
}

/* 1: this window of this processor has less than `limit` of that kind so far. */
static __always_inline int take_from_budget(__u32 kind, __u64 limit)
{
	struct splice_balancer_counters *mine = my_counters();

	if (!mine || kind >= SPLICE_ASK_BUDGETS) return 0;
	return splice_budget_take(&mine->budgets[kind], bpf_ktime_get_coarse_ns(), limit);
}

/* The same for packets that can come in floods: when the window's budget is used up they end with `verdict`. */
SPLICE_SUBPROGRAM int ask_within_budget(struct xdp_md *ctx, const struct splice_packet *packet, enum splice_ask_kind kind,
					enum splice_verdict verdict)
{
	if (!take_from_budget(kind, SPLICE_ASKS_A_WINDOW)) return count(verdict, XDP_DROP);
	return ask(ctx, packet);
}

/* A copy of a first payload that is decided here, while the window's budget lasts. One that is too long is left out. */
SPLICE_SUBPROGRAM int show(struct xdp_md *ctx, const struct splice_packet *packet)
{
	__u32 last = splice_ip_length(packet) - 1;
	struct splice_asked *record;
	__u32 length;

	__asm__ volatile("" : "+r"(last));
	if (last >= SPLICE_ASKED_SHORT || !take_from_budget(SPLICE_SAMPLE, SPLICE_SAMPLES_A_WINDOW)) return 0;
	record = bpf_ringbuf_reserve(&asked, sizeof(*record) + SPLICE_ASKED_SHORT, 0);
	if (!record) return 0;
	__asm__ volatile("" : "+r"(last));
	length = last + 1;
	if (bpf_xdp_load_bytes(ctx, packet->l3_offset, record->bytes, length)) {
		bpf_ringbuf_discard(record, 0);
		return 0;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->length = length;
	record->door = SPLICE_ASKED_TO_LOOK;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* Whether the service and the client's address may have one more flow, which is counted then: SPLICE_CONTINUE, or why not.
 * Only a table that is nearly full asks for the address's share. */
SPLICE_SUBPROGRAM int take_share(const struct splice_packet *packet, __u16 service)
{
	__u32 place;

	if (settings.sources.share) {
		place = splice_source_place(&settings.sources.key, &packet->ends.source);
		if (!splice_source_has_room(&settings.sources, place)) return SPLICE_drop_source_share;
		__sync_fetch_and_add(&settings.sources.flows[place & (SPLICE_SOURCE_PLACES - 1)], 1);
	}
	return splice_service_flows_take(&settings.service_flows, service) ? SPLICE_CONTINUE : SPLICE_drop_service_share;
}

/* Whether a deny list has the client. */
SPLICE_SUBPROGRAM int is_denied(const struct splice_address *client)
{
	const __u32 only = 0;
	struct splice_prefix wanted;
	void *prefixes;

	if (!client || SPLICE_LIKELY(!splice_denied_may_have(&settings.denied_heads, client))) return 0;
	prefixes = bpf_map_lookup_elem(&denied, &only);
	if (!prefixes) return 0;
	wanted = splice_prefix_of(client, 128);
	return bpf_map_lookup_elem(prefixes, &wanted) != 0;
}

/* A first payload that user space must look at: from here on its flow is pending, so that the segments behind this
 * one follow it. */
static __always_inline int ask_to_choose(struct xdp_md *ctx, const struct splice_packet *packet,
					 const struct splice_service_entry *service, __u64 flags)
{
	struct splice_flow_entry entry;
	long error;

	if (flags == BPF_NOEXIST) {
		const enum splice_verdict refused = (enum splice_verdict)take_share(packet, service->number);
		if (SPLICE_UNLIKELY(refused != SPLICE_CONTINUE)) return count(refused, XDP_DROP);
	}
	splice_flow_begin(&entry, packet, SPLICE_FLOW_PENDING, service->number, service->carriage, 0, SPLICE_NO_BRIDGE,
			  (__u32)now_s());
	error = bpf_map_update_elem(&flows, splice_flow_toward_server(packet), &entry, flags);
	if (error && error != ALREADY_THERE) return count(SPLICE_drop_flow_table_full, XDP_DROP);
	return ask(ctx, packet);
}

/* --- Sending on ------------------------------------------------------------------------------------------------- */

/* Sends the frame to the bridge and counts `verdict`. */
static __always_inline int send_to(struct xdp_md *ctx, const struct splice_bridge_entry *bridge,
				   enum splice_verdict verdict)
{
	__u8 *frame = (void *)(long)ctx->data;
	const void *end = (void *)(long)ctx->data_end;

	if (frame + sizeof(struct splice_ethernet_header) > (const __u8 *)end)
		return count(SPLICE_drop_truncated, XDP_DROP);
	/* link has the first uplink's address. The frame has that of the one that it came by, or of a device above it. */
	if (SPLICE_UNLIKELY(bridge->out == SPLICE_OUT_HERE) && settings.several_uplinks) return count(verdict, XDP_PASS);
	splice_store32(frame, bridge->link[0]);
	splice_store32(frame + 4, bridge->link[1]);
	splice_store32(frame + 8, bridge->link[2]);
	if (bridge->out == SPLICE_OUT_BACK) return count(verdict, XDP_TX);
	if (SPLICE_UNLIKELY(bridge->out == SPLICE_OUT_HERE)) return count(verdict, XDP_PASS);
	return count(verdict, (int)bpf_redirect(bridge->out, 0));
}

/* The signs of a service's bridge; null: there is no room for them. */
static __always_inline struct splice_signs *signs_of(__u16 service, __u16 bridge)
{
	const __u32 first = settings.signs_of[service & (SPLICE_SERVICE_NUMBERS - 1)];

	return first == SPLICE_NO_SIGNS ? 0 : &settings.signs[(first + bridge) & (SPLICE_SIGNS - 1)];
}

/* The packet goes to that bridge. */
static __always_inline void count_traffic(const struct splice_packet *packet, __u16 service, __u16 bridge)
{
	const __u32 first = settings.signs_of[service & (SPLICE_SERVICE_NUMBERS - 1)];
	const __u32 place = (first + bridge) & (SPLICE_SIGNS - 1);
	struct splice_traffic *mine;

	if (first == SPLICE_NO_SIGNS) return;
	mine = bpf_map_lookup_elem(&traffic, &place);
	if (!mine) return;
	mine->packets++;
	mine->bytes += splice_ip_length(packet);
}

/* The lane that its timestamps name; SPLICE_NO_LANE. */
SPLICE_SUBPROGRAM __u32 lane_of(struct xdp_md *ctx, const struct splice_packet *packet)
{
	struct splice_tcp_options options;

	if (!splice_balancer_may_have_lane(packet)) return SPLICE_NO_LANE;
	splice_parse_tcp_options((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, &options);
	return splice_balancer_lane(packet, &options, secret(), unix_ms());
}

/* The first packet that shows an answer echoes the clock of who answered. */
SPLICE_SUBPROGRAM int note_lane(struct xdp_md *ctx, const struct splice_packet *packet, struct splice_flow_entry *entry)
{
	const struct splice_service_entry *service = find_service(splice_flow_toward_server(packet));
	struct splice_balancer_counters *mine = my_counters();
	const struct splice_bridge_entry *bridge;
	__u32 index;

	if (!entry || !mine || !service || !service->lanes) return 0;
	if (secret()->lane_is_derived) return 0; /* by the next key nobody finds it */
	index = entry->bridge;
	bridge = bpf_map_lookup_elem(&bridges, &index);
	if (!bridge) return 0;
	switch (splice_lane_compare(lane_of(ctx, packet), bridge->number)) {
	case SPLICE_LANE_IS_ITS:
		entry->flags |= SPLICE_FLOW_LANED;
		break;
	case SPLICE_LANE_DISAGREES:
		mine->lanes_disagree++;
		break;
	default:
		break;
	}
	return 0;
}

static __always_inline struct splice_latencies *my_latencies(struct splice_carriage carriage)
{
	const __u32 mark = carriage.mark & (SPLICE_CARRIAGE_MARKS - 1);
	return bpf_map_lookup_elem(&latencies, &mark);
}

/* A bridge is chosen for a first payload that is whole in its segment: it waits for nothing, and a second look at the clock
 * would take longer than all else. */
SPLICE_SUBPROGRAM int note_opening(const struct splice_packet *packet, const struct splice_service_entry *service)
{
	struct splice_latencies *mine;

	if (!packet || !service) return 0; /* never: the caller has looked */
	splice_opening_note(&settings.opened, splice_flow_toward_server(packet), now_us());
	mine = my_latencies(service->carriage);
	if (mine) splice_latency_add(&mine->first_payload, 0);
	return 0;
}

static __always_inline void note_answer(const struct splice_packet *packet, struct splice_carriage carriage)
{
	const __u32 took = splice_opening_take(&settings.opened, splice_flow_toward_server(packet), now_us());
	struct splice_latencies *mine;

	if (took == SPLICE_OPENING_UNKNOWN) return;
	mine = my_latencies(carriage);
	if (mine) splice_latency_add(&mine->answer, took);
}

/* Off the common path: once or twice a connection. */
SPLICE_SUBPROGRAM int note_sign(const struct splice_packet *packet, const struct splice_flow_entry *entry,
				enum splice_flow_sign sign)
{
	struct splice_negotiated negotiated;
	struct splice_signs *signs;

	if (!entry) return 0; /* never: the caller has one */
	if (sign == SPLICE_SIGN_ANSWER) note_answer(packet, entry->carriage);
	signs = signs_of(entry->service, entry->bridge);
	if (!signs) return 0;
	if (sign == SPLICE_SIGN_ANSWER)
		__sync_fetch_and_add(&signs->answers, 1);
	else if (splice_balancer_cookie_valid(packet, secret(), unix_s(), &negotiated))
		__sync_fetch_and_add(&signs->repeats, 1);
	return 0;
}

/* The bridge of that index, where the packet can go there now; null: *ended says what became of the packet. */
static __always_inline const struct splice_bridge_entry *way_to(struct xdp_md *ctx, const struct splice_packet *packet,
								__u32 index, int *ended)
{
	const struct splice_bridge_entry *bridge = bpf_map_lookup_elem(&bridges, &index);

	/* A bridge that is gone, or whose next hop is not known yet. */
	if (!bridge || bridge->out == SPLICE_OUT_UNKNOWN) {
		*ended = ask_within_budget(ctx, packet, SPLICE_ASK_NEXT_HOP, SPLICE_drop_no_next_hop);
		return 0;
	}
	if (SPLICE_UNLIKELY(splice_ip_length(packet) > bridge->room)) {
		*ended = ask_within_budget(ctx, packet, SPLICE_ASK_TOO_BIG, SPLICE_drop_too_big);
		return 0;
	}
	return bridge;
}

/* To the entry's bridge, and the entry learns what the packet says. */
static __always_inline int forward(struct xdp_md *ctx, struct splice_packet *packet, struct splice_flow_entry *entry,
				   enum splice_verdict verdict)
{
	int ended = XDP_DROP;
	const struct splice_bridge_entry *bridge = way_to(ctx, packet, entry->bridge, &ended);
	enum splice_verdict edited;

	if (!bridge) return ended;
	if (verdict == SPLICE_forward_open) {
		const enum splice_flow_sign sign = splice_flow_shows(entry, packet);
		if (SPLICE_UNLIKELY(sign != SPLICE_SIGN_NONE)) note_sign(packet, entry, sign);
		if (SPLICE_UNLIKELY(sign == SPLICE_SIGN_ANSWER)) note_lane(ctx, packet, entry);
	}
	edited = splice_carry((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, &bridge->address,
			      entry->carriage);
	if (SPLICE_UNLIKELY(edited != SPLICE_CONTINUE)) return count(edited, XDP_DROP);
	splice_flow_touch(entry, packet, (__u32)now_s());
	count_traffic(packet, entry->service, entry->bridge);
	return send_to(ctx, bridge, verdict);
}

/* --- The steps -------------------------------------------------------------------------------------------------- */

/* The TSval of what we answer before a bridge does. */
static __always_inline __u32 clock_of(const struct splice_service_entry *service, const struct splice_packet *packet,
				      __u16 proof)
{
	if (!service->keyed_clock) return now_ms();
	return splice_clock_of_syn_ack(splice_lane_hash(&secret()->lane, splice_flow_toward_server(packet)), proof, unix_ms());
}

static __always_inline int write_segment(__u8 *at, const void *end, const struct splice_segment *segment)
{
	if (at + 40 > (const __u8 *)end) return 0;
	SPLICE_UNROLL
	for (int i = 0; i < 10; i++) splice_store32(at + 4 * i, segment->words[i]);
	SPLICE_UNROLL
	for (int i = 10; i < SPLICE_SEGMENT_MAX / 4; i++) {
		if (4U * i >= segment->length) break;
		if (at + 4 * i + 4 > (const __u8 *)end) return 0;
		splice_store32(at + 4 * i, segment->words[i]);
	}
	return 1;
}

static __always_inline void turn_around(__u8 *frame)
{
	const __u32 to = splice_load32(frame);
	const __u16 to_end = splice_load16(frame + 4);
	const __u16 from_begin = splice_load16(frame + 6);
	const __u32 from_end = splice_load32(frame + 8);

	splice_store16(frame, from_begin);
	splice_store32(frame + 2, from_end);
	splice_store32(frame + 6, to);
	splice_store16(frame + 10, to_end);
}

/* The packet becomes its own answer, which is never longer, and goes back where it came from. */
static __always_inline int answer_with(struct xdp_md *ctx, const struct splice_packet *packet,
				       const struct splice_segment *answer, enum splice_verdict verdict)
{
	__u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + sizeof(struct splice_ethernet_header) > (__u8 *)end) return count(SPLICE_drop_truncated, XDP_DROP);
	turn_around(data);
	if (!write_segment(splice_at(data, packet->l3_offset), end, answer)) return count(SPLICE_drop_truncated, XDP_DROP);
	const long frame = (long)((__u8 *)end - data);
	const long spare = frame - packet->l3_offset - answer->length;
	if (spare > 0 && bpf_xdp_adjust_tail(ctx, (int)-spare)) return count(SPLICE_drop_truncated, XDP_DROP);
	return count(verdict, settings.redirects ? (int)bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX);
}

/* The SYN becomes its SYN-ACK, with a cookie; nothing is stored. An entry is marked reopened. */
SPLICE_SUBPROGRAM int answer_syn(struct xdp_md *ctx, const struct splice_packet *syn,
			  const struct splice_service_entry *service, struct splice_flow_entry *entry)
{
	__u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_syn_ack_terms terms;
	struct splice_tcp_options offered;
	struct splice_segment answer;
	__u32 cookie;
	__u16 proof = 0;

	if (!service) return count(SPLICE_pass_not_service, XDP_PASS); /* never: the caller has looked */
	if (!splice_segment_checksum_right(ctx, syn)) return count(SPLICE_drop_bad_tcp_checksum, XDP_DROP);
	if (SPLICE_UNLIKELY(is_denied(&syn->ends.source))) return count(SPLICE_drop_denied, XDP_DROP);
	if (SPLICE_UNLIKELY(!splice_rate_has_room(&settings.rates, &service->rate, service->number, &syn->ends.source,
						  (__u32)now_s())))
		return count(SPLICE_drop_source_rate, XDP_DROP);
	splice_parse_tcp_options(data, end, syn, &offered);
	if (offered.malformed) return count(SPLICE_drop_bad_tcp_options, XDP_DROP);
	cookie = splice_cookie_issue(secret(), syn, &offered, unix_s(), &proof);
	terms = service->terms;
	terms.tsval = clock_of(service, syn, proof);
	splice_write_syn_ack(&answer, syn, &offered, cookie, &terms);

	if (!entry) return answer_with(ctx, syn, &answer, SPLICE_answer_syn_ack);
	splice_flow_reopen(entry, cookie);
	return answer_with(ctx, syn, &answer, SPLICE_answer_syn_ack_reopened);
}

/* A client that connected ahead of time asks whether its connection lives: its numbers say so, and nothing is stored. */
SPLICE_SUBPROGRAM int answer_keep_alive(struct xdp_md *ctx, const struct splice_packet *probe,
					const struct splice_service_entry *service)
{
	struct splice_negotiated negotiated;
	struct splice_tcp_options options;
	struct splice_segment answer;

	if (!service) return count(SPLICE_pass_not_service, XDP_PASS); /* never: the caller has looked */
	if (!splice_segment_checksum_right(ctx, probe)) return count(SPLICE_drop_bad_tcp_checksum, XDP_DROP);
	if (!splice_balancer_probe_valid(probe, secret(), unix_s(), &negotiated)) return count(SPLICE_drop_orphan, XDP_DROP);
	if (!take_from_budget(SPLICE_KEEP_ALIVE, SPLICE_KEEP_ALIVES_A_WINDOW))
		return count(SPLICE_drop_keep_alive, XDP_DROP);
	splice_parse_tcp_options((void *)(long)ctx->data, (void *)(long)ctx->data_end, probe, &options);
	if (options.malformed) return count(SPLICE_drop_bad_tcp_options, XDP_DROP);
	splice_write_keep_alive(&answer, probe, splice_scaled_window(&service->terms, &negotiated),
				options.timestamps_offset != 0, clock_of(service, probe, negotiated.proof), options.tsval);
	return answer_with(ctx, probe, &answer, SPLICE_answer_keep_alive);
}

static __always_inline const struct splice_placement_row *find_row(const struct splice_service_entry *service,
								    __u32 row)
{
	const __u32 slot = service->table;
	void *table = bpf_map_lookup_elem(&tables, &slot);
	return table ? bpf_map_lookup_elem(table, &row) : 0;
}

static __always_inline __u32 state_number(const struct splice_choice_rule *rule, __u16 bridge)
{
	return (rule->states + bridge) & (SPLICE_STATES - 1);
}

static __always_inline struct splice_openings *my_openings(const struct splice_choice_rule *rule, __u16 bridge)
{
	const __u32 state = state_number(rule, bridge);
	return bpf_map_lookup_elem(&openings, &state);
}

static __always_inline void count_choice(struct splice_carriage carriage, struct splice_choice choice)
{
	struct splice_balancer_counters *mine = my_counters();
	if (mine) splice_count_choice(&mine->choices[carriage.mark & (SPLICE_CARRIAGE_MARKS - 1)], choice);
}

/* Not simply the first choice. Counts, too. */
SPLICE_SUBPROGRAM int weigh_all(const struct splice_placement_row *row, const struct splice_service_entry *service,
				__u64 draw, int hot)
{
	struct splice_openings *asked;

	if (!row || !service) return 0; /* never: the caller has looked */
	const struct splice_choice choice = splice_choose(row, &service->choice, settings.states, draw, hot);
	SPLICE_UNROLL
	for (__u32 rank = 0; rank < SPLICE_CHOICES; rank++) {
		if (!(choice.offered >> rank & 1)) continue;
		asked = my_openings(&service->choice, row->choices[rank]);
		if (!asked) continue;
		asked->offered++;
		if (rank == choice.rank) asked->taken++;
	}
	if (choice.why == SPLICE_CHOSE_SPREAD) {
		const __u32 state = service->choice.states + row->choices[choice.rank < SPLICE_CHOICES ? choice.rank : 0];
		settings.states[state & (SPLICE_STATES - 1)].load++;
	}
	count_choice(service->carriage, choice);
	return choice.rank;
}

/* Which rank of the row takes the opening: nearly always the first, without a look at anything but its state and at the
 * key's place among the hot ones. */
static __always_inline __u32 weigh(const struct splice_packet *packet, const struct splice_placement_row *row,
				   const struct splice_service_entry *service, __u64 hash)
{
	const __u32 state = state_number(&service->choice, row->choices[0]);
	const struct splice_bridge_state *first = &settings.states[state];
	const int hot = service->choice.spread && splice_is_hot(&settings.hot, hash, service->carriage.mark);
	struct splice_openings *mine;

	if (hot || !splice_first_takes_all(first, &service->choice)) {
		const __u64 draw = splice_choice_draw(splice_choice_cookie(packet->ack));
		if (!splice_first_takes(first, &service->choice, draw, hot)) return weigh_all(row, service, draw, hot);
	}
	/* What user space makes of it: one more of the first rank. */
	mine = bpf_map_lookup_elem(&openings, &state);
	if (mine) splice_count_first(mine);
	return 0;
}

/* What was hashed. */
struct hashed {
	__u64 hash;
	const struct splice_address *source; /* null: bytes of the packet */
	__u32 offset; /* in the frame */
	__u32 length;
	__u32 rank; /* that takes the flow */
};

/* For the connection log: which bridge was chosen, and by what. */
SPLICE_SUBPROGRAM int tell_choice(struct xdp_md *ctx, const struct splice_packet *packet,
				  const struct splice_flow_entry *entry, const struct hashed *hashed)
{
	struct splice_balancer_counters *mine = my_counters();
	struct splice_told_choice *record;
	__u32 last;

	if (!packet || !entry || !hashed) return 0; /* never */
	record = bpf_ringbuf_reserve(&told, sizeof(*record), 0);
	if (!record) {
		if (mine) mine->common.untold++;
		return 0;
	}
	record->flow = *splice_flow_toward_server(packet);
	record->hash = hashed->hash;
	record->monotonic_ns = bpf_ktime_get_ns();
	record->service = entry->service;
	record->bridge = entry->bridge;
	record->rank = (__u8)hashed->rank;
	record->by_source = hashed->source != 0;
	record->key_length = (__u16)hashed->length;
	if (hashed->source) {
		__builtin_memcpy(record->key, hashed->source, sizeof(*hashed->source));
		bpf_ringbuf_submit(record, 0);
		return 0;
	}
	last = hashed->length - 1;
	if (last >= SPLICE_TOLD_KEY_MAX) last = SPLICE_TOLD_KEY_MAX - 1;
	__asm__ volatile("" : "+r"(last));
	if (last >= SPLICE_TOLD_KEY_MAX || bpf_xdp_load_bytes(ctx, hashed->offset, record->key, last + 1)) {
		bpf_ringbuf_discard(record, 0);
		return 0;
	}
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* The bridge is chosen: remembers it and forwards. */
static __always_inline int open(struct xdp_md *ctx, struct splice_packet *packet,
				const struct splice_service_entry *service, struct hashed *hashed, __u64 flags,
				enum splice_verdict verdict)
{
	const __u64 hash = hashed->hash;
	const __u32 row = splice_placement_row_of(hash, service->rows);
	const struct splice_placement_row *choices = find_row(service, row);
	struct splice_flow_entry entry;
	__u32 rank = 0;

	if (!choices) return ask(ctx, packet);
	if (choices->choices[0] == SPLICE_NO_BRIDGE) return ask_to_choose(ctx, packet, service, flags);
	if (service->ramp && splice_ramp_moves(row, service->ramp)) return ask_to_choose(ctx, packet, service, flags);
	if (flags == BPF_NOEXIST) {
		const enum splice_verdict refused = (enum splice_verdict)take_share(packet, service->number);
		if (SPLICE_UNLIKELY(refused != SPLICE_CONTINUE)) return count(refused, XDP_DROP);
	}
	if (service->samples) show(ctx, packet);
	if (service->choice.weighs) rank = weigh(packet, choices, service, hash);
	const __u16 bridge = rank == 0 ? choices->choices[0] : rank == 1 ? choices->choices[1] : choices->choices[2];
	splice_flow_begin(&entry, packet, SPLICE_FLOW_OPEN, service->number, service->carriage, row, bridge,
			  (__u32)now_s());
	entry.tries = splice_tries_from(rank & 3);
	const long error = bpf_map_update_elem(&flows, splice_flow_toward_server(packet), &entry, flags);
	if (error && error != ALREADY_THERE) return count(SPLICE_drop_flow_table_full, XDP_DROP);
	struct splice_signs *signs = signs_of(service->number, bridge);
	if (signs) __sync_fetch_and_add(&signs->openings, 1);
	note_opening(packet, service);
	if (SPLICE_UNLIKELY(settings.sample) &&
	    splice_in_sample(secret(), splice_choice_cookie(packet->ack), settings.sample)) {
		hashed->rank = rank;
		tell_choice(ctx, packet, &entry, hashed);
	}
	return forward(ctx, packet, &entry, verdict);
}

static __always_inline __u64 source_hash(const struct splice_address *source)
{
	const struct splice_address client = *source;
	return splice_xxh64(client.bytes, client.bytes + sizeof(client), sizeof(client));
}

/* What the PROXY header before the request says (enum splice_proxy_answer). A global function, because the verifier looks
 * at one of these by itself, once, and not again for each way that leads to it and each answer that it gives. */
__attribute__((noinline)) int read_proxy_header(struct xdp_md *ctx, __u32 payload_offset, __u32 payload_length,
						struct splice_proxy_header *header)
{
	if (!header) return SPLICE_PROXY_WRONG; /* never */
	return splice_proxy_read(splice_at((void *)(long)ctx->data, payload_offset), (void *)(long)ctx->data_end,
				 payload_length, header);
}

/* Whether that header says what the service's key needs. Why another one does not, user space tells and counts. */
static __always_inline int is_enough(enum splice_proxy_answer answer, const struct splice_service_entry *service)
{
	if (answer == SPLICE_PROXY_ADDRESS) return 1;
	return service->rule.kind != SPLICE_KEY_SOURCE &&
	       (answer == SPLICE_PROXY_UNKNOWN || answer == SPLICE_PROXY_LOCAL);
}

/* A connection begins. */
SPLICE_SUBPROGRAM int choose(struct xdp_md *ctx, struct splice_packet *packet, const struct splice_service_entry *service,
		      enum splice_balancer_step step, __u64 flags)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	const __u8 *payload = splice_at(data, packet->payload_offset);
	struct splice_proxy_header header = { .source = packet->ends.source };
	struct splice_request_key key;

	if (!service) return count(SPLICE_pass_not_service, XDP_PASS); /* never: the caller has looked */
	if (splice_l4_length(packet) > SPLICE_CHECKED_SEGMENT_MAX)
		return ask_to_choose(ctx, packet, service, flags);
	if (!splice_segment_checksum_right(ctx, packet)) return count(SPLICE_drop_bad_tcp_checksum, XDP_DROP);
	if (service->accepts_proxy_header) {
		if (!is_enough(read_proxy_header(ctx, packet->payload_offset, packet->payload_length, &header), service))
			return ask_to_choose(ctx, packet, service, flags);
		/* At most the payload's length, which is at most SPLICE_CHECKED_SEGMENT_MAX. */
		payload = splice_at(payload, header.length);
	}
	if (service->rule.kind == SPLICE_KEY_SOURCE) {
		const int bare_ack = packet->payload_length == 0 && !(packet->tcp_flags & SPLICE_FIN);
		struct splice_balancer_counters *mine = my_counters();
		if (mine) mine->chosen_by_source++;
		struct hashed source = { .hash = source_hash(&header.source),
					 .source = &header.source,
					 .length = sizeof(header.source) };
		return open(ctx, packet, service, &source, flags,
			    bare_ack ? SPLICE_forward_first_ack : SPLICE_forward_first_payload_source);
	}
	if (step == SPLICE_STEP_CHOOSE_SOURCE ||
	    splice_request_line(payload, end, packet->payload_length - header.length, service->rule, &key) !=
		    SPLICE_REQUEST_KEY)
		return ask_to_choose(ctx, packet, service, flags);
	struct hashed hashed = { .hash = splice_xxh64(splice_at(payload, key.offset), end, key.length),
				 .offset = packet->payload_offset + header.length + key.offset,
				 .length = key.length };
	return open(ctx, packet, service, &hashed, flags, SPLICE_forward_first_payload);
}

/* A connection begins that proves what it must: whether the operator lets it. */
SPLICE_SUBPROGRAM int allows(const struct splice_packet *packet, const struct splice_service_entry *service)
{
	if (!service) return SPLICE_CONTINUE; /* never: the caller has looked */
	if (SPLICE_UNLIKELY(is_denied(&packet->ends.source))) return SPLICE_drop_denied;
	if (SPLICE_UNLIKELY(!splice_rate_take(&settings.rates, &service->rate, service->number, &packet->ends.source,
					      (__u32)now_s())))
		return SPLICE_drop_source_rate;
	return SPLICE_CONTINUE;
}

/* A connection begins: what it needs besides its cookie. Clients without timestamps are counted. */
SPLICE_SUBPROGRAM int proves(struct xdp_md *ctx, const struct splice_packet *packet,
			     const struct splice_service_entry *service, __u16 proof)
{
	const __u32 second = (__u32)now_s();
	struct splice_tcp_options options;
	struct splice_balancer_counters *mine;

	if (!service) return SPLICE_CONTINUE; /* never: the caller has looked */
	if (!service->keyed_clock && splice_guesses_rest(&settings.guesses, second)) return SPLICE_CONTINUE;
	splice_parse_tcp_options((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, &options);
	if (service->keyed_clock && !options.timestamps_offset) {
		mine = my_counters();
		if (mine) mine->begun_without_timestamps++;
	}
	return splice_balancer_proves(packet, &options, service->lanes && second >= service->proves_from_s, secret(), proof,
				      unix_ms(), &settings.guesses, second);
}

/* Its cookie is wrong. */
SPLICE_SUBPROGRAM int note_guess(struct xdp_md *ctx, const struct splice_packet *packet)
{
	struct splice_tcp_options options;

	splice_parse_tcp_options((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, &options);
	if (!options.timestamps_offset) splice_guess_note(&settings.guesses, &packet->ends.source, (__u32)now_s());
	return 0;
}

/* To that bridge, of no flow here: no entry is made. */
static __always_inline int carry_on(struct xdp_md *ctx, struct splice_packet *packet,
				    const struct splice_service_entry *service, __u32 index, enum splice_verdict verdict)
{
	int ended = XDP_DROP;
	const struct splice_bridge_entry *bridge = way_to(ctx, packet, index, &ended);
	enum splice_verdict edited;

	if (!bridge) return ended;
	edited = splice_carry((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, &bridge->address,
			      service->carriage);
	if (SPLICE_UNLIKELY(edited != SPLICE_CONTINUE)) return count(edited, XDP_DROP);
	count_traffic(packet, service->number, (__u16)index);
	return send_to(ctx, bridge, verdict);
}

/* Its timestamps name its bridge. Where nobody has the number, they may be old ones of the number above. */
SPLICE_SUBPROGRAM int follow_lane(struct xdp_md *ctx, struct splice_packet *packet,
				  const struct splice_service_entry *service, __u32 lane)
{
	const __u16 *lanes = settings.lanes[packet->family == 6];
	__u32 index;

	if (!service) return count(SPLICE_pass_not_service, XDP_PASS); /* never: the caller has looked */
	index = lanes[lane & (SPLICE_LANE_SLOTS - 1)];
	if (SPLICE_UNLIKELY(!index)) index = lanes[(lane + 1) & (SPLICE_LANE_SLOTS - 1)];
	if (!index) return count(SPLICE_drop_lane_unknown, XDP_DROP);
	if (index & SPLICE_LANE_ASKS) return ask_within_budget(ctx, packet, SPLICE_ASK_LANE, SPLICE_drop_orphan);
	return carry_on(ctx, packet, service, index - 1, SPLICE_forward_lane);
}

/* Its client's address chooses its bridge, as it did. */
SPLICE_SUBPROGRAM int follow_source(struct xdp_md *ctx, struct splice_packet *packet,
				    const struct splice_service_entry *service)
{
	const struct splice_placement_row *row;

	if (!service) return count(SPLICE_pass_not_service, XDP_PASS); /* never: the caller has looked */
	if (service->rule.kind == SPLICE_KEY_USER_SPACE)
		return ask_within_budget(ctx, packet, SPLICE_ASK_ORPHAN, SPLICE_drop_orphan);
	row = find_row(service, splice_placement_row_of(source_hash(&packet->ends.source), service->rows));
	if (!row || row->choices[0] == SPLICE_NO_BRIDGE) return count(SPLICE_drop_orphan, XDP_DROP);
	return carry_on(ctx, packet, service, row->choices[0], SPLICE_forward_source);
}

/* Who bounced the packet, by the names of the entry's bridge and of its row's. */
SPLICE_SUBPROGRAM int refuser_of(struct xdp_md *ctx, const struct splice_packet *packet,
				 const struct splice_flow_entry *entry)
{
	enum splice_refuser refuser = SPLICE_REFUSER_NONE;
	const struct splice_service_entry *service;
	const struct splice_placement_row *row;

	if (!entry || !splice_flow_is_open(entry)) return splice_refuser_without_bridge(entry);
	const struct splice_refusal refusal =
		splice_read_refusal((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, secret());
	service = find_service(splice_flow_toward_server(packet));
	row = service ? find_row(service, entry->row) : 0;
	SPLICE_UNROLL
	for (__u32 number = 0; number <= SPLICE_CHOICES; number++) {
		const int present = number == SPLICE_CHOICES;
		const __u32 index = present ? entry->bridge : row ? row->choices[number] : SPLICE_NO_BRIDGE;
		const struct splice_bridge_entry *bridge = bpf_map_lookup_elem(&bridges, &index);
		if (bridge) refuser = splice_refuser_is(refuser, &refusal, &bridge->address, present);
	}
	return refuser;
}

/* The flow's bridge refused: to the next choice of its row. The last refusal is user space's to answer. */
SPLICE_SUBPROGRAM int next_choice(struct xdp_md *ctx, struct splice_packet *packet, struct splice_flow_entry *entry)
{
	const struct splice_service_entry *service = find_service(splice_flow_toward_server(packet));
	const struct splice_placement_row *row;

	if (!service || !entry) return ask(ctx, packet);
	if (service->rule.kind == SPLICE_KEY_USER_SPACE) return ask(ctx, packet);
	if (splice_l4_length(packet) > SPLICE_CHECKED_SEGMENT_MAX) return ask(ctx, packet);
	if (!splice_segment_checksum_right(ctx, packet)) return count(SPLICE_drop_bad_tcp_checksum, XDP_DROP);
	row = find_row(service, entry->row);
	if (!row) return ask(ctx, packet);
	struct splice_signs *signs = signs_of(entry->service, entry->bridge);
	if (splice_flow_take_next_choice(entry, row) == SPLICE_NO_BRIDGE) return ask(ctx, packet);
	if (signs) __sync_fetch_and_add(&signs->refusals, 1);
	return forward(ctx, packet, entry, SPLICE_forward_next_choice);
}

/* Of no flow here, or not its bridge's any more: user space tries who else may have it. A health check that was refused comes
 * back in the same way. */
SPLICE_SUBPROGRAM int ask_of_bounced(struct xdp_md *ctx, const struct splice_packet *packet)
{
	if (splice_may_be_probe(&settings.own, &packet->ends))
		return ask_within_budget(ctx, packet, SPLICE_ASK_CHECK, SPLICE_drop_check);
	return ask_within_budget(ctx, packet, SPLICE_ASK_BOUNCED, SPLICE_drop_refused_unknown);
}

/* Of no flow here: the index of the bridge that had sent the quoted packet, by its clock; SPLICE_NO_BRIDGE. */
SPLICE_SUBPROGRAM __u32 bridge_of_quoted(struct xdp_md *ctx, const struct splice_packet *packet,
					 struct splice_packet *quoted, const struct splice_flow_key *key)
{
	__u32 lane, index;

	if (!packet || !quoted || !key) return SPLICE_NO_BRIDGE; /* never */
	lane = splice_balancer_lane_of_quoted((void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, quoted, key,
					      secret(), unix_ms());
	if (lane == SPLICE_NO_LANE) return SPLICE_NO_BRIDGE;
	index = settings.lanes[packet->family == 6][lane & (SPLICE_LANE_SLOTS - 1)];
	return !index || index & SPLICE_LANE_ASKS ? SPLICE_NO_BRIDGE : index - 1;
}

/* An ICMP error about a flow goes to its bridge: path MTU discovery must reach who sends. */
SPLICE_SUBPROGRAM int relay_icmp(struct xdp_md *ctx, struct splice_packet *packet)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct splice_packet quoted;
	enum splice_verdict verdict = splice_parse_icmp_error(data, end, packet, &quoted);
	const struct splice_flow_entry *entry;
	const struct splice_bridge_entry *bridge;

	if (verdict == SPLICE_drop_bad_icmp && !to_vip(packet)) verdict = SPLICE_pass_icmp_not_ours;
	if (verdict == SPLICE_drop_bad_icmp) return count(verdict, XDP_DROP);
	if (verdict != SPLICE_CONTINUE) return count(verdict, XDP_PASS);
	/* The VIP had sent the quoted packet. */
	const struct splice_flow_key key = splice_flow_toward_client(&quoted);
	const struct splice_service_entry *service = find_service(&key);
	if (!service) return count(SPLICE_pass_icmp_not_ours, XDP_PASS);
	entry = bpf_map_lookup_elem(&flows, &key);
	if (entry && !splice_flow_is_open(entry)) return count(SPLICE_drop_orphan_icmp, XDP_DROP);
	const __u32 index = entry ? entry->bridge :
			    service->lanes ? bridge_of_quoted(ctx, packet, &quoted, &key) :
						  SPLICE_NO_BRIDGE;
	if (index == SPLICE_NO_BRIDGE) return count(SPLICE_drop_orphan_icmp, XDP_DROP);
	const struct splice_carriage carriage = entry ? entry->carriage : service->carriage;
	bridge = bpf_map_lookup_elem(&bridges, &index);
	if (!bridge || bridge->out == SPLICE_OUT_UNKNOWN)
		return ask_within_budget(ctx, packet, SPLICE_ASK_NEXT_HOP, SPLICE_drop_no_next_hop);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	verdict = splice_carry(data, end, packet, &bridge->address, carriage);
	if (verdict != SPLICE_CONTINUE) return count(verdict, XDP_DROP);
	return send_to(ctx, bridge, SPLICE_forward_icmp);
}

/* A packet that was judged by its bytes alone. A drop is ours to make only when the packet is for a service, or for
 * one of its addresses where the port cannot be told. */
SPLICE_SUBPROGRAM int end_early(const struct splice_packet *packet, enum splice_verdict verdict)
{
	const int passes = verdict == SPLICE_pass_not_ip || verdict == SPLICE_pass_not_tcp;
	int ours;

	if (passes) return count(verdict, XDP_PASS);
	if (packet->family == 0) return count(SPLICE_pass_not_service, XDP_PASS);
	ours = packet->ends.destination_port ? find_service(splice_flow_toward_server(packet)) != 0 : to_vip(packet);
	return ours ? count(verdict, XDP_DROP) : count(SPLICE_pass_not_service, XDP_PASS);
}

/* A segment of no flow is dropped, unless its first may be right behind it, or its client waited for too long. */
SPLICE_SUBPROGRAM int end_orphan(struct xdp_md *ctx, const struct splice_packet *packet)
{
	if (splice_balancer_may_overtake(packet))
		return ask_within_budget(ctx, packet, SPLICE_ASK_ORPHAN, SPLICE_drop_orphan);
	if (splice_balancer_may_be_late(packet))
		return ask_within_budget(ctx, packet, SPLICE_ASK_LATE, SPLICE_drop_orphan);
	return count(SPLICE_drop_orphan, XDP_DROP);
}

/* One more segment of a flow that user space decides: of a first payload that is not whole, or of a flow that every
 * choice has refused, or whose bridge is down. Such an entry needs no row yet, or no longer, so the row counts what was
 * asked. */
SPLICE_SUBPROGRAM int ask_of_flow(struct xdp_md *ctx, const struct splice_packet *packet, struct splice_flow_entry *entry)
{
	if (!entry) return count(SPLICE_drop_orphan, XDP_DROP); /* never: who asks of a flow has one */
	if (entry->row >= SPLICE_ASKS_A_FLOW)
		return count(entry->state == SPLICE_FLOW_PENDING ? SPLICE_drop_first_payload_window :
								   SPLICE_drop_ask_overrun,
			     XDP_DROP);
	entry->row = (entry->row + 1) & SPLICE_ROW_MASK;
	return ask(ctx, packet);
}

/* A segment of an open flow that was looked at twice: of a reopened one, or of a first flight that a bridge refused. */
SPLICE_SUBPROGRAM int follow(struct xdp_md *ctx, struct splice_packet *packet, struct splice_flow_entry *entry)
{
	if (!entry) return count(SPLICE_drop_orphan, XDP_DROP); /* never: who follows has a flow */
	return forward(ctx, packet, entry, SPLICE_forward_open);
}

/* A packet to where health checks are answered: user space asks, and hears. What comes from no service's address and port is
 * none of ours. */
SPLICE_SUBPROGRAM int hear_check(struct xdp_md *ctx, const struct splice_packet *packet)
{
	if (!splice_service_find(service_table(), &packet->ends.source, packet->ends.source_port))
		return count(SPLICE_pass_not_service, XDP_PASS);
	return ask_within_budget(ctx, packet, SPLICE_ASK_CHECK, SPLICE_drop_check);
}

/* The flow's bridge stops, and says that the connection is over. */
SPLICE_SUBPROGRAM int end_flow(struct xdp_md *ctx, const struct splice_packet *packet, struct splice_flow_entry *entry)
{
	if (!entry) return count(SPLICE_drop_orphan, XDP_DROP); /* never: the rule has looked */
	if (splice_l4_length(packet) > SPLICE_CHECKED_SEGMENT_MAX) return count(SPLICE_drop_refused_late, XDP_DROP);
	if (!splice_segment_checksum_right(ctx, packet)) return count(SPLICE_drop_bad_tcp_checksum, XDP_DROP);
	splice_flow_end(entry, now_s());
	return count(SPLICE_drop_refused_late, XDP_DROP);
}

/* What nearly every packet does not need. `entry` is the flow's, or null; so is `service` when only the entry was asked. */
static __always_inline int take_step(struct xdp_md *ctx, struct splice_packet *packet, struct splice_flow_entry *entry,
				     const struct splice_service_entry *service, __u32 lane,
				     struct splice_balancer_decision decision)
{
	const __u64 flags = entry ? BPF_ANY : BPF_NOEXIST;
	enum splice_verdict refused;

	if (SPLICE_UNLIKELY(splice_balancer_is_guess(packet, entry, &decision))) note_guess(ctx, packet);
	switch (decision.step) {
	case SPLICE_STEP_DROP:
		if (decision.verdict == SPLICE_drop_orphan) return end_orphan(ctx, packet);
		return count(decision.verdict, XDP_DROP);
	case SPLICE_STEP_SYN_ACK:
		if (!service) service = find_service(splice_flow_toward_server(packet));
		if (!service) return count(SPLICE_pass_not_service, XDP_PASS);
		return answer_syn(ctx, packet, service, entry);
	case SPLICE_STEP_CHOOSE:
	case SPLICE_STEP_CHOOSE_SOURCE:
		refused = (enum splice_verdict)proves(ctx, packet, service, decision.proof);
		if (refused == SPLICE_CONTINUE) refused = (enum splice_verdict)allows(packet, service);
		if (refused != SPLICE_CONTINUE) return count(refused, XDP_DROP);
		return choose(ctx, packet, service, decision.step, flags);
	case SPLICE_STEP_KEEP_ALIVE:
		return answer_keep_alive(ctx, packet, service);
	case SPLICE_STEP_FORWARD:
		return follow(ctx, packet, entry);
	case SPLICE_STEP_LANE:
		return follow_lane(ctx, packet, service, lane);
	case SPLICE_STEP_SOURCE:
		return follow_source(ctx, packet, service);
	case SPLICE_STEP_NEXT_CHOICE:
		return next_choice(ctx, packet, entry);
	case SPLICE_STEP_BOUNCED:
		return ask_of_bounced(ctx, packet);
	case SPLICE_STEP_END:
		return end_flow(ctx, packet, entry);
	default: /* pending, and flows that every choice has refused, or whose bridge is down */
		return ask_of_flow(ctx, packet, entry);
	}
}

/* Whether a frame to that MAC address is ours when it comes in by that interface. VRRP's virtual address is a macvlan's above
 * the uplink. Two uplinks may be on one segment, whose switch floods a frame to both. A global function, as
 * read_proxy_header(): else the verifier looks at all that follows anew for each address that it may be. */
__attribute__((noinline)) int is_ours(__u64 mac, __u32 interface)
{
	int found = 0;

	for (int i = 0; i < SPLICE_MAX_UPLINKS; i++) {
		const struct splice_uplink *uplink = &settings.uplinks[i];

		if (settings.several_uplinks && uplink->interface != interface) continue;
		found |= uplink->mac == mac;
		for (int j = 0; j < SPLICE_MAX_UPPER_MACS; j++) found |= uplink->upper_macs[j] == mac;
	}
	return found && mac;
}

SEC("xdp")
int balancer_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	const struct splice_service_entry *service = 0;
	struct splice_flow_entry *entry;
	struct splice_packet packet;
	enum splice_verdict verdict;
	__u32 lane = SPLICE_NO_LANE;
	enum splice_refuser refuser = SPLICE_REFUSER_NONE;

	verdict = splice_parse_ethernet(data, end, &packet);
	if (verdict == SPLICE_CONTINUE) {
		/* A switch floods what it has not learnt. */
		const __u64 mac = splice_load64(data) & 0xffffffffffffULL;
		if (SPLICE_UNLIKELY((mac != settings.uplinks[0].mac || settings.several_uplinks) &&
				    !is_ours(mac, ctx->ingress_ifindex)))
			return XDP_PASS;
		verdict = splice_parse_ip(data, end, &packet);
	}
	if (SPLICE_UNLIKELY(verdict != SPLICE_CONTINUE)) return end_early(&packet, verdict);
	if (SPLICE_UNLIKELY(packet.protocol != SPLICE_PROTOCOL_TCP)) return relay_icmp(ctx, &packet);

	entry = bpf_map_lookup_elem(&flows, splice_flow_toward_server(&packet));
	if (SPLICE_LIKELY(entry && splice_flow_carries(entry, &packet)))
		return forward(ctx, &packet, entry, SPLICE_forward_open);
	/* An open flow's packets ask nothing of the service. */
	if (!entry || (entry->flags & SPLICE_FLOW_REOPENED) || entry->state == SPLICE_FLOW_STRANDED) {
		service = find_service(splice_flow_toward_server(&packet));
		if (!service) {
			if (splice_may_answer_probe(&settings.own, &packet.ends)) return hear_check(ctx, &packet);
			return count(SPLICE_pass_not_service, XDP_PASS);
		}
	}
	if (!entry && service && service->lanes) lane = lane_of(ctx, &packet);
	if (SPLICE_UNLIKELY(splice_balancer_may_be_bounced(&packet)))
		refuser = (enum splice_refuser)refuser_of(ctx, &packet, entry);
	const struct splice_balancer_decision decision =
		splice_balancer_decide(&packet, entry, secret(), unix_s(), lane, service && service->chooses_by_source, refuser);
	return take_step(ctx, &packet, entry, service, lane, decision);
}

/* Run by user space, once, which then writes what its clock says. */
SEC("xdp")
int start_clock(struct xdp_md *ctx)
{
	(void)ctx;
	settings.jiffies = bpf_jiffies64();
	return 0;
}

/* What user space runs to learn whether a redirect to an interface arrives at its other end. */
SEC("xdp")
int redirect_probe(struct xdp_md *ctx)
{
	return (int)bpf_redirect(ctx->ingress_ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
