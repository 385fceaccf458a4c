#include "packetbridge/packetbridge.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "libsplice/config/secret_file.hpp"
#include "libsplice/config/start.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

std::string describe(const PacketbridgeConfig& config) {
    std::vector<std::string> services;
    services.reserve(config.services.size());
    for (const BridgeServiceConfig& service : config.services) {
        services.push_back(fmt::format("{} (dscp {}) by {}", service.vip.to_string(), service.dscp,
                                       service.backend.to_string()));
    }
    std::vector<std::string> addresses;
    addresses.reserve(config.addresses.size());
    for (const IpAddress& address : config.addresses) addresses.push_back(address.to_string());
    return fmt::format("{} at {}", fmt::join(services, ", "), fmt::join(addresses, ", "));
}

// Marked packets to an address that is not here would only be forwarded by this host, or dropped.
std::expected<void, std::string> check_addresses(const PacketbridgeConfig& config) {
    for (const IpAddress& address : config.addresses) {
        const auto here = host_has_address(address);
        if (!here) return std::unexpected(here.error().text);
        if (!*here)
            return std::unexpected(
                fmt::format("address {} is on no interface of this host (try --address with one "
                            "that `ip address` shows, or add it)",
                            address.to_string()));
    }
    return {};
}

}  // namespace

std::expected<PacketbridgeConfig, ConfigFailure> configuration_of(const PacketbridgeOptions& options) {
    if (!options.config_file) return options.config;
    auto config = load_packetbridge_config(*options.config_file);
    if (config && options.log_level) config->common.log.level = *options.log_level;
    return config;
}

std::expected<std::unique_ptr<Packetbridge>, std::string> Packetbridge::start(
    const PacketbridgeOptions& options, const PacketbridgeConfig& config) {
    std::unique_ptr<Packetbridge> bridge(new Packetbridge(options, config));
    if (auto opened = bridge->open(); !opened) return std::unexpected(opened.error());
    return bridge;
}

Packetbridge::Packetbridge(const PacketbridgeOptions& options, const PacketbridgeConfig& config)
    : options_(options), config_(config) {}

Packetbridge::~Packetbridge() = default;

std::expected<void, std::string> Packetbridge::open() {
    auto interface = check_host(config_.common.interface);
    if (!interface) return std::unexpected(interface.error().text);
    interface_ = std::move(*interface);
    if (auto here = check_addresses(config_); !here) return here;
    auto engine = choose_bridge_engine(config_.common.engine, config_.mode, find_bridge_obstacles(config_));
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    const auto secret = read_secret_file(config_.common.secret_file);
    if (!secret) return std::unexpected(secret.error());
    dataplane_ = make_bridge_dataplane(engine_, config_, build_rules(config_, *secret));
    if (auto started = dataplane_->start(); !started) return std::unexpected(started.error().text);
    api_ = std::make_unique<PacketbridgeApi>(state(), *dataplane_);
    if (config_.common.api) {
        auto server = ApiServer::start(*config_.common.api, api_->routes());
        if (!server) return std::unexpected(server.error().text);
        api_server_ = std::move(*server);
    }
    warn_about_clock();
    log_info(fmt::format("packetbridge {} ready: serves {} on {}, engine {} ({}), mode {}, api {}",
                         SPLICELB_VERSION, describe(config_), interface_.name, engine_.name, engine_.reason,
                         to_string(engine_.mode),
                         config_.common.api ? config_.common.api->to_string() : "off"));
    return {};
}

void Packetbridge::reload(std::string_view why) {
    auto config = configuration_of(options_);
    if (!config)
        return log_error(fmt::format("reload ({}) refused, nothing changed: {}", why, config.error().text));
    if (auto applied = apply(*config); !applied)
        return log_error(fmt::format("reload ({}) refused, nothing changed: {}", why, applied.error()));
    log_info(fmt::format("reloaded ({}): serves {}", why, describe(config_)));
}

std::expected<void, std::string> Packetbridge::apply(const PacketbridgeConfig& config) {
    auto key = fixed_key_that_differs(config_.common, config.common);
    if (!key && config.mode != config_.mode) key = "mode";
    if (!key && (config.marks.value != config_.marks.value || config.marks.mask != config_.marks.mask))
        key = "mark";
    if (key) return std::unexpected(*key + " cannot change while the bridge runs; restart it");
    if (auto here = check_addresses(config); !here) return here;
    const auto secret = read_secret_file(config.common.secret_file);
    if (!secret) return std::unexpected(secret.error());
    if (auto replaced = dataplane_->replace_rules(build_rules(config, *secret)); !replaced)
        return std::unexpected(replaced.error().text);
    config_ = config;
    change_log(config_.common.log);
    api_->replace(state());
    return {};
}

PacketbridgeState Packetbridge::state() const {
    return {.config = config_,
            .engine = std::string(engine_.name),
            .engine_reason = engine_.reason,
            .mode = engine_.mode};
}

}  // namespace splice
