/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The header that a proxy sends before its client's first byte: the PROXY protocol, versions 1 and 2 (HAProxy,
 * doc/proxy-protocol.txt, sections 2.1 and 2.2). Read by the balancer where a service accepts it, and left where it is:
 * the bytes are the backend's.
 *
 * Version 1 is one line of at most SPLICE_PROXY_V1_MAX bytes, its CRLF included:
 *
 *   PROXY TCP4 192.0.2.1 198.51.100.10 56324 80
 *   PROXY TCP6 2001:db8::1 2001:db8:1::10 56324 80        also ::ffff:192.0.2.1, which senders write for mapped addresses
 *   PROXY UNKNOWN                                         up to the CRLF anything may follow
 *
 * Version 2 is binary:
 *
 *   0            12               13               14          16
 *   +------------+----------------+----------------+-----------+----------------------------------+
 *   | signature  | 2, command     | family, proto- | length of | client's address, ours, client's |
 *   | (12 bytes) | (4 bits each)  | col (likewise) | the rest  | port, ours; then TLVs            |
 *   +------------+----------------+----------------+-----------+----------------------------------+
 *
 * Of TLVs nothing is read: the length passes over them.
 */
#ifndef LIBSPLICE_DATAPATH_PROXY_HEADER_H
#define LIBSPLICE_DATAPATH_PROXY_HEADER_H

#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/flow.h"

SPLICE_HEADER_BEGIN

enum splice_proxy_answer {
	SPLICE_PROXY_NEED_MORE, /* the beginning of a right header */
	SPLICE_PROXY_ADDRESS, /* whole; `source` and `length` are told, in the answers below only `length` */
	SPLICE_PROXY_UNKNOWN, /* whole; it names no TCP client over IPv4 or IPv6 */
	SPLICE_PROXY_LOCAL, /* whole; the proxy speaks for itself, as in its health checks */
	SPLICE_PROXY_WRONG, /* no header, or one that breaks its own rules; nothing is told */
};

struct splice_proxy_header {
	struct splice_address source; /* the client that the proxy serves */
	__u32 length; /* bytes of the header: where the client's stream begins */
	__u32 zero;
};

#define SPLICE_PROXY_V1_MAX 107
#define SPLICE_PROXY_V2_FIXED 16 /* bytes before the addresses */
#define SPLICE_PROXY_V2_MAX (SPLICE_PROXY_V2_FIXED + 0xffff)

/* Version 2's first 12 bytes, in two words as they are loaded: "\r\n\r\n\0\r\nQ", "UIT\n". */
#define SPLICE_PROXY_SIGNATURE_BEGIN 0x510a0d000a0d0a0dULL
#define SPLICE_PROXY_SIGNATURE_END 0x0a544955U

/* --- Version 1 -------------------------------------------------------------------------------------------------- */

enum splice_proxy_stage {
	SPLICE_PROXY_AT_WORDS, /* "PROXY TCP4 " */
	SPLICE_PROXY_AT_SOURCE,
	SPLICE_PROXY_AT_DESTINATION,
	SPLICE_PROXY_AT_SOURCE_PORT,
	SPLICE_PROXY_AT_DESTINATION_PORT,
	SPLICE_PROXY_AT_LF, /* a CR has come behind the last port */
	SPLICE_PROXY_AT_UNKNOWN, /* everything up to CRLF is ignored */
	SPLICE_PROXY_AT_UNKNOWN_LF, /* the same, behind a CR */
	SPLICE_PROXY_DONE,
	SPLICE_PROXY_BROKEN,
};

#define SPLICE_PROXY_NO_GAP 0xffff
/* What is no decimal number of an octet or a port: a leading zero, too large, a hexadecimal digit. */
#define SPLICE_PROXY_NO_NUMBER 0xffffff

/* What has come of the line. What a walk writes stands at offsets that are no multiples of 8 or is written at a variable
 * one, so that the verifier finds all its steps alike. */
struct splice_proxy_walk {
	const __u8 *line;
	const void *end;
	__u32 available; /* bytes of the stream */
	__u32 decimal; /* the digits so far as an octet or a port, or SPLICE_PROXY_NO_NUMBER */
	__u16 unused;
	__u16 hexadecimal; /* the same as a group of an IPv6 address */
	__u8 stage;
	__u8 family; /* '4', '6', or 'U' */
	__u8 digits; /* of the number that is read */
	__u8 colons; /* that stand right before it */
	__u8 unused_too;
	__u8 dots; /* of the address */
	__u8 groups; /* of the address that are whole */
	__u8 unused_again;
	__u16 gap; /* the groups before "::"; SPLICE_PROXY_NO_GAP */
	__u16 read; /* bytes of the line */
	__u8 octets[4]; /* of the dotted part that are whole; the last not yet */
	__u16 group[8];
	__u16 source[8]; /* the client's address in host order, once its field is done */
};

