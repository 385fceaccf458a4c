// The main thread's wait, the same for both executables: until a signal says stop, with reloads between.
#pragma once

#include <functional>
#include <string_view>

#include "libsplice/engine/host_events.hpp"
#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/signals.hpp"

namespace splice {

// Calls reload(why) at SIGHUP and when a watched file changed; look_at_host(true) shortly after a notice that
// the host changed and every five seconds, look_at_host(false) about once a second; and look() about once a
// second. Returns at SIGINT or SIGTERM.
struct Supervised {
    std::function<void(std::string_view why)> reload;
    std::function<void(bool all)> look_at_host;
    std::function<void()> look;
};
void supervise(Signals& signals, FileWatch& files, HostEvents& host, const Supervised& supervised);

}  // namespace splice
