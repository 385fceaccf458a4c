// What the tools' command lines have in common: flags in groups, then names without a flag.
#pragma once

#include <boost/program_options.hpp>
#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace splice::tools {

struct ToolUsage {
    std::string_view name, usage, examples;
};

// To be printed on standard output, and that is all: --help, --version.
struct Notice {
    std::string text;
};

// What the words without a flag are found under, as a vector of strings; not there when there are none.
inline constexpr const char* kInput = "input";

using FlagGroups = std::vector<boost::program_options::options_description>;
using Flags = boost::program_options::variables_map;

// --help and --version are added. The error is one line that names the flag.
[[nodiscard]] std::expected<std::variant<Flags, Notice>, std::string> parse_flags(const ToolUsage& tool,
                                                                                  FlagGroups groups, int argc,
                                                                                  char** argv);

// The same, and what `judge` makes of the flags: std::expected<Options, std::string>.
template <class Judge>
auto parse_options(const ToolUsage& tool, FlagGroups groups, int argc, char** argv, Judge judge)
    -> std::expected<std::variant<typename decltype(judge(Flags{}))::value_type, Notice>, std::string> {
    auto parsed = parse_flags(tool, std::move(groups), argc, argv);
    if (!parsed) return std::unexpected(std::move(parsed.error()));
    if (Notice* notice = std::get_if<Notice>(&*parsed)) return std::move(*notice);
    auto options = judge(std::get<Flags>(*parsed));
    if (!options) return std::unexpected(std::move(options.error()));
    return *std::move(options);
}

}  // namespace splice::tools