/* 0 to 15, or 16 for what is no hexadecimal digit. */
SPLICE_INLINE __u32 splice_proxy_digit(__u8 c)
{
	const __u8 letter = c | 0x20;

	if (c >= '0' && c <= '9') return c - '0';
	return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10U : 16;
}

/* One digit more, of an address or a port. 0: too many. */
SPLICE_INLINE int splice_proxy_take_digit(struct splice_proxy_walk *walk, __u32 digit)
{
	__u32 decimal = walk->decimal;

	if (walk->digits >= 5) return 0;
	/* A leading zero would be octal to some readers. */
	if (digit > 9 || decimal > 0xffff || (walk->digits && !decimal))
		decimal = SPLICE_PROXY_NO_NUMBER;
	else
		decimal = decimal * 10 + digit;
	walk->decimal = decimal;
	walk->hexadecimal = (__u16)(walk->hexadecimal << 4 | digit);
	walk->digits++;
	return 1;
}

SPLICE_INLINE void splice_proxy_begin_number(struct splice_proxy_walk *walk)
{
	walk->decimal = 0;
	walk->hexadecimal = 0;
	walk->digits = 0;
}

SPLICE_INLINE int splice_proxy_is_octet(const struct splice_proxy_walk *walk)
{
	return walk->digits && walk->decimal <= 255;
}

SPLICE_INLINE int splice_proxy_end_group(struct splice_proxy_walk *walk)
{
	if (walk->digits > 4 || walk->groups >= 8) return 0;
	walk->group[walk->groups & 7] = walk->hexadecimal;
	walk->groups++;
	return 1;
}

/* A ':' of an IPv6 address (RFC 4291 section 2.2). */
SPLICE_INLINE int splice_proxy_take_colon(struct splice_proxy_walk *walk)
{
	if (walk->dots) return 0;
	if (walk->digits) {
		if (!splice_proxy_end_group(walk)) return 0;
		splice_proxy_begin_number(walk);
		walk->colons = 1;
		return 1;
	}
	/* Alone at the address's beginning, or the second of "::". */
	if (walk->colons == 1) {
		if (walk->gap != SPLICE_PROXY_NO_GAP) return 0;
		walk->gap = walk->groups;
	} else if (walk->colons || walk->groups) {
		return 0;
	}
	walk->colons++;
	return 1;
}

SPLICE_INLINE int splice_proxy_take_dot(struct splice_proxy_walk *walk)
{
	if (!splice_proxy_is_octet(walk) || walk->dots >= 3) return 0;
	walk->octets[walk->dots & 3] = (__u8)walk->decimal;
	walk->dots++;
	splice_proxy_begin_number(walk);
	return 1;
}

/* The dotted end of an address, as two groups. */
SPLICE_INLINE int splice_proxy_end_octets(struct splice_proxy_walk *walk)
{
	if (!splice_proxy_is_octet(walk) || walk->dots != 3 || walk->groups > 6) return 0;
	walk->group[walk->groups & 7] = (__u16)(walk->octets[0] << 8 | walk->octets[1]);
	walk->group[(walk->groups + 1) & 7] = (__u16)(walk->octets[2] << 8 | walk->decimal);
	walk->groups += 2;
	return 1;
}

/* An address is over: 1 when it is a right one of the line's family. */
SPLICE_INLINE int splice_proxy_end_address(struct splice_proxy_walk *walk)
{
	if (walk->family == '4') {
		if (!splice_proxy_end_octets(walk)) return 0;
		walk->group[2] = walk->group[0];
		walk->group[3] = walk->group[1];
		walk->group[0] = 0;
		walk->group[1] = 0xffff;
		walk->groups = 4;
		walk->gap = 0;
		return 1;
	}
	if (walk->dots) {
		if (!splice_proxy_end_octets(walk)) return 0;
	} else if (walk->digits) {
		if (!splice_proxy_end_group(walk)) return 0;
	} else if (walk->colons != 2) {
		return 0;
	}
	return walk->gap == SPLICE_PROXY_NO_GAP ? walk->groups == 8 : walk->groups < 8;
}

