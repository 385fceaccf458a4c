/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the balancer's and the bridge's kernel programs have in common with their user space: secrets in two slots, the
 * wall clock, what every counter value begins with, budgets, and the records of the ring buffer. The user-space half is
 * engine/kernel_program. Included by both, mirrored by nobody.
 */
#ifndef LIBSPLICE_BPF_COMMON_MAPS_H
#define LIBSPLICE_BPF_COMMON_MAPS_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/verdicts.h"

SPLICE_HEADER_BEGIN

/* The head of a program's global `settings`, which both sides see in memory. */
struct splice_common_settings {
	struct splice_secret secrets[2]; /* one in use, one to write the next into */
	__u32 secret; /* the one in use: turned when the other is written whole */
	__u32 zero;
	__s64 unix_minus_monotonic_s; /* renewed by user space; right without it until the wall clock is set */
	__s64 unix_minus_monotonic_ms; /* likewise */
};

SPLICE_INLINE const struct splice_secret *splice_secret_in_use(const struct splice_common_settings *settings)
{
	return &settings->secrets[*(const volatile __u32 *)&settings->secret & 1];
}

/* The head of a program's counters, of which each processor has its own. Of the whole value user space adds up the words
 * that are sums; budgets come after those. */
struct splice_common_counters {
	__u64 verdicts[SPLICE_VERDICT_COUNT];
	__u64 asked; /* handed to user space, which counts their verdicts */
	__u64 untold; /* records that the ring `told` had no room for */
};

/* So much a window and processor. */
struct splice_budget {
	__u64 window;
	__u64 taken; /* in that window */
};

#define SPLICE_BUDGET_WINDOW_SHIFT 26 /* of nanoseconds: 67 ms */

/* 1: this window has less than `limit` so far; then one more is taken. `now_ns` may be coarse. */
SPLICE_INLINE int splice_budget_take(struct splice_budget *budget, __u64 now_ns, __u64 limit)
{
	const __u64 window = now_ns >> SPLICE_BUDGET_WINDOW_SHIFT;

	if (budget->window != window) {
		budget->window = window;
		budget->taken = 0;
	}
	if (budget->taken >= limit) return 0;
	budget->taken++;
	return 1;
}

/* A packet from its IP header on, out of the ring `asked`. The record is as long as its class, so that the ring is not
 * filled with the unused ends of long ones; `length` bytes of it are used. */
struct splice_asked {
	__u32 length;
	__u32 interface; /* that it came in or goes out by */
	__u8 hop[6]; /* the link address that it came from; of a packet that arrived */
	__u8 door; /* the program's own: from where */
	__u8 zero;
	__u8 bytes[];
};

#define SPLICE_ASKED_SHORT 2048 /* the class of nearly all */
#define SPLICE_ASKED_RING_BYTES (8U << 20)

SPLICE_STATIC_ASSERT(sizeof(struct splice_asked) == 16, "a record's head without padding");

/* Records for the connection log, in the ring `told`. */
#define SPLICE_TOLD_RING_BYTES (1U << 20)

SPLICE_HEADER_END

#if SPLICE_BPF
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SPLICE_ASKED_RING_BYTES);
} asked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SPLICE_TOLD_RING_BYTES);
} told SEC(".maps");
#endif

#endif /* LIBSPLICE_BPF_COMMON_MAPS_H */
