/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What crowd.bpf.c and its user space tell each other. Client number n has the address whose last two bytes are n
 * modulo the number of hosts, the port 1024 + the quotient, an ISN by multiplication, and asks for a URL with its number in letters.
 */
#ifndef TESTS_SUPPORT_CLIENT_CROWD_CROWD_H
#define TESTS_SUPPORT_CLIENT_CROWD_CROWD_H

#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/flow.h"

#define CROWD_FRAME_MAX 256
#define CROWD_FIRST_PORT 1024
#define CROWD_ISN_FACTOR 2654435761U
/* Behind the TCP header with its timestamps and "GET /crowds/": eight letters. */
#define CROWD_NAME_OFFSET (32 + 12)

enum crowd_step {
	CROWD_FLOOD, /* SYNs of which nobody remembers the answer */
	CROWD_SYN,
	CROWD_FIRST, /* the first payload */
	CROWD_NEXT, /* the segment behind it */
};

/* A frame in which the client's own numbers, and the checksums, are zeros. The sums are those of the rest. */
struct crowd_frame {
	__u32 length;
	__u32 family;
	splice_sum ip_sum;
	splice_sum tcp_sum; /* with the pseudo header */
	__u8 bytes[CROWD_FRAME_MAX];
};

struct crowd_settings {
	struct crowd_frame frame;
	struct splice_address prefix; /* of all clients, the last two bytes 0 */
	__u32 interface; /* that leads to the balancer */
	__u32 step; /* enum crowd_step */
	__u32 first, count; /* the clients that speak */
	__u32 next; /* of them */
	__u32 round; /* who has its answer of this round is silent */
	__u32 seq_offset; /* from the ISN */
	__u32 dscp; /* of what a balancer forwards */
	__u32 hosts; /* addresses that the clients have, at most 65,536 */
	__u32 zero;
	__u64 sent;
	__u64 answered; /* SYN-ACKs */
	__u64 forwarded; /* packets toward the bridge that the client's earlier ones went to */
	__u64 strayed; /* toward another one, or without the mark */
};

struct crowd_client {
	__u32 cookie; /* the SYN-ACK's seq */
	__u32 bridge; /* the last word of its address */
	__u32 answered_in; /* the round, from 1; 0: never */
	__u32 zero;
};

#endif /* TESTS_SUPPORT_CLIENT_CROWD_CROWD_H */
