// The connection log: one line of JSON for a connection at the balancer, which chose its bridge, and one at
// the bridge, which saw its bytes and its end. Its fields are in docs/logging.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/ops/metrics.hpp"

namespace splice {

struct ConnectionLogSettings {
    double sample = 0;            // share of the connections that have lines, 0 to 1; 0: nothing is written
    std::uint64_t limit = 1000;   // lines a second at most
    std::string file = "stderr";  // or a path, which is made where it is missing and appended to
    friend bool operator==(const ConnectionLogSettings&, const ConnectionLogSettings&) = default;
};

// The share as the machines and kernel programs have it (datapath/sample.h).
[[nodiscard]] std::uint64_t sample_share(const ConnectionLogSettings& settings) noexcept;

// What both lines of a connection have.
struct ConnectionLine {
    enum class Event : std::uint8_t { chosen, ended };
    Event event = Event::chosen;
    std::int64_t unix_ms = 0;  // the wall clock
    Endpoint client;
    Endpoint vip;
    std::string service;
    std::string bridge;               // the balancer's name of it; at the bridge its address
    IpAddress bridge_address;         // unspecified: not known
    std::uint16_t bridge_number = 0;  // 0: it has none
    // chosen
    std::string key;  // the first bytes of what was hashed, any bytes
    bool key_truncated = false;
    std::optional<std::uint64_t> hash;  // of the whole key
    std::uint8_t rank = 0;              // from 1
    std::string_view fallback;          // why the key is the client's address; empty: it is the service's key
    // ended
    std::string_view mode;
    std::uint64_t bytes = 0;           // of the server's stream
    std::uint64_t bytes_received = 0;  // of the client's
    std::optional<std::int64_t> duration_ms;
    std::string_view end;
};

// The line without its newline: valid JSON whatever the key holds. Bytes that are no UTF-8 are written \xNN.
[[nodiscard]] std::string format_connection_line(std::string_view program, const ConnectionLine& line);
// What a line with Event::ended tells of lines that were not written.
[[nodiscard]] std::string format_lines_left_out(std::string_view program, std::int64_t unix_ms,
                                                std::uint64_t lines);

// Read by any thread.
struct ConnectionLogCounters {
    std::atomic<std::uint64_t> written{};
    std::atomic<std::uint64_t> limited{};  // lines above the limit
    std::atomic<std::uint64_t> lost{};     // lines for which the writer had no room
    std::atomic<std::uint64_t> failed{};   // lines that the file did not take
};

// Lines are written by a thread of its own: who hands one over waits for no file.
class ConnectionLog {
  public:
    // A file that is open for appending; nothing: standard error, or no log.
    class File;

    explicit ConnectionLog(std::string_view program);
    // Writes what waits.
    ~ConnectionLog();
    ConnectionLog(const ConnectionLog&) = delete;
    ConnectionLog& operator=(const ConnectionLog&) = delete;

    // By these settings from here on. The file is opened anew, also where it is the same one, so that a
    // program that turns logs may have moved the old one. Errors: it cannot be opened; nothing has changed
    // then.
    SystemResult<void> apply(const ConnectionLogSettings& settings);
    // The same file by its name again, where there is a log.
    SystemResult<void> reopen();

    // Any thread. `make` gives the ConnectionLine of that moment; it is not asked where the second has its
    // lines.
    template <class Make>
    void write(std::int64_t unix_ms, Make&& make) {
        if (takes(unix_ms)) put(make());
    }
    // Lines that were lost before they came here, in a kernel program's ring; counts up.
    void see_lost_in_kernel(std::uint64_t lines) noexcept;

    [[nodiscard]] const ConnectionLogCounters& counters() const noexcept;

  private:
    struct Impl;
    [[nodiscard]] bool takes(std::int64_t unix_ms) noexcept;
    void put(ConnectionLine line);

    std::unique_ptr<Impl> impl_;
};

// Named `prefix` and connection_log_...; `lost_in_kernel` are lines that a kernel program's ring had no room
// for.
void write_connection_log_counters(MetricsPage& page, const std::string& prefix,
                                   const ConnectionLogCounters& counters, std::uint64_t lost_in_kernel);

}  // namespace splice
