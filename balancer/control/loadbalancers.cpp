#include "balancer/control/loadbalancers.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "balancer/control/health_words.hpp"

namespace splice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 16;  // of a body's lists and objects

std::string dump(const Json& json) {
    return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

ApiReply json_reply(unsigned status, const Json& json) {
    return {.status = status, .content_type = "application/json", .body = dump(json)};
}

ApiReply no_service() {
    return api_error(404, "no such service; GET /loadbalancers lists them", "uuid");
}

ApiReply no_bridge() {
    return api_error(404, "the service has no such bridge; GET /loadbalancer/{uuid} lists them", "backend");
}

// --- what is shown ---

Json backend_json(const Shown& shown, const ServiceView& view, std::size_t place) {
    const BridgeConfig& bridge = view.service.bridges[place];
    const AddedBridge* const added = shown.desired->added(view.service.name, bridge.name);
    const ChangedBridge* const changed = shown.desired->changed(view.service.name, bridge.name);
    const BridgeHealth* const health = view.health_of(place);
    Json what = Json::array();
    if (changed && changed->weight) what.push_back("weight");
    if (changed && changed->state) what.push_back("state");
    return {{"uuid", shown.desired->uuid_of(view.service.name, bridge.name)},
            {"name", bridge.name},
            {"ip", bridge.address.to_string()},
            {"port", added && added->port != 0 ? added->port : view.service.vip.port},
            {"weight", bridge.weight},
            {"number", bridge.number != 0 ? Json(bridge.number) : Json(nullptr)},
            {"state", to_string(bridge.state)},
            {"origin", added ? "api" : "file"},
            {"changed", std::move(what)},
            {"health", health ? Json(to_string(health->state)) : Json(nullptr)},
            {"failure", health && health->failure ? Json(describe_failure(*health->failure, health->words))
                                                  : Json(nullptr)},
            {"table_share", view.shares[place]},
            {"connections", view.flows(place).open},
            {"max_connections", bridge.max_connections != 0 ? Json(bridge.max_connections) : Json(nullptr)},
            {"full", view.is_full(place)}};
}

Json loadbalancer_json(const Snapshot& snapshot, std::size_t place) {
    const Shown& shown = *snapshot.shown;
    const ServiceView view = view_of(snapshot, place);
    Json backends = Json::array();
    for (std::size_t i = 0; i < view.service.bridges.size(); ++i)
        backends.push_back(backend_json(shown, view, i));
    const std::string vip = view.service.vip.address.to_string();
    return {
        {"uuid", shown.desired->uuid_of(view.service.name)},
        {"name", view.service.name},
        {"eip", vip},
        {"vip", vip},
        {"port", view.service.vip.port},
        {"dscp", view.service.dscp},
        {"protocol", to_string(view.service.protocol)},
        {"hash", {{"key", view.service.key.to_string()}, {"algorithm", to_string(view.service.algorithm)}}},
        {"origin", shown.desired->added(view.service.name) ? "api" : "file"},
        {"backends", std::move(backends)}};
}

// The place of the service with that UUID.
std::optional<std::size_t> find_service(const BalancerConfig& config, const Desired& desired,
                                        const std::string& uuid) {
    for (std::size_t i = 0; i < config.services.size(); ++i) {
        if (desired.uuid_of(config.services[i].name) == uuid) return i;
    }
    return {};
}

std::optional<std::size_t> find_bridge(const ServiceConfig& service, const Desired& desired,
                                       const std::string& uuid) {
    for (std::size_t i = 0; i < service.bridges.size(); ++i) {
        if (desired.uuid_of(service.name, service.bridges[i].name) == uuid) return i;
    }
    return {};
}

// --- what is asked for ---

using Refused = std::unexpected<ApiReply>;

Refused refuse(unsigned status, const std::string& sentence, const std::string& field = {}) {
    return Refused(api_error(status, sentence, field));
}

// One object; deep nesting is refused before it is built.
std::expected<Json, ApiReply> object_of(const std::string& body) {
    bool too_deep = false;
    const Json json = Json::parse(
        body,
        [&](int depth, Json::parse_event_t, Json&) {
            too_deep |= depth > kDeepest;
            return !too_deep;
        },
        false);
    if (too_deep)
        return refuse(400, fmt::format("expected at most {} lists and objects in each other", kDeepest));
    if (json.is_discarded()) return refuse(400, "the body is no JSON");
    if (!json.is_object()) return refuse(422, "expected a JSON object");
    return json;
}

// The value under the key through a parser of config/values.hpp; numbers may come as text, too.
template <class T, class Parser>
std::optional<ApiReply> read(const Json& json, const char* key, T& to, Parser&& parser) {
    const auto found = json.find(key);
    if (found == json.end()) return {};
    const bool plain = found->is_string() || found->is_number_integer();
    const std::string text = found->is_string() ? found->get<std::string>() : found->dump();
    auto parsed = plain ? parser(std::string_view(text))
                        : decltype(parser(std::string_view()))(
                              std::unexpected(std::string("expected a text or a whole number")));
    if (!parsed) return api_error(422, fmt::format("{}: {}", key, parsed.error()), key);
    to = std::move(*parsed);
    return {};
}

std::optional<ApiReply> refuse_unknown(const Json& json, const std::vector<std::string_view>& known) {
    for (const auto& [key, value] : json.items()) {
        if (std::ranges::find(known, key) != known.end()) continue;
        const std::string_view meant = nearest(key, known);
        return api_error(422,
                         meant.empty()
                             ? fmt::format("unknown key {}; expected one of {}", key, fmt::join(known, ", "))
                             : fmt::format("unknown key {}; did you mean {}?", key, meant),
                         key);
    }
    return {};
}

// Whether the service can take the bridge.
std::optional<ApiReply> refuse_bridge(const ServiceConfig& service, const BridgeConfig& bridge) {
    const auto same = [&](const BridgeConfig& other) {
        return other.name == bridge.name || other.address == bridge.address;
    };
    const auto other = std::ranges::find_if(service.bridges, same);
    if (other != service.bridges.end())
        return api_error(
            409,
            fmt::format("the service has bridge {} at {}: expected a name and an address of its own",
                        other->name, other->address.to_string()),
            other->name == bridge.name ? "name" : "ip");
    if (auto fits = check_bridge(service, bridge); !fits) return api_error(422, fits.error(), "ip");
    return {};
}

std::expected<AddedBridge, ApiReply> backend_of(const Json& json) {
    if (!json.is_object()) return refuse(422, "expected an object for each backend", "backends");
    if (auto unknown = refuse_unknown(json, {"ip", "port", "name", "weight", "number", "state"}))
        return Refused(std::move(*unknown));
    AddedBridge added{.uuid = new_uuid(), .service = {}, .bridge = {}};
    BridgeConfig& bridge = added.bridge;
    if (!json.contains("ip")) return refuse(422, "'ip' is missing: the bridge's address", "ip");
    if (auto wrong = read(json, "ip", bridge.address, parse_host_address)) return Refused(std::move(*wrong));
    bridge.name = bridge.address.to_string();
    std::ranges::replace(bridge.name, ':', '-');
    if (auto wrong = read(json, "name", bridge.name, parse_name)) return Refused(std::move(*wrong));
    if (auto wrong = read(json, "port", added.port, parse_port)) return Refused(std::move(*wrong));
    if (auto wrong = read(json, "weight", bridge.weight, parse_weight)) return Refused(std::move(*wrong));
    if (auto wrong = read(json, "number", bridge.number, parse_bridge_number))
        return Refused(std::move(*wrong));
    if (auto wrong = read(json, "state", bridge.state, parse_bridge_state)) return Refused(std::move(*wrong));
    return added;
}

std::optional<IpAddress> free_address(const EditBase& base) {
    const auto taken = [&](const IpAddress& address) {
        return std::ranges::any_of(base.running.services, [&](const ServiceConfig& service) {
            return service.vip.address == address ||
                   std::ranges::find(service.bridges, address, &BridgeConfig::address) !=
                       service.bridges.end();
        });
    };
    for (const AddressRange& range : base.file.ipam) {
        // A subnet's first address and IPv4's last one are nobody's (RFC 1122 section 3.2.1.3, RFC 4291
        // section 2.6.1).
        const bool subnet = range.size() > 2;
        const std::uint64_t last = range.size() - (subnet && range.first.family() == 4 ? 1 : 0);
        for (std::uint64_t i = subnet ? 1 : 0; i < last; ++i) {
            if (const IpAddress address = range.at(i); !taken(address)) return address;
        }
    }
    return {};
}

std::optional<int> free_dscp(const BalancerConfig& config) {
    for (int dscp = 1; dscp <= SPLICE_CARRIAGE_LAST; ++dscp) {
        if (std::ranges::none_of(config.services,
                                 [&](const ServiceConfig& service) { return service.dscp == dscp; }))
            return dscp;
    }
    return {};
}

// What the body leaves out: an address and a mark.
std::optional<ApiReply> complete(Json& service, const EditBase& base) {
    if (const auto eip = service.find("eip"); eip != service.end()) {
        if (service.contains("vip") && service["vip"] != *eip)
            return api_error(422, "eip and vip differ: they are one thing, expected one of them", "eip");
        service["vip"] = Json(*eip);
        service.erase("eip");
    }
    if (!service.contains("vip")) {
        if (base.file.ipam.empty())
            return api_error(422, "'vip' is missing, and the configuration has no ipam to take one from",
                             "vip");
        const auto address = free_address(base);
        if (!address) return api_error(409, "no address of ipam is free", "vip");
        service["vip"] = address->to_string();
    }
    if (!service.contains("dscp")) {
        const auto dscp = free_dscp(base.running);
        if (!dscp) return api_error(409, "no DSCP is free: 62 services have one each", "dscp");
        service["dscp"] = *dscp;
    }
    return {};
}

std::optional<ApiReply> refuse_service(const ServiceConfig& service, const BalancerConfig& running) {
    for (const ServiceConfig& other : running.services) {
        if (other.name == service.name)
            return api_error(409, fmt::format("there is a service {} already", service.name), "name");
        if (other.vip == service.vip)
            return api_error(
                409, fmt::format("service {} has {} already", other.name, service.vip.to_string()), "port");
        if (other.dscp == service.dscp)
            return api_error(409, fmt::format("service {} has DSCP {} already", other.name, service.dscp),
                             "dscp");
    }
    return {};
}

std::expected<Edited, ApiReply> add_service(Desired& desired, const EditBase& base, Json body) {
    std::vector<AddedBridge> bridges;
    if (const auto backends = body.find("backends"); backends != body.end()) {
        if (!backends->is_array()) return refuse(422, "expected a list", "backends");
        for (const Json& each : *backends) {
            auto bridge = backend_of(each);
            if (!bridge) return Refused(bridge.error());
            bridges.push_back(std::move(*bridge));
        }
        body.erase("backends");
    }
    if (auto wrong = complete(body, base)) return Refused(std::move(*wrong));
    ServiceConfig service;
    try {
        service = parse_service(body.dump(), base.file.defaults);
    } catch (const ConfigError& error) {
        return refuse(422, error.sentence(), error.key());
    } catch (const Json::exception&) {
        return refuse(422, "expected text in UTF-8");
    }
    if (auto taken = refuse_service(service, base.running)) return Refused(std::move(*taken));
    for (AddedBridge& bridge : bridges) {
        if (auto unfit = refuse_bridge(service, bridge.bridge)) return Refused(std::move(*unfit));
        service.bridges.push_back(bridge.bridge);
        bridge.service = service.name;
    }
    desired.add(AddedService{.uuid = new_uuid(), .name = service.name, .text = body.dump()});
    for (AddedBridge& bridge : bridges) desired.add(std::move(bridge));
    return Edited{.status = 201, .service = service.name};
}

// The service that the request names, or the refusal.
std::expected<const ServiceConfig*, ApiReply> service_of(const ApiRequest& request, const Desired& desired,
                                                         const BalancerConfig& running) {
    const auto place = find_service(running, desired, request.variables[0]);
    if (!place) return Refused(no_service());
    return &running.services[*place];
}

struct Named {
    const ServiceConfig* service;
    const BridgeConfig* bridge;
};
std::expected<Named, ApiReply> bridge_of(const ApiRequest& request, const Desired& desired,
                                         const BalancerConfig& running) {
    const auto service = service_of(request, desired, running);
    if (!service) return Refused(service.error());
    const auto place = find_bridge(**service, desired, request.variables[1]);
    if (!place) return Refused(no_bridge());
    return Named{*service, &(*service)->bridges[*place]};
}

std::expected<Edited, ApiReply> change_bridge(Desired& desired, const Named& named, const Json& body) {
    if (auto unknown = refuse_unknown(body, {"weight", "state"})) return Refused(std::move(*unknown));
    if (body.empty()) return refuse(422, "expected weight, state or both");
    const std::string& service = named.service->name;
    const std::string& bridge = named.bridge->name;
    const auto is_null = [&](const char* key) { return body.contains(key) && body[key].is_null(); };
    if (is_null("weight")) {
        desired.unset_weight(service, bridge);
    } else if (body.contains("weight")) {
        std::uint32_t weight = 0;
        if (auto wrong = read(body, "weight", weight, parse_weight)) return Refused(std::move(*wrong));
        desired.set_weight(service, bridge, weight);
    }
    if (is_null("state")) {
        desired.unset_state(service, bridge);
    } else if (body.contains("state")) {
        BridgeState state{};
        if (auto wrong = read(body, "state", state, parse_bridge_state)) return Refused(std::move(*wrong));
        desired.set_state(service, bridge, state);
    }
    return Edited{.service = service, .bridge = bridge};
}

ApiRoute call(
    const char* method, const char* path, const MakeChange& change,
    std::function<std::expected<Edited, ApiReply>(const ApiRequest&, Desired&, const EditBase&)> edit) {
    return {.method = method,
            .path = path,
            .right = ApiRight::change,
            .handle = [change, edit = std::move(edit)](const ApiRequest& request, ApiAnswer answer) {
                change([request, edit](Desired& desired,
                                       const EditBase& base) { return edit(request, desired, base); },
                       std::move(answer));
            }};
}

}  // namespace

