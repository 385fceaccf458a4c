// SIGINT, SIGTERM, SIGUSR1 and SIGHUP as readable events.
#pragma once

#include <optional>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

enum class SignalEvent {
    stop,       // SIGINT, SIGTERM
    hand_over,  // SIGUSR1: stop, and leave to the next process what can go on without one
    reload,     // SIGHUP
};

// Blocks these signals for this thread and for those that it starts afterwards: made first in main().
class Signals {
  public:
    static SystemResult<Signals> open();

    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
    // The next event, or nothing when none waits. After the first `stop` or `hand_over` a SIGINT or SIGTERM
    // has its usual effect: it ends the process at once.
    std::optional<SignalEvent> next();

  private:
    explicit Signals(Descriptor descriptor) noexcept : descriptor_(std::move(descriptor)) {}
    Descriptor descriptor_;
};

}  // namespace splice
