/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bridge's rule for each marked segment (docs/design.md), once, for the portable machine and the kernel
 * program.
 */
#ifndef LIBSPLICE_DATAPATH_BRIDGE_RULES_H
#define LIBSPLICE_DATAPATH_BRIDGE_RULES_H

#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/verdicts.h"

SPLICE_HEADER_BEGIN

enum splice_bridge_step {
	SPLICE_BRIDGE_DROP, /* with `verdict` */
	SPLICE_BRIDGE_DELIVER, /* to the flow or socket that exists */
	SPLICE_BRIDGE_OPEN, /* a new connection; `negotiated` says its options */
	SPLICE_BRIDGE_REOPEN, /* the same in the place of an old one, which is cleared first */
	SPLICE_BRIDGE_BOUNCE, /* a new connection that cannot begin here, with `verdict`: to its next choice */
	SPLICE_BRIDGE_UNKNOWN, /* of no connection here: back, once it is sure that it overtook no first payload */
};

/* What the host knows of the segment's addresses and ports. */
enum splice_bridge_known {
	SPLICE_KNOWN_NOTHING,
	SPLICE_KNOWN_SAME, /* a connection that began with this segment's own seq and ack numbers */
	SPLICE_KNOWN_NEXT, /* a connection of which exactly this seq is the next: no cookie need be looked for */
	SPLICE_KNOWN_OTHER, /* a connection that began with other numbers: mostly this one's, later in its life */
	SPLICE_KNOWN_ALIEN, /* a connection that is hardly this one: far numbers, or the client echoes another bridge's clock */
	SPLICE_KNOWN_IN_USE, /* another service's connection: a backend of both cannot tell them apart */
};

struct splice_bridge_decision {
	enum splice_bridge_step step;
	enum splice_verdict verdict; /* for SPLICE_BRIDGE_DROP and SPLICE_BRIDGE_BOUNCE */
};

/* What a translated flow (NULL: none) is to a segment of the client's for the service of that number. A flow of another
 * service may be over, or not: nothing in it says so. The next connection may begin at the very number that the last one
 * came to, so of an alien the seq alone says nothing. */
SPLICE_INLINE enum splice_bridge_known splice_bridge_known_flow(const struct splice_bridge_flow *flow,
								 const struct splice_packet *packet, __u16 service)
{
	if (!flow) return SPLICE_KNOWN_NOTHING;
	if (flow->service != service) return SPLICE_KNOWN_IN_USE;
	if (packet->seq - 1 == flow->client_isn && packet->ack - 1 == flow->cookie_isn) return SPLICE_KNOWN_SAME;
	if (splice_bridge_is_alien(flow, packet)) return SPLICE_KNOWN_ALIEN;
	return packet->seq == flow->client_next ? SPLICE_KNOWN_NEXT : SPLICE_KNOWN_OTHER;
}

enum splice_socket_kind {
	SPLICE_SOCKET_NONE, /* or one that listens */
	SPLICE_SOCKET_CONNECTION,
	SPLICE_SOCKET_TIME_WAIT,
	SPLICE_SOCKET_HANDSHAKE, /* somebody has begun one with the backend itself */
};

/* The kernel's socket of a marked segment's addresses and ports, when connections are adopted. */
struct splice_socket_facts {
	enum splice_socket_kind kind;
	__u32 next; /* RCV.NXT of a connection (RFC 9293 section 3.3.1) */
	__u32 first_seq; /* the seq and ack numbers of a connection's first segment */
	__u32 first_ack;
	int of_service; /* 0: of another service's connection, or of one that the backend accepted by itself */
};

/* 1 when nobody needs to ask whose socket it is: nearly every segment is the next one of its connection. */
SPLICE_INLINE int splice_bridge_is_next_of(const struct splice_socket_facts *socket,
					   const struct splice_packet *packet)
{
	return socket->kind == SPLICE_SOCKET_CONNECTION && packet->seq == socket->next;
}

/* What the socket is to the segment. `of_service` need not be known where splice_bridge_is_next_of() says 1. */
SPLICE_INLINE enum splice_bridge_known splice_bridge_known_socket(const struct splice_socket_facts *socket,
								  const struct splice_packet *packet)
{
	if (socket->kind == SPLICE_SOCKET_NONE) return SPLICE_KNOWN_NOTHING;
	/* A valid cookie may take the place of what only waits for its end, whose it was. */
	if (socket->kind == SPLICE_SOCKET_TIME_WAIT) return SPLICE_KNOWN_OTHER;
	if (socket->kind == SPLICE_SOCKET_HANDSHAKE) return SPLICE_KNOWN_SAME; /* left to it */
	if (splice_bridge_is_next_of(socket, packet)) return SPLICE_KNOWN_NEXT;
	if (!socket->of_service) return SPLICE_KNOWN_IN_USE;
	return packet->seq == socket->first_seq && packet->ack == socket->first_ack ? SPLICE_KNOWN_SAME :
										      SPLICE_KNOWN_OTHER;
}

/* 1 for an unmarked first payload that a balancer of ours has sent: its cookie says so, `packet` being addressed to the
 * VIP again. */
SPLICE_INLINE int splice_bridge_mark_lost(const struct splice_packet *packet, const struct splice_secret *secret,
					  __u64 unix_s)
{
	struct splice_negotiated negotiated;

	return packet->payload_length &&
	       (packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_RST)) == SPLICE_ACK &&
	       splice_cookie_check_segment(secret, packet, unix_s, &negotiated);
}

