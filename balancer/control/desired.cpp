#include "balancer/control/desired.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/uuid/name_generator_sha1.hpp>
#include <boost/uuid/random_generator.hpp>
#include <boost/uuid/uuid_io.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace splice {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;  // of the file

// UUIDs of what a file names (RFC 9562 section 5.5) are of this namespace, which was drawn once.
constexpr boost::uuids::uuid kNamespace{
    {0x5b, 0x3c, 0x1a, 0x0e, 0x8f, 0x61, 0x4d, 0x27, 0x9b, 0x52, 0x6e, 0x10, 0x4c, 0xd7, 0x39, 0xa8}};

std::string uuid_of_name(const std::string& name) {
    return boost::uuids::to_string(boost::uuids::name_generator_sha1(kNamespace)(name));
}

// The first of a list that is so, or null.
auto* find_if(auto& list, const auto& is_so) {
    const auto found = std::ranges::find_if(list, is_so);
    return found == list.end() ? nullptr : &*found;
}

// The one of that name.
auto* find(auto& list, std::string_view name) {
    return find_if(list, [&](const auto& each) { return each.name == name; });
}

// Whether something is of that service's bridge, which it has or names.
auto is_of(std::string_view service, std::string_view bridge) {
    return [=](const auto& each) {
        if constexpr (requires { each.bridge.name; })
            return each.service == service && each.bridge.name == bridge;
        else
            return each.service == service && each.bridge == bridge;
    };
}

// What stands in a state file, with its place for complaints.
class Node {
  public:
    Node(const Json& json, std::string where) : json_(json), where_(std::move(where)) {}

    [[noreturn]] void fail(const std::string& sentence) const {
        throw ConfigError(where_ + ": " + sentence, where_, sentence);
    }
    [[nodiscard]] std::vector<Node> list(const char* key) const {
        std::vector<Node> nodes;
        if (!json_.contains(key)) return nodes;
        const Json& array = json_[key];
        if (!array.is_array()) fail(std::string(key) + ": expected a list");
        for (std::size_t i = 0; i < array.size(); ++i)
            nodes.emplace_back(array[i], fmt::format("{}[{}]", key, i));
        return nodes;
    }
    [[nodiscard]] Node at(const char* key) const {
        if (!json_.is_object() || !json_.contains(key)) fail(fmt::format("'{}' is missing", key));
        return {json_[key], where_ + "." + key};
    }
    [[nodiscard]] bool has(const char* key) const { return json_.is_object() && json_.contains(key); }
    // A text or a whole number, through a parser of config/values.hpp.
    template <class Parser>
    auto as(Parser&& parser) const {
        const std::string text = json_.is_string() ? json_.get<std::string>() : json_.dump();
        auto parsed = parser(std::string_view(text));
        if (!parsed) fail(parsed.error());
        return std::move(*parsed);
    }
    [[nodiscard]] std::string object() const {
        if (!json_.is_object()) fail("expected an object");
        return json_.dump();
    }

  private:
    const Json& json_;
    std::string where_;
};

