/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The balancer's rule for each packet to a service (docs/design.md), once, for the portable machine and the
 * kernel program: from what the packet says and what is known of its flow to the step to take.
 */
#ifndef LIBSPLICE_DATAPATH_BALANCER_RULES_H
#define LIBSPLICE_DATAPATH_BALANCER_RULES_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/guesses.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/verdicts.h"

SPLICE_HEADER_BEGIN

enum splice_balancer_step {
	SPLICE_STEP_DROP, /* with `verdict` */
	SPLICE_STEP_SYN_ACK, /* answer with a cookie; an entry is marked reopened */
	SPLICE_STEP_CHOOSE, /* a connection begins: choose by its first payload */
	SPLICE_STEP_CHOOSE_SOURCE, /* a connection begins without a key to come: choose by the client's address */
	SPLICE_STEP_HOLD, /* pending: one more segment of the first payload */
	SPLICE_STEP_FORWARD, /* to the entry's bridge */
	SPLICE_STEP_LANE, /* to the bridge that its timestamps name; no entry is made */
	SPLICE_STEP_SOURCE, /* to the bridge that the client's address chooses; no entry is made */
	SPLICE_STEP_NEXT_CHOICE, /* refused: to the next choice of the entry's row */
	SPLICE_STEP_BOUNCED, /* bounced, and of no flow here or not its bridge's any more: to who else may have it */
	SPLICE_STEP_KEEP_ALIVE, /* a client that has not asked yet probes its connection: answer from the cookie alone */
	SPLICE_STEP_REFUSE, /* of a flow that every choice has refused: only RST is left to say */
	SPLICE_STEP_RESET, /* of a flow whose bridge is down: answer with RST */
	SPLICE_STEP_END, /* the flow's bridge stops, and has ended the connection at both ends: the entry is closed */
};

struct splice_balancer_decision {
	enum splice_balancer_step step;
	enum splice_verdict verdict; /* for SPLICE_STEP_DROP */
	__u16 proof; /* the cookie's, of a connection that begins: splice_balancer_clock_holds() asks for it */
};

SPLICE_INLINE struct splice_balancer_decision splice_balancer_says(enum splice_balancer_step step,
								    enum splice_verdict verdict)
{
	const struct splice_balancer_decision decision = { step, verdict, 0 };
	return decision;
}

/* A segment that can begin a connection: it carries a valid cookie. With payload, or with FIN (a client that
 * closes without a word: the stream has ended, so no key will come), a bridge is chosen. A bare ACK begins
 * something only where the client's address alone chooses. */
SPLICE_INLINE struct splice_balancer_decision splice_balancer_begin(const struct splice_packet *packet,
								     int chooses_by_source,
								     const struct splice_negotiated *negotiated)
{
	struct splice_balancer_decision decision = { SPLICE_STEP_DROP, SPLICE_drop_handshake_ack, negotiated->proof };

	if (packet->payload_length)
		decision.step = SPLICE_STEP_CHOOSE;
	else if ((packet->tcp_flags & SPLICE_FIN) || chooses_by_source)
		decision.step = SPLICE_STEP_CHOOSE_SOURCE;
	if (decision.step != SPLICE_STEP_DROP) decision.verdict = SPLICE_CONTINUE;
	return decision;
}

/* Whether the segment acknowledges a cookie of ours: only an ACK without RST may begin a connection. */
SPLICE_SUBPROGRAM int splice_balancer_cookie_valid(const struct splice_packet *packet,
						   const struct splice_secret *secret, __u64 unix_s,
						   struct splice_negotiated *negotiated)
{
	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) != SPLICE_ACK) return 0;
	return splice_cookie_check_segment(secret, packet, unix_s, negotiated);
}

/* Whether the echo of a first segment with timestamps bears its cookie out: 13 bits more to guess. One without proves by its
 * cookie alone. */
SPLICE_INLINE int splice_balancer_clock_holds(const struct splice_packet *packet, __u32 tsecr,
					      const struct splice_secret *secret, __u16 proof, __u32 unix_ms)
{
	return splice_clock_proves(splice_lane_hash(&secret->lane, splice_flow_toward_server(packet)), proof, tsecr, unix_ms);
}

/* What a first segment whose cookie is right needs besides: the echo of the cookie's clock, where that is asked for
 * (`asks_clock`), or that cookies are not being guessed where it comes from. */
