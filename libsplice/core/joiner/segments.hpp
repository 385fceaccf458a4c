// Segments of a bridge's connections, edited in place: translated, or sent back to the balancer.
#pragma once

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/segment_bytes.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/translate.h"

namespace splice {

[[nodiscard]] inline std::byte* begin_of(MutableBytes bytes) noexcept {
    return bytes.data();
}
[[nodiscard]] inline std::byte* end_of(MutableBytes bytes) noexcept {
    return bytes.data() + bytes.size();
}

// `packet` is what the parse said of `bytes`. SPLICE_CONTINUE, or why the segment is dropped.
[[nodiscard]] Verdict translate_toward_backend(const splice_translation& how, const splice_packet& packet,
                                               MutableBytes bytes) noexcept;
[[nodiscard]] Verdict translate_toward_client(const splice_translation& how, const splice_packet& packet,
                                              MutableBytes bytes) noexcept;

// A marked packet as it came from the balancer goes back to the hop that brought it, with our name
// (refusal.h).
void bounce(MutableBytes bytes, const splice_address& vip, const splice_secret& secret, const Hop& hop,
            Actions& out);

}  // namespace splice
