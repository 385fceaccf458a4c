// That IPv4 of this host is silent about addresses that are not the asked interface's: by default Linux
// answers ARP for an address of any interface, loopback included. IPv6 answers for the interface's own alone.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "libsplice/engine/host_fact.hpp"

namespace splice {

class ArpSilence {
  public:
    // Of `interface`: arp_ignore is 1 or more, and arp_announce 2, as ip-sysctl.rst has them. What was there
    // comes back when the facts are undone. `needed`: asked at every look; while it says no, all is as it
    // should be. They refer to this.
    HostFactList facts(const std::string& interface, const std::function<bool()>& needed);

  private:
    HostFact fact(const std::string& interface, const std::string& name, int least,
                  const std::function<bool()>& needed);
    std::map<std::string, int> before_;  // of what was set, by the sysctl's path
};

}  // namespace splice
