/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A frame as restore.bpf.c writes it before each run of the program that is measured.
 */
#ifndef TESTS_BENCH_RESTORE_H
#define TESTS_BENCH_RESTORE_H

#include <linux/types.h>

#define RESTORE_BYTES 256

struct restore_frame {
	__u32 length; /* at most RESTORE_BYTES */
	__u32 zero;
	__u8 bytes[RESTORE_BYTES];
};

#endif /* TESTS_BENCH_RESTORE_H */
