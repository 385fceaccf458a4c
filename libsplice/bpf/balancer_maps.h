/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the balancer's kernel program and its user space tell each other: the values of the maps, the settings, and the
 * records of the ring buffer. Included by both, mirrored by nobody. Addresses and ports are in network order.
 *
 *   flows       splice_flow_key -> splice_flow_entry   the one truth about flows; user space reads and writes it too
 *   bridges     bridge index -> splice_bridge_entry    user space keeps the next hops fresh
 *   tables      slot -> array of splice_placement_row  two slots a service, filled in turn; the entry says which
 *   services    service number -> splice_service_name  for a next process, which must give the same numbers
 *   counters    one splice_balancer_counters a processor
 *   latencies   mark -> splice_latencies           of the service with that mark, a processor
 *   openings    state number -> splice_openings        what services that weigh their choices have opened, a processor
 *   denied      LPM trie of splice_prefix             the deny lists; another one takes its place at a reload
 *   asked       ring of splice_asked                   what the kernel does not decide
 *   told        ring of splice_told_choice             choices of connections that are in the log's sample
 *
 * and in memory that both see, struct splice_balancer_settings: secrets, clocks, services, the states of their bridges.
 */
#ifndef LIBSPLICE_BPF_BALANCER_MAPS_H
#define LIBSPLICE_BPF_BALANCER_MAPS_H

#include "libsplice/bpf/common_maps.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/choice.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/guesses.h"
#include "libsplice/datapath/hot_keys.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/latency.h"
#include "libsplice/datapath/limits.h"
#include "libsplice/datapath/probe.h"
#include "libsplice/datapath/proxy_header.h"
#include "libsplice/datapath/request_line.h"
#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/source.h"

SPLICE_HEADER_BEGIN

/* A change of a pinned map's value (flows, bridges, services) is a new layout: pinned maps of another one are not gone on
 * with. The settings and the other maps are each process's own. */
#define SPLICE_BALANCER_LAYOUT 5

struct splice_service_key {
	struct splice_address vip;
	__u16 port; /* 0: the address alone, under which the entry only says that it is a VIP */
	__u16 zero[3];
};

struct splice_service_entry {
	struct splice_syn_ack_terms terms; /* tsval is not used */
	struct splice_key_rule rule; /* SPLICE_KEY_USER_SPACE: user space chooses */
	__u32 rows; /* of its placement table */
	__u32 table; /* slot in `tables` */
	struct splice_choice_rule choice;
	__u16 number; /* of the service */
	struct splice_carriage carriage;
	__u8 chooses_by_source; /* 1: a bare ACK begins a connection */
	__u8 samples; /* 1: user space looks at some of the first payloads, too */
	__u16 ramp; /* rows of this share are user space's to choose for (splice_ramp_moves()) */
	__u8 accepts_proxy_header; /* 1: a PROXY header comes before the request */
	__u8 keyed_clock; /* 1: the clock of SYN-ACKs carries the cookie's proof (lane.h) */
	__u8 lanes; /* 1: timestamps name bridges */
	__u8 zero;
	struct splice_rate_limit rate;
	__u32 proves_from_s; /* monotonic; from here on first payloads must echo that clock, where they echo any */
};

struct splice_service_name {
	char text[72]; /* ends with a 0; all zeros: the number is not given out */
};

/* What is seen of a service's bridge by the way: counts that only grow and wrap. */
struct splice_signs {
	__u32 openings;
	__u32 answers; /* flows whose client has acknowledged a byte of the server */
	__u32 refusals;
	__u32 repeats; /* of first payloads, without an answer */
};

/* What a service's bridge was sent of clients' packets; each processor has its own. */
struct splice_traffic {
	__u64 packets;
	__u64 bytes; /* of IP packets, with their headers */
};

#define SPLICE_SIGNS 16384
#define SPLICE_NO_SIGNS 0xffffffffU /* of a service for which there is no room */

/* Two slots a service in `tables`. */
#define SPLICE_TABLE_SLOTS (2 * SPLICE_SERVICE_NUMBERS)

#define SPLICE_SERVICE_ENTRIES 128 /* from 1: each service, and each VIP once more without its port */
#define SPLICE_SERVICE_SLOTS_SHIFT 11
#define SPLICE_SERVICE_SLOTS (1U << SPLICE_SERVICE_SLOTS_SHIFT)

/* The services by VIP and port. Every new connection looks here, and no helper is called: user space has chosen
 * multipliers by which no two keys share a slot (multiply-shift hashing, Dietzfelbinger and others, 1997). */
