#include "tools/replay/survey.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "libsplice/datapath/proxy_header.h"
#include "tools/replay/conversations.hpp"

namespace splice::replay {
namespace {

// Methods that clients use; "PRI " begins HTTP/2's preface.
constexpr std::array<std::string_view, 10> kMethods = {"GET ",     "POST ",  "HEAD ",    "PUT ",   "DELETE ",
                                                       "OPTIONS ", "PATCH ", "CONNECT ", "TRACE ", "PRI "};
// A connection that is captured from its middle tells by any segment that begins a request or a TLS record;
// it is not searched for ever.
constexpr std::uint8_t kLooks = 16;
constexpr SegmentHoldLimits kStream{16UZ * 1024, 64};
constexpr std::size_t kStreamMemory = 64UZ * 1024 * 1024;  // of all connections together
constexpr int kHandshakeRecord = 0x16;
constexpr int kTlsMajorVersion = 3;

// HTTP's recipients skip empty lines before a request (RFC 9112 section 2.2).
std::string_view behind_empty_lines(Bytes stream) {
    std::string_view text = as_text(stream);
    text.remove_prefix(std::min(text.find_first_not_of("\r\n"), text.size()));
    return text;
}

bool is_beginning_of_method(std::string_view text) {
    return std::ranges::any_of(kMethods, [&](std::string_view method) { return method.starts_with(text); });
}

// A stream without its PROXY header. It has none as long as that is not whole.
struct Unwrapped {
    ProxyProtocol proxy_protocol = ProxyProtocol::off;
    bool needs_more = false;
    Bytes stream;
};

Unwrapped unwrap(Bytes stream) {
    splice_proxy_header header{};
    switch (splice_proxy_read(stream.data(), stream.data() + stream.size(), static_cast<__u32>(stream.size()),
                              &header)) {
        case SPLICE_PROXY_NEED_MORE:
            return {.needs_more = true, .stream = stream};
        case SPLICE_PROXY_WRONG:
            return {.stream = stream};
        default:
            return {.proxy_protocol = ProxyProtocol::accept, .stream = stream.subspan(header.length)};
    }
}

std::optional<Protocol> recognise_unwrapped(Bytes stream) {
    if (stream.empty()) return std::nullopt;
    if (std::to_integer<int>(stream[0]) == kHandshakeRecord) {
        if (stream.size() < 2) return std::nullopt;
        return std::to_integer<int>(stream[1]) == kTlsMajorVersion ? Protocol::tls : Protocol::tcp;
    }
    const std::string_view text = behind_empty_lines(stream);
    if (std::ranges::any_of(kMethods, [&](std::string_view method) { return text.starts_with(method); }))
        return Protocol::http;
    if (is_beginning_of_method(text)) return std::nullopt;
    std::string scratch;  // any other method, when the request line is whole
    const KeyAnswer answer = first_payload_key(Protocol::http, HashKeyRule{}, as_bytes(text), scratch);
    if (std::holds_alternative<NeedMore>(answer)) return std::nullopt;
    return std::holds_alternative<Key>(answer) ? Protocol::http : Protocol::tcp;
}

// http or tls, where the stream may be the beginning of one of theirs.
std::optional<Protocol> guess_unwrapped(Bytes stream) {
    if (const auto spoken = recognise_unwrapped(stream))
        return *spoken == Protocol::tcp ? std::nullopt : spoken;
    const std::string_view text = behind_empty_lines(stream);
    if (text.empty()) return std::nullopt;
    if (text[0] == kHandshakeRecord) return Protocol::tls;
    return is_beginning_of_method(text) ? std::optional(Protocol::http) : std::nullopt;
}

bool is_telling(const std::optional<Speech>& speech) {
    return speech && *speech != Speech{};
}

}  // namespace

std::optional<Speech> recognise(Bytes stream) {
    const Unwrapped unwrapped = unwrap(stream);
    if (unwrapped.needs_more) return std::nullopt;
    const auto protocol = recognise_unwrapped(unwrapped.stream);
    if (!protocol) return std::nullopt;
    return Speech{*protocol, unwrapped.proxy_protocol};
}

std::optional<Speech> guess(Bytes stream) {
    const Unwrapped unwrapped = unwrap(stream);
    const auto protocol = guess_unwrapped(unwrapped.stream);
    if (!protocol && unwrapped.proxy_protocol == ProxyProtocol::off) return std::nullopt;
    return Speech{protocol.value_or(Protocol::tcp), unwrapped.proxy_protocol};
}

void Survey::take(const Arrival& arrival) {
    const splice_packet& packet = arrival.packet;
    if (arrival.verdict != SPLICE_CONTINUE || packet.protocol != SPLICE_PROTOCOL_TCP) return;
    const auto [name, turned] = pair_name(packet);
    const auto [found, is_new] = index_.try_emplace(name, static_cast<std::uint32_t>(connections_.size()));
    if (is_new) {
        // Until a SYN says better.
        const bool lower_first = splice_ntohs(name.client_port) < splice_ntohs(name.server_port);
        Connection fresh;
        fresh.reversed = lower_first;
        connections_.emplace_back(name, std::move(fresh));
    }
    Connection& connection = connections_[found->second].second;
    if (packet.tcp_flags & SPLICE_SYN) {
        const bool from_server = (packet.tcp_flags & SPLICE_ACK) != 0;
        connection.reversed = from_server != turned;
        take_syn(connection, arrival, from_server);
        return;
    }
    const bool from_server = turned != connection.reversed;
    if (!from_server) look(connection, packet, arrival.bytes);
}

void Survey::take_syn(Connection& connection, const Arrival& arrival, bool from_server) {
    const Seq first(from_server ? arrival.packet.ack : arrival.packet.seq + 1);
    // A SYN-ACK acknowledges data on the SYN, too: the SYN itself is the better witness.
    if (from_server ? connection.first.has_value() : connection.first == first) return;
    if (connection.hold) held_ -= connection.hold->memory();
    connection.hold.reset();
    connection.first = first;
    if (from_server || arrival.packet.payload_length == 0) return;
    splice_packet data = arrival.packet;
    ++data.seq;
    look(connection, data, arrival.bytes);
}

void Survey::look(Connection& connection, const splice_packet& packet, Bytes bytes) {
    if (packet.payload_length == 0 || connection.decided) return;
    if (connection.first) return look_at_stream(connection, packet, bytes);
    const auto spoken = recognise(bytes.subspan(packet.payload_offset, packet.payload_length));
    if (++connection.looks >= kLooks || is_telling(spoken)) decide(connection, spoken);
}

void Survey::look_at_stream(Connection& connection, const splice_packet& packet, Bytes bytes) {
    if (!connection.hold) {
        // Nearly always the first segment tells.
        const Bytes payload = bytes.subspan(packet.payload_offset, packet.payload_length);
        const auto spoken = Seq(packet.seq) == *connection.first ? recognise(payload) : std::nullopt;
        if (spoken || held_ >= kStreamMemory) return decide(connection, spoken);
        connection.hold = std::make_unique<SegmentHold>(*connection.first, kStream);
    }
    SegmentHold& hold = *connection.hold;
    const std::size_t before = hold.memory();
    const bool full = hold.add(packet, bytes) == SegmentHold::Added::full || hold.at_limit();
    held_ += hold.memory() - before;
    const auto spoken = recognise(hold.stream());
    if (spoken || full) decide(connection, spoken);
}

void Survey::decide(Connection& connection, std::optional<Speech> speech) {
    connection.decided = true;
    if (is_telling(speech)) connection.speech = speech;
    if (connection.hold) held_ -= connection.hold->memory();
    connection.hold.reset();
}

Fleets Survey::services() const {
    std::unordered_map<splice_flow_key, std::optional<Speech>, FlowKeyHash, FlowKeyEqual> speeches;
    const auto server_of = [](const auto& each) {
        const auto& [key, connection] = each;
        splice_flow_key server{};
        server.server = connection.reversed ? key.client : key.server;
        server.server_port = connection.reversed ? key.client_port : key.server_port;
        return server;
    };
    for (const auto& each : connections_) {
        std::optional<Speech>& speech = speeches[server_of(each)];
        const Connection& connection = each.second;
        if (!speech) speech = connection.hold ? guess(connection.hold->stream()) : connection.speech;
    }
    Fleets fleets;
    for (const auto& [server, speech] : speeches)
        fleets.add_service({IpAddress(server.server), splice_ntohs(server.server_port)},
                           speech.value_or(Speech{}));
    return fleets;
}

}  // namespace splice::replay
