#include "balancer/options.hpp"

#include "libsplice/config/command_line.hpp"

namespace splice {
namespace {

Flag xdp_mode_flag() {
    return {.name = "xdp-mode",
            .argument = "auto|native|generic",
            .help = "engine ebpf: in the driver, or in the stack where the driver cannot",
            .defaults = {"auto"}};
}

std::vector<FlagGroup> single_service_groups() {
    return {
        {"One service (without --config)",
         {interface_flag(),
          {.name = "vip",
           .argument = "ADDRESS",
           .help = "the service's address; added to the interface while the host lacks it",
           .defaults = {"192.168.33.10"}},
          {.name = "port", .argument = "PORT", .help = "the service's port", .defaults = {"80"}},
          {.name = "dscp",
           .argument = "1..62",
           .help = "the mark that tells bridges the service",
           .defaults = {"1"}},
          {.name = "bridge",
           .argument =
               "NAME=ADDRESS[,weight=N][,number=N][,server=HOST:PORT][,state=STATE][,max_connections=N]",
           .help =
               "a packet bridge; repeat it for each; weight 0 takes no new flows; number is its own in the "
               "fleet, 1 to 1018; ketama places by server, as nginx by its own list; state is ready, drain "
               "(its flows go on) or down (they are reset)",
           .defaults = {"b1=192.168.33.20"},
           .repeatable = true},
          {.name = "hash-key",
           .argument = "KEY",
           .help =
               "what chooses the bridge: uri, path, host, url_param(name), hdr(name) or several joined as "
               "in host+uri, with depth N, len N, query(sort,include=name,exclude=name), normalise or "
               "decode; or sni or source",
           .defaults = {"uri"}},
          {.name = "proxy-protocol",
           .argument = "accept|off",
           .help = "a PROXY header (version 1 or 2) comes before each request; only behind proxies, for its "
                   "sender "
                   "chooses the cache",
           .defaults = {"off"}},
          {.name = "algorithm",
           .argument = "NAME",
           .help = "rendezvous, maglev, ketama or jump",
           .defaults = {"rendezvous"}},
          {.name = "bounded-load",
           .argument = "FACTOR",
           .help = "a bridge above FACTOR times the mean load passes new flows to their next choice"},
          {.name = "warmup",
           .argument = "SHARE",
           .help = "that share of new flows goes to the second choice, as in 2%"},
          {.name = "subset",
           .argument = "N",
           .help = "with key sni: each name has N bridges, and the client's address one of them"}}},
        {"The host (without --config)",
         {secret_file_flag(), engine_flag(), xdp_mode_flag(), netfilter_flag(), bpffs_flag(), keep_flag(),
          api_flag(kBalancerApi), channel_flag()}}};
}

std::vector<FlagGroup> all_groups() {
    std::vector<FlagGroup> groups = {{"Several services", {config_flag()}}};
    for (FlagGroup& group : single_service_groups()) groups.push_back(std::move(group));
    groups.push_back(process_flags());
    return groups;
}

ServiceConfig single_service(const CommandLine& line) {
    ServiceConfig service;
    service.vip.address = line.as("vip", parse_host_address);
    service.vip.port = line.as("port", parse_port);
    service.name = service.vip.to_string();
    service.dscp = line.as("dscp", parse_dscp);
    service.key = line.as("hash-key", HashKeyRule::parse);
    service.protocol = natural_protocol(service.key.kind);
    service.proxy_protocol = line.as("proxy-protocol", parse_proxy_protocol);
    service.algorithm = line.as("algorithm", parse_algorithm);
    if (line.given("bounded-load")) service.bounded_load = line.as("bounded-load", parse_bounded_load);
    if (line.given("warmup")) service.warmup = line.as("warmup", parse_share);
    if (line.given("subset")) service.subset = line.as("subset", parse_subset);
    if (auto fits = check_choice(service); !fits)
        CommandLine::fail("subset", line.value("subset"), fits.error());
    BridgeNumbers numbers;
    for (BridgeConfig& bridge : line.all("bridge", parse_bridge)) {
        if (auto fits = check_bridge(service, bridge); !fits)
            CommandLine::fail("bridge", bridge.name + "=" + bridge.address.to_string(), fits.error());
        if (auto fits = numbers.add(bridge); !fits)
            CommandLine::fail("bridge", bridge.name + "=" + bridge.address.to_string(), fits.error());
        service.bridges.push_back(std::move(bridge));
    }
    if (auto fits = check_weights(service); !fits)
        CommandLine::fail("algorithm", line.value("algorithm"), fits.error());
    return service;
}

BalancerOptions read_options(const CommandLine& line) {
    BalancerOptions options;
    if (line.given("help"))
        options.action = BalancerOptions::Action::help;
    else if (line.given("version"))
        options.action = BalancerOptions::Action::version;
    else if (line.given("check"))
        options.action = BalancerOptions::Action::check;
    options.host = line.given("host");
    if (options.host && options.action != BalancerOptions::Action::check)
        throw ConfigError("--host: expected beside --check");
    if (line.given("log-level")) options.log_level = line.as("log-level", parse_log_level);
    if (line.given("config")) {
        options.config_file = line.as("config", parse_path);
        refuse_flags_beside_config(line, single_service_groups());
        return options;
    }
    options.config.common = common_from_flags(line);
    options.config.xdp_mode = line.as("xdp-mode", parse_xdp_mode);
    options.config.services.push_back(single_service(line));
    return options;
}

}  // namespace

std::expected<BalancerOptions, std::string> parse_balancer_options(int argc, const char* const* argv) {
    try {
        return read_options(CommandLine(all_groups(), argc, argv));
    } catch (const ConfigError& error) {
        return std::unexpected(error.what());
    }
}

std::string balancer_help() {
    return "Usage: balancer [--config FILE | flags of one service]\n"
           "Answers TCP handshakes for a virtual address, reads the first request, and forwards the client's "
           "packets\n"
           "to the packet bridge that its URL hashes to. Without flags it serves the Vagrant lab.\n"
           "Exit codes: 0 stopped or valid, 1 the system refused something, 2 a wrong flag or "
           "configuration.\n" +
           describe_flags(all_groups());
}

}  // namespace splice
