// An answer, once, and written in three ways: as JSON it is what it is; as a table its single values come
// first and then each list of objects; as CSV it is the first list alone, with the parts that an element has
// (bridges) as rows of their own.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "tools/hash/log_reader.hpp"

namespace splice::hash {

using Json = nlohmann::ordered_json;

enum class OutputFormat : std::uint8_t { table, json, csv };

// Members whose names end in "share" or "ratio" are fractions of 1, and percentages in tables.
[[nodiscard]] std::string write_report(const Json& report, OutputFormat format);

// What could not be read, for every report.
void add_malformed(Json& report, const LogReader& log);

// `part` of `whole`; 0 when there is nothing.
[[nodiscard]] double ratio(std::uint64_t part, std::uint64_t whole) noexcept;
// A number, or null when it is not finite.
[[nodiscard]] Json number_or_null(double number);

}  // namespace splice::hash