SPLICE_INLINE enum splice_verdict splice_balancer_proves(const struct splice_packet *packet,
							 const struct splice_tcp_options *options, int asks_clock,
							 const struct splice_secret *secret, __u16 proof, __u32 unix_ms,
							 const struct splice_guesses *guesses, __u32 now_s)
{
	if (!options->timestamps_offset)
		return splice_guesses_allow(guesses, &packet->ends.source, now_s) ? SPLICE_CONTINUE : SPLICE_drop_guess_budget;
	if (asks_clock && !splice_balancer_clock_holds(packet, options->tsecr, secret, proof, unix_ms))
		return SPLICE_drop_bad_clock;
	return SPLICE_CONTINUE;
}

/* Whether a packet of no flow may name its bridge: whatever a connection sends after its SYN. */
SPLICE_INLINE int splice_balancer_may_have_lane(const struct splice_packet *packet)
{
	return !(packet->tcp_flags & SPLICE_SYN);
}

/* The lane of such a packet; SPLICE_NO_LANE. */
SPLICE_INLINE __u32 splice_balancer_lane(const struct splice_packet *packet, const struct splice_tcp_options *options,
					 const struct splice_secret *secret, __u32 unix_ms)
{
	if (!options->timestamps_offset) return SPLICE_NO_LANE;
	return splice_lane_of(splice_lane_hash(&secret->lane, splice_flow_toward_server(packet)), options->tsecr, unix_ms);
}

/* The lane of the connection that an ICMP error is about, whose packet the bridge had sent: by its TSval, where enough of it
 * is quoted. `key` is the flow's; *quoted as splice_parse_icmp_error() says, its payload_offset moved behind the options. */
SPLICE_INLINE __u32 splice_balancer_lane_of_quoted(const void *data, const void *end, const struct splice_packet *packet,
						   struct splice_packet *quoted, const struct splice_flow_key *key,
						   const struct splice_secret *secret, __u32 unix_ms)
{
	const __u32 message_end = packet->payload_offset + packet->payload_length;
	const __u8 *tcp = splice_at(data, quoted->l4_offset);
	struct splice_tcp_options options;

	if (tcp + 20 > (const __u8 *)end) return SPLICE_NO_LANE;
	const __u32 header_length = (__u32)(tcp[12] >> 4) * 4;
	if (header_length < 20 || quoted->l4_offset + header_length > message_end) return SPLICE_NO_LANE;
	quoted->payload_offset = (__u16)(quoted->l4_offset + header_length);
	splice_parse_tcp_options(data, end, quoted, &options);
	if (options.malformed || !options.timestamps_offset) return SPLICE_NO_LANE;
	return splice_lane_of(splice_lane_hash(&secret->lane, key), options.tsval, unix_ms);
}

/* A keep-alive probe has one sequence number below the next, and no payload or one byte (RFC 9293 section 3.8.4). */
SPLICE_INLINE int splice_balancer_may_probe(const struct splice_packet *packet)
{
	return (packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_FIN | SPLICE_RST)) == SPLICE_ACK &&
	       packet->payload_length <= 1;
}

/* 1 for such a probe of a connection that is nothing but a cookie: its client has sent no payload yet. */
SPLICE_SUBPROGRAM int splice_balancer_probe_valid(const struct splice_packet *packet,
						  const struct splice_secret *secret, __u64 unix_s,
						  struct splice_negotiated *negotiated)
{
	if (!splice_balancer_may_probe(packet)) return 0;
	return splice_cookie_check(secret, splice_flow_toward_server(packet), packet->family, packet->seq,
				   packet->ack - 1, unix_s, negotiated);
}

#if !SPLICE_BPF
/* 1 for a client that connected ahead of time and comes after its cookie's life, with a probe, a request or a FIN. */
SPLICE_INLINE int splice_balancer_cookie_expired(const struct splice_packet *packet, const struct splice_secret *secret,
						 __u64 unix_s)
{
	const struct splice_flow_key *flow = splice_flow_toward_server(packet);

	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_RST)) != SPLICE_ACK) return 0;
	if (splice_cookie_expired(secret, flow, packet->seq - 1, packet->ack - 1, unix_s)) return 1;
	return splice_balancer_may_probe(packet) &&
	       splice_cookie_expired(secret, flow, packet->seq, packet->ack - 1, unix_s);
}
#endif

