#include "packetbridge/packetbridge.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>
#include <vector>

#include "libsplice/config/api.hpp"
#include "libsplice/config/secret_file.hpp"
#include "libsplice/engine/attached_program.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/start.hpp"
#include "packetbridge/adoption_checks.hpp"
#include "packetbridge/bridge_programs.hpp"
#include "packetbridge/network_facts.hpp"

namespace splice {
namespace {

// A bridge that stops waits until no balancer has tried to open a connection for so long, and no longer than
// that. With health checks a few refusals are enough to make balancers turn to others.
constexpr Duration kLeaveQuiet = 500ms;
constexpr Duration kLeaveAtMost = 3s;
constexpr Duration kLeaveLook = 20ms;

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
    const std::string number = config.number ? fmt::format(" as number {}", config.number) : "";
    return fmt::format("{} at {}{}", fmt::join(services, ", "), fmt::join(addresses, ", "), number);
}

// Those of `before`, by their VIPs.
std::vector<std::string> services_missing_in(const PacketbridgeConfig& config,
                                             const PacketbridgeConfig& before) {
    std::vector<std::string> missing;
    for (const BridgeServiceConfig& service : before.services) {
        if (std::ranges::find(config.services, service.vip, &BridgeServiceConfig::vip) ==
            config.services.end())
            missing.push_back(service.vip.to_string());
    }
    return missing;
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

// The address is the host's own, so we do not add it.
HostFact own_address_fact(const IpAddress& address) {
    return {
        .kind = "address",
        .words = "the bridge's address " + address.to_string(),
        .observe = [address]() -> std::optional<std::string> {
            const auto here = is_address_assigned(address);
            if (here && *here) return std::nullopt;
            return here ? "is on no interface of this host" : "cannot be looked up: " + here.error().text;
        },
        .put_right = []() -> SystemResult<void> {
            return std::unexpected(SystemError{"balancers send to it; add it again with ip address add", 0});
        }};
}

std::expected<splice_secret, std::string> read_secret(const PacketbridgeConfig& config) {
    auto secret = read_secret_file(config.common.secret_file);
    if (!secret) return secret;
    std::vector<IpAddress> vips;
    vips.reserve(config.services.size());
    for (const BridgeServiceConfig& service : config.services) vips.push_back(service.vip.address);
    if (auto fits = check_lab_key(*secret, config.common.secret_file, vips); !fits)
        return std::unexpected(fits.error());
    return secret;
}

// The programs of a bridge that was kept or killed would go on beside the queues, by their own rules.
std::expected<void, std::string> check_no_programs(const InterfaceInfo& interface) {
    for (const TcSide side : {TcSide::ingress, TcSide::egress}) {
        const auto there = attached_tc_program(interface, side);
        if (!there || !there->name.starts_with("bridge_")) continue;
        const std::string end = there->link_id != 0
                                    ? fmt::format("bpftool link detach id {}", there->link_id)
                                    : fmt::format("tc filter del dev {} {} prio {}", interface.name,
                                                  to_string(side), kTcPriority);
        return std::unexpected(fmt::format(
            "start the nfqueue engine on {}: the program {} (id {}) of an earlier bridge serves at its {}; "
            "start with --engine ebpf to take it over, or end it with: {}",
            interface.name, there->name, there->id, to_string(side), end));
    }
    return {};
}

}  // namespace

std::expected<void, std::string> check_against_host(const PacketbridgeConfig& config) {
    if (const auto secret = read_secret(config); !secret) return std::unexpected(secret.error());
    for (const std::string& uplink : uplinks_of(config.common)) {
        if (const auto interface = find_interface(uplink); !interface)
            return std::unexpected(interface.error().text);
    }
    return check_addresses(config);
}

std::vector<std::string> warnings_about_host(const PacketbridgeConfig& config) {
    std::vector<std::string> warnings;
    const std::vector<std::string> uplinks = uplinks_of(config.common);
    for (const std::string& uplink : uplinks) {
        const HostFact fact = reverse_path_fact(uplink, uplinks);
        if (const auto wrong = fact.observe())
            warnings.push_back(fmt::format("{} {}: {}", fact.words, *wrong, fact.put_right().error().text));
    }
    return warnings;
}

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

Packetbridge::~Packetbridge() {
    self_test_.reset();
    api_server_.reset();
    channel_.reset();
    if (!goes_on()) host_.undo();
}

// Its programs and queues serve all interfaces of the host, loopback among them.
std::expected<void, std::string> Packetbridge::take_host_lock() {
    const auto loopback = find_interface("lo");
    if (!loopback) return std::unexpected(loopback.error().text);
    auto lock = InterfaceLock::take("packetbridge", *loopback);
    if (!lock)
        return std::unexpected(lock.error().text +
                               "; one packet bridge serves a host, by any number of addresses");
    host_lock_ = std::move(*lock);
    return {};
}

std::expected<void, std::string> Packetbridge::take_uplinks() {
    for (const std::string& name : uplinks_of(config_.common)) {
        auto taken = take_uplink("packetbridge", name);
        if (!taken) return std::unexpected(taken.error().text);
        locks_.push_back(std::move(taken->lock));
        uplinks_.push_back(std::move(taken->interface));
    }
    return {};
}

std::expected<void, std::string> Packetbridge::open() {
    if (auto taken = take_uplinks(); !taken) return taken;
    if (auto alone = take_host_lock(); !alone) return alone;
    if (auto here = check_addresses(config_); !here) return here;
    auto engine = choose_bridge_engine(config_.common.engine, config_.mode, find_bridge_obstacles(config_));
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    if (engine_.name == "nfqueue") {
        for (const InterfaceInfo& uplink : uplinks_) {
            if (auto alone = check_no_programs(uplink); !alone) return alone;
        }
    }
    const auto secret = read_secret(config_);
    if (!secret) return std::unexpected(secret.error());
    const std::string pins = pin_folder_of(config_.common);
    numbers_ = ServiceNumbers(remembered_services({pins, beside_folder_of(pins)}));
    setup_ = build_setup(config_, *secret, numbers_, find_balancers(config_));
    if (auto opened = connection_log_.apply(config_.common.connection_log); !opened)
        return std::unexpected(opened.error().text);
    dataplane_ = make_bridge_dataplane(engine_, config_, setup_, connection_log_);
    if (auto started = dataplane_->start(); !started) return std::unexpected(started.error().text);
    if (auto established = host_.establish(facts()); !established) return established;
    connections_.emplace(*dataplane_);
    if (config_.common.channel) {
        auto channel = BridgeChannel::start(told(config_, *secret), *dataplane_, *connections_, backends_);
        if (!channel) return std::unexpected(channel.error());
        channel_ = std::move(*channel);
    }
    api_ = std::make_unique<PacketbridgeApi>(state(), *dataplane_, host_, reloads_, backends_, *connections_,
                                             channel_.get());
    auto server = start_api_server(config_.common, api_->routes());
    if (!server) return std::unexpected(server.error());
    api_server_ = std::move(*server);
    dataplane_->settle();
    warn_about_clock();
    for (const std::string& remark : remarks_about_channel(config_.common)) log_info(remark);
    if (config_.common.keep && !goes_on())
        log_warning("keep: the " + std::string(engine_.name) + " engine does not go on without this process");
    log_info(fmt::format("packetbridge {} ready: serves {} on {}, engine {} ({}), mode {}, api {}",
                         SPLICELB_VERSION, describe(config_), fmt::join(uplinks_of(config_.common), ", "),
                         engine_.name, engine_.reason, describe_mode(),
                         config_.common.api ? config_.common.api->to_string() : "off"),
             {{"version", SPLICELB_VERSION},
              {"engine", std::string(engine_.name)},
              {"mode", std::string(to_string(engine_.mode))}});
    begin_self_test(*setup_);
    backends_.replace(backends_of(*setup_), config_.backend_check);
    return {};
}

std::string Packetbridge::describe_mode() const {
    const std::vector<Endpoint> beside = dataplane_->translated_beside();
    std::vector<std::string> services;
    for (const BridgeServiceConfig& service : config_.services) {
        if (std::ranges::find(beside, service.backend) != beside.end())
            services.push_back(service.vip.to_string());
    }
    const std::string mode(to_string(engine_.mode));
    return services.empty() ? mode : fmt::format("{}, but translate for {}", mode, fmt::join(services, ", "));
}

void Packetbridge::begin_self_test(const JoinerSetup& setup) {
    std::vector<SelfTestOpening> openings = self_test_openings(setup, config_.local_clients);
    if (openings.empty())
        return log_info("own test: no backend is a listening socket of this host: nothing is tried");
    self_test_.emplace(std::move(openings), setup.secret, splice_mark_seen(&config_.common.marks, 0),
                       std::string(to_string(engine_.mode)));
}

void Packetbridge::hand_over() {
    dataplane_->hand_over();
    if (!goes_on())
        log_warning("SIGUSR1: the " + std::string(engine_.name) +
                    " engine does not go on without this process; it stops");
}

void Packetbridge::stop() {
    if (goes_on()) return;
    leave();
    if (const std::size_t ended = dataplane_->end_flows(); ended != 0)
        log_info(fmt::format("{} translated connection{}: reset at both ends", ended, ended == 1 ? "" : "s"));
}

void Packetbridge::leave() {
    const auto bounced = [this] {
        return dataplane_->statistics().verdicts[static_cast<std::size_t>(SPLICE_bounce_leaving)];
    };
    if (channel_) channel_->leave();
    auto leaving = std::make_shared<JoinerSetup>(*setup_);
    leaving->leaving = true;
    if (auto replaced = dataplane_->replace_setup(std::move(leaving)); !replaced)
        return log_error("stop: new connections are opened to the end: " + replaced.error().text);
    const Duration began = read_clock().monotonic;
    Duration last = began;
    std::uint64_t before = bounced();
    for (Duration now = began; now - last < kLeaveQuiet && now - began < kLeaveAtMost;
         now = read_clock().monotonic) {
        std::this_thread::sleep_for(kLeaveLook);
        const std::uint64_t count = bounced();
        if (count != before) last = read_clock().monotonic;
        before = count;
    }
    if (before != 0)
        log_info(fmt::format("stopping: {} opening segment{} sent back to balancers, for other bridges",
                             before, before == 1 ? " was" : "s were"));
}

// The kernel may have to ask for their Ethernet addresses first.
splice_balancer_links Packetbridge::find_balancers(const PacketbridgeConfig& config) {
    constexpr int kLooks = 10;
    const std::vector<std::string> uplinks = uplinks_of(config.common);
    splice_balancer_links found = links_.find(config.balancers, uplinks);
    for (int i = 0; i < kLooks && !links_.unknown().empty(); i++) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        found = links_.find(config.balancers, uplinks);
    }
    warn_of_unknown_balancers();
    return found;
}

