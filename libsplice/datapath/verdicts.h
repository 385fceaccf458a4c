/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Every outcome that a packet can have, in one list: the enum, the printed name, the metric label and the
 * table in docs/verdicts.md come from it. Each verdict has a test that produces it.
 *
 * The kind says what becomes of the packet that was handed in:
 *   pass     untouched, to whatever else the host does
 *   forward  edited in place, to be sent to where its new destination address says (balancer to bridge,
 *            bridge to backend, bridge to client)
 *   consume  ends here without a loss: answered, held, or its work is done
 *   drop     ends here and is lost; the sender's own retransmission repairs it where that matters
 */
#ifndef LIBSPLICE_DATAPATH_VERDICTS_H
#define LIBSPLICE_DATAPATH_VERDICTS_H

/* X(kind, name, what it means to an operator) */
#define SPLICE_VERDICTS(X) \
	/* Packets that are none of our business. */ \
	X(pass, pass_not_ip, "neither IPv4 nor IPv6") \
	X(pass, pass_not_tcp, "neither TCP nor an ICMP error") \
	X(pass, pass_not_service, "addressed to no service of ours") \
	X(pass, pass_icmp_not_ours, "an ICMP message about no flow of ours") \
	X(pass, pass_unmarked, "without the mark of a service") \
	X(pass, pass_unmarked_known_flow, "without a mark, yet of a flow that is spliced here: does the network clear DSCP?") \
	X(pass, pass_mark_of_no_service, "marked, and for a port that is served here, but by the mark of no service") \
	X(pass, pass_mark_lost, "without a mark, yet with a valid cookie of a service here: does the network clear DSCP?") \
	X(pass, pass_not_spliced, "sent by the backend on a connection that is not spliced") \
	/* Judged by its bytes alone. */ \
	X(drop, drop_truncated, "shorter than its own headers say") \
	X(drop, drop_bad_ip_header, "an IP header that contradicts itself") \
	X(drop, drop_bad_ip_checksum, "wrong IPv4 header checksum") \
	X(drop, drop_bad_tcp_header, "a TCP header that contradicts itself") \
	X(drop, drop_bad_tcp_checksum, "wrong TCP checksum") \
	X(drop, drop_bad_tcp_options, "TCP options that overrun their own length") \
	X(drop, drop_bad_tcp_flags, "a combination of TCP flags that no connection sends") \
	X(drop, drop_bad_icmp, "an ICMP error too short to tell its flow, or with a wrong checksum") \
	X(drop, drop_fragment, "an IP fragment of a larger packet") \
	X(drop, drop_source_routed, "an IPv4 source route or an IPv6 routing header") \
	X(drop, drop_extension_headers, "more IPv6 extension headers than the limit") \
	X(drop, drop_ttl_expired, "TTL or hop limit used up") \
	/* The balancer. */ \
	X(consume, answer_syn_ack, "a SYN, answered with a cookie") \
	X(consume, answer_syn_ack_reopened, "a SYN on a known flow, answered with a cookie; the entry is marked reopened") \
	X(forward, forward_first_payload, "the first payload: a bridge was chosen by its key") \
	X(forward, forward_first_payload_source, "the first payload: a bridge was chosen by the client's address") \
	X(forward, forward_first_ack, "the handshake's last ACK of a service that chooses by the client's address") \
	X(forward, forward_open, "of a flow whose bridge is known") \
	X(forward, forward_lane, "of no flow known here: its timestamps name its bridge") \
	X(forward, forward_source, "of no flow known here: its client's address chooses its bridge") \
	X(forward, forward_not_mine, "of no connection that its bridge has: sent on to the next that may have it") \
	X(forward, forward_icmp, "an ICMP error, relayed to its flow's bridge") \
	X(forward, forward_next_choice, "refused by a bridge, sent on to the flow's next choice") \
	X(consume, hold_first_payload, "held until the key of its first payload is complete") \
	X(consume, release_first_payload, "completed a held first payload; sent on together with it") \
	X(consume, hold_orphan, "of no flow known here: waits briefly for a first payload that it may have overtaken") \
	X(consume, answer_keep_alive, "a probe of a connection that has sent nothing yet: answered from its cookie") \
	X(consume, answer_orphan_rst, "of no flow known here, and its client insists: answered with RST") \
	X(consume, answer_expired_rst, "of a client that has waited longer than its cookie lives: answered with RST") \
	X(drop, drop_keep_alive, "a probe of a connection that has sent nothing yet, beyond the budget for answers") \
	X(drop, drop_bad_clock, "a valid cookie, but its timestamps are not those that came with it") \
	X(drop, drop_guess_budget, "a valid cookie without timestamps, from where too many others were wrong in this second") \
	X(drop, drop_lane_unknown, "of no flow known here: its timestamps name a bridge that is not configured") \
	X(drop, drop_handshake_ack, "the handshake's last ACK: nothing to remember") \
	X(drop, drop_orphan, "of no flow known here and no beginning of one") \
	X(drop, drop_orphan_icmp, "an ICMP error about a service, but of no flow known here") \
	X(drop, drop_refused_unknown, "refused by a bridge, but of no flow known here") \
	X(drop, drop_refused_late, "refused by a bridge after the flow was answered") \
	X(consume, answer_not_mine_rst, "of no connection that a bridge has: answered with RST") \
	X(drop, drop_not_mine, "of no connection that a bridge has, and clients are told so often enough") \
	X(consume, answer_refused_503, "refused by every choice: answered with HTTP 503") \
	X(consume, answer_refused_rst, "refused by every choice: answered with RST") \
	X(consume, answer_no_bridge_503, "the service has no bridge that takes connections: answered with HTTP 503") \
	X(consume, answer_no_bridge_rst, "the service has no bridge that takes connections: answered with RST") \
	X(consume, answer_down_rst, "of a flow whose bridge is down: answered with RST") \
	X(consume, end_refused, "of a flow that every choice refused: acknowledges our answer") \
	X(drop, drop_flow_table_full, "the flow table is full; the living are not evicted") \
	X(drop, drop_source_share, "the flow table is three quarters full, and the client's address has its share of it") \
	X(drop, drop_service_share, "the service has its share of the flow table (table_share)") \
	X(drop, drop_source_rate, "the client's address has opened its connections of this second (new_connections)") \
	X(drop, drop_denied, "a new connection of a client that is on a deny list") \
	X(drop, drop_first_payload_memory, "the memory for held first payloads is used up") \
	X(drop, drop_first_payload_window, "beyond what a first payload may hold") \
	X(drop, drop_duplicate_payload, "held already") \
	X(drop, drop_no_bridge, "a first payload while the balancer stops: its client repeats it to whoever serves next") \
	X(drop, drop_no_next_hop, "its bridge's next hop is not known, and the kernel is asked for it already") \
	X(consume, answer_too_big, "larger than the way to its bridge: the client is told by an ICMP error") \
	X(drop, drop_too_big, "larger than the way to its bridge, and clients are told so often enough") \
	X(consume, hear_check, "of a health check of our own: an answer, or its refusal") \
	X(drop, drop_check, "to where health checks are answered, but of none that is known, or too many of them") \
	/* The bridge. */ \
	X(forward, deliver, "to the backend, translated") \
	X(forward, deliver_icmp, "an ICMP error, translated for the backend") \
	X(forward, toward_client, "to the client, translated") \
	X(forward, toward_client_icmp, "an ICMP error of the backend's host, translated for the client") \
	X(consume, open_replay, "a first payload with a valid cookie: held, the handshake is replayed to the backend") \
	X(consume, open_replay_again, "repeated while the handshake is replayed: the replayed SYN is sent again") \
	X(consume, open_hold, "held while the handshake is replayed") \
	X(consume, learn_backend_isn, "the backend's SYN-ACK: its numbers are learnt, what was held is delivered") \
	X(consume, bounce_refused, "the backend is not listening: bounced to the balancer") \
	X(consume, bounce_leaving, "the bridge is stopping and opens nothing any more: bounced to the balancer") \
	X(consume, bounce_tuple_in_use, "another connection has this client's port to this backend: bounced to the balancer") \
	X(consume, clear_old_backend, "the backend answered the replayed SYN from an old connection: it is reset, the SYN sent again") \
	X(consume, acknowledge_backend, "the backend's SYN-ACK again: acknowledged in the client's place") \
	X(consume, hold_unknown, "of no connection known here: waits briefly for a first payload that it may have overtaken") \
	X(consume, bounce_not_mine, "of a connection that this host does not have: bounced to the balancer") \
	X(consume, reopen_replay, "a valid cookie on an old flow of the same addresses and ports: cleared, opened anew") \
	X(forward, open_adopt, "a first payload with a valid cookie: the kernel opens the connection on the listening socket") \
	X(forward, deliver_adopted, "to the socket of an adopted connection") \
	X(forward, toward_client_adopted, "to the client, from the socket of an adopted connection") \
	X(consume, clear_old_socket, "a valid cookie on an old socket of the same addresses and ports: it is reset first") \
	X(drop, drop_adopt_refused, "the kernel refused to adopt: is the listener an MPTCP or a marked socket?") \
	X(drop, drop_old_socket, "a valid cookie on an old socket that would not be reset") \
	X(drop, drop_ask_overrun, "user space was to decide, but its ring is full or the packet too long") \
	X(drop, drop_bad_cookie, "the acknowledged number is no cookie of ours and the segment wants no answer") \
	X(drop, drop_not_balancer, "marked for a service, but none of the configured balancers has sent it") \
	X(drop, drop_marked_syn, "a marked SYN: plain layer 4 is not served yet") \
	X(drop, drop_backend_tuple_in_use, "another connection has this client's port to this backend, and this segment begins none") \
	X(drop, drop_hold_full, "more was sent during the replayed handshake than may be held") \
	X(drop, drop_backend_early, "the backend spoke before its handshake was complete") \
	X(drop, drop_super_packet, "a super-packet too large to come through the queue whole")

enum splice_verdict {
#define X(kind, name, text) SPLICE_##name,
	SPLICE_VERDICTS(X)
#undef X
	SPLICE_VERDICT_COUNT,
	/* "No verdict yet, go on": never counted, never the outcome of a packet. */
	SPLICE_CONTINUE = SPLICE_VERDICT_COUNT,
};

enum splice_verdict_kind { SPLICE_KIND_pass, SPLICE_KIND_forward, SPLICE_KIND_consume, SPLICE_KIND_drop };

/* Folded to a constant or a few comparisons by the compiler: the kernel programs ask only of verdicts that they give. */
static inline enum splice_verdict_kind splice_verdict_kind_of(enum splice_verdict verdict)
{
	switch (verdict) {
#define X(kind, name, text) \
	case SPLICE_##name: \
		return SPLICE_KIND_##kind;
		SPLICE_VERDICTS(X)
#undef X
	default:
		return SPLICE_KIND_drop;
	}
}

static inline int splice_verdict_passes(enum splice_verdict verdict)
{
	return splice_verdict_kind_of(verdict) == SPLICE_KIND_pass;
}

#endif /* LIBSPLICE_DATAPATH_VERDICTS_H */
