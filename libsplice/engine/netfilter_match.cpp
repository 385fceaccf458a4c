#include "libsplice/engine/netfilter_match.hpp"

#include <algorithm>

namespace splice {
namespace {

bool has_family(const std::vector<Endpoint>& ends, int family) noexcept {
    return ends.empty() ||
           std::ranges::any_of(ends, [&](const Endpoint& end) { return end.address.family() == family; });
}

}  // namespace

bool is_of_family(const NetfilterMatch& rule, int family) noexcept {
    return has_family(rule.sources, family) && has_family(rule.destinations, family);
}

const std::vector<int>& icmp_error_types(int family) {
    static const std::vector<int> ipv4 = {3, 11, 12};
    static const std::vector<int> ipv6 = {1, 2, 3, 4};
    return family == 4 ? ipv4 : ipv6;
}

}  // namespace splice
