#include "libsplice/ops/supervise.hpp"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace splice {

namespace {

using std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kLookPeriod = 1000ms;
// Notices seldom come alone: a program that changes one thing of a host changes several. Yet a host that
// never is quiet is looked at.
constexpr auto kHostQuiet = 50ms;
constexpr auto kHostLatest = 500ms;
constexpr auto kWholeHostPeriod = 5000ms;
constexpr auto kNever = steady_clock::time_point::max();

// When the whole host is looked at.
class HostSchedule {
  public:
    void notice(steady_clock::time_point now) noexcept {
        first_notice_ = std::min(first_notice_, now);
        next_ = std::min(now + kHostQuiet, first_notice_ + kHostLatest);
    }
    [[nodiscard]] bool is_due(steady_clock::time_point now) noexcept {
        if (now < next_) return false;
        next_ = now + kWholeHostPeriod;
        first_notice_ = kNever;
        return true;
    }
    [[nodiscard]] steady_clock::time_point next() const noexcept { return next_; }

  private:
    steady_clock::time_point next_ = steady_clock::now() + kWholeHostPeriod;
    steady_clock::time_point first_notice_ = kNever;
};

}  // namespace

SignalEvent supervise(Signals& signals, FileWatch& files, HostEvents& host, TaskQueue& tasks,
                      const Supervised& supervised) {
    std::vector<pollfd> waits{
        {signals.descriptor(), POLLIN, 0}, {files.descriptor(), POLLIN, 0}, {tasks.descriptor(), POLLIN, 0}};
    // One reload reads all files anew, whichever asked for it.
    const auto reload = [&](const std::string& why) {
        tasks.post("reload", [&supervised, why] { supervised.reload(why); });
    };
    for (const int descriptor : host.descriptors()) waits.push_back({descriptor, POLLIN, 0});
    auto files_quiet = kNever;  // something happened beside a watched file, and may go on until then
    auto next_look = steady_clock::now();
    HostSchedule schedule;
    for (;;) {
        auto now = steady_clock::now();
        if (schedule.is_due(now)) tasks.post("look at the host", [&] { supervised.look_at_host(true); });
        const bool looks = now >= next_look;
        if (looks) {
            tasks.post("look", [&] {
                supervised.look_at_host(false);
                supervised.look();
            });
            next_look = now + kLookPeriod;
        }
        // At every look, too, for what no event tells of.
        if (looks || now >= files_quiet) {
            files_quiet = kNever;
            if (const auto changed = files.changed(now); !changed.empty())
                reload(changed.front() + " changed");
        }
        tasks.run();
        const auto until = std::min({next_look, schedule.next(), files_quiet});
        const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - steady_clock::now());
        if (poll(waits.data(), waits.size(), static_cast<int>(std::max(wait, 0ms).count())) <= 0) continue;
        now = steady_clock::now();
        while (const auto event = signals.next()) {
            if (*event != SignalEvent::reload) return *event;
            files.take_all();  // what SIGHUP reads needs no second reload, but what comes meanwhile does
            reload("SIGHUP");
        }
        if (waits[1].revents & POLLIN) {
            files.drain();
            files_quiet = now + kFileQuiet;
        }
        if (host.drain()) schedule.notice(now);
    }
}

}  // namespace splice
