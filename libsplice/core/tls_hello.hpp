// The server name out of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), across records and
// segments, of any size up to first_payload_max. With Encrypted ClientHello it is the outer name.
//
// The answer, told as soon as the field that shows it has come:
//   not_tls    the first record is no handshake record of TLS (an alert, an SSLv2 hello, another protocol),
//   or its
//              message is no ClientHello
//   bad_hello  a length that does not fit, another record between the hello's fragments, two server_name
//              extensions or two host names, a name that is empty, longer than 255 bytes, or has bytes other
//              than visible ASCII. Name types other than host_name are passed over
//   too_long   a hello that says it is longer than kFirstPayloadMaxLimit
//   no_sni     a complete hello without a host name
//   a key      a complete hello with one. Not before it is complete: a hello that is broken behind the name
//   must
//              not depend on where it was cut
#pragma once

#include "libsplice/core/hash_key.hpp"

namespace splice {

// The name is lower-cased (RFC 4343) and without a trailing dot; it lives in `scratch`.
[[nodiscard]] KeyAnswer tls_sni(Bytes stream, std::string& scratch);

}  // namespace splice
