#include "tools/flags.hpp"

#include <sstream>

namespace splice::tools {
namespace {

namespace po = boost::program_options;

po::options_description general() {
    po::options_description group("General");
    group.add_options()                    //
        ("help,h", "print this and exit")  //
        ("version", "print the version and exit");
    return group;
}

std::string help_text(const ToolUsage& tool, const FlagGroups& groups) {
    std::ostringstream text;
    text << tool.usage;
    for (const po::options_description& group : groups) text << '\n' << group;
    text << tool.examples;
    return text.str();
}

}  // namespace

std::expected<std::variant<Flags, Notice>, std::string> parse_flags(const ToolUsage& tool, FlagGroups groups,
                                                                    int argc, char** argv) {
    groups.push_back(general());
    po::options_description all;
    for (const po::options_description& group : groups) all.add(group);
    all.add_options()(kInput, po::value<std::vector<std::string>>());
    po::positional_options_description positional;
    positional.add(kInput, -1);

    Flags flags;
    try {
        // An abbreviation would change its meaning with the next flag that is added.
        const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
        po::store(po::command_line_parser(argc, argv).options(all).positional(positional).style(style).run(),
                  flags);
    } catch (const po::error& error) {
        return std::unexpected(error.what());
    }
    if (flags.contains("help")) return Notice{help_text(tool, groups)};
    if (flags.contains("version")) return Notice{std::string(tool.name) + " " SPLICELB_VERSION "\n"};
    return flags;
}

}  // namespace splice::tools
