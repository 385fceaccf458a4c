/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the bridge's two kernel programs have in common: which packets are ours, the checksum after an edit, the way
 * to user space, the counters. Both hang on clsact: ingress sees what arrives before the stack does, egress what
 * leaves, super-packets and unfinished checksums included.
 */
#ifndef LIBSPLICE_BPF_BRIDGE_TC_H
#define LIBSPLICE_BPF_BRIDGE_TC_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/parse_icmp.h"
#include "libsplice/datapath/parse_options.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/translate.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SPLICE_SERVICE_NUMBERS);
	__type(key, __u32);
	__type(value, struct splice_bridge_service_entry);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct splice_bridge_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 65536 / 64);
	__type(key, __u32);
	__type(value, __u64);
} vip_ports SEC(".maps");

struct splice_bridge_settings settings;

/* Set before the program is loaded; to the verifier it is a constant. */
const volatile struct splice_mark_field splice_marks SEC(".rodata.marks") = {
	.value = SPLICE_MARK_VALUE,
	.mask = SPLICE_MARK_MASK,
};

static __always_inline struct splice_mark_field splice_our_marks(void)
{
	const struct splice_mark_field field = { splice_marks.value, splice_marks.mask, splice_marks.shift & 31 };

	return field;
}

/* What goes to a backend on the VIP: a balancer's guard on this host must not take it for a packet that missed its
 * program. */
static __always_inline void splice_mark_for_vip(struct __sk_buff *skb)
{
	const struct splice_mark_field field = splice_our_marks();

	skb->mark = splice_mark_seen(&field, skb->mark);
}

/* Headers that a packet must have in one piece: Ethernet with two tags, IP and TCP with all their options. */
#define SPLICE_LINEAR_MIN (22 + 60 + 60)

#define SPLICE_LOOPBACK_INTERFACE 1 /* in every network namespace */

static const __u32 zero_key = 0;

/* Counts, and answers what becomes of the packet. */
static __always_inline int splice_conclude(enum splice_verdict verdict, int action)
{
	struct splice_bridge_counters *mine = bpf_map_lookup_elem(&counters, &zero_key);

	if (mine && verdict < SPLICE_VERDICT_COUNT) mine->common.verdicts[verdict]++;
	return action;
}

static __always_inline int splice_drop(enum splice_verdict verdict)
{
	return splice_conclude(verdict, TC_ACT_SHOT);
}

static __always_inline __u32 splice_now_s(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() / 1000000000);
}

static __always_inline __u64 splice_unix_s(void)
{
	return bpf_ktime_get_coarse_ns() / 1000000000 + (__u64)settings.common.unix_minus_monotonic_s;
}

/* The wall clock in milliseconds; wraps. */
static __always_inline __u32 splice_unix_ms(void)
{
	return (__u32)(bpf_ktime_get_coarse_ns() / 1000000) + (__u32)settings.common.unix_minus_monotonic_ms;
}

/* Only the beginning of a packet need be in one piece; what a driver left elsewhere is fetched. */
static __always_inline void splice_make_linear(struct __sk_buff *skb)
{
	const __u32 here = skb->data_end - skb->data;

	if (SPLICE_UNLIKELY(here < SPLICE_LINEAR_MIN && here < skb->len))
		bpf_skb_pull_data(skb, skb->len < SPLICE_LINEAR_MIN ? skb->len : SPLICE_LINEAR_MIN);
}

static __always_inline struct splice_bridge_service_entry *splice_service(__u32 number)
{
	struct splice_bridge_service_entry *service = bpf_map_lookup_elem(&services, &number);

	return service && service->address_count ? service : NULL;
}

/* The service by whose mark the packet goes, or NULL: then it is not ours. Looks at two bytes of it; sets l3_offset and
 * *number. */
static __always_inline struct splice_bridge_service_entry *splice_service_of_mark(const void *data, const void *end,
										   struct splice_packet *packet,
										   __u32 *number)
{

	if (splice_parse_ethernet(data, end, packet) != SPLICE_CONTINUE) return NULL;
	const __u8 *ip = splice_at(data, packet->l3_offset);
	if (ip + 2 > (const __u8 *)end) return NULL;
	*number = splice_bridge_carried(&settings, ip[0] >> 4 == 4 ? 4 : 6, splice_uncarry_early(ip));
	return *number == SPLICE_NO_SERVICE ? NULL : splice_service(*number);
}

static __always_inline int splice_is_our_address(const struct splice_bridge_service_entry *service,
						 const struct splice_address *address)
{
	SPLICE_UNROLL
	for (int i = 0; i < SPLICE_BRIDGE_ADDRESSES; i++) {
		if (i >= service->address_count) break;
		if (splice_address_equal(&service->addresses[i], address)) return 1;
	}
	return 0;
}

