#include "balancer/control/flow_list.hpp"

#include <fmt/format.h>

#include <arpa/inet.h>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "libsplice/engine/clock.hpp"

namespace splice {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kMostAPage = 1000;

struct Wanted {
    std::optional<std::uint16_t> service;            // number
    std::optional<std::set<std::uint16_t>> bridges;  // of entries
    std::optional<IpAddress> client;
    std::uint16_t port = 0;  // 0: any
    std::size_t limit = 100;
    std::string after;
};

std::optional<ApiReply> read_client(const std::string& text, Wanted& wanted) {
    if (auto address = IpAddress::parse(text)) {
        wanted.client = *address;
    } else if (auto endpoint = Endpoint::parse(text)) {
        wanted.client = endpoint->address;
        wanted.port = endpoint->port;
    } else {
        return api_error(422, "expected an address, ADDRESS:PORT or [ADDRESS]:PORT", "client");
    }
    return {};
}

std::optional<ApiReply> read_names(const Snapshot& snapshot, const ApiRequest& request, Wanted& wanted) {
    const BalancerConfig& config = snapshot.shown->config;
    const auto service = request.parameter("service");
    const auto bridge = request.parameter("bridge");
    bool service_there = false;
    bool bridge_there = false;
    std::set<std::uint16_t> bridges;
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        if (service && config.services[i].name != *service) continue;
        const SplicerService& running = snapshot.shown->setup->services[i];
        service_there = true;
        if (service) wanted.service = running.number;
        for (std::size_t place = 0; bridge && place < config.services[i].bridges.size(); ++place) {
            if (config.services[i].bridges[place].name != *bridge) continue;
            bridge_there = true;
            bridges.insert(running.bridges[place]);
        }
    }
    if (service && !service_there) return api_error(404, fmt::format("no service {}", *service), "service");
    if (bridge && !bridge_there) return api_error(404, fmt::format("no bridge {}", *bridge), "bridge");
    if (bridge) wanted.bridges = std::move(bridges);
    return {};
}

std::optional<ApiReply> read(const Snapshot& snapshot, const ApiRequest& request, Wanted& wanted) {
    for (const auto& [name, value] : request.query) {
        if (name == "client") {
            if (auto wrong = read_client(value, wanted)) return wrong;
        } else if (name == "limit") {
            const auto limit = parse_number(value, 1, kMostAPage);
            if (!limit) return api_error(422, limit.error(), "limit");
            wanted.limit = static_cast<std::size_t>(*limit);
        } else if (name == "after") {
            wanted.after = value;
        } else if (name != "service" && name != "bridge") {
            return api_error(
                422,
                fmt::format("unknown parameter {}; expected service, bridge, client, limit or after", name),
                name);
        }
    }
    return read_names(snapshot, request, wanted);
}

std::string_view state_of(const splice_flow_entry& entry) {
    switch (entry.state) {
        case SPLICE_FLOW_PENDING:
            return "pending";
        case SPLICE_FLOW_REFUSED:
            return "refused";
        case SPLICE_FLOW_ENDED:
            return "ended";
        case SPLICE_FLOW_STRANDED:
            return "stranded";
        default:
            break;
    }
    if (splice_flow_silence(&entry) == SPLICE_SILENCE_CLOSING) return "closing";
    if (entry.flags & SPLICE_FLOW_CLIENT_FIN) return "half_closed";
    return entry.flags & SPLICE_FLOW_ANSWERED ? "open" : "unanswered";
}

std::string service_name(const Shown& shown, std::uint16_t number) {
    const auto& services = shown.setup->services;
    const auto found = std::ranges::find(services, number, &SplicerService::number);
    return found == services.end() ? "" : found->name;
}

std::string bridge_name(const Shown& shown, const splice_flow_entry& entry) {
    const auto& services = shown.setup->services;
    const auto service = std::ranges::find(services, entry.service, &SplicerService::number);
    if (service != services.end()) {
        if (const auto place = place_of(*service, entry.bridge))
            return shown.config.services[static_cast<std::size_t>(service - services.begin())]
                .bridges[*place]
                .name;
    }
    // One that left the configuration keeps its connections.
    return entry.bridge < shown.setup->bridges.size() ? shown.setup->bridges[entry.bridge].address.to_string()
                                                      : "";
}

}  // namespace

ApiReply list_flows(const Snapshot& snapshot, const ApiRequest& request, const ReadFlows& read_flows) {
    Wanted wanted;
    if (auto wrong = read(snapshot, request, wanted)) return std::move(*wrong);
    const auto page = read_flows(
        [&](const splice_flow_key& key, const splice_flow_entry& entry) {
            if (wanted.service && entry.service != *wanted.service) return false;
            if (wanted.bridges && !wanted.bridges->contains(entry.bridge)) return false;
            if (wanted.client && IpAddress(key.client) != *wanted.client) return false;
            return wanted.port == 0 || ntohs(key.client_port) == wanted.port;
        },
        wanted.limit, wanted.after);
    if (!page) return api_error(422, page.error(), "after");
    const std::uint32_t now_s = read_clock().seconds();
    Json flows = Json::array();
    for (const auto& [key, entry] : page->flows) {
        const std::int64_t idle_s = std::max<std::int64_t>(std::int64_t{now_s} - entry.last_seen_s, 0);
        flows.push_back({{"client", Endpoint{IpAddress(key.client), ntohs(key.client_port)}.to_string()},
                         {"service", service_name(*snapshot.shown, entry.service)},
                         {"bridge", bridge_name(*snapshot.shown, entry)},
                         {"state", state_of(entry)},
                         {"idle_ms", idle_s * 1000}});
    }
    const Json json{{"flows", std::move(flows)},
                    {"next", page->next.empty() ? Json(nullptr) : Json(page->next)}};
    return {.status = 200, .content_type = "application/json", .body = json.dump(2) + "\n"};
}

}  // namespace splice
