/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Segments that we make ourselves: the balancer's SYN-ACK, the bridge's replayed SYN, RSTs. Written whole into
 * a local buffer from IP header to options, checksums finished; the caller adds what stands before IP.
 */
#ifndef LIBSPLICE_DATAPATH_SEGMENT_H
#define LIBSPLICE_DATAPATH_SEGMENT_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/parse.h"

SPLICE_HEADER_BEGIN

/* IPv6 header, TCP header, 20 bytes of options. */
#define SPLICE_SEGMENT_MAX 80

struct splice_segment {
	__u8 bytes[SPLICE_SEGMENT_MAX]; /* aligned: 16-bit words are summed in place */
	__u32 length; /* used of them */
} __attribute__((aligned(8)));

/* What the balancer says of itself in a SYN-ACK. */
struct splice_syn_ack_terms {
	__u16 mss; /* the service's, for this family */
	__u16 window; /* never scaled in a SYN-ACK (RFC 7323 section 2.2) */
	__u8 window_scale; /* the service's, said only to a client that offered one */
	__u8 zero[3];
	__u32 tsval; /* this host's millisecond clock */
};

/* The SYN-ACK for `syn`: addresses and ports swapped, seq = cookie, ack = the SYN's seq + 1 (data on the SYN is
 * not acknowledged), no ECN bit, TTL 64, and of the options only those offered out of MSS, SACK-permitted,
 * timestamps (TSecr = the SYN's TSval) and window scale. MSS is always said. */
SPLICE_INLINE void splice_write_syn_ack(struct splice_segment *out, const struct splice_packet *syn,
					const struct splice_tcp_options *offered, __u32 cookie,
					const struct splice_syn_ack_terms *terms);

/* The SYN with which a bridge replays the client's handshake to the backend: source the client, destination
 * `backend`; the cookie's options; timestamps when `tsval_present`, with TSecr 0; window as given (not scaled). */
SPLICE_INLINE void splice_write_replay_syn(struct splice_segment *out, const struct splice_flow_key *backend_flow,
					   __u32 family, __u32 client_isn, __u16 window,
					   const struct splice_negotiated *negotiated, int tsval_present, __u32 tsval);

/* The RST that answers `packet` as a closed port would (RFC 9293 section 3.10.7.1), from the packet's destination
 * to its source: seq = its ack when it has one, else seq 0 and ACK of all it sent. Nothing answers a RST: then
 * length is 0. */
SPLICE_INLINE void splice_write_rst(struct splice_segment *out, const struct splice_packet *packet);

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_SEGMENT_H */