void Packetbridge::warn_of_unknown_balancers() {
    for (const IpAddress& address : links_.unknown()) {
        if (std::ranges::find(told_unknown_, address) != told_unknown_.end()) continue;
        log_warning(fmt::format(
            "balancers: the Ethernet address of {} is not known: its packets are dropped until it is "
            "(drop_not_balancer); is it up, and in this network? try: ip neigh",
            address.to_string()));
    }
    told_unknown_ = links_.unknown();
}

// Network cards are replaced, and routers.
void Packetbridge::follow_balancers() {
    if (config_.balancers.addresses.empty()) return;
    const splice_balancer_links found = links_.find(config_.balancers, uplinks_of(config_.common));
    warn_of_unknown_balancers();
    if (same(found, setup_->balancers)) return;
    auto setup = std::make_shared<JoinerSetup>(*setup_);
    setup->balancers = found;
    if (auto replaced = dataplane_->replace_setup(setup); !replaced)
        return log_error("follow the balancers' Ethernet addresses: " + replaced.error().text);
    setup_ = std::move(setup);
    log_info("balancers: their Ethernet addresses have changed, and the new ones are believed");
}

void Packetbridge::look() {
    follow_balancers();
    const BridgeStatistics statistics = dataplane_->statistics();
    connection_log_.see_lost_in_kernel(statistics.untold);
    for (const LogMessage& line : trouble_.look(read_clock().monotonic, statistics)) log_warning(line);
}

