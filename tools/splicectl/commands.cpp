#include "tools/splicectl/commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tools/splicectl/limits.hpp"
#include "tools/splicectl/names.hpp"
#include "tools/splicectl/table.hpp"
#include "tools/splicectl/views.hpp"

namespace splice::control {
namespace {

using Done = std::expected<void, std::string>;

// The value of a SystemResult, or return its text.
template <class T>
std::expected<T, std::string> told(SystemResult<T> result) {
    if (!result) return std::unexpected(std::move(result.error().text));
    return std::move(*result);
}

std::expected<Json, std::string> get(const ApiClient& api, const std::string& target) {
    return told(api.json("GET", target));
}

Done print_either(const Options& options, const Json& json, const std::string& table) {
    return print(options.format == OutputFormat::json ? dump(json) : table);
}

Done show_status(const Options& options, const ApiClient& api) {
    auto status = get(api, "/status");
    if (!status) return std::unexpected(status.error());
    if (!at(*status, "services").is_array() || !at(*status, "max_flows").is_number())
        return std::unexpected(
            fmt::format("GET /status of {}: not as a balancer answers (a bridge's API, perhaps, "
                        "which serves GET /status to curl)",
                        api.address().to_string()));
    const auto ready = told(api.ask("GET", "/readyz"));
    if (!ready) return std::unexpected(ready.error());
    const std::string not_ready = ready->status == 200 ? std::string() : ready->body;
    return print_either(options, *status, status_view(*status, not_ready, api.address().to_string()));
}

// What is wrong makes the exit code 1; notes do not.
Done check_bridges(const Options& options, const ApiClient& api) {
    auto check = get(api, "/check");
    if (!check) return std::unexpected(check.error());
    if (!at(*check, "bridges").is_array())
        return std::unexpected(
            fmt::format("GET /check of {}: not as a balancer answers", api.address().to_string()));
    Json bridges = Json::array();
    for (const Json& bridge : list_at(*check, "bridges")) {
        if (options.service.empty() || text_at(bridge, "service") == options.service)
            bridges.push_back(bridge);
    }
    const bool is_on = at(*check, "missing").is_null();
    if (is_on && bridges.empty() && !options.service.empty())
        return std::unexpected(
            fmt::format("no service {} with bridges; `splicectl services` lists them", options.service));
    const auto wrong = std::ranges::count_if(bridges, [](const Json& bridge) {
        return std::ranges::any_of(list_at(bridge, "troubles"),
                                   [](const Json& each) { return !flag_at(each, "note"); });
    });
    const std::size_t all = bridges.size();
    (*check)["bridges"] = std::move(bridges);
    (*check)["ok"] = is_on && wrong == 0;
    if (auto printed = print_either(options, *check, check_view(*check)); !printed) return printed;
    if (!is_on)
        return std::unexpected(
            "no bridge was asked: the channel is off at this balancer (`channel` in its configuration)");
    if (wrong != 0) return std::unexpected(fmt::format("{} of {} do not fit", wrong, all));
    return {};
}

// All services, or the one that was named.
std::expected<Json, std::string> load_balancers(const Options& options, const ApiClient& api) {
    auto all = get(api, "/loadbalancers");
    if (!all) return all;
    if (!all->is_array())
        return std::unexpected(fmt::format("GET /loadbalancers of {}: no list", api.address().to_string()));
    if (options.service.empty() || is_change(options.command)) return all;
    auto one = find_service(*all, options.service);
    if (!one) return one;
    return Json::array({std::move(*one)});
}

Done show_services(const Options& options, const ApiClient& api) {
    const auto all = load_balancers(options, api);
    if (!all) return std::unexpected(all.error());
    return print_either(options, *all, services_view(*all));
}

// With the service's name in it.
Json named_backend(const std::string& service, const Json& backend) {
    Json named = {{"service", service}};
    named.update(backend);
    return named;
}

Done show_bridges(const Options& options, const ApiClient& api) {
    const auto all = load_balancers(options, api);
    if (!all) return std::unexpected(all.error());
    Json bridges = Json::array();
    for (const Json& service : *all) {
        for (const Json& backend : list_at(service, "backends"))
            bridges.push_back(named_backend(text_at(service, "name"), backend));
    }
    return print_either(options, bridges, bridges_view(*all));
}

Done show_explanation(const Options& options, const ApiClient& api) {
    std::string service = options.service;
    if (service.empty()) {
        const auto all = load_balancers(options, api);
        if (!all) return std::unexpected(all.error());
        auto found = service_of_url(*all, options.url);
        if (!found) return std::unexpected(found.error());
        service = std::move(*found);
    }
    std::vector<std::pair<std::string_view, std::string>> parameters = {
        {"service", service}, {"url", options.url}, {"source", options.source}};
    for (const std::string& header : options.headers) parameters.emplace_back("header", header);
    const auto explanation = get(api, make_target("/explain", parameters));
    if (!explanation) return std::unexpected(explanation.error());
    return print_either(options, *explanation, explain_view(*explanation));
}

Json change_of(const Options& options) {
    switch (options.command) {
        case Command::weight:
            return {{"weight", *options.weight}};
        case Command::reset:
            return {{"state", nullptr}, {"weight", nullptr}};
        default:
            return {{"state", to_string(options.command)}};
    }
}

Done change(const Options& options, const ApiClient& api) {
    const auto all = load_balancers(options, api);
    if (!all) return std::unexpected(all.error());
    const auto found = find_bridges(*all, options.service, options.bridge, options.all_services);
    if (!found) return std::unexpected(found.error());
    const Json wanted = change_of(options);
    Json changed = Json::array();
    std::string table, failures;
    for (const FoundBridge& each : *found) {
        const auto backend = api.json("PATCH", each.path, wanted);
        if (!backend) {
            failures += fmt::format("{}{}/{}: {}", failures.empty() ? "" : "\n", each.service, each.bridge,
                                    backend.error().text);
            continue;
        }
        changed.push_back(named_backend(each.service, *backend));
        table += change_view(each.service, *backend);
    }
    if (auto printed = print_either(options, changed, table); !printed) return printed;
    if (!failures.empty()) return std::unexpected(std::move(failures));
    return {};
}

Done show_flows(const Options& options, const ApiClient& api) {
    std::vector<Json> flows;
    std::string after;
    bool more = true;
    while (more && flows.size() < options.limit) {
        const std::size_t wanted = std::min(options.limit - flows.size(), kFlowsPerPage);
        auto page = get(api, make_target("/flows", {{"service", options.service},
                                                    {"bridge", options.bridge},
                                                    {"client", options.client},
                                                    {"limit", std::to_string(wanted)},
                                                    {"after", after}}));
        if (!page) return std::unexpected(page.error());
        for (const Json& flow : list_at(*page, "flows")) flows.push_back(flow);
        after = text_at(*page, "next");
        more = !after.empty();
    }
    // The last page may have few more.
    if (flows.size() > options.limit) {
        flows.resize(options.limit);
        more = true;
    }
    if (auto printed = print_either(options, Json{{"flows", flows}, {"more", more}}, flows_view(flows));
        !printed)
        return printed;
    if (more && options.format == OutputFormat::table)
        fmt::print(stderr, "splicectl: there are more; --limit COUNT shows them\n");
    return {};
}

}  // namespace

std::expected<void, std::string> print(std::string_view text) {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
        return {};
    return std::unexpected(fmt::format("write to standard output: {}", std::strerror(errno)));
}

std::expected<void, std::string> run_command(const Options& options, const ApiClient& api) {
    switch (options.command) {
        case Command::status:
            return show_status(options, api);
        case Command::check:
            return check_bridges(options, api);
        case Command::services:
            return show_services(options, api);
        case Command::bridges:
            return show_bridges(options, api);
        case Command::explain:
            return show_explanation(options, api);
        case Command::flows:
            return show_flows(options, api);
        case Command::watch:
            return run_watch(options, api);
        default:
            return change(options, api);
    }
}

}  // namespace splice::control