/* Copies the packet, from l3_offset on, into a record of the class `room`, a constant. 0 when it cannot. */
static __always_inline int splice_copy_record(struct __sk_buff *skb, __u32 l3_offset, __u32 length, __u32 door, __u32 room)
{
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	struct splice_asked *record = bpf_ringbuf_reserve(&asked, sizeof(*record) + room, 0);
	/* One less, because older verifiers (Linux 6.1) do not learn from a comparison with 0 that a length is not 0. */
	__u32 last = length - 1;

	if (!record) return 0;
	record->length = last + 1;
	record->interface = skb->ifindex;
	record->door = (__u8)door;
	record->zero = 0;
	__builtin_memset(record->hop, 0, sizeof(record->hop));
	if (data + sizeof(struct splice_ethernet_header) <= end)
		__builtin_memcpy(record->hop, data + 6, sizeof(record->hop));
	/* The verifier wants to see the bounds here, the compiler thinks that it has seen them. */
	__asm__ volatile("" : "+r"(last));
	if (last >= room || bpf_skb_load_bytes(skb, l3_offset, record->bytes, last + 1)) {
		bpf_ringbuf_discard(record, 0);
		return 0;
	}
	bpf_ringbuf_submit(record, 0);
	return 1;
}

/* Hands a copy of the packet to user space, which decides; the packet itself ends here. */
static __noinline int splice_ask(struct __sk_buff *skb, const struct splice_packet *packet, __u32 door)
{
	const __u32 l3_offset = packet->l3_offset;
	const __u32 length = splice_ip_length(packet); /* without a link's padding */
	struct splice_bridge_counters *mine = bpf_map_lookup_elem(&counters, &zero_key);
	int copied = 0;

	if (!mine) return TC_ACT_SHOT; /* never: the map has its one entry */
	if (length <= SPLICE_ASKED_SHORT)
		copied = splice_copy_record(skb, l3_offset, length, door, SPLICE_ASKED_SHORT);
	else if (length <= SPLICE_BRIDGE_ASKED_LONG)
		copied = splice_copy_record(skb, l3_offset, length, door, SPLICE_BRIDGE_ASKED_LONG);
	if (copied)
		mine->common.asked++;
	else
		mine->common.verdicts[SPLICE_drop_ask_overrun]++;
	return TC_ACT_SHOT;
}

/* What an edit changed, told to the checksum in whatever state the kernel holds it: finished, unfinished (it then
 * holds the sum of the pseudo header alone), or summed by the card, which counts the IPv6 header and must learn of
 * its new traffic class. Packet pointers are void afterwards. */
static __always_inline void splice_settle_checksum(struct __sk_buff *skb, const struct splice_packet *packet,
						   const struct splice_translate_deltas *deltas, __u8 new_traffic_class)
{
	const __u32 at = packet->l4_offset + 16U;
	const __u32 addresses = splice_sum_fold(deltas->pseudo_header);
	const __u32 segment = splice_sum_fold(deltas->segment);

	if (addresses) bpf_l4_csum_replace(skb, at, 0, addresses, BPF_F_PSEUDO_HDR);
	if (segment) bpf_l4_csum_replace(skb, at, 0, segment, 0);
	if (packet->family == 6) {
		const splice_sum header = splice_sum_replace16(addresses, splice_htons(packet->traffic_class << 4),
							       splice_htons(new_traffic_class << 4));
		bpf_csum_update(skb, splice_sum_fold(header));
	}
}

/* The parse of a marked packet at ingress. */
struct splice_marked {
	struct splice_packet packet; /* ends.destination: our address, as it stands in the packet */
	struct splice_bridge_service_entry *service;
	__u32 number; /* the service's */
};

static __noinline int splice_is_from_balancer(struct __sk_buff *skb)
{
	const __u8 *data = (void *)(long)skb->data;
	const __u8 *end = (void *)(long)skb->data_end;

	if (data + 14 > end) return 0;
	return splice_balancer_links_have(&settings.balancers, splice_mac_of_source(data));
}

/* SPLICE_CONTINUE: a marked TCP segment or ICMP message for a service's port at an address of ours. Otherwise its
 * verdict; pass_unmarked is for all that is not ours and is not counted. */
static __always_inline enum splice_verdict splice_read_marked(struct __sk_buff *skb, struct splice_marked *marked)
{
	splice_make_linear(skb);
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;
	struct splice_packet *packet = &marked->packet;

	marked->service = splice_service_of_mark(data, end, packet, &marked->number);
	if (!marked->service) return SPLICE_pass_unmarked;
	const enum splice_verdict verdict = splice_parse_ip_beginning(data, end, skb->len, packet);
	if (packet->family == 0 || !splice_is_our_address(marked->service, &packet->ends.destination))
		return SPLICE_pass_unmarked;
	if (verdict != SPLICE_CONTINUE) return verdict;
	if (SPLICE_UNLIKELY(settings.balancers.restricted) && !splice_is_from_balancer(skb)) return SPLICE_drop_not_balancer;
	if (packet->protocol != SPLICE_PROTOCOL_TCP)
		return splice_is_icmp_error(packet) ? SPLICE_CONTINUE : SPLICE_pass_icmp_not_ours;
	return packet->ends.destination_port == marked->service->vip_port ? SPLICE_CONTINUE : SPLICE_pass_not_service;
}

