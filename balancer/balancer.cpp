#include "balancer/balancer.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <unistd.h>
#include <algorithm>

#include <cerrno>
#include <numeric>
#include <thread>
#include <utility>

#include "balancer/kernel_path.hpp"
#include "libsplice/config/api.hpp"
#include "libsplice/config/prefix_file.hpp"
#include "libsplice/config/secret_file.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/randomness.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/start.hpp"
#include "libsplice/ops/text_file.hpp"

namespace splice {
namespace {

// A client that gets something sends its next acknowledgement within a round trip.
constexpr Duration kStopResets = 1s;

std::vector<IpAddress> addresses_of(const BalancerConfig& config) {
    std::vector<IpAddress> addresses;
    for (const Vip& vip : vips_of(config)) addresses.push_back(vip.address);
    return addresses;
}

std::vector<Endpoint> ports_of(const BalancerConfig& config) {
    std::vector<Endpoint> ports;
    ports.reserve(config.services.size());
    for (const ServiceConfig& service : config.services) ports.push_back(service.vip);
    return ports;
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

void log_warnings_about(const BalancerConfig& config) {
    for (const std::string& warning : warnings_about(config)) log_warning(warning);
}

std::expected<void, std::string> in_words(const SystemResult<void>& result) {
    if (!result) return std::unexpected(result.error().text);
    return {};
}

// What checks come from. VIPs on standby come and go.
splice_own_addresses own_addresses(const InterfaceInfo& interface, const BalancerConfig& config) {
    std::vector<IpAddress> but;
    for (const Vip& vip : vips_of(config))
        if (vip.presence == Presence::standby) but.push_back(vip.address);
    const auto own = [&](int family) {
        const auto found = interface_address(interface.index, family, but);
        return found && *found ? (*found)->raw() : splice_address{};
    };
    return {.ipv4 = own(4), .ipv6 = own(6)};
}

// What fits into each, for a packet may come and go by any.
std::uint32_t mtu_of(const std::vector<InterfaceInfo>& uplinks) {
    return std::ranges::min(uplinks, {}, &InterfaceInfo::mtu).mtu;
}

// Another balancer or program has the interface: another engine would serve beside it, by other rules.
bool is_taken(const SystemError& error) noexcept {
    return error.code == EBUSY || error.code == EEXIST;
}

// Where what the API changes is kept.
std::string state_file_of(const BalancerConfig& file) {
    return file.common.api_state.empty() ? "/var/lib/splicelb/balancer-" + file.common.interface + ".json"
                                         : file.common.api_state;
}

std::string unfit_state(const BalancerConfig& file, std::string_view why) {
    return fmt::format(
        "what the API changed (kept in {}) does not fit the configuration: {}; change the "
        "configuration, or stop the balancer and remove the file",
        state_file_of(file), why);
}

// Without a file the API has changed nothing.
std::expected<Desired, std::string> read_desired(const BalancerConfig& file) {
    constexpr std::size_t kMost = 16UZ << 20;
    const std::string path = state_file_of(file);
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return Desired();
    const auto read = read_text_file(path, kMost, "read what the API changed", "");
    if (!read) return std::unexpected(read.error().text);
    auto desired = Desired::parse(read->text);
    if (!desired) return std::unexpected(path + ": " + desired.error());
    return desired;
}

void warn_of_derived_lanes(const BalancerConfig& config, const splice_secret& secret) {
    if (!secret.lane_is_derived || std::ranges::none_of(config.services, has_lanes)) return;
    const std::string& file = config.common.secret_file;
    log_warning(fmt::format(
        "{} has no lane line, so its first key serves for lanes: when that is replaced, a flow that no "
        "balancer remembers "
        "cannot be found; add one on bridges and balancers: echo \"lane $(openssl rand -hex 16)\" >> {}",
        file, file));
}

}  // namespace

std::expected<BalancerConfig, ConfigFailure> configuration_of(const BalancerOptions& options) {
    if (!options.config_file) return options.config;
    auto config = load_balancer_config(*options.config_file);
    if (config && options.log_level) config->common.log.level = *options.log_level;
    return config;
}

std::expected<splice_secret, std::string> read_secret(const BalancerConfig& config) {
    auto secret = read_secret_file(config.common.secret_file);
    if (!secret) return secret;
    if (auto fits = check_lab_key(*secret, config.common.secret_file, addresses_of(config)); !fits)
        return std::unexpected(fits.error());
    return secret;
}

std::expected<std::shared_ptr<const PrefixSet>, std::string> read_denied(const BalancerConfig& config) {
    if (config.deny.empty()) return nullptr;
    auto prefixes = read_prefix_files(config.deny);
    if (!prefixes) return std::unexpected(prefixes.error());
    return std::make_shared<const PrefixSet>(std::move(*prefixes));
}

std::expected<void, ConfigFailure> check_against_host(const BalancerConfig& file) {
    const auto refused = [](ConfigFailure::Kind kind, const std::string& text) {
        return std::unexpected(ConfigFailure{kind, text});
    };
    if (const auto access = api_access(file.common); !access)
        return refused(ConfigFailure::Kind::unreadable, access.error());
    const auto desired = read_desired(file);
    if (!desired) return refused(ConfigFailure::Kind::unreadable, desired.error());
    const auto laid = desired->over(file);
    if (!laid) return refused(ConfigFailure::Kind::wrong, unfit_state(file, laid.error()));
    const BalancerConfig& config = laid->config;
    const auto secret = read_secret(config);
    if (!secret) return refused(ConfigFailure::Kind::unreadable, secret.error());
    if (const auto denied = read_denied(config); !denied)
        return refused(ConfigFailure::Kind::unreadable, denied.error());
    std::vector<InterfaceInfo> uplinks;
    for (const std::string& name : uplinks_of(config.common)) {
        auto interface = find_interface(name);
        if (!interface) return refused(ConfigFailure::Kind::unreadable, interface.error().text);
        uplinks.push_back(std::move(*interface));
    }
    BridgeIndex index;
    ServiceNumbers services;
    if (auto setup = build_setup(config, *secret, {.mtu = mtu_of(uplinks), .now = {}}, index, services);
        !setup)
        return refused(ConfigFailure::Kind::wrong, setup.error());
    return {};
}

std::expected<std::unique_ptr<Balancer>, std::string> Balancer::start(const BalancerOptions& options,
                                                                      const BalancerConfig& config,
                                                                      TaskQueue& tasks) {
    std::unique_ptr<Balancer> balancer(new Balancer(options, config, tasks));
    if (auto opened = balancer->open(); !opened) return std::unexpected(opened.error());
    return balancer;
}

Balancer::Balancer(const BalancerOptions& options, const BalancerConfig& config, TaskQueue& tasks)
    : tasks_(tasks), options_(options), config_(config), file_(config), vips_(uplinks_of(config.common)) {}

Balancer::~Balancer() {
    api_server_.reset();
    channel_.reset();
    if (!goes_on()) {
        host_.undo();
        return;
    }
    // The kernel goes on answering for them.
    vips_.keep();
    if (guard_) guard_->keep();
}

std::expected<void, std::string> Balancer::open() {
    if (auto read = read_state(); !read) return read;
    if (auto taken = take_uplinks(); !taken) return taken;
    const InterfaceInfo& first = uplinks_.front();
    index_ = BridgeIndex(remembered_bridges(config_.common.bpffs, first), read_clock().monotonic);
    services_ = ServiceNumbers(remembered_services(config_.common.bpffs, first));
    auto plan = plan_with_files(config_);
    if (!plan) return std::unexpected(plan.error());
    setup_ = plan->setup;
    index_ = std::move(plan->bridges);
    services_ = std::move(plan->services);
    if (auto free = vips_.check_free(vips_of(config_)); !free) return free;
    if (auto opened = connection_log_.apply(config_.common.connection_log); !opened)
        return std::unexpected(opened.error().text);
    start_guard();
    if (auto started = start_engine(); !started) return std::unexpected(started.error());
    if (auto established = host_.establish(facts(config_)); !established) return established;
    if (auto started = start_channel(); !started) return started;
    if (auto started = start_api(); !started) return started;
    vips_.follow(vips_of(config_));
    settle();
    warn_about_clock();
    log_warnings_about(config_);
    if (config_.common.keep && !goes_on())
        log_warning("keep: the " + std::string(engine_.name) + " engine does not go on without this process");
    const auto added = vips_.added();
    log_info(fmt::format("balancer {} ready: serves {} on {}, engine {} ({}){}, api {}", SPLICELB_VERSION,
                         describe(config_), fmt::join(uplinks_of(config_.common), ", "), engine_.name,
                         engine_.reason,
                         added.empty() ? "" : fmt::format(", added {} of its addresses", added.size()),
                         config_.common.api ? config_.common.api->to_string() : "off"),
             {{"version", SPLICELB_VERSION}, {"engine", std::string(engine_.name)}});
    return {};
}

std::expected<void, std::string> Balancer::start_channel() {
    for (const std::string& remark : remarks_about_channel(config_.common)) log_info(remark);
    if (!config_.common.channel) return {};
    auto channel = BalancerChannel::start(*config_.common.channel,
                                          [this] { tasks_.post("full bridges", [this] { follow_full(); }); });
    if (!channel) return std::unexpected(channel.error().text);
    channel_ = std::move(*channel);
    follow_channel();
    return {};
}

void Balancer::follow_channel() {
    if (!channel_) return;
    channel_->replace(channel_peers_of(config_), setup_->secret);
    full_is_new_ = true;
    follow_full();
}

void Balancer::follow_full() {
    const bool bounded = std::ranges::any_of(config_.services, [](const ServiceConfig& service) {
        return std::ranges::any_of(service.bridges,
                                   [](const BridgeConfig& bridge) { return bridge.max_connections != 0; });
    });
    if (!bounded && told_full_.empty()) return;
    for (const FullBridges::Line& line : full_.look(read_clock().monotonic, config_, channel_->report()))
        line.warns ? log_warning(line.text) : log_info(line.text);
    std::vector<FullBridge> full = full_bridges(config_, *setup_, full_.names());
    if (full == told_full_ && !full_is_new_) return;
    dataplane_->set_full(full);
    told_full_ = std::move(full);
    full_is_new_ = false;
}

std::expected<void, std::string> Balancer::start_api() {
    api_ = std::make_unique<BalancerApi>(state(), *dataplane_, host_, reloads_, guard_ ? &*guard_ : nullptr,
                                         channel_.get(), full_);
    auto server = start_api_server(config_.common, api_->routes([this](ApiEdit edit, ApiAnswer answer) {
        post_change(std::move(edit), std::move(answer));
    }));
    if (!server) return std::unexpected(server.error());
    api_server_ = std::move(*server);
    return {};
}

std::expected<void, std::string> Balancer::read_state() {
    auto desired = read_desired(file_);
    if (!desired) return std::unexpected(desired.error());
    auto laid = desired->over(file_);
    if (!laid) return std::unexpected(unfit_state(file_, laid.error()));
    for (const std::string& note : laid->notes) log_info(fmt::format("{}: {}", state_file_of(file_), note));
    desired_ = std::make_shared<const Desired>(std::move(*desired));
    config_ = std::move(laid->config);
    return {};
}

void Balancer::post_change(ApiEdit edit, ApiAnswer answer) {
    constexpr unsigned kMostWaiting = 64;
    if (changes_waiting_.load() >= kMostWaiting)
        return answer(
            api_error(503, fmt::format("{} changes wait before this one; ask again", kMostWaiting)));
    ++changes_waiting_;
    tasks_.post(fmt::format("change {}", ++changes_asked_),
                [this, edit = std::move(edit), answer = std::move(answer)] {
                    --changes_waiting_;
                    answer(change(edit));
                });
}

ApiReply Balancer::change(const ApiEdit& edit) {
    Desired wanted = *desired_;
    const auto edited = edit(wanted, {.running = config_, .file = file_});
    if (!edited) return edited.error();
    auto laid = wanted.over(file_);
    if (!laid) return api_error(edited->status_unfit, laid.error());
    auto plan = plan_for(laid->config);
    if (!plan) return api_error(edited->status_unfit, plan.error());
    if (auto free = vips_.check_free(vips_of(laid->config)); !free)
        return api_error(409, "nothing changed: " + free.error());
    auto kept = NewTextFile::write(state_file_of(file_), wanted.text(), 0644, "keep the change in",
                                   "choose another place with api.state");
    if (!kept) return api_error(500, "nothing changed: " + kept.error().text);
    const std::vector<ServiceChange> changes = plan->changes;
    const auto before = std::exchange(desired_, std::make_shared<const Desired>(std::move(wanted)));
    if (auto applied = apply(std::move(*plan)); !applied) {
        if (applied.error().undone) desired_ = before;
        log_error("API: " + applied.error().text);
        return api_error(500,
                         fmt::format("{}: {}", applied.error().undone ? "nothing changed" : "partly changed",
                                     applied.error().text));
    }
    if (auto placed = kept->put_in_place(); !placed)
        log_error("API: the change runs, and a restart will not know of it: " + placed.error().text);
    for (const ServiceChange& each : changes)
        log_line(each.removed ? LogLevel::warning : LogLevel::info, "API: " + each.to_string(),
                 {{"service", each.service}});
    log_warnings_about(config_);
    return reply_of(*edited, api_->snapshot());
}

std::expected<void, std::string> Balancer::take_uplinks() {
    for (const std::string& name : uplinks_of(config_.common)) {
        auto taken = take_uplink("balancer", name);
        if (!taken) return std::unexpected(taken.error().text);
        locks_.push_back(std::move(taken->lock));
        uplinks_.push_back(std::move(taken->interface));
        if (auto alone = check_no_other_path(uplinks_.back(), uplinks_.front(), config_.common.bpffs,
                                             config_.common.engine);
            !alone)
            return std::unexpected(alone.error().text);
    }
    return {};
}

std::expected<void, std::string> Balancer::start_engine() {
    const EngineSettings settings{
        .uplinks = uplinks_,
        .bpffs = config_.common.bpffs,
        .keep = config_.common.keep,
        .xdp_mode = config_.xdp_mode,
        .netfilter = config_.common.netfilter,
        .seed = random_seed(),
        .health_changed = [this] { tasks_.post("health", [this] { take_health(); }); },
        .connection_log = &connection_log_};
    std::string refused;
    for (EngineDecision& engine : engines_for(config_.common.engine)) {
        dataplane_ = engine.make(setup_, settings);
        const auto started = dataplane_->start();
        if (started) {
            engine_ = std::move(engine);
            if (!refused.empty()) engine_.reason += ": " + refused;
            if (const auto details = dataplane_->description(); !details.empty())
                engine_.reason += "; " + details;
            return {};
        }
        if (is_taken(started.error())) return std::unexpected(started.error().text);
        refused += fmt::format("{}{} does not work here: {}", refused.empty() ? "" : "; ", engine.name,
                               started.error().text);
        dataplane_.reset();
    }
    return std::unexpected(refused);
}

void Balancer::hand_over() {
    dataplane_->hand_over();
    if (!goes_on())
        log_warning("SIGUSR1: the " + std::string(engine_.name) +
                    " engine does not go on without this process; it stops");
}

// Every bridge is down, and none takes a first payload: a client repeats it, and who serves next opens.
void Balancer::stop() {
    if (goes_on() || !config_.stop_resets) return;
    auto ending = std::make_shared<SplicerSetup>(*setup_);
    ending->stopping = true;
    std::vector<std::uint16_t> all(ending->bridges.size());
    std::iota(all.begin(), all.end(), std::uint16_t{0});
    auto nowhere = Placement::build(Algorithm::rendezvous, {}, 1);
    if (!nowhere) return log_error("stop: " + nowhere.error());
    const auto placement = std::make_shared<const Placement>(std::move(*nowhere));
    for (SplicerService& service : ending->services) {
        service.placement = placement;
        service.down = all;
    }
    if (auto replaced = dataplane_->replace_setup(std::move(ending)); !replaced)
        return log_error("stop: connections are not reset: " + replaced.error().text);
    const std::size_t reset = dataplane_->settle();
    if (reset == 0) return;
    log_info(fmt::format("stopping: {} connection{} reset at the client's next packet, for {} ms", reset,
                         reset == 1 ? " is" : "s are", kStopResets / 1ms));
    std::this_thread::sleep_for(kStopResets);
}

// Before the addresses are there: this host's own TCP shall never answer for them.
void Balancer::start_guard() {
    auto guard = PortGuard::install("splicelb-balancer-" + nft_name(config_.common.interface),
                                    ports_of(config_), config_.common.marks);
    if (guard) return static_cast<void>(guard_.emplace(std::move(*guard)));
    log_warning(
        guard.error().text +
        "; what slips past the data path is answered by this host's own TCP, whose RST ends connections");
}

void Balancer::guard_no_others() {
    if (!guard_) return;
    if (auto replaced = guard_->replace(ports_of(config_)); !replaced) log_warning(replaced.error().text);
}

void Balancer::look() {
    follow_routes();
    follow_health();
    const Duration now = read_clock().monotonic;
    vips_.announce_again(now);
    const BalancerStatistics statistics = dataplane_->statistics();
    connection_log_.see_lost_in_kernel(statistics.untold);
    for (const LogMessage& line : trouble_.look(now, statistics)) log_warning(line);
    if (const std::uint64_t more = trouble_.look(now, "lanes_disagree", statistics.lanes_disagree))
        log_warning(fmt::format("{} connection{} whose client echoes the clock of another bridge than theirs "
                                "(lanes_disagree): {}",
                                more, more == 1 ? "" : "s", kLanesDisagreeAdvice),
                    {{"counter", "lanes_disagree"}, {"connections", static_cast<std::int64_t>(more)}});
    for (std::size_t i = 0; i < SPLICE_GUESS_SCOPES; i++) {
        if (trouble_.look(now, kGuessScopes[i].name, statistics.guesses.exhausted[i]) != 0)
            log_warning(
                fmt::format("cookies are being guessed: {} has sent more first payloads with wrong ones, "
                            "without timestamps, "
                            "than cookie_guesses allows a second; until the next second first payloads "
                            "without timestamps "
                            "are refused {} (drop_guess_budget); look for a flood",
                            kGuessScopes[i].who, kGuessScopes[i].whence),
                {{"counter", std::string(kGuessScopes[i].name)}});
    }
    if (channel_) {
        for (const ChannelWords::Line& line :
             channel_words_.tell(config_, channel_->report(), channel_secret(setup_->secret).fingerprints))
            line.warns ? log_warning(line.text) : log_info(line.text);
        follow_full();  // who answers no more is not full
    }
    for (const LogMessage& line : drains_.look([this] { return dataplane_->flow_counts(); })) log_info(line);
}

void Balancer::take_health() {
    const HealthNews news = dataplane_->take_health_news();
    for (const HealthLine& line : health_words_.tell(news, config_, *setup_))
        line.warns ? log_warning(line.text, line.fields) : log_info(line.text, line.fields);
    health_is_new_ |= !places_alike(health_, news.report);
    health_ = news.report;
    follow_health();
}

// An error leaves what runs; the next look tries again.
void Balancer::follow_health() {
    if (!health_is_new_) return;
    auto plan = plan_for(config_);
    if (!plan) return log_error("follow the health of bridges: " + plan.error());
    follow("the health of bridges", std::move(*plan));
}

void Balancer::settle() {
    // From here on no bridge that drains gets a connection.
    const std::vector<LogMessage> lines = drains_.replace(config_, *setup_, read_clock().monotonic);
    const std::size_t reset = dataplane_->settle();
    for (const LogMessage& line : lines) log_info(line);
    if (reset != 0)
        log_info(fmt::format("{} connection{} of bridges that are down: reset at the client's next packet",
                             reset, reset == 1 ? "" : "s"));
}

// The interface first: without it there is nothing to put right.
HostFactList Balancer::facts(const BalancerConfig& config) {
    HostFactList facts{uplinks_fact(uplinks_of(config.common))};
    if (guard_) facts.push_back(guard_->fact());
    for (HostFact& fact : dataplane_->facts()) facts.push_back(std::move(fact));
    for (HostFact& fact : vips_.facts(vips_of(config))) facts.push_back(std::move(fact));
    for (const ServiceConfig& service : config.services) {
        if (service.need != 0) facts.push_back(need_fact(service));
    }
    return facts;
}

HostFact Balancer::need_fact(const ServiceConfig& service) {
    return {.kind = "need",
            .words = "the service " + service.name,
            .observe = [this, name = service.name, need = service.need]() -> std::optional<std::string> {
                const std::size_t up = bridges_up(name);
                if (up >= need) return std::nullopt;
                return fmt::format("has {} of the {} bridges that it needs", up, need);
            },
            .put_right = []() -> SystemResult<void> {
                return std::unexpected(SystemError{"waiting for its bridges", 0});
            },
            .may_wait = true,
            .silent = true};
}

std::size_t Balancer::bridges_up(const std::string& service) const {
    const auto config = std::ranges::find(config_.services, service, &ServiceConfig::name);
    if (config == config_.services.end()) return 0;
    const SplicerService& running =
        setup_->services[static_cast<std::size_t>(config - config_.services.begin())];
    const ServiceHealth* checked = health_of(health_, service);
    std::size_t up = 0;
    for (std::size_t i = 0; i < config->bridges.size(); i++) {
        if (!takes_connections(config->bridges[i])) continue;
        const BridgeHealth* known = health_of(checked, running.bridges[i]);
        up += !known || known->state == HealthState::up ? 1 : 0;
    }
    return up;
}

void Balancer::look_at_host(bool all) {
    splice::look_at_host(host_, read_clock(), all);
    if (!all) return;
    vips_.follow(vips_of(config_));
    follow_own_addresses();
}

void Balancer::reload(std::string_view why) {
    const Instant began = read_clock();
    const auto refused = [&](std::string_view kept, std::string_view text) {
        reloads_.refused(began, read_clock());
        log_error(fmt::format("reload ({}) refused, {}: {}", why, kept, text), {{"why", std::string(why)}});
    };
    if (auto opened = connection_log_.reopen(); !opened) log_error(opened.error().text);
    auto config = configuration_of(options_);
    if (!config) return refused("nothing changed", config.error().text);
    if (const auto key = fixed_key_that_differs(file_, *config))
        return refused("nothing changed", *key + " cannot change while the balancer runs; restart it");
    auto laid = desired_->over(*config);
    if (!laid) return refused("nothing changed", unfit_state(file_, laid.error()));
    auto plan = plan_with_files(laid->config);
    if (!plan) return refused("nothing changed", plan.error());
    if (auto free = vips_.check_free(vips_of(laid->config)); !free)
        return refused("nothing changed", free.error());
    if (auto opened = connection_log_.apply(config->common.connection_log); !opened)
        return refused("nothing changed", opened.error().text);
    const std::vector<ServiceChange> changes = plan->changes;
    if (auto applied = apply(std::move(*plan)); !applied) {
        (void)connection_log_.apply(file_.common.connection_log);
        return refused(applied.error().undone ? "nothing changed" : "partly changed", applied.error().text);
    }
    file_ = std::move(*config);
    for (const std::string& note : laid->notes)
        log_info(fmt::format("reload ({}): {}: {}", why, state_file_of(file_), note));
    for (const ServiceChange& change : changes)
        log_line(change.removed ? LogLevel::warning : LogLevel::info,
                 fmt::format("reload ({}): {}", why, change.to_string()),
                 {{"service", change.service}, {"why", std::string(why)}});
    log_warnings_about(config_);
    const Instant ended = read_clock();
    reloads_.applied(began, ended);
    const auto took = std::chrono::ceil<std::chrono::milliseconds>(ended.monotonic - began.monotonic);
    log_info(fmt::format("reloaded ({}): serves {}; it took {} ms", why, describe(config_), took.count()),
             {{"why", std::string(why)}, {"took_ms", took.count()}});
}

// Checks come from this host's own addresses, and are answered to them.
void Balancer::follow_own_addresses() {
    const splice_own_addresses own = own_addresses(uplinks_.front(), config_);
    if (splice_address_equal(&own.ipv4, &setup_->own.ipv4) &&
        splice_address_equal(&own.ipv6, &setup_->own.ipv6))
        return;
    auto plan = plan_for(config_);
    if (!plan) return log_error("follow this host's addresses: " + plan.error());
    follow("this host's addresses", std::move(*plan));
    const auto text = [](const splice_address& address) {
        const IpAddress own_address(address);
        return own_address.is_unspecified() ? "none" : own_address.to_string();
    };
    log_info(fmt::format("this host's own addresses on {}, which health checks come from: {} and {}",
                         uplinks_.front().name, text(setup_->own.ipv4), text(setup_->own.ipv6)));
}

// No file changed, but what fits into the ways to the bridges: services that leave their MSS to us follow.
void Balancer::follow_routes() {
    const auto mtus = dataplane_->route_mtus();
    if (mtus == followed_mtus_) return;
    followed_mtus_ = mtus;
    auto plan = plan_for(config_);
    if (plan && !plan->changes.empty()) follow("the ways to the bridges", std::move(*plan));
}

// A plan of what runs, by what is known of it now.
void Balancer::follow(std::string_view what, Plan plan) {
    const std::vector<ServiceChange> changes = plan.changes;
    if (auto applied = apply(std::move(plan)); !applied)
        return log_error(fmt::format("follow {}: {}", what, applied.error().text));
    for (const ServiceChange& change : changes) log_info(change.to_string(), {{"service", change.service}});
}

// First what can fail, each step with its way back; then what takes away.
std::expected<void, StepsFailure> Balancer::apply(Plan plan) {
    // From here on flows may bear the new numbers, also when the change is undone.
    index_ = std::move(plan.bridges);
    services_ = std::move(plan.services);
    if (auto changed = change_host(plan); !changed) {
        (void)number_bridges(config_, read_clock().monotonic, index_);  // it has numbers for all of these
        return changed;
    }
    config_ = std::move(plan.config);
    setup_ = std::move(plan.setup);
    change_log(config_.common.log);
    health_is_new_ = false;
    // What was known of a service that is not checked any more is nothing to a later check of it.
    std::erase_if(health_, [&](const ServiceHealth& known) {
        return std::ranges::none_of(config_.services, [&](const ServiceConfig& service) {
            return service.health && service.name == known.service;
        });
    });
    settle();
    follow_channel();
    host_.replace(facts(config_));
    guard_no_others();
    api_->replace(state());
    return {};
}

// The guard of old and new ports first, then the packets: a new address's packets must find their service, or
// the host would answer them.
std::expected<void, StepsFailure> Balancer::change_host(const Plan& plan) {
    std::vector<Endpoint> ports = ports_of(config_);
    for (const Endpoint& port : ports_of(plan.config))
        if (std::ranges::find(ports, port) == ports.end()) ports.push_back(port);
    const auto guard = [&](const std::vector<Endpoint>& guarded) {
        return guard_ ? in_words(guard_->replace(guarded)) : std::expected<void, std::string>();
    };
    return apply_steps(
        {{.apply = [&] { return guard(ports); }, .undo = [&] { return guard(ports_of(config_)); }},
         {.apply = [&] { return in_words(dataplane_->replace_setup(plan.setup)); },
          .undo = [&] { return in_words(dataplane_->restore_setup()); }},
         {.apply = [&] { return host_.establish(facts(plan.config)); },
          .undo = [] { return std::expected<void, std::string>(); }}});
}

std::expected<Plan, std::string> Balancer::plan_with_files(const BalancerConfig& config) const {
    const auto secret = read_secret(config);
    if (!secret) return std::unexpected(secret.error());
    warn_of_derived_lanes(config, *secret);
    auto denied = read_denied(config);
    if (!denied) return std::unexpected(denied.error());
    // What says the same is the same: nothing is written anew for it.
    if (setup_ && setup_->denied && *denied && **denied == *setup_->denied) *denied = setup_->denied;
    return plan_for(config, *secret, std::move(*denied));
}

std::expected<Plan, std::string> Balancer::plan_for(const BalancerConfig& config) const {
    return plan_for(config, setup_->secret, setup_->denied);
}

std::expected<Plan, std::string> Balancer::plan_for(const BalancerConfig& config, const splice_secret& secret,
                                                    std::shared_ptr<const PrefixSet> denied) const {
    return make_plan(config, secret,
                     {.config = &config_, .setup = setup_, .bridges = index_, .services = services_},
                     {.mtu = mtu_of(uplinks_),
                      .route_mtus = dataplane_ ? dataplane_->route_mtus() : nullptr,
                      .own = own_addresses(uplinks_.front(), config),
                      .now = read_clock().monotonic,
                      .health = &health_,
                      .denied = std::move(denied)});
}

BalancerState Balancer::state() const {
    return {.config = config_,
            .setup = setup_,
            .desired = desired_,
            .engine = std::string(engine_.name),
            .engine_reason = engine_.reason};
}

}  // namespace splice
