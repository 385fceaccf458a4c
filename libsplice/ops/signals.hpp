// SIGINT, SIGTERM and SIGHUP as readable events.
#pragma once

#include <optional>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

enum class SignalEvent { stop, reload };

// Blocks the three signals for this thread and for those that it starts afterwards: made first in main().
class Signals {
  public:
    static SystemResult<Signals> open();

    [[nodiscard]] int descriptor() const noexcept { return descriptor_.get(); }
    // The next event, or nothing when none waits. After the first `stop` a second SIGINT or SIGTERM has its
    // usual effect: it ends the process at once.
    std::optional<SignalEvent> next();

  private:
    explicit Signals(Descriptor descriptor) noexcept : descriptor_(std::move(descriptor)) {}
    Descriptor descriptor_;
};

}  // namespace splice
