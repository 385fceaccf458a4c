#include "libsplice/core/joiner/segments.hpp"

#include <span>

#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/refusal.h"

namespace splice {

namespace {

template <auto Translate>
Verdict translate(const splice_translation& how, const splice_packet& packet, MutableBytes bytes) noexcept {
    splice_tcp_options options{};
    splice_parse_tcp_options(begin_of(bytes), end_of(bytes), &packet, &options);
    splice_translate_deltas deltas{};
    const Verdict verdict = Translate(begin_of(bytes), end_of(bytes), &packet, &options, &how, &deltas);
    if (verdict == SPLICE_CONTINUE) splice_translate_finish(begin_of(bytes), end_of(bytes), &packet, &deltas);
    return verdict;
}

}  // namespace

Verdict translate_toward_backend(const splice_translation& how, const splice_packet& packet,
                                 MutableBytes bytes) noexcept {
    return translate<splice_translate_toward_backend>(how, packet, bytes);
}

Verdict translate_toward_client(const splice_translation& how, const splice_packet& packet,
                                MutableBytes bytes) noexcept {
    return translate<splice_translate_toward_client>(how, packet, bytes);
}

void bounce(MutableBytes bytes, const splice_address& vip, const splice_secret& secret, const Hop& hop,
            Actions& out) {
    splice_packet packet{};
    if (splice_parse_ip(begin_of(bytes), end_of(bytes), &packet) != SPLICE_CONTINUE) return;
    const std::uint16_t mark = splice_refusal_mark(&secret, &packet, &vip, &packet.ends.destination);
    if (splice_carry_back(begin_of(bytes), end_of(bytes), &packet, &vip) != SPLICE_CONTINUE) return;
    splice_write_refusal(begin_of(bytes), end_of(bytes), &packet, mark);
    out.send_to_hop(hop, bytes);
}

}  // namespace splice
