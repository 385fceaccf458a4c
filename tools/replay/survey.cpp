#include "tools/replay/survey.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "tools/replay/conversations.hpp"

namespace splice::replay {
namespace {

// Methods that clients use; "PRI " begins HTTP/2's preface.
constexpr std::array<std::string_view, 10> kMethods = {"GET ",     "POST ",  "HEAD ",    "PUT ",   "DELETE ",
                                                       "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI "};
// A client's first payload stands at the beginning; a connection that is captured from its middle is not
// searched for one.
constexpr std::uint8_t kLooks = 4;
constexpr int kHandshakeRecord = 0x16;
constexpr int kTlsMajorVersion = 3;

bool begins_tls(Bytes payload) noexcept {
    if (std::to_integer<int>(payload[0]) != kHandshakeRecord) return false;
    return payload.size() < 2 || std::to_integer<int>(payload[1]) == kTlsMajorVersion;
}

bool begins_http(Bytes payload) {
    const std::string_view text = as_text(payload);
    if (std::ranges::any_of(kMethods, [&](std::string_view method) {
            const std::size_t common = std::min(method.size(), text.size());
            return method.substr(0, common) == text.substr(0, common);
        }))
        return true;
    std::string scratch;  // any other method, when the request line is whole
    return std::holds_alternative<Key>(first_payload_key(Protocol::http, HashKeyRule{}, payload, scratch));
}

}  // namespace

std::optional<Protocol> recognise(Bytes payload) {
    if (payload.empty()) return std::nullopt;
    if (begins_tls(payload)) return Protocol::tls;
    if (begins_http(payload)) return Protocol::http;
    return std::nullopt;
}

void Survey::take(const Arrival& arrival) {
    const splice_packet& packet = arrival.packet;
    if (arrival.verdict != SPLICE_CONTINUE || packet.protocol != SPLICE_PROTOCOL_TCP) return;
    const bool turned = is_reversed(packet.key);
    const splice_flow_key name = turned ? reversed(packet.key) : packet.key;
    const auto [found, is_new] = index_.try_emplace(name, static_cast<std::uint32_t>(connections_.size()));
    if (is_new) {
        // Until a SYN says better.
        const bool lower_first = splice_ntohs(name.client_port) < splice_ntohs(name.vip_port);
        connections_.push_back({name, Connection{.reversed = lower_first, .protocol = {}}});
    }
    Connection& connection = connections_[found->second].second;
    if (packet.tcp_flags & SPLICE_SYN) {
        const bool from_server = (packet.tcp_flags & SPLICE_ACK) != 0;
        connection.reversed = from_server != turned;
        return;
    }
    const bool from_server = turned != connection.reversed;
    if (from_server || packet.payload_length == 0 || connection.protocol || connection.looks >= kLooks)
        return;
    ++connection.looks;
    connection.protocol =
        recognise(Bytes(arrival.bytes).subspan(packet.payload_offset, packet.payload_length));
}

Fleets Survey::services() const {
    std::unordered_map<splice_flow_key, std::optional<Protocol>, FlowKeyHash, FlowKeyEqual> protocols;
    const auto server_of = [](const auto& each) {
        const auto& [key, connection] = each;
        splice_flow_key server{};
        server.vip = connection.reversed ? key.client : key.vip;
        server.vip_port = connection.reversed ? key.client_port : key.vip_port;
        return server;
    };
    for (const auto& each : connections_) {
        std::optional<Protocol>& protocol = protocols[server_of(each)];
        if (!protocol) protocol = each.second.protocol;
    }
    Fleets fleets;
    for (const auto& [server, protocol] : protocols)
        fleets.add_service({IpAddress(server.vip), splice_ntohs(server.vip_port)},
                           protocol.value_or(Protocol::tcp));
    return fleets;
}

}  // namespace splice::replay