struct splice_service_table {
	__u64 multipliers[3];
	__u8 slots[SPLICE_SERVICE_SLOTS]; /* the number of its key's entry; 0: none */
	struct splice_service_key keys[SPLICE_SERVICE_ENTRIES];
	struct splice_service_entry entries[SPLICE_SERVICE_ENTRIES];
};

SPLICE_INLINE __u32 splice_service_slot(const struct splice_service_table *table, const struct splice_address *vip,
					__u16 port)
{
	return (__u32)((vip->halves[0] * table->multipliers[0] + vip->halves[1] * table->multipliers[1] +
			port * table->multipliers[2]) >>
		       (64 - SPLICE_SERVICE_SLOTS_SHIFT));
}

/* NULL: not there. */
SPLICE_INLINE const struct splice_service_entry *splice_service_find(const struct splice_service_table *table,
								     const struct splice_address *vip, __u16 port)
{
	const __u32 number = table->slots[splice_service_slot(table, vip, port) & (SPLICE_SERVICE_SLOTS - 1)] &
			     (SPLICE_SERVICE_ENTRIES - 1);
	const struct splice_service_key *key = &table->keys[number];

	if (!number || key->port != port || !splice_address_equal(&key->vip, vip)) return 0;
	return &table->entries[number];
}

/* splice_bridge_entry.out, besides an interface's index. */
#define SPLICE_OUT_UNKNOWN 0 /* no next hop known: user space sends, and the kernel resolves */
#define SPLICE_OUT_BACK 0xffffffffU /* where the packet came from, by XDP_TX */
#define SPLICE_OUT_HERE 0xfffffffeU /* the bridge is on this host: up to its stack. The frame then comes from nobody: address 0 */

#define SPLICE_ROOM_UNKNOWN 0xffffffffU

struct splice_bridge_entry {
	struct splice_address address;
	__u32 link[3]; /* the Ethernet header as it stands: the next hop's address, then our interface's */
	__u32 out; /* interface to redirect to, or SPLICE_OUT_ */
	__u32 room; /* bytes from the IP header on that fit the route to it; SPLICE_ROOM_UNKNOWN */
	__u16 number; /* the fleet's number of it, 1 to 1018; 0: it has none */
	__u16 zero;
};

/* Lanes that a packet may name, one more than bridges' numbers: 0 is an old echo of bridge 1. */
#define SPLICE_LANE_SLOTS 1024
#define SPLICE_LANE_ASKS 0x8000 /* it is down for some service: user space knows for which */

#define SPLICE_MAX_UPLINKS 4
/* Devices above an uplink whose frames are ours, too. */
#define SPLICE_MAX_UPPER_MACS 8

/* MAC addresses are in the low 48 bits, as they stand in a frame. 0: none. */
struct splice_uplink {
	__u64 mac; /* the interface's own: other frames are not ours ... */
	__u64 upper_macs[SPLICE_MAX_UPPER_MACS]; /* ... but those to devices above it (macvlan, VRRP's) */
	__u32 interface; /* 0: there is none */
	__u32 zero;
};

struct splice_balancer_settings {
	struct splice_common_settings common;
	struct splice_service_table services[2]; /* one in use, one to write the next into */
	__u32 service_table; /* the one in use */
	__u32 redirects; /* a SYN-ACK goes back by a redirect to where the SYN came in, not by XDP_TX */
	__u32 several_uplinks; /* then a frame is ours only by the interface whose address it bears */
	__u32 zero;
	__u64 sample; /* the share of connections that are told of (sample.h) */
	struct splice_uplink uplinks[SPLICE_MAX_UPLINKS];
	/* The clocks. Jiffies are one load, where the kernel's own clocks are a call and a division for each packet. They
	 * follow the monotonic clock, so one pairing holds, exact to a fraction of a second in years. */
	__u64 jiffies; /* when the monotonic clock stood at ... */
	__u64 monotonic_s;
	__u64 seconds_per_jiffy; /* times 2^SPLICE_SECONDS_SHIFT */
	__u64 ms_per_jiffy; /* times 2^SPLICE_MS_SHIFT: exact for every HZ */
	struct splice_signs signs[SPLICE_SIGNS]; /* of each service's bridges; the places in `traffic` are the same */
	__u32 signs_of[SPLICE_SERVICE_NUMBERS]; /* by service number: where its bridges' signs begin, or SPLICE_NO_SIGNS */
	struct splice_own_addresses own; /* where health checks are answered */
	__u16 lanes[2][SPLICE_LANE_SLOTS]; /* IPv4, IPv6; by bridges' numbers: index + 1, or with SPLICE_LANE_ASKS; 0: nobody's */
	struct splice_bridge_state states[SPLICE_STATES]; /* by choice rules; one half is in use, as of the services */
	struct splice_hot_keys hot; /* of all services */
	struct splice_source_flows sources;
	struct splice_opening_times opened; /* user space opens, too */
	struct splice_source_rates rates;
	struct splice_service_flows service_flows;
	struct splice_denied_heads denied_heads;
	struct splice_guesses guesses; /* user space asks, too; the program alone counts */
};

