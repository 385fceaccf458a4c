/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which of a row's three choices serves an opening, for the kernel program, user space and the simulation alike. The
 * row says who is preferred. What moves an opening away from its first choice is all here, in this order:
 *
 *   1. a bridge that takes no new flows is passed over, unless none of the row takes any
 *   2. a hot key goes to the less loaded of two of its first choices (power of two choices, Mitzenmacher 2001)
 *   3. warmup: a share of the openings goes to the second choice
 *   4. bounded load: a bridge with more load than its bound passes a share of what it is offered on to the next choice
 *      (Mirrokni, Thorup and Zadimoghaddam, SODA 2018). When all pass, the one that passes least takes it
 *
 * Everything that changes stands in one state a bridge and service, which user space writes (core/bridge_loads.hpp).
 * Chance is a draw from the flow's own cookie, so that an opening that is repeated chooses alike.
 */
#ifndef LIBSPLICE_DATAPATH_CHOICE_H
#define LIBSPLICE_DATAPATH_CHOICE_H

#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

/* States of all services together; a power of two. Bridge b of a service has the state `rule.states + b`. */
#define SPLICE_STATES 16384U

enum splice_bridge_state_flags {
	SPLICE_BRIDGE_TAKES_NONE = 1, /* no new flows, while another choice of the row takes them */
};

struct splice_bridge_state {
	__u32 load; /* openings lately, by its weight: what is compared. A hot key's opening adds to it at once */
	__u16 passes; /* of 65536 openings that it is offered it passes so many on */
	__u8 flags; /* enum splice_bridge_state_flags */
	__u8 zero;
};

/* Of a service. */
struct splice_choice_rule {
	__u32 states; /* where its bridges' states begin */
	__u16 warmup; /* of 65536 openings so many go to the second choice */
	__u8 spread; /* a hot key has so many first choices, 2 or 3; 0: no key is hot */
	__u8 weighs; /* 0: nothing of this, the first choice takes all */
};

/* Why it was not simply the first choice. */
enum splice_choice_why {
	SPLICE_CHOSE_FIRST,
	SPLICE_CHOSE_WARMUP, /* the second choice, to know the key */
	SPLICE_CHOSE_SPREAD, /* one of a hot key's choices, the first of the row perhaps */
	SPLICE_CHOSE_NEXT, /* who came first has passed it on */
	SPLICE_CHOSE_LEAST, /* all have passed it on: who passes least */
	SPLICE_CHOICE_WHYS,
};

struct splice_choice {
	__u8 rank; /* of the row: 0 to 2 */
	__u8 why; /* enum splice_choice_why */
	__u8 offered; /* bit r: the choice r was asked */
	__u8 zero;
};

