#include "balancer/balancer.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "balancer/kernel_path.hpp"
#include "libsplice/config/secret_file.hpp"
#include "libsplice/config/start.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

std::vector<IpAddress> vips_of(const BalancerConfig& config) {
    std::vector<IpAddress> vips;
    vips.reserve(config.services.size());
    for (const ServiceConfig& service : config.services) vips.push_back(service.vip.address);
    return vips;
}

std::string describe(const ServiceConfig& service) {
    const std::string vip = service.vip.to_string();
    const std::string name = service.name == vip ? "" : service.name + " ";
    return fmt::format("{}{} (dscp {}, {} by {}, {} bridge{})", name, vip, service.dscp,
                       service.key.to_string(), to_string(service.algorithm), service.bridges.size(),
                       service.bridges.size() == 1 ? "" : "s");
}

std::string describe(const BalancerConfig& config) {
    std::vector<std::string> services;
    services.reserve(config.services.size());
    for (const ServiceConfig& service : config.services) services.push_back(describe(service));
    return fmt::format("{}", fmt::join(services, ", "));
}

void warn_about_health(const BalancerConfig& config) {
    for (const ServiceConfig& service : config.services) {
        if (!service.health) continue;
        log_warning(
            fmt::format("service {}: health checks are configured, but this version does not run them; a "
                        "bridge whose backend "
                        "refuses a connection is still passed over, by its bounce",
                        service.name));
    }
}

}  // namespace

std::expected<BalancerConfig, ConfigFailure> configuration_of(const BalancerOptions& options) {
    if (!options.config_file) return options.config;
    auto config = load_balancer_config(*options.config_file);
    if (config && options.log_level) config->common.log.level = *options.log_level;
    return config;
}

std::expected<std::unique_ptr<Balancer>, std::string> Balancer::start(const BalancerOptions& options,
                                                                      const BalancerConfig& config) {
    std::unique_ptr<Balancer> balancer(new Balancer(options, config));
    if (auto opened = balancer->open(); !opened) return std::unexpected(opened.error());
    return balancer;
}

Balancer::Balancer(const BalancerOptions& options, const BalancerConfig& config)
    : options_(options), config_(config), vips_(config.common.interface) {}

Balancer::~Balancer() {
    // The kernel goes on answering for them.
    if (config_.common.keep && engine_.name == "ebpf") vips_.keep();
}

std::expected<void, std::string> Balancer::open() {
    auto interface = check_host(config_.common.interface);
    if (!interface) return std::unexpected(interface.error().text);
    interface_ = std::move(*interface);
    index_ = BridgeIndex(remembered_bridges(config_.common.bpffs, interface_.name),
                         read_clock().monotonic + config_.common.idle_timeout);
    auto rules = prepare(config_, index_);
    if (!rules) return std::unexpected(rules.error());
    rules_ = std::move(*rules);
    if (auto started = start_engine(); !started) return std::unexpected(started.error());
    if (auto added = vips_.add_missing(vips_of(config_)); !added) return std::unexpected(added.error().text);
    api_ = std::make_unique<BalancerApi>(state(), *dataplane_);
    if (config_.common.api) {
        auto server = ApiServer::start(*config_.common.api, api_->routes());
        if (!server) return std::unexpected(server.error().text);
        api_server_ = std::move(*server);
    }
    warn_about_clock();
    warn_about_health(config_);
    const auto added = vips_.added();
    log_info(fmt::format("balancer {} ready: serves {} on {}, engine {} ({}){}, api {}", SPLICELB_VERSION,
                         describe(config_), interface_.name, engine_.name, engine_.reason,
                         added.empty() ? "" : fmt::format(", added {} of its addresses", added.size()),
                         config_.common.api ? config_.common.api->to_string() : "off"));
    return {};
}

std::expected<void, std::string> Balancer::start_engine() {
    const EngineSettings settings{.interface = interface_,
                                  .bpffs = config_.common.bpffs,
                                  .keep = config_.common.keep,
                                  .xdp_mode = config_.xdp_mode};
    std::string refused;
    for (EngineDecision& engine : engines_for(config_.common.engine)) {
        dataplane_ = engine.make(rules_, settings);
        const auto started = dataplane_->start();
        if (started) {
            engine_ = std::move(engine);
            if (!refused.empty()) engine_.reason += ": " + refused;
            if (const auto details = dataplane_->description(); !details.empty())
                engine_.reason += "; " + details;
            return {};
        }
        refused += fmt::format("{}{} does not work here: {}", refused.empty() ? "" : "; ", engine.name,
                               started.error().text);
        dataplane_.reset();
    }
    return std::unexpected(refused);
}

void Balancer::reload(std::string_view why) {
    auto config = configuration_of(options_);
    if (!config)
        return log_error(fmt::format("reload ({}) refused, nothing changed: {}", why, config.error().text));
    if (auto applied = apply(*config); !applied)
        return log_error(fmt::format("reload ({}) refused, nothing changed: {}", why, applied.error()));
    warn_about_health(config_);
    log_info(fmt::format("reloaded ({}): serves {}", why, describe(config_)));
}

std::expected<void, std::string> Balancer::apply(const BalancerConfig& config) {
    if (const auto key = fixed_key_that_differs(config_.common, config.common))
        return std::unexpected(*key + " cannot change while the balancer runs; restart it");
    BridgeIndex index = index_;
    auto rules = prepare(config, index);
    if (!rules) return std::unexpected(rules.error());
    if (auto replaced = dataplane_->replace_rules(*rules); !replaced)
        return std::unexpected(replaced.error().text);
    if (auto added = vips_.add_missing(vips_of(config)); !added) {
        if (auto back = dataplane_->replace_rules(rules_); !back) log_error(back.error().text);
        return std::unexpected(added.error().text);
    }
    vips_.remove_others(vips_of(config));
    config_ = config;
    index_ = std::move(index);
    rules_ = std::move(*rules);
    change_log(config_.common.log);
    api_->replace(state());
    return {};
}

std::expected<std::shared_ptr<const SplicerRules>, std::string> Balancer::prepare(
    const BalancerConfig& config, BridgeIndex& index) const {
    const auto secret = read_secret_file(config.common.secret_file);
    if (!secret) return std::unexpected(secret.error());
    return build_rules(config, *secret, {.mtu = interface_.mtu, .now = read_clock().monotonic}, index);
}

BalancerState Balancer::state() const {
    return {.config = config_,
            .rules = rules_,
            .engine = std::string(engine_.name),
            .engine_reason = engine_.reason};
}

}  // namespace splice
