// The packet bridge's process: flags, configuration, start, wait, end.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "libsplice/engine/randomness.hpp"
#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/signals.hpp"
#include "libsplice/ops/start.hpp"
#include "libsplice/ops/supervise.hpp"
#include "packetbridge/options.hpp"
#include "packetbridge/packetbridge.hpp"
#include "packetbridge/preflight.hpp"

namespace {

using namespace splice;

const std::string kProgram = "packetbridge";

int fail(int code, const std::string& text) {
    return end_with(code, kProgram, text);
}

int fail_for(const ConfigFailure& failure) {
    return fail(failure.kind == ConfigFailure::Kind::wrong ? kExitUsage : kExitSystem, failure.text);
}

int check(const PacketbridgeConfig& config) {
    if (auto fits = check_against_host(config); !fits) return fail(kExitSystem, fits.error());
    return end_valid(kProgram, config.services.size(), warnings_about_host(config), remarks_about(config));
}

// `watch` has looked at the files before they were read.
int run(const PacketbridgeOptions& options, const PacketbridgeConfig& config, FileWatch watch) {
    start_log(kProgram, config.common.log);
    seed_hash_tables();
    auto signals = Signals::open();
    if (!signals) return fail(kExitSystem, signals.error().text);
    // Before the start, so that no change after it is missed.
    auto host = HostEvents::open();
    if (!host) return fail(kExitSystem, host.error().text);
    auto tasks = TaskQueue::open();
    if (!tasks) return fail(kExitSystem, tasks.error().text);
    const auto watched = watch.add(config.common.secret_file);
    auto bridge = Packetbridge::start(options, config);
    if (!bridge) return fail(kExitSystem, bridge.error());
    if (!watched) return fail(kExitSystem, watched.error().text);
    const SignalEvent end = supervise(*signals, watch, *host, **tasks,
                                      {.reload = [&](std::string_view why) { (*bridge)->reload(why); },
                                       .look_at_host = [&](bool all) { (*bridge)->look_at_host(all); },
                                       .look = [&] { (*bridge)->look(); }});
    if (end == SignalEvent::hand_over) (*bridge)->hand_over();
    (*bridge)->stop();
    const bool goes_on = (*bridge)->goes_on();
    bridge->reset();
    log_stopped(goes_on, config.common.interface);
    return kExitSuccess;
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse_packetbridge_options(argc, argv);
    if (!options) return fail(kExitUsage, options.error());
    if (options->action == PacketbridgeOptions::Action::help) {
        std::fputs(packetbridge_help().c_str(), stdout);
        return kExitSuccess;
    }
    if (options->action == PacketbridgeOptions::Action::version) {
        std::puts("packetbridge " SPLICELB_VERSION);
        return kExitSuccess;
    }
    auto watch = FileWatch::open();
    if (!watch) return fail(kExitSystem, watch.error().text);
    SystemResult<void> watched;
    if (options->config_file) watched = watch->add(*options->config_file);
    const auto config = configuration_of(*options);
    if (!config) return fail_for(config.error());
    if (options->action == PacketbridgeOptions::Action::check) {
        const int code = check(*config);
        return code == kExitSuccess && options->host ? look_at_bridge_host(*config).print() : code;
    }
    if (!watched) return fail(kExitSystem, watched.error().text);
    return run(*options, *config, std::move(*watch));
}
