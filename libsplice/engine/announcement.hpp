// Tells the hosts of a link that an address is here now, so that they forget where it was: an ARP
// announcement (RFC 5227 section 2.3), or an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
#pragma once

#include <string>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"

namespace splice {

// Once, on that interface, which has the address. An interface without Ethernet addresses has nobody to be
// told, which is no error. Errors: no such interface, no privilege (CAP_NET_RAW).
SystemResult<void> announce_address(const std::string& interface, const IpAddress& address);

}  // namespace splice
