/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who talks to whom: the key of every flow table, in user space and in kernel maps alike, and the balancer's
 * entry behind it.
 */
#ifndef LIBSPLICE_DATAPATH_FLOW_H
#define LIBSPLICE_DATAPATH_FLOW_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

/* An IPv6 address, or an IPv4 address mapped as ::ffff:a.b.c.d; network order. */
struct splice_address {
	union {
		__u8 bytes[16];
		__u32 words[4]; /* network order */
		__u64 halves[2]; /* network order */
	};
};

/* Where a packet comes from and where it goes, as its headers say. Which end is the client's depends on the packet's
 * direction: splice_flow_toward_server() and splice_flow_toward_client() make a flow's key of it. */
struct splice_ends {
	struct splice_address source;
	struct splice_address destination;
	__u16 source_port; /* network order; 0 unless it is TCP */
	__u16 destination_port; /* network order; 0 unless it is TCP */
	__u32 zero; /* always 0 */
};

/* Who talks to whom, the same for packets of both directions. 40 bytes without padding: compared and hashed as they
 * are. */
struct splice_flow_key {
	struct splice_address client;
	struct splice_address server; /* the service's VIP; on a bridge's backend side, the backend's address */
	__u16 client_port; /* network order */
	__u16 server_port; /* network order */
	__u32 zero; /* always 0 */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_flow_key) == 40, "the flow key is 40 bytes, as maps and tables expect");
SPLICE_STATIC_ASSERT(sizeof(struct splice_ends) == sizeof(struct splice_flow_key),
		     "the ends of a client's packet are its flow's key");

SPLICE_INLINE void splice_address_from_ipv4(struct splice_address *to, __u32 network_order)
{
	/* Whole words: what is compared and hashed next would wait for two that it reads as one. */
	to->halves[0] = 0;
	to->halves[1] = (__u64)network_order << 32 | splice_htonl(0x0000ffff);
}

SPLICE_INLINE int splice_address_is_ipv4(const struct splice_address *address)
{
	return address->halves[0] == 0 && address->words[2] == splice_htonl(0x0000ffff);
}

SPLICE_INLINE int splice_address_equal(const struct splice_address *a, const struct splice_address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

/* Both ports, `ports` as they are at the head of a TCP header: the source's first. */
SPLICE_INLINE void splice_ends_set_ports(struct splice_ends *ends, __u32 ports)
{
	splice_store64(&ends->source_port, ports); /* and zero */
}

/* A service's own number: the key in tables, maps and flow entries. The balancer gives them out, and a bridge its own. */
#define SPLICE_NO_SERVICE 0
#define SPLICE_SERVICE_NUMBERS 1024 /* 1 to 1023 are services' */

/* How a service's packets are marked on the way to a bridge; what it means is carriage.h's alone. */
struct splice_carriage {
	__u8 kind;
	__u8 mark; /* less than 64 */
};

/* The balancer's state of a flow (docs/flow_entry.md). */
enum splice_flow_state {
	SPLICE_FLOW_NONE = 0, /* no entry */
	SPLICE_FLOW_PENDING = 1, /* first payload incomplete: user space holds it */
	SPLICE_FLOW_OPEN = 2, /* the bridge is chosen */
	SPLICE_FLOW_REFUSED = 3, /* every choice refused: answered by us, the entry only ends it */
	SPLICE_FLOW_ENDED = 4, /* its bridge is down: the client's next packet is answered with RST */
	SPLICE_FLOW_STRANDED = 5, /* open without an answer, and its bridge is silent: a repeat is chosen anew */
};

enum splice_flow_flags {
	SPLICE_FLOW_REOPENED = 1, /* a SYN came after the entry: a payload with a valid cookie is chosen anew */
	SPLICE_FLOW_ANSWERED = 2, /* the client acknowledged a byte of the server: a refusal now is late */
	SPLICE_FLOW_CLIENT_FIN = 4, /* the client has sent FIN */
	SPLICE_FLOW_RESET = 8, /* the last packet was a RST: the client's, or forged */
	/* Packets after the client's FIN, at most 3. The end of a connection takes one or two; more of them acknowledge an
	 * answer that still comes. */
	SPLICE_FLOW_AFTER_FIN = 0x30,
	SPLICE_FLOW_ONE_AFTER_FIN = 0x10,
	SPLICE_FLOW_LANED = 0x40, /* the client echoes the clock of its own bridge: it is found without an entry (lane.h) */
};

/* A flow that is not open: so many of its packets go to user space. */
#define SPLICE_ASKS_A_FLOW 128

#define SPLICE_ROW_MASK 0xffffffU /* a placement table has at most 2^24 rows */

/* The balancer's entry: one bridge index and what expiry and a refusal need. */
struct splice_flow_entry {
	__u32 last_seen_s; /* seconds of the monotonic clock */
	__u32 row : 24; /* of the placement table: where the next choices stand. Not open: packets that user space was asked */
	__u32 cookie_high : 8; /* bits 31..24 of the connection's cookie: with first_ack, whether a cookie is its own */
	__u16 bridge; /* index into the bridge table */
	__u16 service; /* the service's number */
	struct splice_carriage carriage; /* the service's when the flow began: a flow keeps it, for routers may hash marks */
	__u16 cookie; /* bits 23..8 of the connection's cookie; with SPLICE_FLOW_REOPENED, of the last SYN's */
	__u8 flags; /* enum splice_flow_flags */
	__u8 state : 4; /* enum splice_flow_state */
	__u8 tries : 4; /* choices taken so far, 1 to 3, and times 4 which of the row was the first: splice_tries_from() */
	__u8 first_ack; /* of the first payload's ack, its low two bytes folded: another one shows an answer */
	__u8 first_seq; /* likewise of its sequence number: the same one may be a repeat. 0 in entries of earlier programs */
	__u32 seq; /* about where the client's sequence numbers are: splice_flow_end_is_likely(). 0 in entries of earlier programs */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_flow_entry) == 24, "the balancer's flow entry is 24 bytes, as much as the kernel gives 20");

