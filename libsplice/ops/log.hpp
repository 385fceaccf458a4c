// The log of an executable: whole lines to standard error, as text or as one JSON object a line
// (docs/logging.md). One line for what an operator must know (start, reload, exit, trouble); packets only at
// level trace.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace splice {

enum class LogLevel : std::uint8_t { trace, debug, info, warning, error };
enum class LogFormat : std::uint8_t { text, json };

struct LogSettings {
    LogLevel level = LogLevel::info;
    LogFormat format = LogFormat::text;
    friend bool operator==(const LogSettings&, const LogSettings&) = default;
};

// What a message names, for `format: json`: the text has it too. Names are snake_case, and none of time,
// level, program and message.
struct LogField {
    std::string name;
    std::variant<std::string, std::int64_t> value;
};
using LogFields = std::vector<LogField>;

// A message with its fields, for those who write lines that others log. Equal to its text.
struct LogMessage {
    std::string text;
    LogFields fields{};
    friend bool operator==(const LogMessage& message, std::string_view other) {
        return message.text == other;
    }
};

// "trace", "debug", "info", "warning", "error". The error is a sentence that says what is expected.
std::expected<LogLevel, std::string> parse_log_level(std::string_view text);
std::expected<LogFormat, std::string> parse_log_format(std::string_view text);

// Called once before other threads exist. `program` stands in every JSON line.
void start_log(std::string_view program, const LogSettings& settings);
// Other settings while it runs (a reload). Any thread may log meanwhile.
void change_log(const LogSettings& settings);

// Whether a line of this level would be written: ask before building an expensive one.
[[nodiscard]] bool log_enabled(LogLevel level) noexcept;

// Thread-safe. Control characters in the text are written as "?", so that a line stays one.
void log_line(LogLevel level, std::string_view text, const LogFields& fields = {});
inline void log_trace(std::string_view text) {
    log_line(LogLevel::trace, text);
}
inline void log_info(std::string_view text, const LogFields& fields = {}) {
    log_line(LogLevel::info, text, fields);
}
inline void log_warning(std::string_view text, const LogFields& fields = {}) {
    log_line(LogLevel::warning, text, fields);
}
inline void log_error(std::string_view text, const LogFields& fields = {}) {
    log_line(LogLevel::error, text, fields);
}
inline void log_info(const LogMessage& message) {
    log_info(message.text, message.fields);
}
inline void log_warning(const LogMessage& message) {
    log_warning(message.text, message.fields);
}

// One line as the log would write it, without the newline; `unix_ms` is the wall clock in milliseconds.
std::string format_log_line(LogFormat format, std::string_view program, LogLevel level, std::int64_t unix_ms,
                            std::string_view text, const LogFields& fields = {});

// The wall clock as every line has it: RFC 3339, in UTC, to the millisecond.
std::string format_log_time(std::int64_t unix_ms);

}  // namespace splice