ApiReply reply_of(const Edited& edited, const Snapshot& snapshot) {
    if (edited.service.empty()) return {.status = edited.status};
    const Shown& shown = *snapshot.shown;
    const auto service = std::ranges::find(shown.config.services, edited.service, &ServiceConfig::name);
    if (service == shown.config.services.end()) return no_service();
    const auto place = static_cast<std::size_t>(service - shown.config.services.begin());
    const std::string path = "/loadbalancer/" + shown.desired->uuid_of(service->name);
    ApiReply reply;
    std::string location = path;
    if (edited.bridge.empty()) {
        reply = json_reply(edited.status, loadbalancer_json(snapshot, place));
    } else {
        const auto bridge = std::ranges::find(service->bridges, edited.bridge, &BridgeConfig::name);
        if (bridge == service->bridges.end()) return no_bridge();
        reply = json_reply(edited.status,
                           backend_json(shown, view_of(snapshot, place),
                                        static_cast<std::size_t>(bridge - service->bridges.begin())));
        location += "/backend/" + shown.desired->uuid_of(service->name, bridge->name);
    }
    if (edited.status == 201) reply.headers.emplace_back("Location", location);
    return reply;
}

void add_loadbalancer_routes(ApiRoutes& routes, const std::function<Snapshot()>& snapshot,
                             const MakeChange& change) {
    routes.page("/loadbalancers", [snapshot](const ApiRequest&) {
        const Snapshot now = snapshot();
        Json all = Json::array();
        for (std::size_t i = 0; i < now.shown->config.services.size(); ++i)
            all.push_back(loadbalancer_json(now, i));
        return json_reply(200, all);
    });
    routes.page("/loadbalancer/{uuid}", [snapshot](const ApiRequest& request) {
        const Snapshot now = snapshot();
        const auto place = find_service(now.shown->config, *now.shown->desired, request.variables[0]);
        return place ? json_reply(200, loadbalancer_json(now, *place)) : no_service();
    });
    routes.page("/loadbalancer/{uuid}/backend/{backend}", [snapshot](const ApiRequest& request) {
        const Snapshot now = snapshot();
        const auto place = find_service(now.shown->config, *now.shown->desired, request.variables[0]);
        if (!place) return no_service();
        const auto bridge =
            find_bridge(now.shown->config.services[*place], *now.shown->desired, request.variables[1]);
        return bridge ? json_reply(200, backend_json(*now.shown, view_of(now, *place), *bridge))
                      : no_bridge();
    });
    routes.add(call("POST", "/loadbalancer", change,
                    [](const ApiRequest& request, Desired& desired,
                       const EditBase& base) -> std::expected<Edited, ApiReply> {
                        auto body = object_of(request.body);
                        if (!body) return Refused(body.error());
                        return add_service(desired, base, std::move(*body));
                    }));
    routes.add(call("DELETE", "/loadbalancer/{uuid}", change,
                    [](const ApiRequest& request, Desired& desired,
                       const EditBase& base) -> std::expected<Edited, ApiReply> {
                        const auto service = service_of(request, desired, base.running);
                        if (!service) return Refused(service.error());
                        desired.remove((*service)->name, base.file);
                        return Edited{.status = 204, .status_unfit = 409};
                    }));
    routes.add(call("POST", "/loadbalancer/{uuid}/backend", change,
                    [](const ApiRequest& request, Desired& desired,
                       const EditBase& base) -> std::expected<Edited, ApiReply> {
                        const auto service = service_of(request, desired, base.running);
                        if (!service) return Refused(service.error());
                        const auto body = object_of(request.body);
                        if (!body) return Refused(body.error());
                        auto added = backend_of(*body);
                        if (!added) return Refused(added.error());
                        if (auto unfit = refuse_bridge(**service, added->bridge))
                            return Refused(std::move(*unfit));
                        added->service = (*service)->name;
                        const std::string name = added->bridge.name;
                        desired.add(std::move(*added));
                        return Edited{.status = 201, .service = (*service)->name, .bridge = name};
                    }));
    routes.add(call("PATCH", "/loadbalancer/{uuid}/backend/{backend}", change,
                    [](const ApiRequest& request, Desired& desired,
                       const EditBase& base) -> std::expected<Edited, ApiReply> {
                        const auto named = bridge_of(request, desired, base.running);
                        if (!named) return Refused(named.error());
                        const auto body = object_of(request.body);
                        if (!body) return Refused(body.error());
                        return change_bridge(desired, *named, *body);
                    }));
    routes.add(call("DELETE", "/loadbalancer/{uuid}/backend/{backend}", change,
                    [](const ApiRequest& request, Desired& desired,
                       const EditBase& base) -> std::expected<Edited, ApiReply> {
                        const auto named = bridge_of(request, desired, base.running);
                        if (!named) return Refused(named.error());
                        desired.remove(named->service->name, named->bridge->name, base.file);
                        return Edited{.status = 204, .status_unfit = 409};
                    }));
}

}  // namespace splice
