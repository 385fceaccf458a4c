#include "tests/support/fault_injector/faults.hpp"

#include <algorithm>
#include <utility>

namespace splice::faults {

std::string FaultCounts::to_string() const {
    std::string text = "seen=" + std::to_string(seen) + " lost=" + std::to_string(lost) +
                       " lost_every=" + std::to_string(lost_every);
    for (std::size_t i = 0; i < kTargetCount; i++)
        text += " lost_first_" + std::string(kTargetNames[i]) + "=" + std::to_string(lost_first[i]);
    return text + " corrupted=" + std::to_string(corrupted) + " reordered=" + std::to_string(reordered) +
           " duplicated=" + std::to_string(duplicated);
}

FaultPlan::FaultPlan(const FaultRules& rules)
    : rules_(rules), targeted_(std::ranges::count(rules.drop_first, true) > 0), random_(rules.seed) {}

bool FaultPlan::draw(double probability) {
    // Not std::bernoulli_distribution: its numbers differ between standard libraries, a seed's must not.
    constexpr double kScale = 1.0 / 9007199254740992.0;  // 2^-53
    return static_cast<double>(random_() >> 11) * kScale < probability;
}

Fault FaultPlan::decide(Bytes packet) {
    counts_.seen++;
    // All four are drawn for each packet, so that one probability does not move the packets that another
    // hits.
    const bool lose = draw(rules_.loss);
    const bool corrupt = draw(rules_.corrupt);
    const bool hold = draw(rules_.reorder);
    const bool duplicate = draw(rules_.duplicate);

    if (targeted_ && is_first_of_its_kind(packet)) return Fault::lose;
    if (rules_.drop_every != 0 && counts_.seen % rules_.drop_every == 0) {
        counts_.lost_every++;
        return Fault::lose;
    }
    if (lose) return counts_.lost++, Fault::lose;
    if (corrupt) return counts_.corrupted++, Fault::corrupt;
    if (hold) return counts_.reordered++, Fault::hold;
    if (duplicate) return counts_.duplicated++, Fault::duplicate;
    return Fault::none;
}

bool FaultPlan::is_target(Target target, const splice_packet& packet, bool to_server) const noexcept {
    const unsigned flags = packet.tcp_flags;
    const bool syn = (flags & SPLICE_SYN) != 0;
    const bool ack = (flags & SPLICE_ACK) != 0;
    const bool payload = packet.payload_length > 0;
    switch (target) {
        case Target::syn:
            return to_server && syn && !ack;
        case Target::synack:
            return !to_server && syn && ack;
        case Target::ack:
            return to_server && ack && !payload && (flags & (SPLICE_SYN | SPLICE_FIN | SPLICE_RST)) == 0;
        case Target::payload:
            return to_server && payload;
        case Target::response:
            return !to_server && payload;
        case Target::fin:
            return (flags & SPLICE_FIN) != 0;
    }
    return false;
}

bool FaultPlan::is_first_of_its_kind(Bytes bytes) {
    splice_packet packet{};
    if (splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) != SPLICE_CONTINUE) return false;
    if (packet.protocol != SPLICE_PROTOCOL_TCP) return false;
    const bool to_server = splice_ntohs(packet.ends.destination_port) == rules_.port;
    if (!to_server && splice_ntohs(packet.ends.source_port) != rules_.port) return false;

    const splice_flow_key key =
        to_server ? *splice_flow_toward_server(&packet) : splice_flow_toward_client(&packet);
    if (flows_.size() >= kMaxFlows && !flows_.contains(key)) return false;
    Flow& flow = flows_[key];
    // Another SYN than before: the port is used again, by a new flow.
    if (is_target(Target::syn, packet, to_server) && flow.client_isn != packet.seq) {
        flow = {};
        flow.client_isn = packet.seq;
    }
    for (std::size_t i = 0; i < kTargetCount; i++) {
        if (!rules_.drop_first[i] || flow.dropped[i]) continue;
        if (!is_target(static_cast<Target>(i), packet, to_server)) continue;
        flow.dropped[i] = true;
        counts_.lost_first[i]++;
        return true;
    }
    return false;
}

void FaultPlan::corrupt(MutableBytes packet) {
    const bool ipv4 = !packet.empty() && std::to_integer<unsigned>(packet[0]) >> 4 == 4;
    const std::size_t header = ipv4 ? (std::to_integer<std::size_t>(packet[0]) & 15) * 4 : 40;
    if (packet.size() <= header) return;
    const std::uint64_t where = random_();
    packet[header + where / 8 % (packet.size() - header)] ^= static_cast<std::byte>(1U << (where % 8));
}

}  // namespace splice::faults
