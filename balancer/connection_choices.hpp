// The balancer's lines of the connection log: which bridge a connection was given, and by what.
#pragma once

#include "libsplice/base/bytes.hpp"
#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/splicer.hpp"
#include "libsplice/ops/connection_log.hpp"

namespace splice {

// A record of the kernel program's ring `told`, by the setup that the program works by. A shorter one is
// none.
void log_choice(ConnectionLog& log, const SplicerSetup& setup, Bytes record);

// Actions of another, and besides those a line for each choice of the sample.
class LoggedActions final : public Actions {
  public:
    // `log` may be null: then there are no lines.
    LoggedActions(Actions& to, ConnectionLog* log, const SplicerSetup& setup) noexcept
        : to_(to), log_(log), setup_(setup) {}

    void send(Bytes packet) noexcept override { to_.send(packet); }
    void send_to_hop(const Hop& hop, Bytes packet) noexcept override { to_.send_to_hop(hop, packet); }
    void chose(const FlowChoice& choice) noexcept override;

  private:
    Actions& to_;
    ConnectionLog* log_;
    const SplicerSetup& setup_;
};

}  // namespace splice
