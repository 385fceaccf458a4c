// Devices that stand on others in this network namespace: what comes in by the one came in below first.
#pragma once

#include <string>
#include <vector>

namespace splice {

// The interface itself, and every device below it: the ports of a bridge, bond or team, and what a VLAN or
// macvlan is made on. Itself alone where the system does not say.
[[nodiscard]] std::vector<std::string> with_devices_below(const std::string& interface);

}  // namespace splice