/* Whether it has a bridge that its packets go to. */
SPLICE_INLINE int splice_flow_is_open(const struct splice_flow_entry *entry)
{
	return entry->state == SPLICE_FLOW_OPEN || entry->state == SPLICE_FLOW_STRANDED;
}

/* Choices in a row of the placement table, and so the most tries of a first payload. */
#define SPLICE_CHOICES 3
/* In a row: fewer bridges than choices. */
#define SPLICE_NO_BRIDGE 0xffff

struct splice_placement_row {
	__u16 choices[SPLICE_CHOICES]; /* indices into the bridge table, SPLICE_NO_BRIDGE behind the last */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_placement_row) == 6, "a placement row is 6 bytes");

/* splice_flow_entry.tries of a flow that began with the row's choice `rank`. */
SPLICE_INLINE __u8 splice_tries_from(__u32 rank)
{
	return (__u8)((rank << 2 | 1) & 15);
}

/* Which of the row's choices is the bridge; SPLICE_CHOICES: none. */
SPLICE_INLINE __u32 splice_rank_of(const struct splice_placement_row *row, __u16 bridge)
{
	return row->choices[0] == bridge ? 0 : row->choices[1] == bridge ? 1 : row->choices[2] == bridge ? 2 : SPLICE_CHOICES;
}

/* A flow that began with the choice `first` takes the others in the row's order. Its choice `number`, from 0;
 * SPLICE_NO_BRIDGE where there is none. */
SPLICE_INLINE __u16 splice_choice_after(const struct splice_placement_row *row, __u32 first, __u32 number)
{
	const __u32 rank = number == 0 ? first : number - 1 + (number - 1 >= first);
	return rank == 0 ? row->choices[0] :
	       rank == 1 ? row->choices[1] :
	       rank == 2 ? row->choices[2] :
			   SPLICE_NO_BRIDGE;
}

/* The entry's bridge has refused: the flow goes to the next choice of its row, which is returned; SPLICE_NO_BRIDGE and
 * no change when all have refused. A row that a reload has changed meanwhile is begun anew, less that bridge. */
SPLICE_INLINE __u16 splice_flow_take_next_choice(struct splice_flow_entry *entry,
						 const struct splice_placement_row *row)
{
	__u32 first = entry->tries >> 2;
	__u32 number = entry->tries & 3;
	__u16 next;

	if (number == 0 || splice_choice_after(row, first, number - 1) != entry->bridge) {
		first = splice_rank_of(row, entry->bridge);
		number = first < SPLICE_CHOICES;
		if (!number) first = 0;
	}
	next = splice_choice_after(row, first, number);
	if (next == SPLICE_NO_BRIDGE) return next;
	entry->bridge = next;
	entry->tries = (__u8)((first << 2 | (number + 1)) & 15);
	return next;
}

/* The row of a hash in a table of `rows` rows (1 to 2^32-1): the hash's top bits where rows is a power of
 * two, and as even for any other number. */
SPLICE_INLINE __u32 splice_placement_row_of(__u64 hash, __u32 rows)
{
	return (__u32)(((hash >> 32) * rows) >> 32);
}

/* Seconds without a packet after which an entry goes, by what the client has said last. */
struct splice_idle_timeouts {
	__u32 open_s; /* idle_timeout: 15 minutes unless configured */
	__u32 closing_s; /* after a RST, and after the end of both sides */
	__u32 half_closed_s; /* after the client's FIN, while there is room: the server may think for long */
};