/* The low two bytes in one: the lowest alone holds little of a cookie's hash. */
SPLICE_INLINE __u8 splice_flow_fold(__u32 ack)
{
	return (__u8)(ack ^ ack >> 8);
}

/* Whether `cookie` is the one that the known connection began with, by 16 bits of its hash. */
SPLICE_INLINE int splice_flow_is_own(const struct splice_flow_entry *entry, __u32 cookie)
{
	return entry->cookie_high == cookie >> 24 && entry->first_ack == splice_flow_fold(cookie + 1);
}

/* A SYN came on a known flow and was answered with `cookie`. The connection's own SYN, late or doubled on its way, is
 * answered with the connection's own cookie and begins nothing. Until another one has come, all 24 bits of the hash
 * are known. */
SPLICE_INLINE void splice_flow_reopen(struct splice_flow_entry *entry, __u32 cookie)
{
	const int reopened = entry->flags & SPLICE_FLOW_REOPENED;

	if (splice_flow_is_own(entry, cookie) && (reopened || entry->cookie == (__u16)(cookie >> 8))) return;
	entry->flags |= SPLICE_FLOW_REOPENED;
	entry->cookie = (__u16)(cookie >> 8);
}

/* Of a reopened flow: 1 for a later segment of the new connection, which is here before its first payload. The old
 * connection's bridge would give it to the old connection's socket, whose RST carries the new connection's numbers. Until
 * the server has answered, all that the client sends acknowledges the cookie and nothing more. */
SPLICE_INLINE int splice_flow_is_overtaken(const struct splice_flow_entry *entry, const struct splice_packet *packet)
{
	return (packet->tcp_flags & SPLICE_ACK) && (__u16)((packet->ack - 1) >> 8) == entry->cookie;
}

/* Whether an orphan may come from a client whose cookie has expired: user space tells, and the client connects anew. */
SPLICE_INLINE int splice_balancer_may_be_late(const struct splice_packet *packet)
{
	return (packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_RST)) == SPLICE_ACK;
}

/* Whether an orphan may be a later segment of a first flight that has overtaken its first: it waits in user space. */
SPLICE_INLINE int splice_balancer_may_overtake(const struct splice_packet *packet)
{
	return (packet->tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK && packet->payload_length != 0;
}

/* Nearly every packet: 1 for a segment of an open flow that says nothing but what its bridge is to hear. It needs
 * neither cookie nor clock. */
SPLICE_INLINE int splice_flow_carries(const struct splice_flow_entry *entry, const struct splice_packet *packet)
{
	return entry->state == SPLICE_FLOW_OPEN && !(entry->flags & SPLICE_FLOW_REOPENED) &&
	       !(packet->tcp_flags & SPLICE_SYN) && !splice_is_bounced(packet);
}

/* Whether a bridge may have bounced the packet: then splice_balancer_decide() wants to know who. */
SPLICE_INLINE int splice_balancer_may_be_bounced(const struct splice_packet *packet)
{
	return splice_is_bounced(packet) && !(packet->tcp_flags & SPLICE_SYN);
}

/* The rule for a bounced packet. A flow that has not been answered is refused; one that has, its bridge does not have any
 * more, or never had: an entry of other days may stand where another balancer began a connection on the same ports. */
SPLICE_INLINE struct splice_balancer_decision splice_balancer_bounced(const struct splice_packet *packet,
								       const struct splice_flow_entry *entry,
								       enum splice_refuser refuser,
								       const struct splice_secret *secret, __u64 unix_s)
{
	struct splice_negotiated negotiated;

	const int ends = packet->tcp_flags & SPLICE_RST; /* no client's RST is ever bounced */

	if (entry ? !splice_flow_is_open(entry) : ends)
		return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_refused_unknown);
	if (!entry) return splice_balancer_says(SPLICE_STEP_BOUNCED, SPLICE_CONTINUE);
	if (ends)
		return splice_balancer_says(refuser == SPLICE_REFUSER_PRESENT ? SPLICE_STEP_END : SPLICE_STEP_DROP,
					    SPLICE_drop_refused_late);
	const int valid = splice_balancer_cookie_valid(packet, secret, unix_s, &negotiated);
	if (entry->flags & SPLICE_FLOW_ANSWERED) {
		if (refuser == SPLICE_REFUSER_PRESENT && !(valid && splice_flow_is_own(entry, packet->ack - 1)))
			return splice_balancer_says(SPLICE_STEP_BOUNCED, SPLICE_CONTINUE);
		return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_refused_late);
	}
	/* Later segments of a refused first flight are bounced too: they follow the first. So does what an earlier choice
	 * refuses again. */
	if (valid && refuser == SPLICE_REFUSER_PRESENT) return splice_balancer_says(SPLICE_STEP_NEXT_CHOICE, SPLICE_CONTINUE);
	/* It may be the first payload itself, older than its cookie lives. */
	if (!valid && refuser == SPLICE_REFUSER_PRESENT && packet->payload_length &&
	    splice_flow_fold(packet->seq) == entry->first_seq)
		return splice_balancer_says(SPLICE_STEP_BOUNCED, SPLICE_CONTINUE);
	return splice_balancer_says(SPLICE_STEP_FORWARD, SPLICE_CONTINUE);
}