/* The groups behind the gap go to the address's end. */
SPLICE_INLINE void splice_proxy_keep_source(struct splice_proxy_walk *walk)
{
	const __u32 missing = 8U - walk->groups;

	SPLICE_UNROLL
	for (__u32 i = 0; i < 8; i++) {
		__u16 group = 0;
		if (i < walk->gap)
			group = walk->group[i];
		else if (i >= walk->gap + missing)
			group = walk->group[(i - missing) & 7];
		walk->source[i] = group;
	}
}

SPLICE_INLINE void splice_proxy_begin_address(struct splice_proxy_walk *walk)
{
	splice_proxy_begin_number(walk);
	walk->colons = 0;
	walk->dots = 0;
	walk->groups = 0;
	walk->gap = SPLICE_PROXY_NO_GAP;
}

SPLICE_INLINE __u8 splice_proxy_if(int right, __u8 stage)
{
	if (!right) return SPLICE_PROXY_BROKEN;
	return stage;
}

SPLICE_INLINE __u8 splice_proxy_address_byte(struct splice_proxy_walk *walk, __u8 c)
{
	const __u8 stage = walk->stage;
	const __u32 digit = splice_proxy_digit(c);

	if (digit < 16) {
		/* One colon alone begins no address. */
		if (walk->colons == 1 && !walk->groups) return SPLICE_PROXY_BROKEN;
		return splice_proxy_if(splice_proxy_take_digit(walk, digit), stage);
	}
	if (c == '.') return splice_proxy_if(splice_proxy_take_dot(walk), stage);
	if (c == ':') return splice_proxy_if(walk->family == '6' && splice_proxy_take_colon(walk), stage);
	if (c != ' ' || !splice_proxy_end_address(walk)) return SPLICE_PROXY_BROKEN;
	if (stage == SPLICE_PROXY_AT_SOURCE) splice_proxy_keep_source(walk);
	splice_proxy_begin_address(walk);
	return stage + 1;
}

SPLICE_INLINE __u8 splice_proxy_port_byte(struct splice_proxy_walk *walk, __u8 c)
{
	const __u8 stage = walk->stage;
	const __u32 digit = splice_proxy_digit(c);

	if (digit < 16) return splice_proxy_if(splice_proxy_take_digit(walk, digit), stage);
	if (c != (stage == SPLICE_PROXY_AT_SOURCE_PORT ? ' ' : '\r')) return SPLICE_PROXY_BROKEN;
	if (!walk->digits || walk->decimal > 0xffff) return SPLICE_PROXY_BROKEN;
	splice_proxy_begin_number(walk);
	return stage + 1;
}

/* A byte of "PROXY TCP4 ", "PROXY TCP6 " or "PROXY UNKNOWN", which are told by their offsets. */
SPLICE_INLINE __u8 splice_proxy_word_byte(struct splice_proxy_walk *walk, __u32 offset, __u8 c)
{
	const __u64 proxy_tcp = 0x43542059584f5250ULL; /* "PROXY TC" */
	const __u64 unknown = 0x4e574f4e4b4e55ULL; /* "UNKNOWN" */
	__u8 expected;

	if (offset == 6) walk->family = c;
	if (walk->family == 'U') {
		expected = (__u8)(unknown >> ((offset - 6) * 8 & 63));
		if (c != expected) return SPLICE_PROXY_BROKEN;
		return offset == 12 ? SPLICE_PROXY_AT_UNKNOWN : SPLICE_PROXY_AT_WORDS;
	}
	if (offset == 9) {
		walk->family = c;
		return splice_proxy_if(c == '4' || c == '6', SPLICE_PROXY_AT_WORDS);
	}
	expected = offset == 8 ? 'P' : offset == 10 ? ' ' : (__u8)(proxy_tcp >> (offset * 8 & 63));
	if (c != expected) return SPLICE_PROXY_BROKEN;
	return offset == 10 ? SPLICE_PROXY_AT_SOURCE : SPLICE_PROXY_AT_WORDS;
}

