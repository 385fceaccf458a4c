// What IPv4 of this host does to packets that come in by the uplink from clients that are not there: facts of
// the bridge's host, whatever engine and mode it has.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "libsplice/engine/host_fact.hpp"
#include "libsplice/engine/next_hop.hpp"

namespace splice {

// That a client on this host is served by the bridge here: its packets come back by the uplink from the
// balancer, from an address of this host, and IPv4 drops such as forged.
HostFact local_clients_fact(const std::string& interface);

// That IPv4's reverse path filter lets clients in: strict, it drops who is not reached by the interface that
// their packets come in by. Nothing is changed: it may be what the host's owner wants of other packets.
// `uplinks`: all of them, `interface` among them; clients behind any of these are taken to come in by each.
HostFact reverse_path_fact(const std::string& interface, const std::vector<std::string>& uplinks);

// How this host sends to clients of a family (4 or 6) that no more particular route than the default names;
// nothing: it does not.
[[nodiscard]] std::optional<WayTo> way_to_clients(int family);

// Why clients would be dropped by the filter, or nothing. `strict`: its mode at `interface`; `way_out`: the
// interface of the route to clients elsewhere, empty where there is none.
[[nodiscard]] std::optional<std::string> judge_reverse_path(const std::string& interface, bool strict,
                                                            const std::string& way_out);

}  // namespace splice
