// The server name out of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), across records and
// segments, of any size up to first_payload_max. With Encrypted ClientHello it is the outer name.
#pragma once

#include "libsplice/core/hash_key.hpp"

namespace splice {

// The name is lower-cased (RFC 4343) and without a trailing dot.
[[nodiscard]] KeyAnswer tls_sni(Bytes stream, std::string& scratch);

}  // namespace splice
