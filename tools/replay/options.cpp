#include "tools/replay/options.hpp"

#include <boost/program_options.hpp>
#include <sstream>
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
    "  splice-replay --config balancer.yaml --ladder --svg ladder.svg conversation.pcap\n"
    "  splice-replay --config balancer.yaml --bridge-config packetbridge.yaml -o left.pcap "
    "conversation.pcap\n"
    "  splice-replay --any-vip conversation.pcap >expected.txt\n"
    "  splice-replay --any-vip --expect expected.txt conversation.pcap\n"
    "\nExit code: 0; 1 when something could not be read or written, or --expect found a difference; 2 for a\n"
    "wrong flag or configuration.\n";

struct Groups {
    po::options_description services{"Services"};
    po::options_description output{"Output"};
    po::options_description general{"General"};
};

Groups make_groups() {
    const auto file = [] { return po::value<std::string>()->value_name("FILE"); };
    Groups groups;
    groups.services.add_options()  //
        ("config", file(), "the balancer's configuration")(
            "bridge-config", file(),
            "the bridges' configuration: where each delivers. Without it, to its own address and the VIP's "
            "port")(
            "any-vip", po::bool_switch(),
            "every server of the capture is a service with three bridges; its first payload tells whether it "
            "chooses by uri, sni or source");
    groups.output.add_options()  //
        ("keys", po::bool_switch(),
         "print one line a connection instead: client_ip client_port server_ip server_port kind key bridge, "
         "between tabs")("ladder", po::bool_switch(),
                         "draw each conversation instead, with the sequence numbers at each hop")(
            "svg", file(), "draw the ladder into FILE")(
            "output,o", file(), "write what left to FILE, a pcap file of raw IP packets")(
            "expect", file(),
            "compare instead of printing: with what an earlier run printed, or, when FILE is a capture, with "
            "what it wrote; show both packets at the first difference");
    groups.general.add_options()           //
        ("help,h", "print this and exit")  //
        ("version", "print the version and exit");
    return groups;
}

std::string help_text(const Groups& groups) {
    std::ostringstream text;
    text << kUsage << '\n' << groups.services << '\n' << groups.output << '\n' << groups.general << kExamples;
    return text.str();
}

std::string text_of(const po::variables_map& flags, const std::string& name) {
    return flags.contains(name) ? flags[name].as<std::string>() : std::string();
}

std::expected<Options, std::string> judge(const po::variables_map& flags) {
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
    if (!flags.contains("input")) return std::unexpected("CAPTURE is missing: name one pcap or pcapng file");
    const auto& inputs = flags["input"].as<std::vector<std::string>>();
    if (inputs.size() > 1) return std::unexpected("one CAPTURE is read, not also " + inputs[1]);
    options.input = inputs.front();
    return options;
}

}  // namespace

std::expected<std::variant<Options, Notice>, std::string> parse_options(int argc, char** argv) {
    const Groups groups = make_groups();
    po::options_description all;
    all.add(groups.services).add(groups.output).add(groups.general);
    all.add_options()("input", po::value<std::vector<std::string>>());
    po::positional_options_description positional;
    positional.add("input", -1);

    po::variables_map flags;
    try {
        // An abbreviation would change its meaning with the next flag that is added.
        const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(argc, argv).options(all).positional(positional).style(style).run(),
                  flags);
    } catch (const po::error& error) {
        return std::unexpected(error.what());
    }
    if (flags.contains("help")) return Notice{help_text(groups)};
    if (flags.contains("version")) return Notice{"splice-replay " SPLICELB_VERSION "\n"};
    auto options = judge(flags);
    if (!options) return std::unexpected(std::move(options.error()));
    return *std::move(options);
}

}  // namespace splice::replay