// The interface first: without it there is nothing to put right.
HostFactList Packetbridge::facts() {
    const std::vector<std::string> uplinks = uplinks_of(config_.common);
    HostFactList facts{uplinks_fact(uplinks)};
    for (const IpAddress& address : config_.addresses) facts.push_back(own_address_fact(address));
    const bool has_ipv4 =
        std::ranges::any_of(config_.addresses, [](const auto& each) { return each.family() == 4; });
    for (const std::string& uplink : has_ipv4 ? uplinks : std::vector<std::string>()) {
        facts.push_back(reverse_path_fact(uplink, uplinks));
        if (config_.local_clients) facts.push_back(local_clients_fact(uplink));
    }
    // A VIP that a backend here listens on is the balancer's on the link.
    for (const std::string& uplink : uplinks) {
        const auto needed = [this, uplink] { return has_vip_beside(uplink); };
        for (HostFact& fact : silence_.facts(uplink, needed)) {
            fact.may_wait = true;  // a backend may come to listen there that is none yet
            facts.push_back(std::move(fact));
        }
    }
    for (HostFact& fact : dataplane_->facts()) facts.push_back(std::move(fact));
    return facts;
}

bool Packetbridge::has_vip_beside(const std::string& uplink) const {
    const auto elsewhere = addresses_elsewhere(interface_index(uplink), 4);
    return elsewhere && std::ranges::any_of(config_.services, [&](const BridgeServiceConfig& service) {
               return std::ranges::find(*elsewhere, service.vip.address) != elsewhere->end();
           });
}

