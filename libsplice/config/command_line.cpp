#include "libsplice/config/command_line.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/program_options.hpp>
#include <set>
#include <sstream>

#include "libsplice/base/quoted.hpp"

namespace splice {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100;
constexpr const char* kStray = "(argument)";

std::string described(const Flag& flag) {
    std::string text = flag.help;
    if (!flag.defaults.empty()) text += fmt::format(" [{}]", fmt::join(flag.defaults, " "));
    return text;
}

po::options_description describe(const FlagGroup& group) {
    po::options_description options(group.title, kHelpWidth, kHelpWidth / 2);
    for (const Flag& flag : group.flags) {
        if (flag.argument.empty()) {
            options.add_options()(flag.name.c_str(), described(flag).c_str());
            continue;
        }
        auto* value = po::value<std::vector<std::string>>()->value_name(flag.argument);
        options.add_options()(flag.name.c_str(), value, described(flag).c_str());
    }
    return options;
}

[[noreturn]] void fail_unknown(const std::vector<FlagGroup>& groups, const std::string& flag) {
    std::vector<std::string_view> known;
    for (const FlagGroup& group : groups) {
        for (const Flag& one : group.flags) known.push_back(one.name);
    }
    const std::size_t dashes = std::min(flag.find_first_not_of('-'), flag.size());
    const std::string_view meant = nearest(std::string_view(flag).substr(dashes), known);
    if (meant.empty()) throw ConfigError(fmt::format("unknown flag {}; --help lists them", quoted(flag)));
    throw ConfigError(fmt::format("unknown flag {}; did you mean --{}?", quoted(flag), meant));
}

std::vector<po::option> parse_arguments(const std::vector<FlagGroup>& groups, int argc,
                                        const char* const* argv) {
    namespace style = po::command_line_style;
    po::options_description all;
    for (const FlagGroup& group : groups) all.add(describe(group));
    all.add_options()(kStray, po::value<std::vector<std::string>>());
    po::positional_options_description stray;
    stray.add(kStray, -1);
    try {
        return po::command_line_parser(argc, argv)
            .options(all)
            .positional(stray)
            .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
            .run()
            .options;
    } catch (const po::unknown_option& error) {
        fail_unknown(groups, error.get_option_name());
    } catch (const po::error_with_option_name& error) {
        const auto* syntax = dynamic_cast<const po::invalid_command_line_syntax*>(&error);
        const bool extra = syntax != nullptr && syntax->kind() == po::invalid_syntax::extra_parameter;
        throw ConfigError(fmt::format("{}: expected {}", error.get_option_name(),
                                      extra ? "no value with it" : "a value behind it (--help)"));
    } catch (const po::error& error) {
        throw ConfigError(error.what());
    }
}

}  // namespace

CommandLine::CommandLine(const std::vector<FlagGroup>& groups, int argc, const char* const* argv) {
    std::set<std::string, std::less<>> repeatable;
    std::set<std::string, std::less<>> plain;
    for (const FlagGroup& group : groups) {
        for (const Flag& flag : group.flags) {
            defaults_[flag.name] = flag.defaults;
            if (flag.repeatable) repeatable.insert(flag.name);
            if (flag.argument.empty()) plain.insert(flag.name);
        }
    }
    for (const po::option& option : parse_arguments(groups, argc, argv)) {
        if (option.string_key == kStray || option.position_key >= 0)
            throw ConfigError(
                fmt::format("unexpected argument {}; flags begin with --",
                            quoted(option.value.empty() ? option.string_key : option.value.front())));
        if (given(option.string_key) && !repeatable.contains(option.string_key))
            throw ConfigError(fmt::format("--{} is given twice", option.string_key));
        auto& values = given_[option.string_key];
        values.insert(values.end(), option.value.begin(), option.value.end());
    }
}

const std::vector<std::string>& CommandLine::values(std::string_view flag) const {
    const auto found = given_.find(flag);
    return found != given_.end() ? found->second : defaults_.find(flag)->second;
}

void CommandLine::fail(std::string_view flag, std::string_view value, const std::string& sentence) {
    throw ConfigError(fmt::format("--{} {}: {}", flag, quoted(value), sentence));
}

std::string describe_flags(const std::vector<FlagGroup>& groups) {
    std::ostringstream text;
    for (const FlagGroup& group : groups) text << '\n' << describe(group);
    return text.str();
}

}  // namespace splice
