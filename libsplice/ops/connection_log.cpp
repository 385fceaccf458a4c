#include "libsplice/engine/fcntl.hpp"

#include "libsplice/ops/connection_log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "libsplice/datapath/sample.h"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

// Lines that wait for the writer: of a fraction of a second, while a file system takes its time.
constexpr std::size_t kMostWaiting = 16384;
// The writer looks so often. Nobody wakes it: that would cost the packets' thread a system call a line.
constexpr auto kWriteEach = std::chrono::milliseconds(100);
constexpr std::size_t kLongestWrite = 64UZ * 1024;
constexpr std::int64_t kSecondMs = 1000;
constexpr std::int64_t kLatestSeconds = 5;

// Bytes of the UTF-8 character that begins `text`; 0: none does (RFC 3629 section 4).
std::size_t utf8_length(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
    const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < least || byte(1) > most) return 0;
    for (std::size_t i = 2; i < length; ++i)
        if (byte(i) < 0x80 || byte(i) > 0xbf) return 0;
    return length;
}

std::string as_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    while (!bytes.empty()) {
        const std::size_t length = utf8_length(bytes);
        if (length == 0)
            fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(bytes.front()));
        else
            text.append(bytes.substr(0, length));
        bytes.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return text;
}

nlohmann::ordered_json begin_line(std::string_view program, std::int64_t unix_ms, std::string_view event) {
    nlohmann::ordered_json json;
    json["time"] = format_log_time(unix_ms);
    json["program"] = program;
    json["event"] = event;
    return json;
}

std::string end_line(const nlohmann::ordered_json& json) {
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

std::uint64_t sample_share(const ConnectionLogSettings& settings) noexcept {
    return static_cast<std::uint64_t>(std::llround(settings.sample * static_cast<double>(SPLICE_SAMPLE_ALL)));
}

std::string format_connection_line(std::string_view program, const ConnectionLine& line) {
    const bool chosen = line.event == ConnectionLine::Event::chosen;
    nlohmann::ordered_json json = begin_line(program, line.unix_ms, chosen ? "chosen" : "ended");
    json["client"] = line.client.to_string();
    json["vip"] = line.vip.to_string();
    json["service"] = line.service;
    json["bridge"] = line.bridge;
    if (!line.bridge_address.is_unspecified()) json["bridge_address"] = line.bridge_address.to_string();
    if (line.bridge_number != 0) json["bridge_number"] = line.bridge_number;
    if (chosen) {
        json["key"] = as_utf8(line.key);
        if (line.key_truncated) json["key_truncated"] = true;
        if (line.hash) json["hash"] = fmt::format("{:016x}", *line.hash);
        json["rank"] = line.rank;
        if (!line.fallback.empty()) json["fallback"] = line.fallback;
        return end_line(json);
    }
    json["mode"] = line.mode;
    json["bytes"] = line.bytes;
    json["bytes_received"] = line.bytes_received;
    if (line.duration_ms) json["duration_ms"] = *line.duration_ms;
    json["end"] = line.end;
    return end_line(json);
}

std::string format_lines_left_out(std::string_view program, std::int64_t unix_ms, std::uint64_t lines) {
    nlohmann::ordered_json json = begin_line(program, unix_ms, "left_out");
    json["lines"] = lines;
    return end_line(json);
}

struct ConnectionLog::Impl {
    explicit Impl(std::string_view name) : program(name) {}

    void run(const std::stop_token& stop);
    void write_out(std::vector<ConnectionLine> lines);
    // `lines`: how many `text` is.
    void write_text(std::string_view text, std::uint64_t lines);

    const std::string program;
    ConnectionLogCounters counters;
    std::atomic<std::uint64_t> lost_in_kernel{};

    std::mutex mutex;  // of what follows
    std::condition_variable_any ends;
    ConnectionLogSettings settings;
    std::vector<ConnectionLine> waiting;
    std::int64_t second = 0;  // of which so many lines were taken
    std::uint64_t taken = 0;

    std::mutex file_mutex;  // of what follows; the writer holds it while a file takes its lines
    Descriptor file;        // none: standard error
    bool failing = false;
    std::uint64_t told_left_out = 0;  // the writer's
    std::int64_t told_at_ms = 0;

    std::jthread writer;  // last: it ends before what it works on
};

ConnectionLog::ConnectionLog(std::string_view program) : impl_(std::make_unique<Impl>(program)) {}
ConnectionLog::~ConnectionLog() = default;

SystemResult<void> ConnectionLog::apply(const ConnectionLogSettings& settings) {
    Descriptor file;
    if (settings.sample > 0 && settings.file != "stderr") {
        file = Descriptor(
            ::open(settings.file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640));
        if (!file)
            return system_error("open the connection log " + settings.file, errno,
                                "its folder must be there; log.connections.file names another");
    }
    // Without a log nobody looks for lines; what waits is written first, to where it belongs.
    if (settings.sample <= 0) {
        {
            const std::lock_guard lock(impl_->mutex);
            impl_->settings = settings;
        }
        impl_->writer = {};
    }
    {
        const std::lock_guard lock(impl_->file_mutex);
        impl_->file = std::move(file);
        impl_->failing = false;
    }
    const std::lock_guard lock(impl_->mutex);
    impl_->settings = settings;
    if (settings.sample > 0 && !impl_->writer.joinable())
        impl_->writer = std::jthread([this](const std::stop_token& stop) { impl_->run(stop); });
    return {};
}

SystemResult<void> ConnectionLog::reopen() {
    ConnectionLogSettings settings;
    {
        const std::lock_guard lock(impl_->mutex);
        settings = impl_->settings;
    }
    return apply(settings);
}

bool ConnectionLog::takes(std::int64_t unix_ms) noexcept {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->settings.sample <= 0) return false;  // a line of before a change
    const std::int64_t second = unix_ms / kSecondMs;
    // A line that was late counts in the second that is; a clock that was set back begins one.
    if (second > impl_->second || second + kLatestSeconds < impl_->second) {
        impl_->second = second;
        impl_->taken = 0;
    }
    if (impl_->taken >= impl_->settings.limit) {
        impl_->counters.limited.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    ++impl_->taken;
    return true;
}

void ConnectionLog::put(ConnectionLine line) {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->waiting.size() < kMostWaiting) return impl_->waiting.push_back(std::move(line));
    impl_->counters.lost.fetch_add(1, std::memory_order_relaxed);
}

