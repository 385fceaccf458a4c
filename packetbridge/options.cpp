#include "packetbridge/options.hpp"

#include "libsplice/config/command_line.hpp"

namespace splice {
namespace {

Flag tc_flag() {
    return {.name = "tc",
            .argument = "auto|tcx|clsact",
            .help = "engine ebpf: what its programs hang by; auto is TCX where the kernel has it",
            .defaults = {"auto"}};
}

std::vector<FlagGroup> flag_groups() {
    return {{"Services (without --config)",
             {interface_flag(),
              {.name = "address",
               .argument = "ADDRESS",
               .help = "this host's address that balancers send to; repeat it for IPv4 and IPv6",
               .defaults = {"192.168.33.20"},
               .repeatable = true},
              {.name = "number",
               .argument = "1..1018",
               .help = "this bridge's own number in the fleet, as balancers are told it"},
              {.name = "service",
               .argument = "DSCP=VIP:PORT,backend=ADDRESS:PORT",
               .help = "a service by its mark, and the server here that answers it; repeat it for each",
               .defaults = {"1=192.168.33.10:80,backend=192.168.33.30:80"},
               .repeatable = true},
              {.name = "mode",
               .argument = "auto|adopt|translate",
               .help = "how connections are opened with the backend",
               .defaults = {"auto"}}}},
            {"The host (without --config)",
             {secret_file_flag(), engine_flag(), tc_flag(), netfilter_flag(), bpffs_flag(), keep_flag(),
              api_flag(kPacketbridgeApi), channel_flag()}}};
}

std::vector<FlagGroup> all_groups() {
    std::vector<FlagGroup> groups = {{"Configuration", {config_flag()}}};
    for (FlagGroup& group : flag_groups()) groups.push_back(std::move(group));
    groups.push_back(process_flags());
    return groups;
}

PacketbridgeConfig config_from_flags(const CommandLine& line) {
    PacketbridgeConfig config;
    config.common = common_from_flags(line);
    config.mode = line.as("mode", parse_mode);
    config.tc = line.as("tc", parse_tc_attach);
    if (line.given("number")) config.number = line.as("number", parse_bridge_number);
    for (const IpAddress& address : line.all("address", parse_host_address)) {
        if (auto fits = check_address(config.addresses, address); !fits)
            CommandLine::fail("address", address.to_string(), fits.error());
        config.addresses.push_back(address);
    }
    ServiceKeys keys;
    for (const BridgeServiceConfig& service : line.all("service", parse_bridge_service)) {
        const std::string words = std::to_string(service.dscp) + "=" + service.vip.to_string();
        if (auto fits = check_service(config, service); !fits)
            CommandLine::fail("service", words, fits.error());
        if (auto fits = keys.add(service.dscp, service.vip); !fits)
            CommandLine::fail("service", words, fits.error());
        config.services.push_back(service);
    }
    return config;
}

PacketbridgeOptions read_options(const CommandLine& line) {
    PacketbridgeOptions options;
    if (line.given("help"))
        options.action = PacketbridgeOptions::Action::help;
    else if (line.given("version"))
        options.action = PacketbridgeOptions::Action::version;
    else if (line.given("check"))
        options.action = PacketbridgeOptions::Action::check;
    options.host = line.given("host");
    if (options.host && options.action != PacketbridgeOptions::Action::check)
        throw ConfigError("--host: expected beside --check");
    if (line.given("log-level")) options.log_level = line.as("log-level", parse_log_level);
    if (line.given("config")) {
        options.config_file = line.as("config", parse_path);
        refuse_flags_beside_config(line, flag_groups());
        return options;
    }
    options.config = config_from_flags(line);
    return options;
}

}  // namespace

std::expected<PacketbridgeOptions, std::string> parse_packetbridge_options(int argc,
                                                                           const char* const* argv) {
    try {
        return read_options(CommandLine(all_groups(), argc, argv));
    } catch (const ConfigError& error) {
        return std::unexpected(error.what());
    }
}

std::string packetbridge_help() {
    return "Usage: packetbridge [--config FILE | flags]\n"
           "Opens connections that a balancer handed over with this host's own server, which then answers "
           "clients\n"
           "directly. Packets without a service's mark pass untouched. Without flags it serves the Vagrant "
           "lab.\n"
           "Exit codes: 0 stopped or valid, 1 the system refused something, 2 a wrong flag or "
           "configuration.\n" +
           describe_flags(all_groups());
}

}  // namespace splice
