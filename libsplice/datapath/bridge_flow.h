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
	SPLICE_BRIDGE_FIN = 1, /* either side has sent FIN */
	SPLICE_BRIDGE_RESET = 2, /* either side has sent RST */
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
	__u8 zero[6];
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

/* A FIN of either side shortens the idle time-out, which each later packet renews; a RST ends the flow soon. */
SPLICE_INLINE void splice_bridge_flow_touch(struct splice_bridge_flow *flow, __u8 tcp_flags, __u32 now_s)
{
	const __u8 ends = (__u8)((tcp_flags & SPLICE_FIN ? SPLICE_BRIDGE_FIN : 0) |
				 (tcp_flags & SPLICE_RST ? SPLICE_BRIDGE_RESET : 0));

	if (flow->last_seen_s != now_s) flow->last_seen_s = now_s;
	if (SPLICE_UNLIKELY(ends)) flow->flags |= ends;
}

/* The same for a segment of the client's. */
SPLICE_INLINE void splice_bridge_flow_touch_by_client(struct splice_bridge_flow *flow,
						      const struct splice_packet *packet, __u32 now_s)
{
	const __u32 next = packet->seq + packet->payload_length + ((packet->tcp_flags & SPLICE_FIN) != 0);

	if (flow->client_next != next) flow->client_next = next;
	splice_bridge_flow_touch(flow, packet->tcp_flags, now_s);
}

SPLICE_INLINE __u32 splice_bridge_idle_limit_s(const struct splice_bridge_flow *flow,
					       const struct splice_idle_timeouts *timeouts)
{
	if (flow->flags & SPLICE_BRIDGE_RESET) return timeouts->reset_s;
	if (flow->flags & SPLICE_BRIDGE_FIN) return timeouts->closing_s;
	return timeouts->open_s;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BRIDGE_FLOW_H */
