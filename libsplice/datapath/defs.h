/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What C11, C++23 and the BPF target have in common.
 *
 * Everything below libsplice/datapath/ compiles as all three, keeps no state, calls nothing and allocates
 * nothing. A function takes a buffer as `data` (its first byte) and `end` (one past its last) and compares
 * each access with `end`, beside the access, because the kernel's verifier reads it there.
 * Numbers in structs are in host order unless the name or the comment says otherwise; addresses are 16
 * bytes in network order, IPv4 mapped as ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).
 */
#ifndef LIBSPLICE_DATAPATH_DEFS_H
#define LIBSPLICE_DATAPATH_DEFS_H

#include <linux/types.h>

#if defined(__bpf__)
#define SPLICE_BPF 1
#else
#define SPLICE_BPF 0
#endif

#define SPLICE_INLINE static inline __attribute__((always_inline))
/* A function off the common path that is large and called from more than one place: a subprogram in the kernel. */
#if SPLICE_BPF
#define SPLICE_SUBPROGRAM static __attribute__((noinline, unused))
#else
#define SPLICE_SUBPROGRAM SPLICE_INLINE
#endif
#define SPLICE_LIKELY(x) __builtin_expect(!!(x), 1)
#define SPLICE_UNLIKELY(x) __builtin_expect(!!(x), 0)

#if defined(__cplusplus)
#define SPLICE_STATIC_ASSERT(condition, text) static_assert(condition, text)
#else
#define SPLICE_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* C casts are what these headers are written in, and numbers narrow where the wire is narrow; the compilers that
 * are asked to object are told so once, here. */
#if SPLICE_BPF
#define SPLICE_HEADER_BEGIN
#define SPLICE_HEADER_END
#else
#if defined(__cplusplus)
#define SPLICE_ALLOW_C_CASTS _Pragma("GCC diagnostic ignored \"-Wold-style-cast\"")
#else
#define SPLICE_ALLOW_C_CASTS
#endif
#define SPLICE_HEADER_BEGIN \
	_Pragma("GCC diagnostic push") \
	SPLICE_ALLOW_C_CASTS \
	_Pragma("GCC diagnostic ignored \"-Wcast-qual\"") \
	_Pragma("GCC diagnostic ignored \"-Wconversion\"") \
	_Pragma("GCC diagnostic ignored \"-Wpedantic\"")
#define SPLICE_HEADER_END _Pragma("GCC diagnostic pop")
#endif

SPLICE_HEADER_BEGIN

SPLICE_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts are not supported yet");

/* Macros, so that C takes them in constants; each language casts in its own words, for users outside. */
#if defined(__cplusplus)
#define splice_bswap16(x) __builtin_bswap16(static_cast<__u16>(x))
#define splice_bswap32(x) __builtin_bswap32(static_cast<__u32>(x))
#define splice_bswap64(x) static_cast<__u64>(__builtin_bswap64(static_cast<__u64>(x)))
#else
#define splice_bswap16(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define splice_bswap32(x) ((__u32)__builtin_bswap32((__u32)(x)))
#define splice_bswap64(x) ((__u64)__builtin_bswap64((__u64)(x)))
#endif
/* Host order to network order and back. */
#define splice_htons(x) splice_bswap16(x)
#define splice_ntohs(x) splice_bswap16(x)
#define splice_htonl(x) splice_bswap32(x)
#define splice_ntohl(x) splice_bswap32(x)
#define splice_htonll(x) splice_bswap64(x)

/* A header laid over packet bytes. In user space a packet may start at any address, so the struct is
 * packed; the kernel allows unaligned loads where BPF runs, and a packed struct would be read by bytes. */
#if SPLICE_BPF
#define SPLICE_WIRE
#else
#define SPLICE_WIRE __attribute__((packed))
#endif

/* Numbers at any address of a packet, in the order in which they stand there. In user space the types say that
 * nothing is known of the alignment; the kernel allows unaligned access where BPF runs, and clang would split a
 * memcpy() into bytes. They alias everything: a header is read in more than one width. */
#if SPLICE_BPF
typedef __u16 __attribute__((may_alias)) splice_raw16;
typedef __u32 __attribute__((may_alias)) splice_raw32;
typedef __u64 __attribute__((may_alias)) splice_raw64;
#else
typedef __u16 __attribute__((may_alias, aligned(1))) splice_raw16;
typedef __u32 __attribute__((may_alias, aligned(1))) splice_raw32;
typedef __u64 __attribute__((may_alias, aligned(1))) splice_raw64;
#endif

