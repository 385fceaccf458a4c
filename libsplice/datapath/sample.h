/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which connections are in the sample of the connection log. Balancer and bridge decide it by the same numbers, the
 * cookie in the first payload's acknowledgement and the secret, so that a connection has a line at both or at neither.
 * A client knows its cookie, but not the secret: it can neither avoid nor reach the sample.
 */
#ifndef LIBSPLICE_DATAPATH_SAMPLE_H
#define LIBSPLICE_DATAPATH_SAMPLE_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

#define SPLICE_SAMPLE_ALL (1ULL << 32) /* a share of all connections */

/* 1: the connection is in a sample of `share`, which is times 2^32. `cookie_high_24`: the cookie without its options byte
 * (splice_choice_cookie()). The mixing is MurmurHash3's end (Austin Appleby). */
SPLICE_INLINE int splice_in_sample(const struct splice_secret *secret, __u32 cookie_high_24, __u64 share)
{
	__u64 mixed = (cookie_high_24 + secret->lane.words[0]) ^ secret->lane.words[1];

	mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdULL;
	mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53ULL;
	return (mixed >> 32) < share;
}

/* How a connection of the sample ended. */
enum splice_connection_end {
	SPLICE_END_FIN, /* both sides have closed; of an adopted one, its backend's host is done with it */
	SPLICE_END_RESET, /* a RST, of either side */
	SPLICE_END_TIMEOUT, /* adopted: the kernel gave up sending */
	SPLICE_END_IDLE, /* translated: nobody said anything for the idle time-out */
	SPLICE_END_REPLACED, /* translated: its client began another one on the same ports */
	SPLICE_END_SERVICE_GONE, /* translated: a reload has taken its service away */
	SPLICE_CONNECTION_ENDS,
};

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SAMPLE_H */