/* The rule. `entry` is the flow's, or null; `lane`: splice_balancer_lane() of a packet without an entry, where its service
 * has lanes, else SPLICE_NO_LANE; `chooses_by_source`: the service's key is the address that its packets come from, and no
 * PROXY header names another; `refuser`: who bounced the packet, SPLICE_REFUSER_NONE where
 * splice_balancer_may_be_bounced() says no. */
SPLICE_INLINE struct splice_balancer_decision splice_balancer_decide(const struct splice_packet *packet,
								      const struct splice_flow_entry *entry,
								      const struct splice_secret *secret, __u64 unix_s,
								      __u32 lane, int chooses_by_source,
								      enum splice_refuser refuser)
{
	struct splice_negotiated negotiated;

	if (entry && splice_flow_carries(entry, packet))
		return splice_balancer_says(SPLICE_STEP_FORWARD, SPLICE_CONTINUE);

	if (packet->tcp_flags & SPLICE_SYN) {
		if (packet->tcp_flags & SPLICE_ACK)
			return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_bad_tcp_flags);
		return splice_balancer_says(SPLICE_STEP_SYN_ACK, SPLICE_CONTINUE);
	}

	if (SPLICE_UNLIKELY(refuser != SPLICE_REFUSER_NONE))
		return splice_balancer_bounced(packet, entry, refuser, secret, unix_s);

	if (!entry) {
		/* Before any cookie is looked for: what a lane carries is older than a cookie lives. */
		if (lane != SPLICE_NO_LANE) return splice_balancer_says(SPLICE_STEP_LANE, SPLICE_CONTINUE);
		if (splice_balancer_cookie_valid(packet, secret, unix_s, &negotiated))
			return splice_balancer_begin(packet, chooses_by_source, &negotiated);
		if (splice_balancer_probe_valid(packet, secret, unix_s, &negotiated))
			return splice_balancer_says(SPLICE_STEP_KEEP_ALIVE, SPLICE_CONTINUE);
		if (chooses_by_source)
			return splice_balancer_says(SPLICE_STEP_SOURCE, SPLICE_CONTINUE);
		return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_orphan);
	}

	/* After a SYN on a known flow, a valid cookie is a new connection on the same ports. It may also be the known
	 * connection's, whose first payload comes again: whoever sent the SYN, that one goes on. */
	if (SPLICE_UNLIKELY(entry->flags & SPLICE_FLOW_REOPENED)) {
		const int valid = splice_balancer_cookie_valid(packet, secret, unix_s, &negotiated);
		const int of_last_syn = splice_flow_is_overtaken(entry, packet);
		if (valid && entry->state != SPLICE_FLOW_PENDING &&
		    (of_last_syn || !splice_flow_is_own(entry, packet->ack - 1)))
			return splice_balancer_begin(packet, chooses_by_source, &negotiated);
		/* The new connection's, before its first payload: it may ask whether it lives. */
		if (!valid && of_last_syn) {
			if (splice_balancer_probe_valid(packet, secret, unix_s, &negotiated))
				return splice_balancer_says(SPLICE_STEP_KEEP_ALIVE, SPLICE_CONTINUE);
			return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_orphan);
		}
	}

	switch (entry->state) {
	case SPLICE_FLOW_PENDING:
		if (packet->payload_length || (packet->tcp_flags & (SPLICE_FIN | SPLICE_RST)))
			return splice_balancer_says(SPLICE_STEP_HOLD, SPLICE_CONTINUE);
		return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_handshake_ack);
	case SPLICE_FLOW_REFUSED:
		/* Nothing of the old connection is left to be told; a new one waits for its first payload. */
		if (entry->flags & SPLICE_FLOW_REOPENED)
			return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_orphan);
		return splice_balancer_says(SPLICE_STEP_REFUSE, SPLICE_CONTINUE);
	case SPLICE_FLOW_ENDED:
		if (entry->flags & SPLICE_FLOW_REOPENED)
			return splice_balancer_says(SPLICE_STEP_DROP, SPLICE_drop_orphan);
		/* The client's own RST goes on: where the bridge lives after all, its server is told, too. */
		if (packet->tcp_flags & SPLICE_RST) return splice_balancer_says(SPLICE_STEP_FORWARD, SPLICE_CONTINUE);
		return splice_balancer_says(SPLICE_STEP_RESET, SPLICE_CONTINUE);
	case SPLICE_FLOW_STRANDED:
		/* What its bridge had taken, the client would not repeat. */
		if (!(entry->flags & SPLICE_FLOW_ANSWERED) && (packet->payload_length || (packet->tcp_flags & SPLICE_FIN)) &&
		    splice_balancer_cookie_valid(packet, secret, unix_s, &negotiated))
			return splice_balancer_begin(packet, chooses_by_source, &negotiated);
		return splice_balancer_says(SPLICE_STEP_FORWARD, SPLICE_CONTINUE);
	default:
		return splice_balancer_says(SPLICE_STEP_FORWARD, SPLICE_CONTINUE);
	}
}

