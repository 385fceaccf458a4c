// The main thread's wait, the same for both executables: until a signal ends it, with reloads between.
#pragma once

#include <functional>
#include <string_view>

#include "libsplice/engine/host_events.hpp"
#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/signals.hpp"
#include "libsplice/ops/task_queue.hpp"

namespace splice {

// Posts to `tasks`, and does what is posted there by whomever: reload(why) at SIGHUP and when a watched file
// changed; look_at_host(true) shortly after a notice that the host changed and every five seconds,
// look_at_host(false) about once a second; and look() about once a second. Returns `stop` or
// `hand_over`; tasks that wait then are not done.
struct Supervised {
    std::function<void(std::string_view why)> reload;
    std::function<void(bool all)> look_at_host;
    std::function<void()> look;
};
SignalEvent supervise(Signals& signals, FileWatch& files, HostEvents& host, TaskQueue& tasks,
                      const Supervised& supervised);

}  // namespace splice