SPLICE_INLINE __u8 splice_proxy_byte(struct splice_proxy_walk *walk, __u32 offset, __u8 c)
{
	switch (walk->stage) {
	case SPLICE_PROXY_AT_WORDS:
		return splice_proxy_word_byte(walk, offset, c);
	case SPLICE_PROXY_AT_SOURCE:
	case SPLICE_PROXY_AT_DESTINATION:
		return splice_proxy_address_byte(walk, c);
	case SPLICE_PROXY_AT_SOURCE_PORT:
	case SPLICE_PROXY_AT_DESTINATION_PORT:
		return splice_proxy_port_byte(walk, c);
	case SPLICE_PROXY_AT_LF:
		return c == '\n' ? SPLICE_PROXY_DONE : SPLICE_PROXY_BROKEN;
	default: /* UNKNOWN, behind a CR or not */
		if (c == '\n' && walk->stage == SPLICE_PROXY_AT_UNKNOWN_LF) return SPLICE_PROXY_DONE;
		return c == '\r' ? SPLICE_PROXY_AT_UNKNOWN_LF : SPLICE_PROXY_AT_UNKNOWN;
	}
}

/* One byte more. 1 when the walk is over: the line is read, or broken, or no more of it has come. */
SPLICE_LOOP_BODY splice_proxy_step(__u32 index, void *context)
{
	struct splice_proxy_walk *walk = (struct splice_proxy_walk *)context;
	const __u32 offset = index & 127;
	const __u8 *at = walk->line + offset;

	if (offset >= walk->available || splice_beyond(at, 1, walk->end)) return 1;
	walk->stage = splice_proxy_byte(walk, offset, *at);
	walk->read = (__u16)(offset + 1);
	return walk->stage >= SPLICE_PROXY_DONE;
}

SPLICE_INLINE void splice_proxy_clear(struct splice_proxy_walk *walk, __u32 none)
{
	walk->decimal = none;
	walk->hexadecimal = (__u16)none;
	walk->stage = (__u8)none;
	walk->family = (__u8)none;
	walk->digits = (__u8)none;
	walk->colons = (__u8)none;
	walk->dots = (__u8)none;
	walk->groups = (__u8)none;
	walk->gap = (__u16)(none - 1);
	walk->read = (__u16)none;
	for (__u32 i = 0; i < 4; i++) walk->octets[i] = (__u8)none;
	SPLICE_UNROLL
	for (__u32 i = 0; i < 8; i++) {
		walk->group[i] = (__u16)none;
		walk->source[i] = (__u16)none;
	}
}

SPLICE_INLINE void splice_proxy_address_of(const struct splice_proxy_walk *walk, struct splice_address *address)
{
	SPLICE_UNROLL
	for (__u32 i = 0; i < 4; i++)
		address->words[i] = splice_htonl((__u32)walk->source[2 * i] << 16 | walk->source[2 * i + 1]);
}

SPLICE_INLINE enum splice_proxy_answer splice_proxy_v1(const __u8 *stream, const void *end, __u32 available,
						       struct splice_proxy_header *header)
{
	/* Zero, which the verifier does not find out: what it knew of the walk's beginning it would tell from every other
	 * state, and look at each step for each mixture of known and unknown numbers. */
	const __u32 none = available - splice_opaque(available);
	struct splice_proxy_walk walk;

	splice_proxy_clear(&walk, none);
	walk.line = stream;
	walk.end = end;
	walk.available = available;
	splice_loop(SPLICE_PROXY_V1_MAX, splice_proxy_step, &walk);
	if (walk.stage == SPLICE_PROXY_BROKEN) return SPLICE_PROXY_WRONG;
	/* Nothing of the line is missing, and it has no end. */
	if (walk.stage != SPLICE_PROXY_DONE)
		return walk.read >= SPLICE_PROXY_V1_MAX ? SPLICE_PROXY_WRONG : SPLICE_PROXY_NEED_MORE;
	header->length = walk.read;
	if (walk.family == 'U') return SPLICE_PROXY_UNKNOWN;
	splice_proxy_address_of(&walk, &header->source);
	return SPLICE_PROXY_ADDRESS;
}

/* --- Version 2 -------------------------------------------------------------------------------------------------- */

#define SPLICE_PROXY_COMMAND_LOCAL 0x20 /* version and command */
#define SPLICE_PROXY_COMMAND_PROXY 0x21
#define SPLICE_PROXY_TCP_IPV4 0x11 /* family and protocol */
#define SPLICE_PROXY_TCP_IPV6 0x21
#define SPLICE_PROXY_ADDRESSES_IPV4 12 /* bytes of both addresses and ports */
#define SPLICE_PROXY_ADDRESSES_IPV6 36

/* What the 13th and 14th byte say: LOCAL, ADDRESS, UNKNOWN where the header is right and names no TCP client, or WRONG.
 * Values that the specification has not assigned are WRONG, as it demands of receivers. */
