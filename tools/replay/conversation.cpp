#include "tools/replay/conversation.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "libsplice/datapath/segment.h"
#include "libsplice/datapath/translate_icmp.h"

namespace splice::replay {
namespace {

// A server whose SYN-ACK nobody captured: what most say.
constexpr std::uint16_t kUsualWindow = 65535;
// SYN-ACKs of one connection that are kept until the client acknowledges one.
constexpr std::size_t kMaxSynAcks = 8;

std::vector<std::byte> bytes_of(const splice_segment& segment) {
    const auto bytes = std::as_bytes(std::span(segment.bytes, segment.length));
    return {bytes.begin(), bytes.end()};
}

splice_tcp_options options_of(Bytes bytes, const splice_packet& packet) noexcept {
    splice_tcp_options options{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
    return options;
}

void update_tcp_checksum(std::byte* data, const splice_packet& packet, splice_sum delta) noexcept {
    std::byte* const check = data + packet.l4_offset + 16;
    splice_store16(check, splice_checksum_update(splice_load16(check), delta));
}

}  // namespace

void Conversation::restart(std::uint32_t new_id) {
    Conversation fresh;
    fresh.id = new_id;
    fresh.key = key;
    fresh.fleet = fleet;
    fresh.service = service;
    *this = std::move(fresh);
}

void Conversation::keep_syn_ack(const Arrival& segment) {
    if (syn_acks.size() >= kMaxSynAcks) syn_acks.erase(syn_acks.begin());
    syn_acks.emplace_back(segment.bytes.begin(), segment.bytes.end());
    server_isn = Seq(segment.packet.seq);
}

// The SYN-ACK of that number, or the nearest below it: a server that speaks first has sent bytes since.
void Conversation::acknowledge(Seq number) {
    acknowledged = true;
    std::int32_t nearest = std::numeric_limits<std::int32_t>::max();
    auto found = syn_acks.end();
    for (auto syn_ack = syn_acks.begin(); syn_ack != syn_acks.end(); ++syn_ack) {
        splice_packet packet{};
        if (splice_parse_ip(syn_ack->data(), syn_ack->data() + syn_ack->size(), &packet) != SPLICE_CONTINUE)
            continue;
        const std::int32_t distance = number - Seq(packet.seq);
        if (distance < 0 || distance > nearest) continue;
        nearest = distance;
        server_isn = Seq(packet.seq);
        found = syn_ack;
    }
    if (found != syn_acks.end()) std::swap(*found, syn_acks.back());
    if (!server_isn) server_isn = number;
}

void Conversation::learn_from(const splice_packet& packet, const splice_tcp_options& options) {
    if (!(packet.tcp_flags & SPLICE_ACK)) return;
    if (!acknowledged) acknowledge(Seq(packet.ack - 1));
    if (!server_tsval && options.timestamps_offset != 0) server_tsval = TsVal(options.tsecr);
}

void Conversation::map_toward_balancer(Arrival& segment) const {
    if (!cookie_isn || !server_isn) return;
    const splice_packet& packet = segment.packet;
    std::byte* const data = segment.bytes.data();
    const std::byte* const end = data + segment.bytes.size();
    auto* const tcp = reinterpret_cast<__u8*>(data + packet.l4_offset);
    const splice_tcp_options options = options_of(segment.bytes, packet);
    const auto shift = static_cast<std::uint32_t>(*cookie_isn - *server_isn);
    splice_sum delta = 0;
    if (packet.tcp_flags & SPLICE_ACK) {
        splice_shift_number(tcp + 8, shift, 0, &delta);
        segment.packet.ack += shift;
    }
    splice_shift_sack(tcp, end, &options, shift, &delta);
    if (our_tsval && server_tsval)
        splice_shift_timestamp(tcp, end, &options, 1, static_cast<std::uint32_t>(*our_tsval - *server_tsval),
                               &delta);
    update_tcp_checksum(data, packet, delta);
}

void Conversation::map_icmp_toward_balancer(Arrival& error) const {
    if (!cookie_isn || !server_isn) return;
    std::byte* const data = error.bytes.data();
    std::byte* const end = data + error.bytes.size();
    splice_packet quoted{};
    if (!splice_verify_icmp_checksum(data, &error.packet) ||
        splice_parse_icmp_error(data, end, &error.packet, &quoted) != SPLICE_CONTINUE)
        return;
    const splice_quote_edit edit{SPLICE_SOURCE, &quoted.ends.source, quoted.ends.source_port,
                                 static_cast<std::uint32_t>(*cookie_isn - *server_isn), 0};
    splice_rewrite_quote(data, end, &quoted, &edit);
    splice_finish_icmp_checksum(data, &error.packet);
}

std::vector<std::byte> Conversation::answer_replayed_syn(Bytes syn, const Endpoint& backend) const {
    splice_packet asked{};
    if (splice_parse_ip(syn.data(), syn.data() + syn.size(), &asked) != SPLICE_CONTINUE) return {};
    std::vector<std::byte> answer = syn_acks.empty() ? std::vector<std::byte>() : syn_acks.back();
    splice_packet packet{};
    if (answer.empty() ||
        splice_parse_ip(answer.data(), answer.data() + answer.size(), &packet) != SPLICE_CONTINUE) {
        const splice_tcp_options offered = options_of(syn, asked);
        const splice_syn_ack_terms terms{.mss = offered.mss,
                                         .window = kUsualWindow,
                                         .window_scale = kWindowScale,
                                         .zero = {},
                                         .tsval = server_tsval.value_or(TsVal()).value()};
        splice_segment made_up;
        splice_write_syn_ack(&made_up, &asked, &offered, server_isn.value_or(Seq()).value(), &terms);
        return bytes_of(made_up);
    }
    // It answers this SYN, whatever the captured one acknowledged: another answer would ask for the SYN
    // again, for ever. And the handshake that the client saw may have been a later one than the SYN-ACK that
    // was captured.
    const splice_tcp_options options = options_of(answer, packet);
    auto* const tcp = reinterpret_cast<__u8*>(answer.data() + packet.l4_offset);
    splice_sum delta = 0;
    splice_shift_number(tcp + 8, asked.seq + 1 - packet.ack, 0, &delta);
    if (server_tsval && options.timestamps_offset != 0)
        splice_shift_timestamp(tcp, answer.data() + answer.size(), &options, 0,
                               server_tsval->value() - options.tsval, &delta);
    update_tcp_checksum(answer.data(), packet, delta);
    Arrival arrival{.bytes = answer, .packet = packet};
    send_from(arrival, backend);
    return answer;
}

std::vector<std::byte> make_up_syn(const splice_flow_key& key, const MissingSyn& missing) {
    splice_segment syn;
    const std::uint32_t family = splice_address_is_ipv4(&key.server) ? 4 : 6;
    splice_write_replay_syn(&syn, &key, family, missing.client_isn, kUsualWindow, &missing.negotiated,
                            missing.tsval.has_value(), missing.tsval.value_or(0));
    return bytes_of(syn);
}

void send_from(Arrival& segment, const Endpoint& backend) {
    splice_packet& packet = segment.packet;
    std::byte* const data = segment.bytes.data();
    const std::uint16_t port = splice_htons(backend.port);
    const splice_ip_edit edit{SPLICE_SOURCE, packet.traffic_class, packet.ttl};
    splice_sum delta = 0;
    splice_rewrite_ip(data, data + segment.bytes.size(), &packet, edit, &backend.address.raw(), &delta);
    delta = splice_sum_replace16(delta, packet.ends.source_port, port);
    splice_store16(data + packet.l4_offset, port);
    update_tcp_checksum(data, packet, delta);
    packet.ends.source = backend.address.raw();
    packet.ends.source_port = port;
}

}  // namespace splice::replay
