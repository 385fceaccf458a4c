// The lines of a ByteSource, without their ends, in one buffer.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/hash/byte_source.hpp"
#include "tools/hash/limits.hpp"

namespace splice::hash {

struct Line {
    std::string_view text;  // valid until the next call; of a line that is too long, its beginning
    bool too_long = false;  // longer than kLineMax
};

class LineReader {
  public:
    explicit LineReader(std::unique_ptr<ByteSource> source)
        : source_(std::move(source)), buffer_(kReadBytes) {}

    // Nothing at the end. CRLF ends a line, too. The last line may lack its end.
    [[nodiscard]] std::expected<std::optional<Line>, std::string> next();
    [[nodiscard]] std::uint64_t consumed() const noexcept { return source_->consumed(); }

  private:
    [[nodiscard]] std::expected<bool, std::string> refill();
    [[nodiscard]] std::expected<std::optional<Line>, std::string> skip_long_line();
    Line cut(std::size_t length);

    std::unique_ptr<ByteSource> source_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;  // the next line's first byte
    std::size_t filled_ = 0;
    std::size_t searched_ = 0;  // from begin_ to here there is no line end
    std::string long_line_;
};

}  // namespace splice::hash
