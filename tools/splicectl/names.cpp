#include "tools/splicectl/names.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "libsplice/base/address.hpp"
#include "tools/splicectl/table.hpp"

namespace splice::control {
namespace {

// The names of a list's elements, at most so many of them.
std::string names_of(const Json& list) {
    constexpr std::size_t kMost = 20;
    std::string text;
    for (std::size_t i = 0; i < std::min(list.size(), kMost); i++)
        text += fmt::format("{}{}", i == 0 ? "" : ", ", harmless(text_at(list[i], "name")));
    if (list.size() > kMost) text += fmt::format(" and {} more", list.size() - kMost);
    return text;
}

const Json* named(const Json& list, const std::string& name) {
    const auto found =
        std::ranges::find_if(list, [&](const Json& one) { return text_at(one, "name") == name; });
    return found == list.end() ? nullptr : &*found;
}

FoundBridge found_bridge(const Json& service, const Json& bridge) {
    return {.service = text_at(service, "name"),
            .bridge = text_at(bridge, "name"),
            .path = "/loadbalancer/" + text_at(service, "uuid") + "/backend/" + text_at(bridge, "uuid")};
}

// What a URL says before its path: "192.0.2.1:80" of "http://192.0.2.1/a"; nothing where it names no address.
std::optional<Endpoint> endpoint_of(std::string_view url) {
    std::string port = "80";
    if (url.starts_with("https://"))
        port = "443", url.remove_prefix(8);
    else if (url.starts_with("http://"))
        url.remove_prefix(7);
    else
        return std::nullopt;
    std::string authority(url.substr(0, url.find_first_of("/?#")));
    if (auto whole = Endpoint::parse(authority)) return *whole;
    auto without_port = Endpoint::parse(authority + ":" + port);
    return without_port ? std::optional(*without_port) : std::nullopt;
}

}  // namespace

std::expected<Json, std::string> find_service(const Json& load_balancers, const std::string& name) {
    if (const Json* const service = named(load_balancers, name)) return *service;
    return std::unexpected(
        fmt::format("there is no service {}; there are: {}", harmless(name), names_of(load_balancers)));
}

std::expected<std::vector<FoundBridge>, std::string> find_bridges(const Json& load_balancers,
                                                                  const std::string& service,
                                                                  const std::string& bridge, bool all) {
    if (!service.empty()) {
        const auto found = find_service(load_balancers, service);
        if (!found) return std::unexpected(found.error());
        const Json& bridges = list_at(*found, "backends");
        if (const Json* const one = named(bridges, bridge)) return std::vector{found_bridge(*found, *one)};
        return std::unexpected(fmt::format("service {} has no bridge {}; it has: {}", harmless(service),
                                           harmless(bridge), names_of(bridges)));
    }
    std::vector<FoundBridge> found;
    Json services = Json::array();  // those of `found`
    for (const Json& each : load_balancers) {
        if (const Json* const one = named(list_at(each, "backends"), bridge)) {
            found.push_back(found_bridge(each, *one));
            services.push_back(each);
        }
    }
    if (found.empty())
        return std::unexpected(
            fmt::format("no service has a bridge {}; `splicectl bridges` lists them (services: {})",
                        harmless(bridge), names_of(load_balancers)));
    if (found.size() > 1 && !all)
        return std::unexpected(
            fmt::format("{} services have a bridge {}: name one of them, as {}/{}, or all with "
                        "--all-services: {}",
                        found.size(), harmless(bridge), harmless(found[0].service), harmless(bridge),
                        names_of(services)));
    return found;
}

std::expected<std::string, std::string> service_of_url(const Json& load_balancers, const std::string& url) {
    if (load_balancers.size() == 1) return text_at(load_balancers[0], "name");
    const auto endpoint = endpoint_of(url);
    for (const Json& each : load_balancers) {
        const auto vip = IpAddress::parse(text_at(each, "vip"));
        if (endpoint && vip && *vip == endpoint->address && number_at(each, "port") == endpoint->port)
            return text_at(each, "name");
    }
    return std::unexpected(
        fmt::format("which service? The URL names no service's address: choose with --service "
                    "one of: {}",
                    names_of(load_balancers)));
}

}  // namespace splice::control
