// The balancer's process: flags, configuration, start, wait, end.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "balancer/balancer.hpp"
#include "balancer/options.hpp"
#include "balancer/preflight.hpp"
#include "libsplice/engine/randomness.hpp"
#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/signals.hpp"
#include "libsplice/ops/start.hpp"
#include "libsplice/ops/supervise.hpp"

namespace {

using namespace splice;

const std::string kProgram = "balancer";

int fail(int code, const std::string& text) {
    return end_with(code, kProgram, text);
}

int fail_for(const ConfigFailure& failure) {
    return fail(failure.kind == ConfigFailure::Kind::wrong ? kExitUsage : kExitSystem, failure.text);
}

int check(const BalancerConfig& config) {
    if (auto fits = check_against_host(config); !fits) return fail_for(fits.error());
    return end_valid(kProgram, config.services.size(), warnings_about(config), remarks_about(config));
}

// Those that a reload has brought.
void watch_all(FileWatch& watch, const std::vector<std::string>& files) {
    for (const std::string& file : files) {
        if (auto added = watch.add(file); !added)
            log_warning(added.error().text + "; a change of " + file + " needs a SIGHUP");
    }
}

// `watch` has looked at the files before they were read.
int run(const BalancerOptions& options, const BalancerConfig& config, FileWatch watch) {
    start_log(kProgram, config.common.log);
    seed_hash_tables();
    auto signals = Signals::open();
    if (!signals) return fail(kExitSystem, signals.error().text);
    // Before the start, so that no change after it is missed.
    auto host = HostEvents::open();
    if (!host) return fail(kExitSystem, host.error().text);
    auto tasks = TaskQueue::open();
    if (!tasks) return fail(kExitSystem, tasks.error().text);
    auto watched = watch.add(config.common.secret_file);
    for (const std::string& file : config.deny)
        if (watched) watched = watch.add(file);
    auto balancer = Balancer::start(options, config, **tasks);
    if (!balancer) return fail(kExitSystem, balancer.error());
    if (!watched) return fail(kExitSystem, watched.error().text);
    const SignalEvent end = supervise(*signals, watch, *host, **tasks,
                                      {.reload =
                                           [&](std::string_view why) {
                                               (*balancer)->reload(why);
                                               watch_all(watch, (*balancer)->deny_files());
                                           },
                                       .look_at_host = [&](bool all) { (*balancer)->look_at_host(all); },
                                       .look = [&] { (*balancer)->look(); }});
    if (end == SignalEvent::hand_over) (*balancer)->hand_over();
    (*balancer)->stop();
    const bool goes_on = (*balancer)->goes_on();
    balancer->reset();
    log_stopped(goes_on, config.common.interface);
    return kExitSuccess;
}

}  // namespace

int main(int argc, char** argv) {
    const auto options = parse_balancer_options(argc, argv);
    if (!options) return fail(kExitUsage, options.error());
    if (options->action == BalancerOptions::Action::help) {
        std::fputs(balancer_help().c_str(), stdout);
        return kExitSuccess;
    }
    if (options->action == BalancerOptions::Action::version) {
        std::puts("balancer " SPLICELB_VERSION);
        return kExitSuccess;
    }
    auto watch = FileWatch::open();
    if (!watch) return fail(kExitSystem, watch.error().text);
    SystemResult<void> watched;
    if (options->config_file) watched = watch->add(*options->config_file);
    const auto config = configuration_of(*options);
    if (!config) return fail_for(config.error());
    if (options->action == BalancerOptions::Action::check) {
        const int code = check(*config);
        return code == kExitSuccess && options->host ? look_at_balancer_host(*config).print() : code;
    }
    if (!watched) return fail(kExitSystem, watched.error().text);
    return run(*options, *config, std::move(*watch));
}
