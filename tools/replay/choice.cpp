#include "tools/replay/choice.hpp"

#include "libsplice/core/segment_hold.hpp"

namespace splice::replay {
namespace {

std::string rule_kind(HashKeyRule rule) {
    rule.depth = rule.length = 0;
    return rule.to_string();
}

// The stream that packets of one flow carry from its first byte on.
std::vector<std::byte> stream_of(std::span<const Bytes> packets) {
    std::optional<SegmentHold> hold;
    for (const Bytes bytes : packets) {
        splice_packet packet{};
        if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) continue;
        if (!hold)
            hold.emplace(Seq(packet.seq), SegmentHoldLimits{kFirstPayloadMaxLimit, kFirstPayloadPackets});
        hold->add(packet, bytes);
    }
    if (!hold) return {};
    return {hold->stream().begin(), hold->stream().end()};
}

}  // namespace

bool chooses(Verdict verdict) noexcept {
    return verdict == SPLICE_forward_first_payload || verdict == SPLICE_forward_first_payload_source ||
           verdict == SPLICE_forward_first_ack || verdict == SPLICE_release_first_payload ||
           verdict == SPLICE_drop_first_payload_window || verdict == SPLICE_drop_no_bridge;
}

std::optional<Choice> choice_of(const Conversation& conversation, std::span<const Bytes> released,
                                std::optional<Fallback> fallback, std::string& scratch) {
    if (released.empty()) return std::nullopt;
    splice_packet packet{};
    const Bytes first = released.front();
    if (splice_parse_ip(first.data(), first.data() + first.size(), &packet) != SPLICE_CONTINUE)
        return std::nullopt;
    Choice choice{.kind = "source",
                  .key = IpAddress(conversation.key.client).to_string(),
                  .fallback = fallback,
                  .bridge = "-"};
    const Fleet& fleet = *conversation.fleet;
    if (const auto bridge = fleet.bridge_at(packet.key.vip))
        choice.bridge = fleet.rules->bridges[*bridge].name;
    if (fallback) return choice;
    const auto stream = stream_of(released);
    const SplicerService& service = *conversation.service;
    const KeyAnswer answer = first_payload_key(service.protocol, service.key, stream, scratch);
    if (const Key* key = std::get_if<Key>(&answer)) {
        choice.kind = rule_kind(service.key);
        choice.key = key->bytes;
    }
    return choice;
}

}  // namespace splice::replay
