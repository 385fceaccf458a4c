/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whose marks a bridge believes: the Ethernet addresses of its balancers, or of the routers before them. Clients' addresses are
 * in the packets' headers, so nothing else tells who has sent a packet here.
 */
#ifndef LIBSPLICE_DATAPATH_BALANCER_LINKS_H
#define LIBSPLICE_DATAPATH_BALANCER_LINKS_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

#define SPLICE_BALANCER_LINKS 32

struct splice_balancer_links {
	__u32 restricted; /* 0: anybody's marks are believed */
	__u32 count;
	__u64 macs[SPLICE_BALANCER_LINKS]; /* in the low 48 bits, as they are in a frame */
};

/* `mac`: where the frame comes from; 0: from this host itself, which is always believed. */
SPLICE_INLINE int splice_balancer_links_have(const struct splice_balancer_links *links, __u64 mac)
{
	if (SPLICE_LIKELY(!links->restricted) || !mac) return 1;
	for (__u32 i = 0; i < SPLICE_BALANCER_LINKS && i < links->count; i++) {
		if (links->macs[i] == mac) return 1;
	}
	return 0;
}

/* Where a frame comes from; `ethernet` has its 14 bytes. */
SPLICE_INLINE __u64 splice_mac_of_source(const __u8 *ethernet)
{
	return splice_load32(ethernet + 6) | (__u64)splice_load16(ethernet + 10) << 32;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_BALANCER_LINKS_H */
