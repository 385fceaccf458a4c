#include "balancer/control/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "balancer/control/health_words.hpp"
#include "balancer/setup.hpp"
#include "libsplice/core/told_request_key.hpp"

namespace splice {
namespace {

using Json = nlohmann::ordered_json;

// What was asked, and the request that it stands for.
struct Question {
    std::string service;
    std::string url;
    std::string host;
    std::string target;  // empty: the service reads none
    std::string source;
    std::vector<std::string> header_names;
    std::vector<std::string> header_values;
};

bool is_plain(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c > ' ' && c != 0x7f; });
}

std::optional<ApiReply> read_url(const ServiceConfig& service, Question& asked) {
    if (!is_plain(asked.url))
        return api_error(422, "the URL has blanks or control characters: write them as %20", "url");
    if (service.protocol != Protocol::http) {
        asked.host = asked.url;
        return {};
    }
    std::string_view url = asked.url;
    constexpr std::string_view kScheme = "http://";
    if (url.starts_with(kScheme)) {
        url.remove_prefix(kScheme.size());
        const std::size_t path = url.find_first_of("/?#");
        asked.host = url.substr(0, path);
        url = path == std::string_view::npos ? std::string_view() : url.substr(path);
    } else if (!url.starts_with('/')) {
        return api_error(422, "expected http://host/path or /path", "url");
    }
    // A fragment is the browser's own (RFC 9110 section 4.2.5).
    url = url.substr(0, url.find('#'));
    asked.target = url.starts_with('/') ? std::string(url) : "/" + std::string(url);
    return {};
}

std::optional<ApiReply> read(const ApiRequest& request, const BalancerConfig& config, Question& asked) {
    const auto service = request.parameter("service");
    if (!service) return api_error(422, "'service' is missing: the name of one", "service");
    asked.service = *service;
    const auto found = std::ranges::find(config.services, asked.service, &ServiceConfig::name);
    if (found == config.services.end()) {
        return api_error(404, fmt::format("no service {}; GET /loadbalancers lists them", asked.service),
                         "service");
    }
    const auto url = request.parameter("url");
    if (!url) return api_error(422, "'url' is missing: http://host/path, /path, or a TLS server name", "url");
    asked.url = *url;
    if (auto wrong = read_url(*found, asked)) return wrong;
    if (const auto source = request.parameter("source")) {
        if (!IpAddress::parse(*source)) return api_error(422, "expected an address", "source");
        asked.source = *source;
    }
    for (const auto& [name, value] : request.query) {
        if (name == "header") {
            const std::size_t colon = value.find(':');
            const bool clean = std::ranges::all_of(value, [](char c) { return c >= ' ' && c != 0x7f; });
            if (colon == std::string::npos || colon == 0 || !clean || !is_plain(value.substr(0, colon)))
                return api_error(422, "expected NAME:VALUE", "header");
            asked.header_names.push_back(value.substr(0, colon));
            const std::size_t begins = value.find_first_not_of(' ', colon + 1);
            asked.header_values.push_back(begins == std::string::npos ? "" : value.substr(begins));
        } else if (name != "service" && name != "url" && name != "source") {
            return api_error(
                422, fmt::format("unknown parameter {}; expected service, url, source or header", name),
                name);
        }
    }
    return {};
}

std::string hash_text(Algorithm algorithm, std::string_view key) {
    return algorithm == Algorithm::ketama ? "" : fmt::format("{:016x}", hash_key_bytes(key));
}

// Whether new connections go to the bridge, and why.
struct Standing {
    bool takes;
    std::string why;
};
Standing standing_of(const BridgeConfig& bridge, const BridgeHealth* health, bool placed, bool full) {
    if (bridge.state != BridgeState::ready)
        return {false, fmt::format("its state is {}", to_string(bridge.state))};
    if (bridge.weight == 0) return {false, "its weight is 0"};
    if (full)
        return {false, fmt::format("it is full: it has as many connections as it may (max_connections {})",
                                   bridge.max_connections)};
    if (!health) return {true, "it is not checked"};
    const std::string failure =
        health->failure ? ": " + describe_failure(*health->failure, health->words) : std::string();
    if (health->state == HealthState::up) {
        if (health->share < 1)
            return {true, fmt::format("it is well again, and has {:.0f} % of its keys so far",
                                      health->share * 100)};
        return {true, "it is well"};
    }
    if (placed)
        return {true, fmt::format("it is {}{}; too many are, so it stays in use", to_string(health->state),
                                  failure)};
    return {false, fmt::format("it is {}{}", to_string(health->state), failure)};
}

Json choice_json(const ServiceView& view, std::size_t place, std::size_t rank) {
    const BridgeConfig& bridge = view.service.bridges[place];
    const BridgeHealth* const health = view.health_of(place);
    const Standing standing = standing_of(bridge, health, view.shares[place] > 0, view.is_full(place));
    return {{"rank", rank},
            {"bridge", bridge.name},
            {"ip", bridge.address.to_string()},
            {"weight", bridge.weight},
            {"state", to_string(bridge.state)},
            {"health", health ? Json(to_string(health->state)) : Json(nullptr)},
            {"takes", standing.takes},
            {"why", standing.why}};
}

