/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Guesses at cookies. A first payload without timestamps proves its handshake by the 24 bits of its cookie alone
 * (docs/cookie.md), so what fails has a budget of each second: of its source, of its network and of all. Where one is used up,
 * no first payload without timestamps is believed until the next second.
 */
#ifndef LIBSPLICE_DATAPATH_GUESSES_H
#define LIBSPLICE_DATAPATH_GUESSES_H

#include "libsplice/datapath/source.h"

SPLICE_HEADER_BEGIN

enum splice_guess_scope {
	SPLICE_GUESS_SOURCE, /* IPv4 address, IPv6 /64 */
	SPLICE_GUESS_NETWORK, /* IPv4 /16, IPv6 /48 */
	SPLICE_GUESS_ALL,
	SPLICE_GUESS_SCOPES,
};

struct splice_guess_limits {
	__u32 a_second[SPLICE_GUESS_SCOPES]; /* 0: none */
};

struct splice_guesses {
	struct splice_source_key key;
	struct splice_guess_limits limits;
	__u32 last_s; /* when the last guess came; 0: never */
	__u64 noted;
	__u64 exhausted[SPLICE_GUESS_SCOPES]; /* budgets that were used up, each once a second */
	__u64 all; /* these three as splice_second_count() reads them */
	__u64 sources[SPLICE_SOURCE_PLACES];
	__u64 networks[SPLICE_SOURCE_PLACES];
};

SPLICE_INLINE __u32 splice_guess_network(const struct splice_guesses *guesses, const struct splice_address *client)
{
	const struct splice_source_prefix prefix = SPLICE_ONE_NETWORK;

	return splice_source_place_of(&guesses->key, client, prefix);
}

SPLICE_INLINE void splice_guess_take(struct splice_guesses *guesses, enum splice_guess_scope scope, __u64 *count,
				     __u32 now_s)
{
	if (splice_second_add(count, now_s, guesses->limits.a_second[scope]))
		__sync_fetch_and_add(&guesses->exhausted[scope], 1);
}

/* The client has sent a first payload without timestamps that acknowledges no cookie. `now_s`: the monotonic clock. */
SPLICE_INLINE void splice_guess_note(struct splice_guesses *guesses, const struct splice_address *client, __u32 now_s)
{
	const __u32 source = splice_source_place(&guesses->key, client) & (SPLICE_SOURCE_PLACES - 1);
	const __u32 network = splice_guess_network(guesses, client) & (SPLICE_SOURCE_PLACES - 1);

	if (guesses->last_s != now_s) guesses->last_s = now_s;
	__sync_fetch_and_add(&guesses->noted, 1);
	splice_guess_take(guesses, SPLICE_GUESS_SOURCE, &guesses->sources[source], now_s);
	splice_guess_take(guesses, SPLICE_GUESS_NETWORK, &guesses->networks[network], now_s);
	splice_guess_take(guesses, SPLICE_GUESS_ALL, &guesses->all, now_s);
}

/* 1: nobody has guessed in this second. */
SPLICE_INLINE int splice_guesses_rest(const struct splice_guesses *guesses, __u32 now_s)
{
	return guesses->last_s != now_s;
}

SPLICE_INLINE int splice_guess_is_within(const struct splice_guesses *guesses, enum splice_guess_scope scope, __u64 count,
					 __u32 now_s)
{
	const __u32 limit = guesses->limits.a_second[scope];

	return !limit || splice_second_count(count, now_s) < limit;
}

/* Whether a first payload without timestamps of that client is believed, when its cookie is right. */
SPLICE_INLINE int splice_guesses_allow(const struct splice_guesses *guesses, const struct splice_address *client, __u32 now_s)
{
	if (splice_guesses_rest(guesses, now_s)) return 1;
	const __u32 source = splice_source_place(&guesses->key, client) & (SPLICE_SOURCE_PLACES - 1);
	const __u32 network = splice_guess_network(guesses, client) & (SPLICE_SOURCE_PLACES - 1);
	return splice_guess_is_within(guesses, SPLICE_GUESS_ALL, guesses->all, now_s) &&
	       splice_guess_is_within(guesses, SPLICE_GUESS_NETWORK, guesses->networks[network], now_s) &&
	       splice_guess_is_within(guesses, SPLICE_GUESS_SOURCE, guesses->sources[source], now_s);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_GUESSES_H */
