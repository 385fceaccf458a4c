#include "packetbridge/network_facts.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/engine/sysctl.hpp"

namespace splice {
namespace {

std::string conf(const std::string& interface, const std::string& name) {
    return fmt::format("net/ipv4/conf/{}/{}", interface, name);
}

}  // namespace

// By an address that nobody has (RFC 5737, RFC 3849).
std::optional<WayTo> way_to_clients(int family) {
    const auto anybody = IpAddress::parse(family == 4 ? "198.51.100.1" : "2001:db8::1");
    return anybody ? way_to(*anybody) : std::nullopt;
}

HostFact local_clients_fact(const std::string& interface) {
    const std::string path = conf(interface, "accept_local");
    return {
        .kind = "sysctl",
        .words = fmt::format(
            "the sysctl net.ipv4.conf.{}.accept_local, which must be 1 for clients on this host,", interface),
        .observe = [interface, path]() -> std::optional<std::string> {
            if (!read_sysctl(path)) return std::nullopt;  // the interface is away
            if (interface_sysctl(interface, "accept_local") != 0) return std::nullopt;
            return "is 0";
        },
        .put_right = [path]() -> SystemResult<void> {
            auto written = write_sysctl(path, 1);
            if (!written) written.error().text += "; local_clients: false does without it";
            return written;
        },
        .undo = [path] { (void)write_sysctl(path, 0); },
        .may_wait = true,  // not every bridge has such clients
        .silent = true};
}

std::optional<std::string> judge_reverse_path(const std::string& interface, bool strict,
                                              const std::string& way_out) {
    if (!strict || way_out.empty() || way_out == interface) return std::nullopt;
    return fmt::format("drops every client that this host reaches by {}", way_out);
}

HostFact reverse_path_fact(const std::string& interface, const std::vector<std::string>& uplinks) {
    return {.kind = "rp_filter",
            .words = fmt::format("IPv4's strict reverse path filter of {} (rp_filter 1)", interface),
            .observe = [interface, uplinks]() -> std::optional<std::string> {
                const bool strict = interface_sysctl(interface, "rp_filter") == 1;
                const auto to_clients = strict ? way_to_clients(4) : std::nullopt;
                const std::string way = to_clients ? to_clients->interface : "";
                // A route over several (ECMP) lets each of them in, and shows one.
                if (std::ranges::find(uplinks, way) != uplinks.end()) return std::nullopt;
                return judge_reverse_path(interface, strict, way);
            },
            .put_right = [interface]() -> SystemResult<void> {
                return std::unexpected(SystemError{
                    fmt::format("make it loose with sysctl -w net.ipv4.conf.{}.rp_filter=2", interface), 0});
            },
            .may_wait = true,
            .silent = true};
}

}  // namespace splice