void ConnectionLog::see_lost_in_kernel(std::uint64_t lines) noexcept {
    impl_->lost_in_kernel.store(lines, std::memory_order_relaxed);
}

const ConnectionLogCounters& ConnectionLog::counters() const noexcept {
    return impl_->counters;
}

void ConnectionLog::Impl::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    for (bool last = false; !last;) {
        last = stop.stop_requested();
        std::vector<ConnectionLine> lines = std::exchange(waiting, {});
        lock.unlock();
        write_out(std::move(lines));
        lock.lock();
        if (!last) (void)ends.wait_for(lock, stop, kWriteEach, [] { return false; });
    }
}

void ConnectionLog::Impl::write_out(std::vector<ConnectionLine> lines) {
    std::string text;
    std::uint64_t count = 0;
    const auto flush = [&] {
        write_text(text, count);
        text.clear();
        count = 0;
    };
    for (const ConnectionLine& line : lines) {
        text += format_connection_line(program, line);
        text += '\n';
        ++count;
        if (text.size() >= kLongestWrite) flush();
    }
    const std::uint64_t left_out = counters.limited.load(std::memory_order_relaxed) +
                                   counters.lost.load(std::memory_order_relaxed) +
                                   lost_in_kernel.load(std::memory_order_relaxed);
    if (left_out != told_left_out) {
        const Instant now = read_clock();
        const std::int64_t unix_ms = now.unix_s * kSecondMs + now.unix_part_ms;
        if (unix_ms - told_at_ms >= kSecondMs || unix_ms < told_at_ms) {
            text += format_lines_left_out(program, unix_ms, left_out - told_left_out) + '\n';
            told_left_out = left_out;
            told_at_ms = unix_ms;
        }
    }
    if (!text.empty()) flush();
}

void ConnectionLog::Impl::write_text(std::string_view text, std::uint64_t lines) {
    const std::lock_guard lock(file_mutex);
    const int to = file ? file.get() : STDERR_FILENO;
    while (!text.empty()) {
        const ssize_t wrote = ::write(to, text.data(), text.size());
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
            if (!std::exchange(failing, true))
                log_error(system_error("write the connection log", errno).error().text);
            counters.failed.fetch_add(lines, std::memory_order_relaxed);
            return;
        }
        text.remove_prefix(static_cast<std::size_t>(wrote));
    }
    failing = false;
    counters.written.fetch_add(lines, std::memory_order_relaxed);
}

void write_connection_log_counters(MetricsPage& page, const std::string& prefix,
                                   const ConnectionLogCounters& counters, std::uint64_t lost_in_kernel) {
    page.counter(prefix + "connection_log_lines_total", "Lines of the connection log that were written",
                 counters.written.load(std::memory_order_relaxed));
    const std::string left_out = prefix + "connection_log_left_out_total";
    const std::string help = "Lines of the connection log that were not written, and why";
    page.counter(left_out, help, counters.limited.load(std::memory_order_relaxed), {{"why", "limit"}});
    page.counter(left_out, help, counters.lost.load(std::memory_order_relaxed) + lost_in_kernel,
                 {{"why", "full"}});
    page.counter(left_out, help, counters.failed.load(std::memory_order_relaxed), {{"why", "file"}});
}

}  // namespace splice
