#include "tools/hash/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include "tools/hash/interrupt.hpp"

namespace splice::hash {
namespace {

constexpr std::string_view kWhole = "(all)";

struct Table {
    std::vector<std::string> columns;
    std::vector<std::vector<std::string>> rows;
};

bool is_fraction(std::string_view name) {
    return name.ends_with("share") || name.ends_with("ratio") || name.ends_with("half_width");
}

std::string cell(std::string_view name, const Json& value, OutputFormat format) {
    if (value.is_null()) return format == OutputFormat::csv ? "" : "-";
    if (value.is_string()) return value.get<std::string>();
    if (value.is_array()) {
        std::string list;
        for (const Json& each : value) list.append(list.empty() ? "" : " ").append(cell(name, each, format));
        return list;
    }
    if (!value.is_number_float()) return value.dump();
    if (format == OutputFormat::csv) return value.dump();
    if (is_fraction(name)) return fmt::format("{:.2f} %", value.get<double>() * 100);
    return fmt::format("{:.3f}", value.get<double>());
}

bool is_list(const Json& value) {
    return value.is_array() && !value.empty() && value.front().is_object();
}

void add_row(Table& table, const std::vector<std::pair<std::string, std::string>>& cells) {
    std::vector<std::string> row(table.columns.size());
    for (const auto& [name, text] : cells) {
        const auto found = std::ranges::find(table.columns, name);
        if (found == table.columns.end()) {
            table.columns.push_back(name);
            row.push_back(text);
        } else {
            row[static_cast<std::size_t>(found - table.columns.begin())] = text;
        }
    }
    table.rows.push_back(std::move(row));
}

// An element's own values; then, for each list inside of it, a row an entry, which begins with the element's
// values and overrides those that it has, too.
void add_element(Table& table, const Json& element, OutputFormat format) {
    std::vector<std::pair<std::string, std::string>> own;
    bool has_parts = false;
    for (const auto& [name, value] : element.items()) has_parts = has_parts || is_list(value);
    for (const auto& [name, value] : element.items()) {
        if (is_list(value)) continue;
        own.emplace_back(name, cell(name, value, format));
    }
    auto whole = own;
    if (has_parts) whole.emplace_back("bridge", kWhole);
    add_row(table, whole);
    for (const auto& [name, value] : element.items()) {
        if (!is_list(value) || name != "bridges") continue;
        for (const Json& part : value) {
            auto cells = own;
            std::erase_if(cells, [&](const auto& each) { return part.contains(each.first); });
            // What only the whole has is not the part's.
            std::erase_if(cells, [&](const auto& each) { return element[each.first].is_number_float(); });
            for (const auto& [part_name, part_value] : part.items()) {
                cells.emplace_back(part_name == "name" ? "bridge" : part_name,
                                   cell(part_name, part_value, format));
            }
            add_row(table, cells);
        }
    }
}

Table table_of(const Json& list, OutputFormat format) {
    Table table;
    for (const Json& element : list) add_element(table, element, format);
    for (auto& row : table.rows) row.resize(table.columns.size());
    return table;
}

std::string csv_text(const std::string& text) {
    if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) quoted.append(c == '"' ? 2 : 1, c);
    return quoted + '"';
}

void append_csv(std::string& out, const std::vector<std::string>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) out.append(i == 0 ? "" : ",").append(csv_text(row[i]));
    out += '\n';
}

void append_aligned(std::string& out, const Table& table) {
    std::vector<std::size_t> widths;
    widths.reserve(table.columns.size());
    for (const std::string& column : table.columns) widths.push_back(column.size());
    for (const auto& row : table.rows) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    const auto append = [&](const std::vector<std::string>& row) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const bool is_number =
                !row[i].empty() && row[i].find_first_not_of("0123456789.-+% ") == std::string::npos;
            line += is_number ? fmt::format("{:>{}}  ", row[i], widths[i])
                              : fmt::format("{:<{}}  ", row[i], widths[i]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        out.append(line).append("\n");
    };
    append(table.columns);
    for (const auto& row : table.rows) append(row);
}

std::string write_tables(const Json& report) {
    std::string out;
    for (const auto& [name, value] : report.items()) {
        if (is_list(value) || value.is_object()) continue;
        if (value.is_array() && (value.empty() || value.front().is_number()))
            continue;  // a curve is for plots
        out += fmt::format("{}: {}\n", name, cell(name, value, OutputFormat::table));
    }
    for (const auto& [name, value] : report.items()) {
        if (value.is_object()) {
            out += fmt::format("\n{}\n", name);
            for (const auto& [inner, text] : value.items())
                out += fmt::format("  {}: {}\n", inner, cell(inner, text, OutputFormat::table));
        }
        if (!is_list(value)) continue;
        out += fmt::format("\n{}\n", name);
        append_aligned(out, table_of(value, OutputFormat::table));
    }
    return out;
}

std::string write_csv(const Json& report) {
    std::string out;
    for (const auto& [name, value] : report.items()) {
        if (!is_list(value)) continue;
        Table table = table_of(value, OutputFormat::csv);
        append_csv(out, table.columns);
        for (const auto& row : table.rows) append_csv(out, row);
        break;
    }
    return out;
}

}  // namespace

std::string write_report(const Json& report, OutputFormat format) {
    if (format == OutputFormat::json) {
        // A log's text may be no UTF-8, and JSON must be.
        return report.dump(2, ' ', false, Json::error_handler_t::replace) + '\n';
    }
    return format == OutputFormat::csv ? write_csv(report) : write_tables(report);
}

void add_malformed(Json& report, const LogReader& log) {
    if (interrupted()) report["interrupted"] = "the answer is of what was read until then";
    report["malformed_lines"] = log.malformed();
    if (log.malformed() == 0) return;
    Json shown = Json::array();
    for (const MalformedLine& line : log.malformed_shown())
        shown.push_back({{"file", line.file}, {"line", line.line}, {"why", line.why}, {"text", line.text}});
    report["first_malformed"] = std::move(shown);
}

double ratio(std::uint64_t part, std::uint64_t whole) noexcept {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

Json number_or_null(double number) {
    return std::isfinite(number) ? Json(number) : Json(nullptr);
}

}  // namespace splice::hash
