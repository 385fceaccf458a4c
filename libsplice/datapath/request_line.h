/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finds the key in an HTTP/1 request line (RFC 9112 section 3) that is whole in one segment: what the kernel
 * decides by itself. It never guesses: whatever is not plainly right is user space's to judge, and where it
 * does give a key, user space gives the same (a fuzzer holds them together).
 */
#ifndef LIBSPLICE_DATAPATH_REQUEST_LINE_H
#define LIBSPLICE_DATAPATH_REQUEST_LINE_H

#include "libsplice/datapath/defs.h"
#include "libsplice/datapath/hash.h"

SPLICE_HEADER_BEGIN

enum splice_key_kind {
	SPLICE_KEY_SOURCE = 0, /* the client's address */
	SPLICE_KEY_URI = 1, /* path and query, cut by depth and len */
	SPLICE_KEY_PATH = 2, /* path without query, cut likewise */
	SPLICE_KEY_USER_SPACE = 3, /* needs headers, TLS, or parameters: not decided in the kernel */
};

struct splice_key_rule {
	__u16 length; /* at most so many bytes of the key; 0 = all */
	__u8 kind; /* enum splice_key_kind */
	__u8 depth; /* at most so many directories: the key ends before slash depth + 1; 0 = all */
};

enum splice_request_line_answer {
	SPLICE_REQUEST_KEY, /* offset and length say where the key stands */
	SPLICE_REQUEST_ASK_USER_SPACE, /* incomplete, odd, too long, absolute form, or not HTTP */
};

struct splice_request_key {
	__u32 offset; /* from the start of the payload */
	__u32 length; /* 1 to SPLICE_HASH_MAX */
};

/* `payload` to `end` is the whole payload of a first segment. A key comes only from
 * "METHOD SP origin-form SP HTTP/1.[01] CRLF" with the method of one to 16 token letters A-Z and the whole line
 * there. */
SPLICE_INLINE enum splice_request_line_answer splice_request_line(const void *payload, const void *end,
								   struct splice_key_rule rule,
								   struct splice_request_key *key);

SPLICE_HEADER_END
#endif /* LIBSPLICE_DATAPATH_REQUEST_LINE_H */
