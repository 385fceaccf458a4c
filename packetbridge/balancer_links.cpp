#include "packetbridge/balancer_links.hpp"

#include <algorithm>
#include <span>

#include "libsplice/engine/interface.hpp"

namespace splice {
namespace {

std::span<const __u64> macs_of(const splice_balancer_links& links) {
    return {links.macs, links.count};
}

void add(splice_balancer_links& links, std::uint64_t mac) {
    const auto known = macs_of(links);
    if (mac == 0 || links.count == SPLICE_BALANCER_LINKS || std::ranges::find(known, mac) != known.end())
        return;
    links.macs[links.count++] = mac;
}

}  // namespace

splice_balancer_links BalancerLinks::find(const BalancersConfig& balancers,
                                          const std::vector<std::string>& uplinks) {
    splice_balancer_links links{};
    unknown_.clear();
    if (balancers.any()) return links;
    links.restricted = 1;
    for (const std::uint64_t mac : balancers.macs) add(links, mac);
    for (const std::string& uplink : uplinks)
        if (const auto own = ethernet_address_of(interface_index(uplink))) add(links, mac_of(*own));
    if (balancers.addresses.empty()) return links;
    if (!hops_) {
        auto opened = NextHops::open();
        if (opened) hops_ = std::move(*opened);
    }
    if (hops_) (void)hops_->drain();
    const auto hops = hops_ ? hops_->resolve(balancers.addresses) : std::vector<std::optional<NextHop>>();
    for (std::size_t i = 0; i < balancers.addresses.size(); ++i) {
        // A balancer on this host: its packets come from nobody.
        if (i < hops.size() && hops[i] && hops[i]->local) continue;
        const auto known = [&](const Known& each) { return each.address == balancers.addresses[i]; };
        auto remembered = std::ranges::find_if(known_, known);
        if (i < hops.size() && hops[i] && hops[i]->ethernet) {
            if (remembered == known_.end())
                remembered = known_.insert(known_.end(), {balancers.addresses[i], 0});
            remembered->mac = mac_of(hops[i]->neighbour);
        }
        // The kernel forgets whom it has not spoken to for a while, and answers go to clients.
        if (remembered != known_.end())
            add(links, remembered->mac);
        else
            unknown_.push_back(balancers.addresses[i]);
    }
    return links;
}

bool same(const splice_balancer_links& a, const splice_balancer_links& b) noexcept {
    return a.restricted == b.restricted && std::ranges::equal(macs_of(a), macs_of(b));
}

}  // namespace splice