/* Seconds of uptime: a product overflows after 8 years. */
#define SPLICE_SECONDS_SHIFT 36
#define SPLICE_MS_SHIFT 16

enum splice_ask_kind {
	SPLICE_ASK_ORPHAN, /* it may have overtaken its first payload */
	SPLICE_ASK_NEXT_HOP, /* its bridge's next hop is not known */
	SPLICE_ASK_TOO_BIG, /* larger than the way to its bridge */
	SPLICE_ASK_LATE, /* its cookie may have expired */
	SPLICE_KEEP_ALIVE, /* answered in the kernel, but within a budget, too */
	SPLICE_ASK_CHECK, /* it may answer a health check */
	SPLICE_SAMPLE, /* a copy of a first payload that was decided */
	SPLICE_ASK_LANE, /* its lane's bridge is down */
	SPLICE_ASK_BOUNCED, /* of a connection that its bridge does not have */
	SPLICE_ASK_BUDGETS,
};

struct splice_balancer_counters {
	struct splice_common_counters common;
	__u64 begun_without_timestamps; /* connections; of services with a keyed clock */
	__u64 lanes_disagree; /* connections whose client echoes the clock of another bridge than theirs */
	__u64 chosen_by_source; /* because the service's key is `source`: the packet's address or the PROXY header's */
	/* Of services that weigh their choices, by mark: where more than the first choice was looked at. The others are what
	 * `openings` has besides. */
	struct splice_choice_counts choices[SPLICE_CARRIAGE_MARKS];
	/* What strangers or one flow could flood user space with. */
	struct splice_budget budgets[SPLICE_ASK_BUDGETS];
};

#define SPLICE_ASKS_A_WINDOW 256
#define SPLICE_SAMPLES_A_WINDOW 64 /* 950 a second and processor */
#define SPLICE_KEEP_ALIVES_A_WINDOW 2048 /* 30,000 a second: of 1.4 million clients that wait and probe every 45 s */

#define SPLICE_TOLD_KEY_MAX 256

/* A bridge that was chosen in the kernel. */
struct splice_told_choice {
	struct splice_flow_key flow;
	__u64 hash;
	__u64 monotonic_ns;
	__u16 service; /* numbers */
	__u16 bridge;
	__u16 key_length; /* of all of it; its first SPLICE_TOLD_KEY_MAX bytes are here */
	__u8 rank; /* of the choices: 0 to 2 */
	__u8 by_source; /* 1: the key is a splice_address, the client's */
	__u8 key[SPLICE_TOLD_KEY_MAX];
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_told_choice) == 64 + SPLICE_TOLD_KEY_MAX, "a record without padding");

/* splice_asked.door. */
enum splice_asked_door {
	SPLICE_ASKED_TO_DECIDE,
	SPLICE_ASKED_TO_LOOK, /* the packet is decided, this is a copy for who counts */
};

/* The class of records beside SPLICE_ASKED_SHORT. */
#define SPLICE_ASKED_LONG 9216 /* jumbo frames */

#define SPLICE_MAX_BRIDGES 8192 /* numbers, of those that are gone too */

SPLICE_STATIC_ASSERT(2 * SPLICE_MAX_SERVICES < SPLICE_SERVICE_ENTRIES, "entries for all services and their addresses");
SPLICE_STATIC_ASSERT(2 * SPLICE_MAX_SERVICES < SPLICE_SERVICE_NUMBERS, "numbers for the services of two configurations");
SPLICE_STATIC_ASSERT(sizeof(struct splice_service_key) == 24, "service key without padding");
SPLICE_STATIC_ASSERT(sizeof(struct splice_bridge_entry) == 40, "bridge entry without padding");

SPLICE_HEADER_END
#endif /* LIBSPLICE_BPF_BALANCER_MAPS_H */
