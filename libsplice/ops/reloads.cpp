#include "libsplice/ops/reloads.hpp"

#include <chrono>
#include <string>

namespace splice {

void Reloads::add(std::uint64_t& count, bool success, const Instant& began, const Instant& ended) {
    const std::lock_guard lock(mutex_);
    count++;
    last_applied_ = success;
    last_unix_s_ = static_cast<double>(ended.unix_s) + ended.unix_part_ms / 1000.0;
    last_took_ = ended.monotonic - began.monotonic;
}

void Reloads::write(MetricsPage& page, std::string_view program) const {
    const std::string prefix = "splicelb_" + std::string(program) + "_";
    const std::lock_guard lock(mutex_);
    constexpr const char* kHelp = "Reloads of configuration and secret, by how they ended";
    page.counter(prefix + "reloads_total", kHelp, applied_, {{"result", "applied"}});
    page.counter(prefix + "reloads_total", kHelp, refused_, {{"result", "refused"}});
    page.gauge(prefix + "last_reload_success",
               "1 while the last reload was applied, or none was asked for since the start",
               last_applied_ ? 1 : 0);
    page.gauge(prefix + "last_reload_timestamp_seconds",
               "When the last reload ended, applied or refused; 0: none since the start", last_unix_s_);
    page.gauge(prefix + "last_reload_duration_seconds", "How long the last reload took",
               std::chrono::duration<double>(last_took_).count());
}

}  // namespace splice