Parsed<std::string> parse_uuid(std::string_view text) {
    constexpr std::size_t kLength = 36;
    const bool fits = std::ranges::all_of(
        text, [](char c) { return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (text.size() != kLength || !fits) return std::unexpected("expected a UUID in lower case");
    return std::string(text);
}

Json json_of(const BridgeConfig& bridge) {
    Json json{{"name", bridge.name}, {"address", bridge.address.to_string()}, {"weight", bridge.weight}};
    if (bridge.number != 0) json["number"] = bridge.number;
    json["state"] = to_string(bridge.state);
    return json;
}

BridgeConfig bridge_of(const Node& node) {
    BridgeConfig bridge;
    bridge.name = node.at("name").as(parse_name);
    bridge.address = node.at("address").as(parse_host_address);
    bridge.weight = node.at("weight").as(parse_weight);
    if (node.has("number")) bridge.number = node.at("number").as(parse_bridge_number);
    bridge.state = node.at("state").as(parse_bridge_state);
    return bridge;
}

}  // namespace

std::string new_uuid() {
    return boost::uuids::to_string(boost::uuids::random_generator()());
}

Parsed<Desired> Desired::parse(std::string_view text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return std::unexpected("expected a JSON object, as the balancer writes it");
    if (json.value("version", 0) != kVersion)
        return std::unexpected(
            fmt::format("expected \"version\": {}; another version of the balancer wrote it", kVersion));
    Desired desired;
    try {
        const Node top(json, "the state");
        for (const Node& node : top.list("services")) {
            AddedService service{.uuid = node.at("uuid").as(parse_uuid),
                                 .name = node.at("service").at("name").as(parse_name),
                                 .text = node.at("service").object()};
            desired.services_.push_back(std::move(service));
        }
        for (const Node& node : top.list("bridges")) {
            AddedBridge bridge{.uuid = node.at("uuid").as(parse_uuid),
                               .service = node.at("service").as(parse_name),
                               .bridge = bridge_of(node.at("bridge"))};
            if (node.has("port")) bridge.port = node.at("port").as(parse_port);
            desired.bridges_.push_back(std::move(bridge));
        }
        for (const Node& node : top.list("changes")) {
            ChangedBridge& change =
                desired.change(node.at("service").as(parse_name), node.at("bridge").as(parse_name));
            if (node.has("weight")) change.weight = node.at("weight").as(parse_weight);
            if (node.has("state")) change.state = node.at("state").as(parse_bridge_state);
        }
        for (const Node& node : top.list("removed_services"))
            desired.removed_services_.push_back(node.as(parse_name));
        for (const Node& node : top.list("removed_bridges"))
            desired.removed_bridges_.push_back(
                {node.at("service").as(parse_name), node.at("bridge").as(parse_name)});
    } catch (const ConfigError& error) {
        return std::unexpected(error.what());
    }
    return desired;
}

std::string Desired::text() const {
    Json json{{"version", kVersion},
              {"services", Json::array()},
              {"bridges", Json::array()},
              {"changes", Json::array()},
              {"removed_services", removed_services_},
              {"removed_bridges", Json::array()}};
    for (const AddedService& each : services_)
        json["services"].push_back({{"uuid", each.uuid}, {"service", Json::parse(each.text)}});
    for (const AddedBridge& each : bridges_) {
        Json one{{"uuid", each.uuid}, {"service", each.service}, {"bridge", json_of(each.bridge)}};
        if (each.port != 0) one["port"] = each.port;
        json["bridges"].push_back(std::move(one));
    }
    for (const ChangedBridge& each : changes_) {
        Json one{{"service", each.service}, {"bridge", each.bridge}};
        if (each.weight) one["weight"] = *each.weight;
        if (each.state) one["state"] = to_string(*each.state);
        json["changes"].push_back(std::move(one));
    }
    for (const BridgeName& each : removed_bridges_)
        json["removed_bridges"].push_back({{"service", each.service}, {"bridge", each.bridge}});
    return json.dump(1) + "\n";
}

bool Desired::empty() const noexcept {
    return services_.empty() && bridges_.empty() && changes_.empty() && removed_services_.empty() &&
           removed_bridges_.empty();
}

Parsed<LaidOver> Desired::over(const BalancerConfig& file) const {
    LaidOver laid{.config = file, .notes = {}};
    std::erase_if(laid.config.services, [&](const ServiceConfig& service) {
        if (std::ranges::find(removed_services_, service.name) == removed_services_.end()) return false;
        laid.notes.push_back(
            fmt::format("service {}: removed by the API, though the file has it", service.name));
        return true;
    });
    for (const AddedService& each : services_) {
        ServiceConfig service;
        try {
            service = parse_service(each.text, file.defaults);
        } catch (const ConfigError& error) {
            return std::unexpected(fmt::format("service {}: {}", each.name, error.sentence()));
        }
        if (ServiceConfig* const same = find(laid.config.services, each.name)) {
            laid.notes.push_back(
                fmt::format("service {}: the API's, and not the file's of that name", each.name));
            *same = std::move(service);
        } else {
            laid.config.services.push_back(std::move(service));
        }
    }
    lay_bridges(laid.config, laid.notes);
    lay_changes(laid.config, laid.notes);
    if (laid.config.services.empty()) return std::unexpected("no service is left: expected one at least");
    if (auto fits = check_services(laid.config); !fits) return std::unexpected(fits.error());
    return laid;
}

void Desired::lay_bridges(BalancerConfig& config, std::vector<std::string>& notes) const {
    for (const BridgeName& each : removed_bridges_) {
        ServiceConfig* const service = find(config.services, each.service);
        if (!service || added(each.service) || !find(service->bridges, each.bridge)) continue;
        std::erase_if(service->bridges,
                      [&](const BridgeConfig& bridge) { return bridge.name == each.bridge; });
        notes.push_back(fmt::format("service {}: bridge {} removed by the API, though the file has it",
                                    each.service, each.bridge));
    }
    for (const AddedBridge& each : bridges_) {
        ServiceConfig* const service = find(config.services, each.service);
        if (!service) {
            notes.push_back(
                fmt::format("service {}: the API added bridge {} to it, and the file has it no more",
                            each.service, each.bridge.name));
        } else if (BridgeConfig* const same = find(service->bridges, each.bridge.name)) {
            notes.push_back(fmt::format("service {}: bridge {} is the API's, and not the file's of that name",
                                        each.service, each.bridge.name));
            *same = each.bridge;
        } else {
            service->bridges.push_back(each.bridge);
        }
    }
}

void Desired::lay_changes(BalancerConfig& config, std::vector<std::string>& notes) const {
    for (const ChangedBridge& each : changes_) {
        ServiceConfig* const service = find(config.services, each.service);
        BridgeConfig* const bridge = service ? find(service->bridges, each.bridge) : nullptr;
        if (!bridge) {
            notes.push_back(fmt::format("service {}: the API changed bridge {}, which the file has no more",
                                        each.service, each.bridge));
            continue;
        }
        if (each.weight && *each.weight != bridge->weight) {
            notes.push_back(
                fmt::format("service {}: bridge {} has weight {} by the API, and not the file's {}",
                            each.service, each.bridge, *each.weight, bridge->weight));
            bridge->weight = *each.weight;
        }
        if (each.state && *each.state != bridge->state) {
            notes.push_back(
                fmt::format("service {}: bridge {} is set to {} by the API, and not to the file's {}",
                            each.service, each.bridge, to_string(*each.state), to_string(bridge->state)));
            bridge->state = *each.state;
        }
    }
}

std::string Desired::uuid_of(std::string_view service) const {
    const AddedService* const own = added(service);
    return own ? own->uuid : uuid_of_name(fmt::format("service/{}", service));
}

std::string Desired::uuid_of(std::string_view service, std::string_view bridge) const {
    const AddedBridge* const own = added(service, bridge);
    return own ? own->uuid : uuid_of_name(fmt::format("service/{}/bridge/{}", service, bridge));
}

const AddedService* Desired::added(std::string_view service) const noexcept {
    return find(services_, service);
}

const AddedBridge* Desired::added(std::string_view service, std::string_view bridge) const noexcept {
    return find_if(bridges_, is_of(service, bridge));
}

AddedBridge* Desired::own(std::string_view service, std::string_view bridge) noexcept {
    return find_if(bridges_, is_of(service, bridge));
}

const ChangedBridge* Desired::changed(std::string_view service, std::string_view bridge) const noexcept {
    return find_if(changes_, is_of(service, bridge));
}

ChangedBridge& Desired::change(std::string_view service, std::string_view bridge) {
    if (ChangedBridge* const known = find_if(changes_, is_of(service, bridge))) return *known;
    return changes_.emplace_back(std::string(service), std::string(bridge), std::nullopt, std::nullopt);
}

void Desired::forget_empty_changes() {
    std::erase_if(changes_, [](const ChangedBridge& each) { return !each.weight && !each.state; });
}

void Desired::add(AddedService service) {
    services_.push_back(std::move(service));
}

void Desired::add(AddedBridge bridge) {
    bridges_.push_back(std::move(bridge));
}

void Desired::remove(std::string_view service, const BalancerConfig& file) {
    const auto is_its = [&](const auto& each) { return each.service == service; };
    std::erase_if(services_, [&](const AddedService& each) { return each.name == service; });
    std::erase_if(bridges_, is_its);
    std::erase_if(changes_, is_its);
    std::erase_if(removed_bridges_, is_its);
    const bool known = std::ranges::find(removed_services_, service) != removed_services_.end();
    if (find(file.services, service) && !known) removed_services_.emplace_back(service);
}

void Desired::remove(std::string_view service, std::string_view bridge, const BalancerConfig& file) {
    std::erase_if(bridges_, is_of(service, bridge));
    std::erase_if(changes_, is_of(service, bridge));
    const ServiceConfig* const in_file = find(file.services, service);
    const bool has_it = in_file && !added(service) && find(in_file->bridges, bridge);
    if (has_it && !find_if(removed_bridges_, is_of(service, bridge)))
        removed_bridges_.push_back({std::string(service), std::string(bridge)});
}

void Desired::set_weight(std::string_view service, std::string_view bridge, std::uint32_t weight) {
    if (AddedBridge* const mine = own(service, bridge))
        return static_cast<void>(mine->bridge.weight = weight);
    change(service, bridge).weight = weight;
}

void Desired::set_state(std::string_view service, std::string_view bridge, BridgeState state) {
    if (AddedBridge* const mine = own(service, bridge)) return static_cast<void>(mine->bridge.state = state);
    change(service, bridge).state = state;
}

void Desired::unset_weight(std::string_view service, std::string_view bridge) {
    if (own(service, bridge)) return;
    change(service, bridge).weight.reset();
    forget_empty_changes();
}

void Desired::unset_state(std::string_view service, std::string_view bridge) {
    if (own(service, bridge)) return;
    change(service, bridge).state.reset();
    forget_empty_changes();
}

}  // namespace splice
