// The main thread's wait, the same for both executables: until a signal says stop, with reloads between.
#pragma once

#include <functional>
#include <string_view>

#include "libsplice/ops/file_watch.hpp"
#include "libsplice/ops/signals.hpp"

namespace splice {

// Calls reload(why) at SIGHUP and when a watched file changed, and look() about once a second; returns at
// SIGINT or SIGTERM.
void supervise(Signals& signals, FileWatch& files, const std::function<void(std::string_view why)>& reload,
               const std::function<void()>& look);

}  // namespace splice
