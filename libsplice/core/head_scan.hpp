// Where the reading of a first payload stands between two of its segments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace splice {

// Where the reading of a head stands. It begins as {}, and is a caller's to keep between calls. Offsets are
// from the stream's first byte; each byte is read once, however the stream is cut.
struct HeadScan {
    enum class Stage : std::uint8_t {
        before_line,
        method,
        before_target,
        target,
        before_version,
        version,
        after_version,
        line_feed,      // a CR has come, only LF may follow
        old_line_feed,  // the same in HTTP/0.9
        broken,
        fields,         // the request line is read; those below need no more of it
        old_line_done,  // HTTP/0.9 has no fields
        fields_done,    // all that the key takes are found, or the head has ended
    };
    std::uint32_t next = 0;  // the first byte that was not read
    std::uint32_t method_begin = 0;
    std::uint32_t method_end = 0;
    std::uint32_t target_begin = 0;
    std::uint32_t target_end = 0;
    std::uint32_t version_begin = 0;
    std::uint32_t field_begin = 0;  // of the field that is being read
    // Of the fields that the key takes, by their number in the rule: the values, with their blanks and folds.
    static constexpr std::size_t kFields = 4;
    struct Value {
        std::uint32_t begin = 0;
        std::uint32_t end = 0;
        bool found = false;
    };
    std::array<Value, kFields> values{};
    std::uint16_t minor_version = 0;
    Stage stage = Stage::before_line;

    // Of the stream; both are there once the stage is past them.
    [[nodiscard]] std::string_view method(std::string_view text) const noexcept {
        return text.substr(method_begin, method_end - method_begin);
    }
    [[nodiscard]] std::string_view target(std::string_view text) const noexcept {
        return text.substr(target_begin, target_end - target_begin);
    }
};

}  // namespace splice
