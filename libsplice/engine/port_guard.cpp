#include "libsplice/engine/port_guard.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace splice {
namespace {

constexpr const char* kCounter = "slipped";

// The counter goes on where it was.
std::string content_of(const std::vector<Endpoint>& ports, const splice_mark_field& marks,
                       std::uint64_t dropped) {
    std::string text = fmt::format(
        "counter {0} {{ packets {1} bytes 0 }}\n"
        "chain {0} {{\n"
        // What a bridge on this host bounces comes by lo, where the balancer has heard it.
        "ip dscp 63 drop\n"
        "ip6 dscp 63 drop\n"
        "iifname \"lo\" return\n"
        "meta mark & {2:#x} == {3:#x} return\n"
        "counter name \"{0}\" drop\n"
        "}}\n"
        "chain guard {{\n"
        "type filter hook input priority {4}; policy accept;\n",
        kCounter, dropped, splice_mark_bridges_mask(&marks), marks.value, kNftPriority);
    if (const std::string set = nft_endpoints(ports, 4); !set.empty())
        text += fmt::format("ip daddr . tcp dport {} jump {}\n", set, kCounter);
    if (const std::string set = nft_endpoints(ports, 6); !set.empty())
        text += fmt::format("ip6 daddr . tcp dport {} jump {}\n", set, kCounter);
    return text + "}\n";
}

}  // namespace

PortGuard::PortGuard(NftTable table, std::vector<Endpoint> ports, const splice_mark_field& marks,
                     std::uint64_t dropped) noexcept
    : table_(std::move(table)), ports_(std::move(ports)), marks_(marks), dropped_(dropped) {}

PortGuard::PortGuard(PortGuard&& other) noexcept
    : table_(std::move(other.table_)),
      ports_(std::move(other.ports_)),
      marks_(other.marks_),
      dropped_(other.dropped_.load()) {}

SystemResult<PortGuard> PortGuard::install(const std::string& table, const std::vector<Endpoint>& ports,
                                           const splice_mark_field& marks) {
    const std::uint64_t dropped = nft_counter_packets(table, kCounter);
    auto installed = NftTable::install(table, content_of(ports, marks, dropped));
    if (!installed) return std::unexpected(installed.error());
    return PortGuard(std::move(*installed), ports, marks, dropped);
}

SystemResult<void> PortGuard::replace(const std::vector<Endpoint>& ports) {
    if (ports == ports_) return {};
    return write(ports);
}

SystemResult<void> PortGuard::write(const std::vector<Endpoint>& ports) {
    auto replaced = table_.replace(content_of(ports, marks_, dropped()));
    if (replaced) ports_ = ports;
    return replaced;
}

HostFact PortGuard::fact() {
    return {.kind = "port_guard",
            .words = "the rules that keep this host's own TCP from answering for the services",
            .observe = [this]() -> std::optional<std::string> {
                if (table_.is_whole()) return std::nullopt;
                return "are not as they were installed";
            },
            .put_right = [this] { return write(ports_); }};
}

std::uint64_t PortGuard::dropped() const {
    // None is there while somebody has deleted the table.
    const std::uint64_t now = nft_counter_packets(table_.name(), kCounter);
    if (now > dropped_) dropped_ = now;
    return dropped_;
}

}  // namespace splice
