/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Every header of the datapath in plain C11, in alphabetical order: each brings what it needs. */
#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/bridge_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/checksum.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/hash.h"
#include "libsplice/datapath/latency.h"
#include "libsplice/datapath/options.h"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/parse_icmp.h"
#include "libsplice/datapath/parse_options.h"
#include "libsplice/datapath/proxy_header.h"
#include "libsplice/datapath/request_line.h"
#include "libsplice/datapath/rewrite.h"
#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/siphash.h"
#include "libsplice/datapath/translate.h"
#include "libsplice/datapath/translate_icmp.h"
#include "libsplice/datapath/verdicts.h"
#include "libsplice/datapath/verify.h"

/* One call from C, so that the object is not empty: a packet of no bytes is truncated. */
enum splice_verdict splice_c11_judges_nothing(void);
enum splice_verdict splice_c11_judges_nothing(void)
{
	struct splice_packet packet = {.l3_offset = 0};
	const char nothing[1] = {0};
	return splice_parse_ip(nothing, nothing, &packet);
}
