// Whether another host of the link has an address: ARP probes (RFC 5227) and neighbour solicitations as for
// duplicate address detection (RFC 4862).
#pragma once

#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"

namespace splice {

struct AddressConflict {
    IpAddress address;
    std::string mac;  // who answers for it: "02:00:00:00:00:01"
};

// Asks for all at once, three times, and listens: 0.6 s without an answer, less where one comes for each.
// RFC 5227 waits up to ten times as long, for links that are slow to come up. Of two hosts that ask for the
// same address at the same time, the one with the lower MAC address goes on, and the other has a conflict.
// The host must not have the addresses on this link. At once, and none: an interface without Ethernet.
// Errors: no such interface, it is down, no privilege.
SystemResult<std::vector<AddressConflict>> probe_addresses(const std::string& interface,
                                                           const std::vector<IpAddress>& addresses);

}  // namespace splice