/* What a packet that is to be forwarded shows of the flow's bridge. */
enum splice_flow_sign {
	SPLICE_SIGN_NONE,
	SPLICE_SIGN_ANSWER, /* its server has answered: the first that shows it */
	SPLICE_SIGN_REPEAT, /* the client may have repeated its first payload; a valid cookie makes that certain */
};

/* Once a flow has been answered, nothing more: one comparison for nearly every packet. Before splice_flow_touch(). */
SPLICE_INLINE enum splice_flow_sign splice_flow_shows(const struct splice_flow_entry *entry,
						     const struct splice_packet *packet)
{
	if (SPLICE_LIKELY(entry->flags & SPLICE_FLOW_ANSWERED) || !(packet->tcp_flags & SPLICE_ACK)) return SPLICE_SIGN_NONE;
	if (splice_flow_fold(packet->ack) != entry->first_ack) return SPLICE_SIGN_ANSWER;
	if (packet->payload_length && splice_flow_fold(packet->seq) == entry->first_seq) return SPLICE_SIGN_REPEAT;
	return SPLICE_SIGN_NONE;
}

/* A FIN or RST is believed when its sequence number is so near to where the client's are: by a forged one in 8,192. */
#define SPLICE_FLOW_END_BEFORE (1U << 18)
#define SPLICE_FLOW_END_AFTER (1U << 18)
/* entry.seq follows in steps, so that an upload writes its entry seldom. A leap is not followed: it would be a forger's first
 * packet of two. */
#define SPLICE_FLOW_SEQ_STEP (1U << 16)

/* Whether the client may have sent that FIN or RST. It is forwarded all the same, for its receiver to judge (RFC 9293
 * section 3.10.7.4, RFC 5961 section 3). */
SPLICE_INLINE int splice_flow_end_is_likely(const struct splice_flow_entry *entry, const struct splice_packet *packet)
{
	return !entry->seq ||
	       packet->seq - entry->seq + SPLICE_FLOW_END_BEFORE < SPLICE_FLOW_END_BEFORE + SPLICE_FLOW_END_AFTER;
}

/* Whether the decision says that a cookie was wrong which would have begun a connection. Not of a service whose clients'
 * addresses choose: what its balancers have forgotten goes on without an entry, and looks the same. With timestamps it is no
 * guess that could succeed: the caller looks. */
