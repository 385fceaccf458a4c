/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A spliced connection at a bridge that translates: the portable machine's state of it, and the value of the kernel
 * map in which established ones live when the kernel carries them. The key is {client, backend}.
 */
#ifndef LIBSPLICE_DATAPATH_BRIDGE_FLOW_H
#define LIBSPLICE_DATAPATH_BRIDGE_FLOW_H

#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/translate.h"

SPLICE_HEADER_BEGIN

enum splice_bridge_flow_state {
	SPLICE_BRIDGE_OPENING = 1, /* the handshake is being replayed: user space takes every packet of it */
	SPLICE_BRIDGE_ESTABLISHED = 2,
};

enum splice_bridge_flow_flags {
	SPLICE_BRIDGE_CLIENT_FIN = 1, /* the client has sent FIN */
	SPLICE_BRIDGE_BACKEND_FIN = 4, /* the backend has */
	SPLICE_BRIDGE_RESET = 2, /* the last packet was a RST: of either side, or forged */
};

struct splice_bridge_flow {
	struct splice_translation translation;
	__u32 client_isn;
	__u32 cookie_isn;
	__u32 client_next; /* behind the client's last segment: what comes there is no new connection */
	__u32 client_tsval; /* of the first payload; 0 without timestamps */
	__u32 last_seen_s; /* seconds of the monotonic clock */
	__u16 client_window; /* of the first payload, as it stands in the header */
	__u8 state; /* enum splice_bridge_flow_state */
	__u8 flags; /* enum splice_bridge_flow_flags */
	__u8 dscp; /* the service's mark */
	__u8 timestamps; /* 1: both sides use them */
	__u8 zero[2];
	__u32 client_ack; /* of the client's last segment */
};

SPLICE_STATIC_ASSERT(sizeof(struct splice_bridge_flow) == 88, "the bridge's flow is 88 bytes");

/* The key of a marked segment, and of the backend's answer to it. */
SPLICE_INLINE void splice_bridge_key_of_client(struct splice_flow_key *key, const struct splice_packet *packet,
						const struct splice_address *backend, __u16 backend_port)
{
	key->client = packet->key.client;
	key->vip = *backend;
	key->client_port = packet->key.client_port;
	key->vip_port = backend_port;
	key->zero = 0;
}

SPLICE_INLINE void splice_bridge_key_of_backend(struct splice_flow_key *key, const struct splice_packet *packet)
{
	key->client = packet->key.vip;
	key->vip = packet->key.client;
	key->client_port = packet->key.vip_port;
	key->vip_port = packet->key.client_port;
	key->zero = 0;
}

/* `fin`: the flag of the side that sends. Each packet renews the idle time-out; what shortens it, see
 * splice_bridge_is_closing(). */
SPLICE_INLINE void splice_bridge_flow_touch(struct splice_bridge_flow *flow, __u8 tcp_flags,
					    enum splice_bridge_flow_flags fin, __u32 now_s)
{
	const __u8 flags = (__u8)((flow->flags & ~SPLICE_BRIDGE_RESET) | (tcp_flags & SPLICE_FIN ? fin : 0) |
				  (tcp_flags & SPLICE_RST ? SPLICE_BRIDGE_RESET : 0));

	if (flow->last_seen_s != now_s) flow->last_seen_s = now_s;
	if (SPLICE_UNLIKELY(flow->flags != flags)) flow->flags = flags;
}

/* What a client sends and acknowledges moves on by what is in flight; farther apart are only two connections. */
#define SPLICE_STEP_MAX (1U << 24)

SPLICE_INLINE int splice_bridge_is_far(__u32 number, __u32 from)
{
	return number - from + SPLICE_STEP_MAX > 2 * SPLICE_STEP_MAX;
}

/* 1 for a segment of the next connection on these ports, that has overtaken its first payload. The old connection's
 * socket would answer it with a RST, which translated back is the new connection's death. Cookies are random, so of
 * those where the client's numbers go on one of 128 is missed. */
SPLICE_INLINE int splice_bridge_is_alien(const struct splice_bridge_flow *flow, const struct splice_packet *packet)
{
	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) != SPLICE_ACK) return 0;
	return splice_bridge_is_far(packet->ack, flow->client_ack) || splice_bridge_is_far(packet->seq, flow->client_next);
}

/* What a segment of the client's leaves in the flow. Anyone can forge a RST, and its numbers need not be the
 * connection's: remembered, they would make the connection's own segments aliens. */
SPLICE_INLINE void splice_bridge_flow_touch_by_client(struct splice_bridge_flow *flow,
						      const struct splice_packet *packet, __u32 now_s)
{
	const __u32 next = packet->seq + packet->payload_length + ((packet->tcp_flags & SPLICE_FIN) != 0);

	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK) {
		if (flow->client_next != next) flow->client_next = next;
		if (flow->client_ack != packet->ack) flow->client_ack = packet->ack;
	}
	splice_bridge_flow_touch(flow, packet->tcp_flags, SPLICE_BRIDGE_CLIENT_FIN, now_s);
}

/* What a segment of the backend's leaves in the flow. */
SPLICE_INLINE void splice_bridge_flow_touch_by_backend(struct splice_bridge_flow *flow,
						       const struct splice_packet *packet, __u32 now_s)
{
	splice_bridge_flow_touch(flow, packet->tcp_flags, SPLICE_BRIDGE_BACKEND_FIN, now_s);
}

/* A connection is closed when both sides have sent FIN: until then one may go on for long. A RST closes it only until
 * the flow speaks again: anyone can forge one, and a receiver that does not believe it goes on (RFC 5961 section 3). */
SPLICE_INLINE int splice_bridge_is_closing(const struct splice_bridge_flow *flow)
{
	const __u8 both = SPLICE_BRIDGE_CLIENT_FIN | SPLICE_BRIDGE_BACKEND_FIN;

	return (flow->flags & SPLICE_BRIDGE_RESET) || (flow->flags & both) == both;
}

SPLICE_INLINE __u32 splice_bridge_idle_limit_s(const struct splice_bridge_flow *flow,
					       const struct splice_idle_timeouts *timeouts)
{
	return splice_bridge_is_closing(flow) ? timeouts->closing_s : timeouts->open_s;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BRIDGE_FLOW_H */