/* The first TSval that the client gets on a connection that begins, whose flow has the hash H (lane.h): its lane's, where
 * this bridge has a number (else 0) and the SYN-ACK's clock, which the first segment echoes with `tsecr`, carried the
 * cookie's proof. Otherwise that clock goes on. */
SPLICE_INLINE __u32 splice_bridge_first_tsval(__u32 hash, __u32 tsecr, __u16 proof, __u32 number, __u32 unix_ms)
{
	if (!number || !splice_clock_proves(hash, proof, tsecr, unix_ms)) return tsecr;
	return splice_lane_begin(hash, number, unix_ms);
}

/* H (lane.h) of a segment that was marked for us: its flow is the client's and the VIP's, to which the client sent it. */
SPLICE_INLINE __u32 splice_bridge_lane_hash(const struct splice_packet *packet, const struct splice_address *vip,
					    const struct splice_secret *secret)
{
	const struct splice_ends *ends = &packet->ends;

	return splice_lane_hash_of(&secret->lane, &ends->source, vip, ends->source_port, ends->destination_port);
}

/* The lane that its timestamps name; SPLICE_NO_LANE. */
SPLICE_INLINE __u32 splice_bridge_lane(const struct splice_packet *packet, const struct splice_tcp_options *options,
				       const struct splice_address *vip, const struct splice_secret *secret, __u32 unix_ms)
{
	if (!options->timestamps_offset) return SPLICE_NO_LANE;
	return splice_lane_of(splice_bridge_lane_hash(packet, vip, secret), options->tsecr, unix_ms);
}

/* What is known, where the client echoes a clock: another bridge's is another connection's, on the same ports at another time.
 * `lane` is asked for only where splice_bridge_asks_for_lane() says so; `number`: this bridge's; `laned`: the
 * known connection has this bridge's clock. One that has not (timestamps: plain) echoes a number that means nothing, and names
 * somebody one time in four. A lane key that was derived
 * from the cookies' goes with them: by the next one a living connection's clock may look like anybody's. */
SPLICE_INLINE int splice_bridge_asks_for_lane(enum splice_bridge_known known, int laned, const struct splice_secret *secret,
					      __u32 number)
{
	return known == SPLICE_KNOWN_OTHER && laned && number && !secret->lane_is_derived;
}

SPLICE_INLINE enum splice_bridge_known splice_bridge_known_by_lane(enum splice_bridge_known known, __u32 lane, __u32 number)
{
	return splice_lane_compare(lane, number) == SPLICE_LANE_DISAGREES ? SPLICE_KNOWN_ALIEN : known;
}

SPLICE_INLINE struct splice_bridge_decision splice_bridge_decide(const struct splice_packet *packet,
								  enum splice_bridge_known known,
								  const struct splice_secret *secret, __u64 unix_s,
								  struct splice_negotiated *negotiated)
{
	struct splice_bridge_decision decision = { SPLICE_BRIDGE_DROP, SPLICE_CONTINUE };
	int valid;

	if (packet->tcp_flags & SPLICE_SYN) {
		decision.verdict = (packet->tcp_flags & SPLICE_ACK) ? SPLICE_drop_bad_tcp_flags : SPLICE_drop_marked_syn;
		return decision;
	}
	valid = known != SPLICE_KNOWN_SAME && known != SPLICE_KNOWN_NEXT &&
		(packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK &&
		splice_cookie_check_segment(secret, packet, unix_s, negotiated);
	if (valid) {
		decision.step = known == SPLICE_KNOWN_NOTHING ? SPLICE_BRIDGE_OPEN :
				known == SPLICE_KNOWN_IN_USE  ? SPLICE_BRIDGE_BOUNCE :
								SPLICE_BRIDGE_REOPEN;
		if (decision.step == SPLICE_BRIDGE_BOUNCE) decision.verdict = SPLICE_bounce_tuple_in_use;
		return decision;
	}
	switch (known) {
	case SPLICE_KNOWN_SAME:
	case SPLICE_KNOWN_NEXT:
	case SPLICE_KNOWN_OTHER: decision.step = SPLICE_BRIDGE_DELIVER; break;
	case SPLICE_KNOWN_ALIEN: decision.step = SPLICE_BRIDGE_UNKNOWN; break;
	case SPLICE_KNOWN_IN_USE: decision.verdict = SPLICE_drop_backend_tuple_in_use; break;
	case SPLICE_KNOWN_NOTHING:
		/* RFC 9293 never answers a RST. We also ignore segments without ACK. */
		if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK)
			decision.step = SPLICE_BRIDGE_UNKNOWN;
		else
			decision.verdict = SPLICE_drop_bad_cookie;
		break;
	}
	return decision;
}

/* What becomes of the decision while the bridge is leaving: what is open goes on, and nothing is opened any more. */
SPLICE_INLINE struct splice_bridge_decision splice_bridge_leave(struct splice_bridge_decision decision)
{
	if (decision.step == SPLICE_BRIDGE_OPEN || decision.step == SPLICE_BRIDGE_REOPEN) {
		decision.step = SPLICE_BRIDGE_BOUNCE;
		decision.verdict = SPLICE_bounce_leaving;
	}
	return decision;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BRIDGE_RULES_H */