SPLICE_INLINE int splice_balancer_is_guess(const struct splice_packet *packet, const struct splice_flow_entry *entry,
					   const struct splice_balancer_decision *decision)
{
	if ((packet->tcp_flags & (SPLICE_ACK | SPLICE_SYN | SPLICE_RST)) != SPLICE_ACK) return 0;
	if (!packet->payload_length && !(packet->tcp_flags & SPLICE_FIN)) return 0;
	if (decision->step == SPLICE_STEP_DROP) return decision->verdict == SPLICE_drop_orphan;
	/* A stranger's SYN had marked the flow as reopened; what follows is not the living connection's. */
	return decision->step == SPLICE_STEP_FORWARD && entry && (entry->flags & SPLICE_FLOW_REOPENED) &&
	       !splice_flow_end_is_likely(entry, packet);
}

/* What every forwarded packet leaves in its entry: FIN and RST shorten the idle time-out, while nothing contradicts them:
 * the flow speaks again after a RST, or sends payload after a FIN. What comes after the FIN is counted, and the first packet
 * that acknowledges another byte than the first payload did shows that the server has answered. */
SPLICE_INLINE void splice_flow_touch(struct splice_flow_entry *entry, const struct splice_packet *packet, __u32 now_s)
{
	__u8 flags = entry->flags & (__u8)~SPLICE_FLOW_RESET;
	const __u32 ahead = packet->seq - entry->seq;

	if (SPLICE_UNLIKELY(packet->tcp_flags & (SPLICE_FIN | SPLICE_RST))) {
		if (splice_flow_end_is_likely(entry, packet)) {
			if (packet->tcp_flags & SPLICE_FIN) flags |= SPLICE_FLOW_CLIENT_FIN;
			if (packet->tcp_flags & SPLICE_RST) flags |= SPLICE_FLOW_RESET;
		}
	} else if (SPLICE_UNLIKELY(flags & SPLICE_FLOW_CLIENT_FIN)) {
		if (packet->payload_length)
			flags &= (__u8) ~(SPLICE_FLOW_CLIENT_FIN | SPLICE_FLOW_AFTER_FIN);
		else if ((flags & SPLICE_FLOW_AFTER_FIN) != SPLICE_FLOW_AFTER_FIN)
			flags += SPLICE_FLOW_ONE_AFTER_FIN;
	}
	if (SPLICE_UNLIKELY(ahead - SPLICE_FLOW_SEQ_STEP < SPLICE_FLOW_END_AFTER - SPLICE_FLOW_SEQ_STEP || !entry->seq) &&
	    !(packet->tcp_flags & SPLICE_RST))
		entry->seq = packet->seq;
	if ((packet->tcp_flags & SPLICE_ACK) && splice_flow_fold(packet->ack) != entry->first_ack) flags |= SPLICE_FLOW_ANSWERED;
	/* Written only when they differ: the line stays shared between processors while a download's ACKs pass. */
	if (entry->flags != flags) {
		/* Its bridge is not silent after all. */
		if (entry->state == SPLICE_FLOW_STRANDED && (flags & SPLICE_FLOW_ANSWERED)) entry->state = SPLICE_FLOW_OPEN;
		entry->flags = flags;
	}
	if (entry->last_seen_s != now_s) entry->last_seen_s = now_s;
}

/* What is left of a connection that its bridge has ended: as after the client's RST. */
SPLICE_INLINE void splice_flow_end(struct splice_flow_entry *entry, __u32 now_s)
{
	entry->flags |= SPLICE_FLOW_RESET;
	entry->last_seen_s = now_s;
}

/* The entry of a connection that begins with `packet` and goes to choice 0 of `row`. */
SPLICE_INLINE void splice_flow_begin(struct splice_flow_entry *entry, const struct splice_packet *packet, __u8 state,
				     __u16 service, struct splice_carriage carriage, __u32 row, __u16 bridge,
				     __u32 now_s)
{
	entry->last_seen_s = now_s;
	entry->row = row & SPLICE_ROW_MASK;
	entry->cookie_high = (packet->ack - 1) >> 24;
	entry->bridge = bridge;
	entry->service = service;
	entry->carriage = carriage;
	entry->state = state;
	entry->flags = 0;
	if (packet->tcp_flags & SPLICE_FIN) entry->flags |= SPLICE_FLOW_CLIENT_FIN;
	entry->tries = 1;
	entry->first_ack = splice_flow_fold(packet->ack);
	entry->cookie = (__u16)((packet->ack - 1) >> 8);
	entry->first_seq = splice_flow_fold(packet->seq);
	entry->seq = packet->seq;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BALANCER_RULES_H */
