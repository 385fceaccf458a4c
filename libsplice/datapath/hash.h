/* SPDX-License-Identifier: BSD-3-Clause
 *
 * XXH64 (Yann Collet) with seed 0 over a key of bounded length: the kernel's twin of xxHash's, held equal by a
 * test over every length.
 */
#ifndef LIBSPLICE_DATAPATH_HASH_H
#define LIBSPLICE_DATAPATH_HASH_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

/* The longest key that is hashed where the verifier looks on; longer ones go to user space. */
#define SPLICE_HASH_MAX 1408

/* XXH64 of the `length` bytes from `key` (at most SPLICE_HASH_MAX, all before `end`); 0 when they are not. */
SPLICE_INLINE __u64 splice_xxh64(const void *key, const void *end, __u32 length);

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_HASH_H */
