#include "tools/hash/line_reader.hpp"

#include <cstring>

namespace splice::hash {
namespace {

// Of a line that is too long, what is kept to be quoted.
constexpr std::size_t kKeptOfLongLine = 256;

}  // namespace

Line LineReader::cut(std::size_t length) {
    std::string_view text(buffer_.data() + begin_, length);
    begin_ = searched_ = begin_ + length + (begin_ + length < filled_ ? 1 : 0);
    if (text.ends_with('\r')) text.remove_suffix(1);
    return {text};
}

// False at the end of the source.
std::expected<bool, std::string> LineReader::refill() {
    if (begin_ > 0) {
        std::memmove(buffer_.data(), buffer_.data() + begin_, filled_ - begin_);
        filled_ -= begin_;
        searched_ -= begin_;
        begin_ = 0;
    }
    if (filled_ == buffer_.size()) buffer_.resize(buffer_.size() * 2);
    const auto got = source_->read(std::span(buffer_).subspan(filled_));
    if (!got) return std::unexpected(got.error());
    filled_ += *got;
    return *got > 0;
}

std::expected<std::optional<Line>, std::string> LineReader::skip_long_line() {
    long_line_.assign(buffer_.data() + begin_, kKeptOfLongLine);
    for (;;) {
        begin_ = searched_ = filled_ = 0;
        const auto more = refill();
        if (!more) return std::unexpected(more.error());
        const void* const end = std::memchr(buffer_.data(), '\n', filled_);
        if (end != nullptr) {
            begin_ = searched_ = static_cast<std::size_t>(static_cast<const char*>(end) - buffer_.data()) + 1;
        }
        if (end != nullptr || !*more) return Line{long_line_, true};
    }
}

std::expected<std::optional<Line>, std::string> LineReader::next() {
    for (;;) {
        const void* const end = std::memchr(buffer_.data() + searched_, '\n', filled_ - searched_);
        if (end != nullptr) {
            return cut(static_cast<std::size_t>(static_cast<const char*>(end) - buffer_.data()) - begin_);
        }
        searched_ = filled_;
        if (filled_ - begin_ > kLineMax) return skip_long_line();
        const auto more = refill();
        if (!more) return std::unexpected(more.error());
        if (*more) continue;
        if (begin_ == filled_) return std::nullopt;
        return cut(filled_ - begin_);
    }
}

}  // namespace splice::hash