// Where the running placement sends it, the ramp to a shadow too.
Choices served(const SplicerService& running, const KeyReader& reader, const RecordKey& key,
               const ToldRequest& told, const RequestText& text) {
    Choices choices = reader.choose(*running.placement, key);
    if (!running.shadow || running.shadow->in_table || !splice_ramp_moves(choices.row, running.shadow->ramp))
        return choices;
    KeyReader of_shadow(running.protocol, running.shadow->key, running.subset);
    const RecordKey moved = of_shadow.key_of(told, text);
    if (moved.placed) choices.bridges = of_shadow.choose(*running.shadow->placement, moved).bridges;
    return choices;
}

// The first of the row that is not full; where all are, the first.
std::optional<std::size_t> first_taking(const ServiceView& view, const splice_placement_row& row) {
    for (const std::uint16_t bridge : row.choices) {
        const auto place = place_of(view.running, bridge);
        if (place && !view.is_full(*place)) return place;
    }
    return place_of(view.running, row.choices[0]);
}

std::string in_words(const ServiceView& view, const Json& choices, const Json& serves) {
    if (serves.is_null()) return "no bridge takes new connections";
    const std::string bridge = serves["bridge"];
    std::string why;
    for (const Json& choice : choices) {
        if (choice["bridge"] == bridge) break;
        why += fmt::format("{}{} would be before it, but {}", why.empty() ? "" : "; ",
                           choice["bridge"].get<std::string>(), choice["why"].get<std::string>());
    }
    if (view.running.choice.weighs != 0)
        why += fmt::format("{}load, hot keys or warm-up may move single connections to the next choices",
                           why.empty() ? "" : "; ");
    return why.empty() ? "it is the key's first choice" : why;
}

}  // namespace

std::shared_ptr<const Placement> Explainer::whole(const std::shared_ptr<const Shown>& shown,
                                                  const ServiceConfig& service) {
    const std::lock_guard lock(mutex_);
    if (of_ != shown) {
        placements_.clear();
        of_ = shown;
    }
    if (const auto known = placements_.find(service.name); known != placements_.end()) return known->second;
    std::vector<PlacementMember> members;
    for (std::size_t i = 0; i < service.bridges.size(); ++i) {
        if (service.bridges[i].weight != 0)
            members.push_back(placement_member(service, i, static_cast<std::uint16_t>(i)));
    }
    auto built = Placement::build(service.algorithm, members, service.settings.table_rows);
    if (!built) return nullptr;
    return placements_.emplace(service.name, std::make_shared<const Placement>(std::move(*built)))
        .first->second;
}

ApiReply Explainer::explain(const Snapshot& snapshot, const ApiRequest& request) {
    const BalancerConfig& config = snapshot.shown->config;
    Question asked;
    if (auto wrong = read(request, config, asked)) return std::move(*wrong);
    const auto found = std::ranges::find(config.services, asked.service, &ServiceConfig::name);
    const ServiceView view = view_of(snapshot, static_cast<std::size_t>(found - config.services.begin()));

    std::vector<std::string_view> values(asked.header_values.begin(), asked.header_values.end());
    ToldRequest told;
    told.target = asked.target;
    told.host = asked.host;
    told.source = asked.source;
    told.headers = values;
    RequestText text;
    text.write(told, asked.header_names);
    KeyReader reader(view.service.protocol, view.service.key, view.service.subset);
    const RecordKey key = reader.key_of(told, text);
    Json reply{{"service", asked.service},
               {"url", asked.url},
               {"rule", view.service.key.to_string()},
               {"key", printed_key(key)},
               {"by_source", key.fallback ? Json(fallback_sentence(*key.fallback)) : Json(nullptr)}};
    Json choices = Json::array();
    Json serves;
    std::string why;
    if (!key.placed) {
        why = "the client's address chooses: give it as source";
    } else {
        if (!key.fallback) reply["key_bytes"] = key.bytes.size();
        reply["algorithm"] = to_string(view.service.algorithm);
        const auto all = whole(snapshot.shown, view.service);
        if (all) {
            const Choices ideal = reader.choose(*all, key);
            if (std::string hash = hash_text(view.service.algorithm, key.bytes); !hash.empty())
                reply["hash"] = std::move(hash);
            reply["rows"] = all->rows().size();
            reply["row"] = ideal.row;
            for (const std::uint16_t place : ideal.bridges.choices) {
                if (place != SPLICE_NO_BRIDGE)
                    choices.push_back(choice_json(view, place, choices.size() + 1));
            }
        }
        const Choices now = served(view.running, reader, key, told, text);
        if (const auto place = first_taking(view, now.bridges)) {
            std::size_t rank = 0;
            for (std::size_t i = 0; i < choices.size(); ++i) {
                if (choices[i]["bridge"] == view.service.bridges[*place].name) rank = i + 1;
            }
            serves = choice_json(view, *place, rank);
        }
        why = in_words(view, choices, serves);
    }
    reply["choices"] = std::move(choices);
    reply["serves"] = std::move(serves);
    reply["why"] = std::move(why);
    return {.status = 200,
            .content_type = "application/json",
            .body = reply.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"};
}

}  // namespace splice