void Packetbridge::look_at_host(bool all) {
    splice::look_at_host(host_, read_clock(), all);
}

void Packetbridge::reload(std::string_view why) {
    const Instant began = read_clock();
    const auto refused = [&](std::string_view text) {
        reloads_.refused(began, read_clock());
        log_error(fmt::format("reload ({}) refused, nothing changed: {}", why, text),
                  {{"why", std::string(why)}});
    };
    if (auto opened = connection_log_.reopen(); !opened) log_error(opened.error().text);
    auto config = configuration_of(options_);
    if (!config) return refused(config.error().text);
    const std::vector<std::string> removed = services_missing_in(*config, config_);
    if (auto applied = apply(*config); !applied) return refused(applied.error());
    for (const std::string& service : removed)
        log_warning(
            fmt::format("reload ({}): the service {} is gone; its translated connections end", why, service));
    const Instant ended = read_clock();
    reloads_.applied(began, ended);
    const auto took = std::chrono::ceil<std::chrono::milliseconds>(ended.monotonic - began.monotonic);
    log_info(fmt::format("reloaded ({}): serves {}; it took {} ms", why, describe(config_), took.count()),
             {{"why", std::string(why)}, {"took_ms", took.count()}});
}

std::expected<void, std::string> Packetbridge::apply(const PacketbridgeConfig& config) {
    if (const auto key = fixed_key_that_differs(config_, config))
        return std::unexpected(*key + " cannot change while the bridge runs; restart it");
    if (auto here = check_addresses(config); !here) return here;
    const auto secret = read_secret(config);
    if (!secret) return std::unexpected(secret.error());
    if (channel_) {
        if (auto replaced = channel_->replace(told(config, *secret)); !replaced) return replaced;
    }
    // Flows may bear the new numbers also when the change is refused.
    auto setup = build_setup(config, *secret, numbers_, find_balancers(config));
    if (auto opened = connection_log_.apply(config.common.connection_log); !opened) {
        if (channel_) (void)channel_->replace(told(config_, setup_->secret));
        return std::unexpected(opened.error().text);
    }
    if (auto replaced = dataplane_->replace_setup(setup); !replaced) {
        (void)connection_log_.apply(config_.common.connection_log);
        if (channel_) (void)channel_->replace(told(config_, setup_->secret));
        return std::unexpected(replaced.error().text);
    }
    setup_ = std::move(setup);
    config_ = config;
    host_.replace(facts());
    change_log(config_.common.log);
    api_->replace(state());
    backends_.replace(backends_of(*setup_), config_.backend_check);
    return {};
}

BridgeChannel::Told Packetbridge::told(const PacketbridgeConfig& config, const splice_secret& secret) const {
    return {.config = config, .mode = engine_.mode, .secret = secret};
}

PacketbridgeState Packetbridge::state() const {
    return {.config = config_,
            .engine = std::string(engine_.name),
            .engine_reason = engine_.reason,
            .mode = engine_.mode};
}

}  // namespace splice
