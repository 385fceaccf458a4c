#include "tools/replay/options.hpp"

#include <boost/program_options.hpp>
#include <vector>

namespace splice::replay {
namespace {

namespace po = boost::program_options;

constexpr std::string_view kUsage =
    "Usage: splice-replay (--config FILE | --any-vip) [options] CAPTURE\n"
    "Drives the balancer's and the bridge's machines with the client's side of a capture (pcap or pcapng), "
    "in\n"
    "the capture's own time, and plays the backend by the server's side. Prints one line a packet: time, "
    "what\n"
    "came, the verdicts, what left.\n";

constexpr std::string_view kExamples =
    "\nExamples:\n"
    "  splice-replay --any-vip --keys conversation.pcapng\n"
    "  splice-replay --any-vip --requests traffic.pcap | splice-hash compare --config balancer.yaml "
    "--keys 'uri;path'\n"
    "  splice-replay --config balancer.yaml --ladder --svg ladder.svg conversation.pcap\n"
    "  splice-replay --config balancer.yaml --bridge-config packetbridge.yaml -o left.pcap "
    "conversation.pcap\n"
    "  splice-replay --any-vip conversation.pcap >expected.txt\n"
    "  splice-replay --any-vip --expect expected.txt conversation.pcap\n"
    "\nExit code: 0; 1 when something could not be read or written, or --expect found a difference; 2 for a\n"
    "wrong flag or configuration.\n";

tools::FlagGroups make_groups() {
    const auto file = [] { return po::value<std::string>()->value_name("FILE"); };
    tools::FlagGroups groups;
    groups.emplace_back("Services")
        .add_options()  //
        ("config", file(), "the balancer's configuration")(
            "bridge-config", file(),
            "the bridges' configuration: where each delivers. Without it, to its own address and the VIP's "
            "port")(
            "any-vip", po::bool_switch(),
            "every server of the capture is a service with three bridges; its first payload tells whether it "
            "chooses by uri, sni or source");
    groups.emplace_back("Capture").add_options()  //
        ("ignore-checksums", po::bool_switch(),
         "take packets whose checksum is wrong as if it were right, and say how many they were");
    groups.emplace_back("Output").add_options()  //
        ("keys", po::bool_switch(),
         "print one line a connection instead: client_ip client_port server_ip server_port kind key bridge, "
         "between tabs")("requests", po::bool_switch(),
                         "print one JSON line a request instead, those of kept-alive connections included, "
                         "as `splice-hash` reads it")(
            "ladder", po::bool_switch(),
            "draw each conversation instead, with the sequence numbers at each hop")(
            "svg", file(), "draw the ladder into FILE")(
            "output,o", file(), "write what left to FILE, a pcap file of raw IP packets")(
            "expect", file(),
            "compare instead of printing: with what an earlier run printed, or, when FILE is a capture, with "
            "what it wrote; show both packets at the first difference");
    return groups;
}

std::string text_of(const tools::Flags& flags, const std::string& name) {
    return flags.contains(name) ? flags[name].as<std::string>() : std::string();
}

std::expected<Options, std::string> judge(const tools::Flags& flags) {
    for (const char* name : {"config", "bridge-config", "svg", "output", "expect"}) {
        if (flags.contains(name) && text_of(flags, name).empty())
            return std::unexpected(std::string("--") + name + ": expected a file's name");
    }
    Options options;
    options.config = text_of(flags, "config");
    options.bridge_config = text_of(flags, "bridge-config");
    options.any_vip = flags["any-vip"].as<bool>();
    options.ladder = flags["ladder"].as<bool>();
    options.keys = flags["keys"].as<bool>();
    options.requests = flags["requests"].as<bool>();
    options.ignore_checksums = flags["ignore-checksums"].as<bool>();
    options.svg = text_of(flags, "svg");
    options.output = text_of(flags, "output");
    options.expect = text_of(flags, "expect");
    if (options.any_vip != options.config.empty()) {
        return std::unexpected(options.any_vip ? "--any-vip: not together with --config"
                                               : "--config or --any-vip is missing: one of them says which "
                                                 "services there are");
    }
    if (!options.bridge_config.empty() && options.config.empty())
        return std::unexpected("--bridge-config: only together with --config");
    if (options.keys && options.ladder) return std::unexpected("--keys: not together with --ladder");
    if (options.requests && (options.keys || options.ladder))
        return std::unexpected("--requests: not together with --keys or --ladder");
    if (!flags.contains(tools::kInput))
        return std::unexpected("CAPTURE is missing: name one pcap or pcapng file");
    const auto& inputs = flags[tools::kInput].as<std::vector<std::string>>();
    if (inputs.size() > 1) return std::unexpected("one CAPTURE is read, not also " + inputs[1]);
    options.input = inputs.front();
    return options;
}

}  // namespace

std::expected<std::variant<Options, tools::Notice>, std::string> parse_options(int argc, char** argv) {
    return tools::parse_options({"splice-replay", kUsage, kExamples}, make_groups(), argc, argv, judge);
}

}  // namespace splice::replay
