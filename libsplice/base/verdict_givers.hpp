// Which of the two executables can give a verdict; its page of metrics has those alone.
#pragma once

#include "libsplice/base/verdict.hpp"

namespace splice {

enum class Program { balancer, bridge };

// By the sections of the verdict list; the exceptions by name. A unit test holds this against the sources.
[[nodiscard]] constexpr bool can_give(Program program, Verdict verdict) noexcept {
    switch (verdict) {
        case SPLICE_drop_bad_tcp_options:
            return program == Program::balancer;
        case SPLICE_drop_orphan:
        case SPLICE_drop_orphan_icmp:
        case SPLICE_drop_flow_table_full:
        case SPLICE_drop_duplicate_payload:
        case SPLICE_drop_ask_overrun:
            return true;
        default:
            break;
    }
    // Only a bridge asks for a mark.
    if (verdict >= SPLICE_pass_unmarked && verdict <= SPLICE_pass_not_spliced)
        return program == Program::bridge;
    if (verdict < SPLICE_answer_syn_ack) return true;
    return program == (verdict < SPLICE_deliver ? Program::balancer : Program::bridge);
}

}  // namespace splice
