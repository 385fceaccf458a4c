// The questions, each asked of a log.
#pragma once

#include <expected>
#include <functional>
#include <string>
#include <string_view>

#include "tools/hash/options.hpp"

namespace splice::hash {

// Takes text for standard output; false when it could not be written, and then the question ends.
using Write = std::function<bool(std::string_view)>;

// The error is one line: a log that could not be read to its end.
using Answered = std::expected<void, std::string>;

[[nodiscard]] Answered ask_map(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered ask_explain(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered ask_balance(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered ask_disrupt(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered ask_compare(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered ask_cache(const Options& options, LogReader& log, const Write& write);
[[nodiscard]] Answered generate(const GenerateOptions& options, const Write& write);

}  // namespace splice::hash