/* The service of a VIP's port and family to which the packet would go if it were marked. */
static __noinline __u32 splice_service_of_port(const struct splice_packet *packet)
{
	for (__u32 mark = 1; mark <= SPLICE_CARRIAGE_LAST; mark++) {
		const __u32 number = settings.carried[packet->family == 6][mark];
		const struct splice_bridge_service_entry *service = number ? splice_service(number) : NULL;
		if (service && service->vip_port == packet->ends.destination_port &&
		    splice_is_our_address(service, &packet->ends.destination))
			return number;
	}
	return SPLICE_NO_SERVICE;
}

/* A packet without a known mark: none of ours, unless its mark was lost or is one that nobody told us of. A few of them are
 * looked at, so that it is told; every packet goes on. */
static __noinline int splice_look_at_unmarked(struct __sk_buff *skb, struct splice_packet *packet)
{
	struct splice_bridge_counters *mine = bpf_map_lookup_elem(&counters, &zero_key);
	const void *data = (void *)(long)skb->data;
	const void *end = (void *)(long)skb->data_end;

	if (!mine || !packet) return TC_ACT_UNSPEC;
	if (!splice_budget_take(&mine->looks, bpf_ktime_get_coarse_ns(), SPLICE_LOOKS_A_WINDOW)) return TC_ACT_UNSPEC;
	if (splice_parse_ethernet(data, end, packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	if (splice_parse_ip_beginning(data, end, skb->len, packet) != SPLICE_CONTINUE) return TC_ACT_UNSPEC;
	if (packet->protocol != SPLICE_PROTOCOL_TCP || !packet->payload_length || (packet->tcp_flags & SPLICE_SYN))
		return TC_ACT_UNSPEC;
	const __u32 port = splice_ntohs(packet->ends.destination_port);
	const __u32 word = port / 64;
	const __u64 *bits = bpf_map_lookup_elem(&vip_ports, &word);
	if (!bits || !(*bits >> (port & 63) & 1)) return TC_ACT_UNSPEC;
	const struct splice_bridge_service_entry *service = splice_service(splice_service_of_port(packet));
	if (!service) return TC_ACT_UNSPEC;
	if (splice_uncarry(packet).kind != SPLICE_CARRIAGE_NONE) return splice_conclude(SPLICE_pass_mark_of_no_service, TC_ACT_UNSPEC);
	packet->ends.destination = service->vip;
	if (splice_bridge_mark_lost(packet, splice_secret_in_use(&settings.common), splice_unix_s()))
		return splice_conclude(SPLICE_pass_mark_lost, TC_ACT_UNSPEC);
	return TC_ACT_UNSPEC;
}

/* What is not ours goes on to whatever else hangs here: TC_ACT_OK would end the chain. */
static __always_inline int splice_conclude_unread(struct __sk_buff *skb, struct splice_marked *marked,
						  enum splice_verdict verdict)
{
	if (verdict == SPLICE_pass_unmarked)
		return marked->service ? TC_ACT_UNSPEC : splice_look_at_unmarked(skb, &marked->packet);
	return splice_conclude(verdict, splice_verdict_passes(verdict) ? TC_ACT_UNSPEC : TC_ACT_SHOT);
}

/* Of its own, for the stack that it takes. */
static __noinline __u32 splice_lane_of_marked(struct __sk_buff *skb, const struct splice_marked *marked)
{
	struct splice_tcp_options options;

	if (!marked || !marked->service) return SPLICE_NO_LANE; /* never */
	splice_parse_tcp_options((void *)(long)skb->data, (void *)(long)skb->data_end, &marked->packet, &options);
	return splice_bridge_lane(&marked->packet, &options, &marked->service->vip, splice_secret_in_use(&settings.common),
				  splice_unix_ms());
}

/* The rule for a marked segment (datapath/bridge_rules.h). The cookie is about the VIP, to which the client sent it. `laned`:
 * splice_bridge_asks_for_lane(). */
static __always_inline struct splice_bridge_decision splice_decide_marked(struct __sk_buff *skb,
									  struct splice_marked *marked,
									  enum splice_bridge_known known, int laned,
									  struct splice_negotiated *negotiated)
{
	struct splice_bridge_decision decision;
	const struct splice_address ours = marked->packet.ends.destination;
	__u64 unix_s = 0;

	if (splice_bridge_asks_for_lane(known, laned, splice_secret_in_use(&settings.common), settings.number))
		known = splice_bridge_known_by_lane(known, splice_lane_of_marked(skb, marked), settings.number);
	/* Nearly every packet is the next of its connection, and no cookie is looked for. */
	if (known != SPLICE_KNOWN_SAME && known != SPLICE_KNOWN_NEXT) unix_s = splice_unix_s();
	marked->packet.ends.destination = marked->service->vip;
	decision = splice_bridge_decide(&marked->packet, known, splice_secret_in_use(&settings.common), unix_s, negotiated);
	marked->packet.ends.destination = ours;
	return SPLICE_UNLIKELY(settings.leaving) ? splice_bridge_leave(decision) : decision;
}

#endif /* LIBSPLICE_BPF_BRIDGE_TC_H */