/* 64 bits of chance out of the 24 of a cookie that nobody can guess (datapath/cookie.h). */
SPLICE_INLINE __u64 splice_choice_draw(__u32 cookie_high_24)
{
	const __u64 mixed = (cookie_high_24 + 1ULL) * 0x9e3779b97f4a7c15ULL;
	return (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9ULL;
}

/* The cookie's bits, from the first payload's acknowledged number and from its flow's entry. */
SPLICE_INLINE __u32 splice_choice_cookie(__u32 ack)
{
	return (ack - 1) >> 8;
}

SPLICE_INLINE __u32 splice_choice_cookie_of(const struct splice_flow_entry *entry)
{
	return (__u32)entry->cookie_high << 16 | entry->cookie;
}

SPLICE_INLINE const struct splice_bridge_state *splice_state_of(const struct splice_bridge_state *states,
								const struct splice_choice_rule *rule, __u16 bridge)
{
	return &states[(rule->states + bridge) & (SPLICE_STATES - 1)];
}

/* The draw's 16 bits for the rank: whether its bridge passes. */
SPLICE_INLINE __u16 splice_choice_chance(__u64 draw, __u32 rank)
{
	return (__u16)(draw >> (16 * (rank + 1)));
}

/* 1: the first choice takes every opening whose key is not hot, so that no chance has to be drawn. */
SPLICE_INLINE int splice_first_takes_all(const struct splice_bridge_state *first, const struct splice_choice_rule *rule)
{
	return !(first->passes | first->flags | rule->warmup);
}

/* 1: the first choice takes it, and nothing else has to be looked at. What nearly every opening needs. */
SPLICE_INLINE int splice_first_takes(const struct splice_bridge_state *first, const struct splice_choice_rule *rule,
				     __u64 draw, int hot)
{
	return !hot && !first->flags && (__u16)draw >= rule->warmup && splice_choice_chance(draw, 0) >= first->passes;
}

/* The less loaded of two of a hot key's first choices; `able` are the ranks that may take it. */
SPLICE_INLINE __u32 splice_spread_rank(const __u32 *loads, __u32 able, __u32 spread, __u64 draw)
{
	/* Of three, one is left out. */
	const __u32 left_out = spread < 3 ? 2 : (__u32)(((draw & 0xffff) * 3) >> 16);
	const __u32 two = able & ~(1U << left_out) & 7;
	const __u32 from = two ? two : able;
	__u32 best = 3;
	__u32 least = 0;

	SPLICE_UNROLL
	for (__u32 rank = 0; rank < SPLICE_CHOICES; rank++) {
		if (!(from >> rank & 1)) continue;
		if (best == 3 || loads[rank] < least || (loads[rank] == least && (draw >> 63))) {
			best = rank;
			least = loads[rank];
		}
	}
	return best;
}

/* Which rank of `row` takes the opening. The row's first choice is a bridge. */
SPLICE_INLINE struct splice_choice splice_choose(const struct splice_placement_row *row,
						 const struct splice_choice_rule *rule,
						 const struct splice_bridge_state *states, __u64 draw, int hot)
{
	struct splice_choice choice = { 0, SPLICE_CHOSE_FIRST, 1, 0 };
	__u32 loads[SPLICE_CHOICES] = { 0, 0, 0 };
	__u32 passes[SPLICE_CHOICES] = { 0, 0, 0 };
	__u32 able = 0;
	__u32 present = 0;
	__u32 asked = 0;
	__u32 rank;

	SPLICE_UNROLL
	for (rank = 0; rank < SPLICE_CHOICES; rank++) {
		if (row->choices[rank] == SPLICE_NO_BRIDGE) continue;
		const struct splice_bridge_state *state = splice_state_of(states, rule, row->choices[rank]);
		loads[rank] = state->load;
		passes[rank] = state->passes;
		present |= 1U << rank;
		if (!(state->flags & SPLICE_BRIDGE_TAKES_NONE)) able |= 1U << rank;
	}
	if (!able) able = present;

	rank = able & 1 ? 0 : able & 2 ? 1 : 2;
	if (hot && rule->spread >= 2) {
		rank = splice_spread_rank(loads, able, rule->spread, draw);
		choice.why = SPLICE_CHOSE_SPREAD;
	} else if ((__u16)draw < rule->warmup && (able & ~(1U << rank))) {
		const __u32 others = able & ~(1U << rank);
		rank = others & 1 ? 0 : others & 2 ? 1 : 2;
		choice.why = SPLICE_CHOSE_WARMUP;
	}

	choice.offered = 0;
	SPLICE_UNROLL
	for (__u32 step = 0; step < SPLICE_CHOICES; step++) {
		const __u32 limit = rank == 0 ? passes[0] : rank == 1 ? passes[1] : passes[2];
		asked |= 1U << rank;
		if (splice_choice_chance(draw, rank) >= limit) {
			choice.rank = (__u8)rank;
			choice.offered = (__u8)asked;
			return choice;
		}
		const __u32 others = able & ~asked;
		if (!others) break;
		choice.why = SPLICE_CHOSE_NEXT;
		rank = others & 1 ? 0 : others & 2 ? 1 : 2;
	}

	choice.why = SPLICE_CHOSE_LEAST;
	choice.offered = (__u8)asked;
	__u32 least = 0x10000;
	SPLICE_UNROLL
	for (rank = 0; rank < SPLICE_CHOICES; rank++) {
		if (!(able >> rank & 1) || passes[rank] >= least) continue;
		least = passes[rank];
		choice.rank = (__u8)rank;
	}
	return choice;
}

/* Whether the row is one of the share that `ramp: ...` moves to another way to choose: `ramp` of 65536 rows, and with a
 * greater share all of them again. */
SPLICE_INLINE int splice_ramp_moves(__u32 row, __u16 ramp)
{
	return (__u16)((row * 0x9e3779b1U) >> 16) < ramp;
}

/* What was chosen, for the counters; a service each. */
struct splice_choice_counts {
	__u64 ranks[SPLICE_CHOICES];
	__u64 whys[SPLICE_CHOICE_WHYS];
};

SPLICE_INLINE void splice_count_choice(struct splice_choice_counts *counts, struct splice_choice choice)
{
	if (choice.rank < SPLICE_CHOICES) counts->ranks[choice.rank]++;
	if (choice.why < SPLICE_CHOICE_WHYS) counts->whys[choice.why]++;
}

/* What a bridge was asked for and took; counts run on and wrap. */
struct splice_openings {
	__u32 offered;
	__u32 taken;
};

/* The first choice was offered it and took it, both in one addition (the numbers are little-endian). That `offered` wraps
 * adds one to `taken`, once in four billion. */
SPLICE_INLINE void splice_count_first(struct splice_openings *openings)
{
	splice_store64(openings, splice_load64(openings) + 0x100000001ULL);
}

SPLICE_STATIC_ASSERT(sizeof(struct splice_bridge_state) == 8, "a bridge's state is 8 bytes");
SPLICE_STATIC_ASSERT(sizeof(struct splice_choice_rule) == 8, "a choice rule is 8 bytes");

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_CHOICE_H */
