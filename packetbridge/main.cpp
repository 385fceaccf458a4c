// The packet bridge's process: flags, configuration, start, wait, end.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "libsplice/config/secret_file.hpp"
#include "libsplice/config/start.hpp"
#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/log.hpp"
#include "libsplice/ops/signals.hpp"
#include "libsplice/ops/supervise.hpp"
#include "packetbridge/options.hpp"
#include "packetbridge/packetbridge.hpp"

namespace {

using namespace splice;

const std::string kProgram = "packetbridge";

int fail(int code, const std::string& text) {
    return end_with(code, kProgram, text);
}

int check(const PacketbridgeConfig& config) {
    const auto secret = read_secret_file(config.common.secret_file);
    if (!secret) return fail(kExitSystem, secret.error());
    std::printf("valid: %zu service%s\n", config.services.size(), config.services.size() == 1 ? "" : "s");
    return kExitSuccess;
}

int run(const PacketbridgeOptions& options, const PacketbridgeConfig& config) {
    start_log(kProgram, config.common.log);
    auto signals = Signals::open();
    if (!signals) return fail(kExitSystem, signals.error().text);
    auto bridge = Packetbridge::start(options, config);
    if (!bridge) return fail(kExitSystem, bridge.error());
    std::vector<std::string> files = {config.common.secret_file};
    if (options.config_file) files.push_back(*options.config_file);
    auto watch = FileWatch::open(files);
    if (!watch) return fail(kExitSystem, watch.error().text);
    supervise(*signals, *watch, [&](std::string_view why) { (*bridge)->reload(why); });
    bridge->reset();
    log_info("stopped, everything removed");
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
    const auto config = configuration_of(*options);
    if (!config)
        return fail(config.error().kind == ConfigFailure::Kind::wrong ? kExitUsage : kExitSystem,
                    config.error().text);
    return options->action == PacketbridgeOptions::Action::check ? check(*config) : run(*options, *config);
}
