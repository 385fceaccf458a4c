/* SPDX-License-Identifier: BSD-3-Clause
 *
 * All of judging a packet's bytes, for who does not want to name the parts: one idea is one header, and none of them
 * includes this one.
 */
#ifndef LIBSPLICE_DATAPATH_PACKET_H
#define LIBSPLICE_DATAPATH_PACKET_H

#include "libsplice/datapath/parse.h"
#include "libsplice/datapath/parse_icmp.h"
#include "libsplice/datapath/parse_options.h"
#if !SPLICE_BPF
#include "libsplice/datapath/verify.h"
#endif

#endif /* LIBSPLICE_DATAPATH_PACKET_H */
