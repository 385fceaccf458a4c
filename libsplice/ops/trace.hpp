// Packets in the log, at level trace only: one line each, as it came and what became of it.
#pragma once

#include <string>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/verdict.hpp"

namespace splice {

// Made before a packet is handled (which may edit it); costs one comparison at other levels.
class PacketTrace {
  public:
    explicit PacketTrace(Bytes packet);
    // Writes "verdict: packet".
    void say(Verdict verdict) const;

  private:
    std::string packet_;  // empty: not traced
};

}  // namespace splice