/* What a silent flow waits for. */
enum splice_silence {
	SPLICE_SILENCE_OPEN, /* the next request */
	SPLICE_SILENCE_LANED, /* the same, of a flow that needs no entry */
	SPLICE_SILENCE_UNANSWERED, /* the server's first answer */
	SPLICE_SILENCE_HALF_CLOSED, /* the server's answer or end: the client has sent FIN */
	SPLICE_SILENCE_CLOSING, /* the end: after a RST, or of a flow that never got a bridge */
	SPLICE_SILENCES,
};

SPLICE_INLINE enum splice_silence splice_flow_silence(const struct splice_flow_entry *entry)
{
	if (entry->flags & SPLICE_FLOW_RESET) return SPLICE_SILENCE_CLOSING;
	/* An ended one is kept as long as an open one: its client may be silent for long before it is told. */
	if (!splice_flow_is_open(entry) && entry->state != SPLICE_FLOW_ENDED) return SPLICE_SILENCE_CLOSING;
	if (!(entry->flags & SPLICE_FLOW_CLIENT_FIN)) {
		if (entry->flags & SPLICE_FLOW_LANED) return SPLICE_SILENCE_LANED;
		return entry->flags & SPLICE_FLOW_ANSWERED || entry->state == SPLICE_FLOW_ENDED ? SPLICE_SILENCE_OPEN :
												 SPLICE_SILENCE_UNANSWERED;
	}
	/* The client goes on acknowledging: as long as an open flow's. */
	if ((entry->flags & SPLICE_FLOW_AFTER_FIN) == SPLICE_FLOW_AFTER_FIN) return SPLICE_SILENCE_OPEN;
	return SPLICE_SILENCE_HALF_CLOSED;
}

/* How full a flow table is: the fuller, the sooner the silent make room. */
enum splice_pressure {
	SPLICE_PRESSURE_NONE,
	SPLICE_PRESSURE_SOME, /* more than half full: who needs no entry, or has sent FIN */
	SPLICE_PRESSURE_HIGH, /* three quarters: who waits for a first answer, too; and a source has its share at most */
	SPLICE_PRESSURE_FULL, /* 95 %: who needs no entry goes whether it is silent or not */
};

SPLICE_INLINE enum splice_pressure splice_pressure_of(__u64 flows, __u64 capacity)
{
	if (flows * 100 >= capacity * 95) return SPLICE_PRESSURE_FULL;
	if (flows * 4 >= capacity * 3) return SPLICE_PRESSURE_HIGH;
	return flows * 2 > capacity ? SPLICE_PRESSURE_SOME : SPLICE_PRESSURE_NONE;
}

/* Seconds of silence under pressure, at most. */
#define SPLICE_LANED_SILENCE_S 10
#define SPLICE_END_SILENCE_S 10
#define SPLICE_UNANSWERED_SILENCE_S 10
#define SPLICE_UNANSWERED_SILENCE_FULL_S 2

SPLICE_INLINE __u32 splice_silence_limit_s(enum splice_silence silence, const struct splice_idle_timeouts *timeouts,
					   enum splice_pressure pressure)
{
	const int high = pressure >= SPLICE_PRESSURE_HIGH;
	const int full = pressure == SPLICE_PRESSURE_FULL;
	__u32 configured = timeouts->open_s;
	__u32 most = timeouts->open_s;

	switch (silence) {
	case SPLICE_SILENCE_OPEN:
		if (high) most = full ? timeouts->closing_s : timeouts->open_s / 4;
		break;
	case SPLICE_SILENCE_LANED:
		if (pressure) most = full ? 0 : SPLICE_LANED_SILENCE_S;
		break;
	case SPLICE_SILENCE_UNANSWERED:
		if (high) most = full ? SPLICE_UNANSWERED_SILENCE_FULL_S : SPLICE_UNANSWERED_SILENCE_S;
		break;
	case SPLICE_SILENCE_HALF_CLOSED:
		configured = timeouts->half_closed_s;
		most = high ? SPLICE_END_SILENCE_S : pressure ? timeouts->closing_s : configured;
		break;
	default:
		configured = timeouts->closing_s;
		most = high ? SPLICE_END_SILENCE_S : configured;
		break;
	}
	return most < configured ? most : configured;
}

/* splice_source_flows.share of a table of that capacity, while pressure is high and for so long after: what makes room
 * would only be a flood's to fill again. Meanwhile the silent go as under high pressure, else what a source has closed would
 * count against what it opens. */
#define SPLICE_SOURCE_SHARE_S 60

SPLICE_INLINE enum splice_pressure splice_pressure_with_shares(enum splice_pressure pressure, __u32 share)
{
	return share && pressure < SPLICE_PRESSURE_HIGH ? SPLICE_PRESSURE_HIGH : pressure;
}

SPLICE_INLINE __u32 splice_source_share(__u64 capacity)
{
	return (__u32)(capacity / 64 + 1);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_FLOW_H */
