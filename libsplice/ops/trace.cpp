#include "libsplice/ops/trace.hpp"

#include "libsplice/ops/log.hpp"
#include "libsplice/wire/print_packet.hpp"

namespace splice {

PacketTrace::PacketTrace(Bytes packet) {
    if (log_enabled(LogLevel::trace)) packet_ = print_packet(packet);
}

void PacketTrace::say(Verdict verdict) const {
    if (!packet_.empty()) log_trace(std::string(verdict_name(verdict)) + ": " + packet_);
}

}  // namespace splice
