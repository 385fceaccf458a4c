// Flags, the same way in both executables: described once, grouped in --help, read strictly.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/config/error.hpp"
#include "libsplice/config/values.hpp"

namespace splice {

struct Flag {
    std::string name;        // without the dashes
    std::string argument{};  // as --help shows it; empty: the flag takes none
    std::string help{};
    std::vector<std::string> defaults{};  // what holds when it is not given
    bool repeatable = false;
};

struct FlagGroup {
    std::string title;
    std::vector<Flag> flags;
};

class CommandLine {
  public:
    // Throws ConfigError, one line that names the flag.
    CommandLine(const std::vector<FlagGroup>& groups, int argc, const char* const* argv);

    [[nodiscard]] bool given(std::string_view flag) const { return given_.contains(flag); }
    // What was given, or the defaults.
    [[nodiscard]] const std::vector<std::string>& values(std::string_view flag) const;
    [[nodiscard]] const std::string& value(std::string_view flag) const { return values(flag).front(); }

    // Through a parser of values.hpp; throws ConfigError: "--port 'x': expected ...".
    template <class Parser>
    auto as(std::string_view flag, Parser&& parser) const {
        return parse(flag, value(flag), parser);
    }
    // Each value of a repeatable flag.
    template <class Parser>
    auto all(std::string_view flag, Parser&& parser) const {
        std::vector<typename decltype(parser(std::string_view{}))::value_type> parsed;
        for (const std::string& text : values(flag)) parsed.push_back(parse(flag, text, parser));
        return parsed;
    }
    [[noreturn]] static void fail(std::string_view flag, std::string_view value, const std::string& sentence);

  private:
    template <class Parser>
    static auto parse(std::string_view flag, std::string_view text, Parser&& parser) {
        auto parsed = parser(text);
        if (!parsed) fail(flag, text, parsed.error());
        return std::move(*parsed);
    }

    std::map<std::string, std::vector<std::string>, std::less<>> given_;
    std::map<std::string, std::vector<std::string>, std::less<>> defaults_;
};

// The text of --help behind its first lines.
std::string describe_flags(const std::vector<FlagGroup>& groups);

}  // namespace splice
