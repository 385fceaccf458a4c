/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the test hands to the kernel programs and what it gets back. The same struct on both sides, in the programs'
 * global data.
 */
#ifndef TESTS_BPF_DATAPATH_VECTOR_H
#define TESTS_BPF_DATAPATH_VECTOR_H

#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/hash.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/request_line.h"
#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/translate.h"

struct vector_input {
	struct splice_secret secret;
	struct splice_syn_ack_terms terms;
	struct splice_translation translation;
	struct splice_flow_key backend_flow;
	struct splice_negotiated negotiated;
	struct splice_address destination;
	struct splice_key_rule rule;
	__u64 unix_s;
	__u32 tsval;
	__u32 client_isn;
	__u8 dscp;
	__u8 tsval_present;
	__u8 family;
	__u8 zero[5];
};

struct vector_output {
	struct splice_packet packet;
	struct splice_packet quoted;
	struct splice_tcp_options options;
	struct splice_segment syn_ack;
	struct splice_segment replay_syn;
	struct splice_segment rst;
	struct splice_segment ack;
	struct splice_translate_deltas deltas;
	struct splice_negotiated negotiated;
	struct splice_request_key key;
	__u64 hash;
	__u32 cookie;
	__u32 row;
	__s32 ethernet; /* verdicts */
	__s32 ip;
	__s32 quote;
	__s32 edit;
	__s32 cookie_valid;
	__s32 answer;
};

/* The only global of the programs, so that it stands at the start of their .bss. */
struct vector {
	struct vector_input input;
	struct vector_output output;
};

#endif
