#include "tools/splicectl/views.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "tools/splicectl/table.hpp"

namespace splice::control {
namespace {

constexpr auto kRight = Table::Align::right;

// "up", "ill" or "gone"; empty: not checked.
std::string health_of(const Json& bridge) {
    const Json& health = at(bridge, "health");
    return health.is_object() ? text_at(health, "state") : text_at(bridge, "health");
}

std::string failure_of(const Json& bridge) {
    const Json& health = at(bridge, "health");
    return text_at(health.is_object() ? health : bridge, "failure");
}

// One that is ill keeps its keys where too many are (the panic threshold).
bool takes_connections(const Json& bridge) {
    const std::string health = health_of(bridge);
    return text_at(bridge, "state") == "ready" && number_at(bridge, "weight").value_or(1) > 0 &&
           (health.empty() || health == "up" || number_at(bridge, "table_share").value_or(0) > 0);
}

std::string share_of(const Json& bridge) {
    const auto share = number_at(bridge, "table_share");
    return share ? percent(*share) : std::string();
}

// What needs an eye, of a service's bridges: "b2: drain; b3: ill: ...".
std::string attention_of(const Json& bridges) {
    constexpr std::size_t kMost = 3;
    std::string text;
    std::size_t told = 0, more = 0;
    for (const Json& bridge : bridges) {
        const std::string words = attention(bridge);
        if (words.empty()) continue;
        if (told == kMost) {
            more++;
            continue;
        }
        text += fmt::format("{}{}: {}", told++ == 0 ? "" : "; ", text_at(bridge, "name"), words);
    }
    if (more != 0) text += fmt::format("; and {} more", more);
    return text;
}

std::string count_of_takers(const Json& bridges) {
    return fmt::format("{} of {}", std::ranges::count_if(bridges, takes_connections), bridges.size());
}

std::string sum_of(const Json& bridges, std::string_view key) {
    double sum = 0;
    for (const Json& bridge : bridges) sum += number_at(bridge, key).value_or(0);
    return fmt::format("{:.0f}", sum);
}

// "+0.003 s"
std::string clock_of(const Json& bridge) {
    const auto ahead_ms = number_at(bridge, "clock_ahead_ms");
    return ahead_ms ? fmt::format("{:+.3f} s", *ahead_ms / 1000) : std::string();
}

bool has_trouble(const Json& bridge, std::string_view what) {
    return std::ranges::any_of(list_at(bridge, "troubles"),
                               [&](const Json& each) { return text_at(each, "what") == what; });
}

// "fits" where nothing of these is wrong; empty: it says nothing.
std::string fits(const Json& bridge, std::string_view told,
                 std::initializer_list<std::string_view> troubles) {
    if (at(bridge, told).is_null()) return {};
    const bool wrong = std::ranges::any_of(troubles, [&](auto what) { return has_trouble(bridge, what); });
    return wrong ? "differs" : "fits";
}

std::string joined(const Json& list) {
    std::string text;
    for (const Json& one : list) {
        if (one.is_string()) text += (text.empty() ? "" : ", ") + one.get<std::string>();
    }
    return text;
}

// Of a service of /loadbalancers: "192.0.2.1:80", "[2001:db8::1]:80".
std::string vip_of(const Json& service) {
    const std::string vip = text_at(service, "vip");
    const bool six = vip.find(':') != std::string::npos;
    return fmt::format("{}{}{}:{}", six ? "[" : "", vip, six ? "]" : "", text_at(service, "port"));
}

std::string choice_line(const Json& choice) {
    std::string health = health_of(choice);
    return harmless(fmt::format("{} ({}), weight {}, {}{}{}: {}", text_at(choice, "bridge"),
                                text_at(choice, "ip"), text_at(choice, "weight"), text_at(choice, "state"),
                                health.empty() ? "" : ", ", health, text_at(choice, "why")));
}

// A line for each limit that is configured, or that something was dropped for.
std::string limits_text(const Json& limits) {
    std::string text;
    const auto line = [&](std::string_view key, const std::string& what, bool configured) {
        const Json& limit = at(limits, key);
        if (!configured && number_at(limit, "dropped").value_or(0) == 0) return;
        text += fmt::format("{}: {}{} packets dropped\n", key, what, text_at(limit, "dropped"));
    };
    const auto services = [&](std::string_view key) {
        const std::string names = joined(list_at(at(limits, key), "services"));
        line(key, names.empty() ? "" : "of " + harmless(names) + "; ", !names.empty());
    };
    const std::string prefixes = text_at(at(limits, "deny"), "prefixes");
    line("deny", prefixes + " prefixes; ", number_at(at(limits, "deny"), "prefixes").value_or(0) > 0);
    services("new_connections");
    services("table_share");
    const Json& guesses = at(limits, "cookie_guesses");
    line("cookie_guesses", text_at(guesses, "noted") + " wrong cookies; ",
         number_at(guesses, "noted").value_or(0) > 0);
    return text;
}

}  // namespace

std::string attention(const Json& bridge) {
    std::vector<std::string> words;
    if (const std::string state = text_at(bridge, "state"); !state.empty() && state != "ready")
        words.push_back(state);
    if (number_at(bridge, "weight") == 0) words.emplace_back("weight 0");
    if (flag_at(bridge, "full"))
        words.push_back("full: max_connections " + text_at(bridge, "max_connections"));
    const std::string health = health_of(bridge), failure = failure_of(bridge);
    if (!health.empty() && health != "up")
        words.push_back(failure.empty() ? health : health + ": " + failure);
    else if (flag_at(at(bridge, "health"), "suspect"))
        words.emplace_back("suspect: clients repeat themselves");
    else if (!failure.empty())
        words.push_back("last check failed: " + failure);
    if (flag_at(at(bridge, "health"), "narrow"))
        words.emplace_back("a narrow way: checks of full segments fail");
    if (const auto back = number_at(at(bridge, "health"), "slow_start"); health == "up" && back && *back < 1)
        words.push_back("is back, with " + percent(*back) + " of its keys");
    return fmt::format("{}", fmt::join(words, ", "));
}

std::string status_view(const Json& status, const std::string& not_ready, const std::string& from) {
    std::string text = fmt::format("balancer {} at {}: {}\n", harmless(text_at(status, "version")), from,
                                   not_ready.empty() ? "ready" : "NOT READY");
    for (std::size_t begin = 0; begin < not_ready.size();) {
        const std::size_t end = std::min(not_ready.find('\n', begin), not_ready.size());
        text += "  " + harmless(not_ready.substr(begin, end - begin)) + "\n";
        begin = end + 1;
    }
    const Json& engine = at(status, "engine");
    text += fmt::format("engine {}, interface {}\n", harmless(text_at(engine, "name")),
                        harmless(text_at(status, "interface")));
    text +=
        fmt::format("table: {} of {} entries; {} wait for their first request\n", text_at(status, "flows"),
                    text_at(status, "max_flows"), text_at(status, "flows_pending"));
    text += limits_text(at(status, "limits")) + "\n";
    Table table(
        {{"SERVICE"}, {"VIP"}, {"PROTOCOL"}, {"KEY"}, {"TAKE"}, {"CONNECTIONS", kRight}, {"ATTENTION"}});
    for (const Json& service : list_at(status, "services")) {
        const Json& bridges = list_at(service, "bridges");
        table.add({text_at(service, "name"), text_at(service, "vip"), text_at(service, "protocol"),
                   text_at(service, "hash_key"), count_of_takers(bridges), sum_of(bridges, "flows"),
                   attention_of(bridges)});
    }
    return text + table.text();
}

std::string check_view(const Json& check) {
    if (const std::string missing = text_at(check, "missing"); !missing.empty())
        return harmless(missing) + "\n";
    Table table({{"SERVICE"},
                 {"BRIDGE"},
                 {"ADDRESS"},
                 {"ANSWERS"},
                 {"VERSION"},
                 {"NUMBER", kRight},
                 {"SECRET"},
                 {"CLOCK", kRight},
                 {"SERVED"},
                 {"MODE"},
                 {"CONNECTIONS", kRight}});
    // What is of a bridge's host is told once, however many services it has.
    std::vector<std::string> lines;
    for (const Json& bridge : list_at(check, "bridges")) {
        const auto trip = number_at(bridge, "round_trip_ms");
        table.add({text_at(bridge, "service"), text_at(bridge, "bridge"), text_at(bridge, "ip"),
                   trip ? fmt::format("{:.1f} ms", *trip) : std::string("no"), text_at(bridge, "version"),
                   text_at(bridge, "number"), fits(bridge, "secret", {"secret", "lane_key"}),
                   clock_of(bridge), fits(bridge, "services", {"service", "window_scale", "backend"}),
                   text_at(bridge, "mode"), text_at(bridge, "connections")});
        for (const Json& trouble : list_at(bridge, "troubles")) {
            std::string line = harmless(fmt::format("{}{} ({}): {}", flag_at(trouble, "note") ? "note: " : "",
                                                    text_at(bridge, "bridge"), text_at(bridge, "ip"),
                                                    text_at(trouble, "text")));
            if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
        }
    }
    std::string text = table.text();
    if (!lines.empty()) text += "\n";
    for (const std::string& line : lines) text += line + "\n";
    return text;
}

std::string services_view(const Json& load_balancers) {
    Table table({{"SERVICE"},
                 {"VIP"},
                 {"PROTOCOL"},
                 {"KEY"},
                 {"ALGORITHM"},
                 {"DSCP", kRight},
                 {"TAKE"},
                 {"CONNECTIONS", kRight},
                 {"FROM"}});
    for (const Json& service : load_balancers) {
        const Json& bridges = list_at(service, "backends");
        table.add({text_at(service, "name"), vip_of(service), text_at(service, "protocol"),
                   text_at(at(service, "hash"), "key"), text_at(at(service, "hash"), "algorithm"),
                   text_at(service, "dscp"), count_of_takers(bridges), sum_of(bridges, "connections"),
                   text_at(service, "origin")});
    }
    return table.text();
}

std::string bridges_view(const Json& load_balancers) {
    Table table({{"SERVICE"},
                 {"BRIDGE"},
                 {"ADDRESS"},
                 {"WEIGHT", kRight},
                 {"STATE"},
                 {"HEALTH"},
                 {"SHARE", kRight},
                 {"CONNECTIONS", kRight},
                 {"FROM"},
                 {"SET"},
                 {"LAST CHECK"}});
    for (const Json& service : load_balancers) {
        for (const Json& bridge : list_at(service, "backends"))
            table.add({text_at(service, "name"), text_at(bridge, "name"), text_at(bridge, "ip"),
                       text_at(bridge, "weight"), text_at(bridge, "state"), health_of(bridge),
                       share_of(bridge), text_at(bridge, "connections"), text_at(bridge, "origin"),
                       joined(list_at(bridge, "changed")), failure_of(bridge)});
    }
    return table.text();
}

std::string explain_view(const Json& explanation) {
    std::string text;
    const auto line = [&](std::string_view name, const std::string& value) {
        text += fmt::format("{:<10}{}\n", name, harmless(value));
    };
    line("url", text_at(explanation, "url"));
    line("service", text_at(explanation, "service"));
    line("key", fmt::format("{}: {}", text_at(explanation, "rule"), text_at(explanation, "key")));
    if (const std::string why = text_at(explanation, "by_source"); !why.empty())
        line("", "the client's address chooses: " + why);
    if (const std::string hash = text_at(explanation, "hash"); !hash.empty())
        line("hash", fmt::format("{}, row {} of {} ({})", hash, text_at(explanation, "row"),
                                 text_at(explanation, "rows"), text_at(explanation, "algorithm")));
    for (const Json& choice : list_at(explanation, "choices"))
        line("choice " + text_at(choice, "rank"), choice_line(choice));
    const Json& serves = at(explanation, "serves");
    line("serves", (serves.is_object() ? text_at(serves, "bridge") : std::string("nobody")) + ": " +
                       text_at(explanation, "why"));
    return text;
}

std::string flows_view(const std::vector<Json>& flows) {
    Table table({{"CLIENT"}, {"SERVICE"}, {"BRIDGE"}, {"STATE"}, {"SILENT", kRight}});
    for (const Json& flow : flows)
        table.add({text_at(flow, "client"), text_at(flow, "service"), text_at(flow, "bridge"),
                   text_at(flow, "state"),
                   fmt::format("{:.1f} s", number_at(flow, "idle_ms").value_or(0) / 1000)});
    return table.text();
}

std::string change_view(const std::string& service, const Json& backend) {
    const std::string set = joined(list_at(backend, "changed"));
    return harmless(fmt::format("{}/{}: {}, weight {}, {} of the keys, {} connections{}", service,
                                text_at(backend, "name"), text_at(backend, "state"),
                                text_at(backend, "weight"), share_of(backend),
                                text_at(backend, "connections"),
                                set.empty() ? std::string(" (as in the configuration)") : "")) +
           "\n";
}

}  // namespace splice::control
