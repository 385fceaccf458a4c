#include "libsplice/ops/log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

namespace splice {
namespace {

constexpr std::string_view kLevelNames[] = {"trace", "debug", "info", "warning", "error"};

spdlog::level::level_enum to_spdlog(LogLevel level) noexcept {
    switch (level) {
        case LogLevel::trace:
            return spdlog::level::trace;
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warning:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

LogLevel from_spdlog(spdlog::level::level_enum level) noexcept {
    switch (level) {
        case spdlog::level::trace:
            return LogLevel::trace;
        case spdlog::level::debug:
            return LogLevel::debug;
        case spdlog::level::warn:
            return LogLevel::warning;
        case spdlog::level::err:
        case spdlog::level::critical:
            return LogLevel::error;
        default:
            return LogLevel::info;
    }
}

// The fields of the line that this thread writes: spdlog carries text alone, and formats in the caller's
// thread.
thread_local const LogFields* fields_of_line = nullptr;

class LineFormatter final : public spdlog::formatter {
  public:
    LineFormatter(LogFormat format, std::string program) : format_(format), program_(std::move(program)) {}

    void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
        const auto since_epoch = message.time.time_since_epoch();
        const auto unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
        const std::string text = format_log_line(format_, program_, from_spdlog(message.level), unix_ms,
                                                 {message.payload.data(), message.payload.size()},
                                                 fields_of_line ? *fields_of_line : LogFields{});
        line.append(text.data(), text.data() + text.size());
        line.push_back('\n');
    }

    [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
        return std::make_unique<LineFormatter>(format_, program_);
    }

  private:
    LogFormat format_;
    std::string program_;
};

std::string one_line(std::string_view text) {
    std::string line(text);
    for (char& c : line) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    return line;
}

}  // namespace

std::string format_log_time(std::int64_t unix_ms) {
    const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), unix_ms % 1000);
}

std::expected<LogLevel, std::string> parse_log_level(std::string_view text) {
    if (text == "warn") return LogLevel::warning;
    for (std::size_t i = 0; i < std::size(kLevelNames); i++) {
        if (text == kLevelNames[i]) return static_cast<LogLevel>(i);
    }
    return std::unexpected("expected trace, debug, info, warning or error");
}

std::expected<LogFormat, std::string> parse_log_format(std::string_view text) {
    if (text == "text") return LogFormat::text;
    if (text == "json") return LogFormat::json;
    return std::unexpected("expected text or json");
}

std::string format_log_line(LogFormat format, std::string_view program, LogLevel level, std::int64_t unix_ms,
                            std::string_view text, const LogFields& fields) {
    const std::string_view level_name = kLevelNames[static_cast<std::size_t>(level)];
    if (format == LogFormat::text)
        return fmt::format("{} {:<7} {}", format_log_time(unix_ms), level_name, one_line(text));
    nlohmann::ordered_json line;
    line["time"] = format_log_time(unix_ms);
    line["level"] = level_name;
    line["program"] = program;
    line["message"] = one_line(text);
    for (const LogField& field : fields)
        std::visit([&](const auto& value) { line[field.name] = value; }, field.value);
    // Bytes that are no UTF-8 (a file name, say) must not cost the line.
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void start_log(std::string_view program, const LogSettings& settings) {
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(std::string(program), std::move(sink)));
    change_log(settings);
}

void change_log(const LogSettings& settings) {
    spdlog::logger& logger = *spdlog::default_logger_raw();
    logger.set_formatter(std::make_unique<LineFormatter>(settings.format, logger.name()));
    logger.set_level(to_spdlog(settings.level));
    logger.flush_on(spdlog::level::trace);
}

bool log_enabled(LogLevel level) noexcept {
    return spdlog::default_logger_raw()->should_log(to_spdlog(level));
}

void log_line(LogLevel level, std::string_view text, const LogFields& fields) {
    const auto before = std::exchange(fields_of_line, &fields);
    spdlog::default_logger_raw()->log(to_spdlog(level), spdlog::string_view_t(text.data(), text.size()));
    fields_of_line = before;
}

}  // namespace splice
