/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether a key is hot: a set of key hashes that user space writes (core/hot_keys.hpp) and the kernel program reads
 * while a first payload is chosen for. A bucket is half a cache line, so a look at it is one load from memory.
 */
#ifndef LIBSPLICE_DATAPATH_HOT_KEYS_H
#define LIBSPLICE_DATAPATH_HOT_KEYS_H

#include "libsplice/datapath/defs.h"

SPLICE_HEADER_BEGIN

#define SPLICE_HOT_BUCKETS_SHIFT 11
#define SPLICE_HOT_BUCKETS (1U << SPLICE_HOT_BUCKETS_SHIFT)
#define SPLICE_HOT_WAYS 4

struct splice_hot_keys {
	/* 0: free. A bucket has its marks first, so that nearly every look ends at the first one, which is 0. */
	__u64 marks[SPLICE_HOT_BUCKETS][SPLICE_HOT_WAYS];
};

/* A key's hash, told apart from the same key of another service by that one's mark on packets; never 0. */
SPLICE_INLINE __u64 splice_hot_mark(__u64 hash, __u8 service)
{
	return (hash ^ service * 0x9e3779b97f4a7c15ULL) | 1;
}

SPLICE_INLINE __u32 splice_hot_bucket(__u64 hash)
{
	return (__u32)(hash >> (64 - SPLICE_HOT_BUCKETS_SHIFT)) & (SPLICE_HOT_BUCKETS - 1);
}

SPLICE_INLINE int splice_is_hot(const struct splice_hot_keys *keys, __u64 hash, __u8 service)
{
	const __u64 *bucket = keys->marks[splice_hot_bucket(hash)];
	const __u64 mark = splice_hot_mark(hash, service);

	if (!bucket[0]) return 0;
	return bucket[0] == mark || bucket[1] == mark || bucket[2] == mark || bucket[3] == mark;
}

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_HOT_KEYS_H */
