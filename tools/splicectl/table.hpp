// A table for a terminal: columns as wide as what is in them, two spaces between.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace splice::control {

// For a terminal: control characters as "?", so that no name or key moves the cursor. Bytes that are no UTF-8
// become "?", too.
[[nodiscard]] std::string harmless(std::string_view text);

class Table {
  public:
    enum class Align : std::uint8_t { left, right };
    struct Column {
        std::string title;
        Align align = Align::left;
    };

    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    // As many cells as there are columns; an empty one is printed as "-", but for the last column's.
    void add(std::vector<std::string> cells);
    // A line for the titles, one for each row; no spaces at the end of a line.
    [[nodiscard]] std::string text() const;

  private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

// 0.333 is "33.3 %".
[[nodiscard]] std::string percent(double share);

}  // namespace splice::control