SPLICE_INLINE enum splice_proxy_answer splice_proxy_v2_says(__u8 command, __u8 family)
{
	if (command == SPLICE_PROXY_COMMAND_LOCAL) return SPLICE_PROXY_LOCAL;
	if (command != SPLICE_PROXY_COMMAND_PROXY || family >> 4 > 3 || (family & 15) > 2) return SPLICE_PROXY_WRONG;
	return family == SPLICE_PROXY_TCP_IPV4 || family == SPLICE_PROXY_TCP_IPV6 ? SPLICE_PROXY_ADDRESS :
										      SPLICE_PROXY_UNKNOWN;
}

/* The beginning of a header of version 2 that is not whole yet: WRONG as soon as a byte shows it. */
SPLICE_INLINE enum splice_proxy_answer splice_proxy_v2_begins(const __u8 *stream, const void *end, __u32 available)
{
	const __u64 begin = SPLICE_PROXY_SIGNATURE_BEGIN;
	const __u32 rest = SPLICE_PROXY_SIGNATURE_END;

	for (__u32 i = 0; i < 13; i++) {
		if (i >= available || splice_beyond(stream + i, 1, end)) return SPLICE_PROXY_NEED_MORE;
		if (i == 12)
			return splice_proxy_v2_says(stream[i], 0) == SPLICE_PROXY_WRONG ? SPLICE_PROXY_WRONG :
											  SPLICE_PROXY_NEED_MORE;
		if (stream[i] != (__u8)(i < 8 ? begin >> i * 8 : rest >> (i & 3) * 8)) return SPLICE_PROXY_WRONG;
	}
	return SPLICE_PROXY_NEED_MORE;
}

SPLICE_INLINE enum splice_proxy_answer splice_proxy_v2(const __u8 *stream, const void *end, __u32 available,
						       struct splice_proxy_header *header)
{
	enum splice_proxy_answer answer;
	__u32 rest;
	__u8 family;

	if (available < SPLICE_PROXY_V2_FIXED || splice_beyond(stream, SPLICE_PROXY_V2_FIXED, end))
		return splice_proxy_v2_begins(stream, end, available);
	if (splice_load64(stream) != SPLICE_PROXY_SIGNATURE_BEGIN || splice_load32(stream + 8) != SPLICE_PROXY_SIGNATURE_END)
		return SPLICE_PROXY_WRONG;
	family = stream[13];
	answer = splice_proxy_v2_says(stream[12], family);
	rest = splice_load_be16(stream + 14);
	if (answer == SPLICE_PROXY_WRONG) return answer;
	if (answer == SPLICE_PROXY_ADDRESS &&
	    rest < (family == SPLICE_PROXY_TCP_IPV4 ? SPLICE_PROXY_ADDRESSES_IPV4 : SPLICE_PROXY_ADDRESSES_IPV6))
		return SPLICE_PROXY_WRONG;
	if (available < SPLICE_PROXY_V2_FIXED + rest) return SPLICE_PROXY_NEED_MORE;
	header->length = SPLICE_PROXY_V2_FIXED + rest;
	if (answer != SPLICE_PROXY_ADDRESS) return answer;
	stream += SPLICE_PROXY_V2_FIXED;
	if (splice_beyond(stream, SPLICE_PROXY_ADDRESSES_IPV4, end)) return SPLICE_PROXY_WRONG; /* never */
	if (family == SPLICE_PROXY_TCP_IPV4) {
		splice_address_from_ipv4(&header->source, splice_load32(stream));
		return answer;
	}
	if (splice_beyond(stream, 16, end)) return SPLICE_PROXY_WRONG; /* never */
	header->source.halves[0] = splice_load64(stream);
	header->source.halves[1] = splice_load64(stream + 8);
	return answer;
}

/* `stream` to `end` holds the first bytes that a client's connection carries, `available` of them (`end` may be farther:
 * links pad). Answers that are not NEED_MORE stay the same, whatever comes. The whole header of version 2 counts, with
 * its TLVs. */
SPLICE_INLINE enum splice_proxy_answer splice_proxy_read(const void *stream, const void *end, __u32 available,
							 struct splice_proxy_header *header)
{
	const __u8 *first = (const __u8 *)stream;

	if (available == 0 || splice_beyond(first, 1, end)) return SPLICE_PROXY_NEED_MORE;
	if (*first == 'P') return splice_proxy_v1(first, end, available, header);
	return splice_proxy_v2(first, end, available, header);
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_PROXY_HEADER_H */
