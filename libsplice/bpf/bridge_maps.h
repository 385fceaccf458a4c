/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the bridge's kernel programs and its user space tell each other: the values of the maps, the settings, and the
 * records of the ring buffer. Included by both, mirrored by nobody. Addresses and ports are in network order.
 *
 *   services    service number -> splice_bridge_service_entry   replaced one entry at a time
 *   counters    0 -> splice_bridge_counters, one a processor
 *   asked       ring of splice_asked                       what the kernel does not decide
 *   told        ring of splice_told_end                    ends of connections that are in the log's sample
 *   vip_ports   VIP port / 64 -> bits                      what goes to none of them is not looked at twice
 * and when translating:
 *   flows       splice_flow_key {client, backend} -> splice_bridge_flow   made and removed by user space
 *   ports       backend port / 64 -> bits                  what does not leave from one of them is not looked up
 *
 * and when adopting:
 *   sampled     splice_flow_key {client, backend} -> splice_sampled_connection   those of the log's sample
 *   beside      SPLICE_BESIDE_* -> a program that translates other services, where there are such
 *
 * and in memory that both see, struct splice_bridge_settings: secrets, the wall clock, which mark is
 * whose.
 */
#ifndef LIBSPLICE_BPF_BRIDGE_MAPS_H
#define LIBSPLICE_BPF_BRIDGE_MAPS_H

#include "libsplice/bpf/common_maps.h"
#include "libsplice/datapath/balancer_links.h"
#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

/* A change of anything in this file, or of the flow, is a new layout: pinned maps of another one are not taken
 * over. */
#define SPLICE_BRIDGE_LAYOUT 3

/* Addresses of one family at which a bridge takes marked packets. */
#define SPLICE_BRIDGE_ADDRESSES 4

struct splice_bridge_service_entry {
	struct splice_address addresses[SPLICE_BRIDGE_ADDRESSES];
	struct splice_address vip;
	struct splice_address backend; /* adopting: the VIP itself when the backend listens there */
	__u16 vip_port;
	__u16 backend_port;
	__u8 address_count; /* 0: no service of this number */
	__u8 window_scale; /* what the balancer advertises */
	struct splice_carriage carriage;
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_bridge_service_entry) == 104, "service entry without padding");

struct splice_bridge_settings {
	struct splice_common_settings common;
	__u16 carried[2][SPLICE_CARRIAGE_MARKS]; /* IPv4, IPv6; by mark: the service's number, or SPLICE_NO_SERVICE */
	__u16 number; /* the fleet's number of this bridge, 1 to 1018; 0: it has none */
	__u8 uplink_mac[6]; /* of the interface below */
	__u32 uplink; /* by which balancers send: what this bridge tries by itself comes in there; 0: not known */
	__u16 leaving; /* 1: nothing is opened any more */
	__u16 beside; /* adopting, 1: what is of no service here goes to the programs in `beside` */
	__u64 sample; /* adopting: the share of connections that are told of (sample.h) */
	struct splice_balancer_links balancers;
};

/* The number of the service whose packets are marked so. `family` is 4 or 6. */
SPLICE_INLINE __u32 splice_bridge_carried(const struct splice_bridge_settings *settings, __u32 family,
					  struct splice_carriage carriage)
{
	return settings->carried[family == 6][carriage.mark & (SPLICE_CARRIAGE_MARKS - 1)];
}

/* Connections of the sample that the bridge that adopts remembers until they end. Those that never came about are among
 * them, so the ones that were looked at last stay. */
#define SPLICE_SAMPLED_CONNECTIONS 65536

struct splice_sampled_connection {
	__u64 since_ns; /* CLOCK_MONOTONIC */
	__u16 service; /* number */
	__u16 zero[3];
};

struct splice_told_end {
	struct splice_flow_key flow; /* client and backend */
	__u64 since_ns; /* CLOCK_MONOTONIC; 0: user space knows it */
	__u64 until_ns;
	__u64 sent; /* bytes of payload, of the backend */
	__u64 received; /* of the client */
	__u16 service; /* number */
	__u8 end; /* enum splice_connection_end */
	__u8 zero[5];
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_told_end) == 80, "a record without padding");

struct splice_bridge_counters {
	struct splice_common_counters common;
	struct splice_budget looks; /* at packets without a known mark */
};

#define SPLICE_LOOKS_A_WINDOW 16

/* By the side of the interface. */
enum splice_beside { SPLICE_BESIDE_INGRESS, SPLICE_BESIDE_EGRESS, SPLICE_BESIDE_COUNT };

/* splice_asked.door. The hop is known of SPLICE_FROM_BALANCER only. */
enum splice_bridge_door { SPLICE_FROM_BALANCER, SPLICE_FROM_BACKEND };

/* The class of records beside SPLICE_ASKED_SHORT. */
#define SPLICE_BRIDGE_ASKED_LONG (66U << 10) /* super-packets */

/* Which bits of this host's packet marks (skb->mark) are ours. The stack carries a mark from a connection's first segment
 * to its socket (tcp_fwmark_accept) and from there to everything that leaves for it, from the TIME_WAIT socket's ACK to the
 * RST of a closed one. Other programs' bits are never compared and never changed.
 *
 *   mask        at least 8 bits, of which the lowest 7 are side by side:
 *   bits 0..5   from `shift` on: the mark of the service's carriage
 *   bit 6       set on what the program has seen and sends in again, a RST for an old socket and the packet after it, and
 *               on what it hands to a backend that listens on the VIP: a balancer's guard on this host lets that pass
 *   the others  of the mask hold `value`, which is not 0 */
struct splice_mark_field {
	__u32 value;
	__u32 mask;
	__u32 shift;
};

#define SPLICE_MARK_VALUE 0x3080U /* unless configured */
#define SPLICE_MARK_MASK 0x3fffU

SPLICE_INLINE __u32 splice_mark_adopted(const struct splice_mark_field *field, __u32 mark,
					struct splice_carriage carriage)
{
	return (mark & ~field->mask) | field->value | (__u32)carriage.mark << field->shift;
}

SPLICE_INLINE __u32 splice_mark_seen(const struct splice_mark_field *field, __u32 mark)
{
	return (mark & ~field->mask) | field->value | 64U << field->shift;
}

/* 1 for a mark that splice_mark_adopted() wrote, of any service. */
SPLICE_INLINE int splice_mark_is_adopted(const struct splice_mark_field *field, __u32 mark)
{
	return (mark & field->mask & ~(63U << field->shift)) == field->value;
}

SPLICE_INLINE int splice_mark_is_seen(const struct splice_mark_field *field, __u32 mark)
{
	return (mark & field->mask) == (field->value | 64U << field->shift);
}

/* The bits that hold `value` in any mark of a bridge. */
SPLICE_INLINE __u32 splice_mark_bridges_mask(const struct splice_mark_field *field)
{
	return field->mask & ~(127U << field->shift);
}

/* The carriage that splice_mark_adopted() was told. */
SPLICE_INLINE struct splice_carriage splice_mark_carriage(const struct splice_mark_field *field, __u32 mark)
{
	return splice_carriage_by_dscp((mark >> field->shift) & 63);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_BPF_BRIDGE_MAPS_H */