SPLICE_INLINE __u16 splice_load16(const void *from)
{
	return *(const splice_raw16 *)from;
}

SPLICE_INLINE __u32 splice_load32(const void *from)
{
	return *(const splice_raw32 *)from;
}

SPLICE_INLINE __u64 splice_load64(const void *from)
{
	return *(const splice_raw64 *)from;
}

SPLICE_INLINE void splice_store16(void *to, __u16 value)
{
	*(splice_raw16 *)to = value;
}

SPLICE_INLINE void splice_store32(void *to, __u32 value)
{
	*(splice_raw32 *)to = value;
}

SPLICE_INLINE void splice_store64(void *to, __u64 value)
{
	*(splice_raw64 *)to = value;
}

/* The same for numbers in host order. */
SPLICE_INLINE __u16 splice_load_be16(const void *from)
{
	return splice_ntohs(splice_load16(from));
}

SPLICE_INLINE __u32 splice_load_be32(const void *from)
{
	return splice_ntohl(splice_load32(from));
}

SPLICE_INLINE void splice_store_be16(void *to, __u16 value)
{
	splice_store16(to, splice_htons(value));
}

SPLICE_INLINE void splice_store_be32(void *to, __u32 value)
{
	splice_store32(to, splice_htonl(value));
}

/* No header begins farther from `data` than this; a power of two less one. */
#define SPLICE_OFFSET_MAX 2047

/* The byte at `offset`, which is at most SPLICE_OFFSET_MAX. The verifier forgets what it knew of a number that
 * went through memory, and the compiler would drop a mask that it can prove useless: hence the assembly. */
SPLICE_INLINE __u8 *splice_at(const void *data, __u64 offset)
{
#if SPLICE_BPF
	__asm__ volatile("%0 &= %1" : "+r"(offset) : "i"(SPLICE_OFFSET_MAX));
#endif
	return (__u8 *)data + offset;
}

/* 1 when fewer than `count` bytes stand between `at` and `end`. For loops over a packet, where the compiler would
 * otherwise move the arithmetic to `end`, which the verifier refuses. */
SPLICE_INLINE int splice_beyond(const __u8 *at, __u32 count, const void *end)
{
	const __u8 *behind = at + count;
#if SPLICE_BPF
	__asm__ volatile("" : "+r"(behind));
#endif
	return behind > (const __u8 *)end;
}

/* A number of which the compiler is to know nothing: where it would turn arithmetic into branches, each of which
 * doubles what the verifier has to look at. */
SPLICE_INLINE __u32 splice_opaque(__u32 number)
{
#if SPLICE_BPF
	__asm__ volatile("" : "+r"(number));
#endif
	return number;
}

/* Makes the verifier forget what it knows of the numbers in a local struct, which differs by the way that led here:
 * from here on it sees one state instead of one for each way. Numbers at offsets that are multiples of 8 it remembers
 * all the same. */
SPLICE_INLINE void splice_forget(const void *local)
{
#if SPLICE_BPF
	__asm__ volatile("" : : "r"(local) : "memory");
#else
	(void)local;
#endif
}

#if SPLICE_BPF
#define SPLICE_UNROLL _Pragma("unroll")
#else
#define SPLICE_UNROLL
#endif

/* A loop that the verifier accepts for any body: `step` is called with 0, 1, ... below `count` and a
 * context; a result of 1 ends the loop. In the kernel it is bpf_loop() (Linux 5.17), which verifies the
 * body once; in user space the same lines run in a plain loop that the compiler unrolls as it likes. */
#if SPLICE_BPF
#include <bpf/bpf_helpers.h>
#define SPLICE_LOOP_BODY static __attribute__((noinline)) long
#define splice_loop(count, step, context) bpf_loop((count), (void *)(step), (context), 0)
#else
#define SPLICE_LOOP_BODY static inline __attribute__((always_inline)) long
typedef long (*splice_step_fn)(__u32 index, void *context);
SPLICE_INLINE void splice_loop(__u32 count, splice_step_fn step, void *context)
{
	for (__u32 index = 0; index < count; index++)
		if (step(index, context)) break;
}
#endif

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_DEFS_H */
