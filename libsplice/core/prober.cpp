#include "libsplice/core/prober.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "libsplice/base/limits.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/segment.h"

namespace splice {
namespace {

constexpr Duration kFirstRepeat =
    std::chrono::milliseconds(200);        // as Linux does that knows nothing of the way
constexpr std::uint16_t kWindow = 65535;   // no scale is offered
constexpr std::uint16_t kTimestamps = 12;  // bytes of options in each segment
constexpr std::size_t kReceivedMax = kProbeAnswerMax;

std::uint16_t port_at(std::size_t place) noexcept {
    return static_cast<std::uint16_t>(SPLICE_PROBE_PORT_FIRST + place);
}

std::size_t payload_max(std::uint16_t mss) noexcept {
    return mss > 2 * kTimestamps ? mss - kTimestamps : mss;
}

// What the balancer would have answered to this client's SYN, now.
struct SynAnswer {
    Seq cookie;
    std::uint32_t lane_hash = 0;
    std::uint32_t tsval = 0;
};

SynAnswer answer_for(const ProbeOrder& order, std::uint16_t port, Seq isn, const splice_secret& secret,
                     Instant now) noexcept {
    splice_packet syn{};
    syn.ends.source = order.own.raw();
    syn.ends.destination = order.vip.address.raw();
    syn.ends.source_port = splice_htons(port);
    syn.ends.destination_port = splice_htons(order.vip.port);
    syn.family = static_cast<__u8>(order.vip.address.family());
    syn.seq = isn.value();
    splice_tcp_options offered{};
    offered.mss = order.mss;
    offered.window_scale = SPLICE_NO_WINDOW_SCALE;
    std::uint16_t proof = 0;
    const Seq cookie(
        splice_cookie_issue(&secret, &syn, &offered, static_cast<std::uint64_t>(now.unix_s), &proof));
    if (!order.keyed_clock) return {.cookie = cookie, .tsval = now.tsval()};
    const std::uint32_t hash = splice_lane_hash(&secret.lane, splice_flow_toward_server(&syn));
    return {
        .cookie = cookie, .lane_hash = hash, .tsval = splice_clock_of_syn_ack(hash, proof, now.unix_ms())};
}

bool is_too_big(const splice_packet& packet) noexcept {
    return packet.family == 4 ? packet.icmp_type == 3 && packet.icmp_code == 4 : packet.icmp_type == 2;
}

// In the words of RFC 792, RFC 1812 section 5.2.7.1 and RFC 4443.
std::string_view unreachable_words(const splice_packet& packet) noexcept {
    const std::uint8_t code = packet.icmp_code;
    constexpr std::array<std::string_view, 16> kIpv4{"network unreachable",
                                                     "host unreachable",
                                                     "protocol unreachable",
                                                     "port unreachable",
                                                     "",
                                                     "source route failed",
                                                     "network unknown",
                                                     "host unknown",
                                                     "host isolated",
                                                     "network prohibited",
                                                     "host prohibited",
                                                     "network unreachable for its mark",
                                                     "host unreachable for its mark",
                                                     "prohibited by a firewall",
                                                     "host precedence violation",
                                                     "precedence cutoff"};
    constexpr std::array<std::string_view, 7> kIpv6{"no route",
                                                    "prohibited by a firewall",
                                                    "beyond the scope of the source address",
                                                    "address unreachable",
                                                    "port unreachable",
                                                    "source address failed a filter",
                                                    "route rejected"};
    const bool unreachable = packet.icmp_type == (packet.family == 4 ? 3 : 1);
    if (unreachable && packet.family == 4 && code < kIpv4.size()) return kIpv4[code];
    if (unreachable && packet.family == 6 && code < kIpv6.size()) return kIpv6[code];
    if (packet.icmp_type == (packet.family == 4 ? 11 : 3)) return "time to live exceeded";
    return "an ICMP error";
}

}  // namespace

std::string_view to_string(ProbeEnd end) noexcept {
    switch (end) {
        case ProbeEnd::silent:
            return "silent";
        case ProbeEnd::bounced:
            return "bounced";
        case ProbeEnd::reset:
            return "reset";
        case ProbeEnd::late:
            return "late";
        case ProbeEnd::wrong:
            return "wrong";
        case ProbeEnd::secret:
            return "secret";
        case ProbeEnd::clock:
            return "clock";
        case ProbeEnd::unreachable:
            return "unreachable";
        case ProbeEnd::too_big:
            return "too_big";
        case ProbeEnd::passed:
            break;
    }
    return "passed";
}

// SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t Prober::random() noexcept {
    random_ += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = random_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

// The one that rests longest: what is still on its way to it is least likely to meet the next probe.
std::uint16_t Prober::free_port() noexcept {
    for (std::size_t i = 1; i <= probes_.size(); ++i) {
        const std::size_t place = (last_ + i) % probes_.size();
        if (probes_[place] && probes_[place]->runs) continue;
        last_ = static_cast<std::uint16_t>(place);
        return port_at(place);
    }
    return 0;
}

bool Prober::begin(Instant now, const splice_secret& secret, ProbeOrder order, Actions& out) {
    const std::uint16_t port = free_port();
    if (port == 0) return false;
    auto probe = std::make_unique<Probe>();
    const Seq isn(static_cast<std::uint32_t>(random()));
    const std::size_t least = order.full_segment ? payload_max(order.mss) : 0;
    probe->stream = probe_stream(*order.rule, {.own = {order.own, port}, .vip = order.vip},
                                 order.proxy_header, random(), least);
    // Who asks for nothing closes at once: that is acknowledged as payload is.
    probe->ends_stream = probe->stream.empty();
    probe->first = isn + 1;
    probe->next =
        probe->first + static_cast<std::uint32_t>(probe->stream.size()) + (probe->ends_stream ? 1 : 0);
    const SynAnswer answered = answer_for(order, port, isn, secret, now);
    probe->awaited = answered.cookie + 1;
    probe->echo = answered.tsval;
    probe->lane_hash = answered.lane_hash;
    probe->runs = true;
    probe->deadline = now.monotonic + order.timeout;
    probe->gap = kFirstRepeat;
    probe->repeat = now.monotonic + probe->gap;
    probe->order = std::move(order);
    auto& place = probes_[port - SPLICE_PROBE_PORT_FIRST];
    place = std::move(probe);
    send_stream(now, port, *place, out);
    schedule(port, *place);
    return true;
}

// What is lost of it is sent again whole: it is one segment nearly always.
void Prober::send_stream(Instant now, std::uint16_t port, Probe& probe, Actions& out) {
    ++probe.sent;
    const std::string_view stream = probe.stream;
    const std::size_t most = payload_max(probe.order.mss);
    if (stream.empty()) return send(now, port, probe, SPLICE_ACK | SPLICE_FIN, probe.first, {}, out);
    for (std::size_t at = 0; at < stream.size(); at += most) {
        send(now, port, probe, SPLICE_ACK | SPLICE_PSH, probe.first + static_cast<std::uint32_t>(at),
             stream.substr(at, most), out);
    }
}

void Prober::send(Instant now, std::uint16_t port, const Probe& probe, std::uint8_t flags, Seq seq,
                  std::string_view payload, Actions& out) {
    const ProbeOrder& order = probe.order;
    const bool times = (flags & SPLICE_RST) == 0;
    const splice_option_words options = splice_timestamps_option(times, now.tsval(), probe.echo);
    const splice_segment_draft draft{.from = &order.own.raw(),
                                     .to = &order.vip.address.raw(),
                                     .family = static_cast<__u32>(order.vip.address.family()),
                                     .from_port = splice_htons(port),
                                     .to_port = splice_htons(order.vip.port),
                                     .seq = seq.value(),
                                     .ack = probe.awaited.value(),
                                     .window = kWindow,
                                     .flags = flags};
    std::vector<std::byte> bytes(SPLICE_SEGMENT_MAX + payload.size());
    bytes.resize(splice_write_segment_with_payload(bytes.data(), &draft, &options, payload.data(),
                                                   static_cast<std::uint32_t>(payload.size())));
    splice_packet packet{};
    std::byte* const data = bytes.data();
    if (splice_parse_ip(data, data + bytes.size(), &packet) != SPLICE_CONTINUE) return;
    if (splice_carry(data, data + bytes.size(), &packet, &order.bridge.raw(), order.carriage) !=
        SPLICE_CONTINUE)
        return;
    out.send(bytes);
}

Prober::Probe* Prober::find(const Endpoint& vip, std::uint16_t own_port, const splice_address& own) noexcept {
    if (!splice_is_probe_port(splice_htons(own_port))) return nullptr;
    Probe* const probe = probes_[own_port - SPLICE_PROBE_PORT_FIRST].get();
    if (!probe || !(probe->order.vip == vip) || !splice_address_equal(&probe->order.own.raw(), &own))
        return nullptr;
    return probe;
}

bool Prober::handle(Instant now, const splice_packet& packet, Bytes bytes, Actions& out) {
    const Endpoint vip{IpAddress(packet.ends.source), splice_ntohs(packet.ends.source_port)};
    const std::uint16_t port = splice_ntohs(packet.ends.destination_port);
    Probe* const probe = find(vip, port, packet.ends.destination);
    if (!probe) return false;
    if (probe->runs) {
        take(now, port, *probe, packet, bytes, out);
    } else if ((packet.tcp_flags & (SPLICE_ACK | SPLICE_RST)) == SPLICE_ACK) {
        send(now, port, *probe, SPLICE_RST, Seq(packet.ack), {}, out);
    }
    return true;
}

// A bridge sends back at once what its backend refuses, and by its third time what its secret or its clock
// does not know (Strangers). By another secret it seals its name otherwise, too.
bool Prober::handle_bounced(const splice_packet& packet, Bytes bytes, const splice_secret& secret) {
    const Endpoint vip{IpAddress(packet.ends.destination), splice_ntohs(packet.ends.destination_port)};
    const std::uint16_t port = splice_ntohs(packet.ends.source_port);
    Probe* const probe = find(vip, port, packet.ends.source);
    if (!probe) return false;
    if (!probe->runs || Seq(packet.seq) != probe->first || probe->acknowledged) return true;
    const splice_refusal refusal =
        splice_read_refusal(bytes.data(), bytes.data() + bytes.size(), &packet, &secret);
    ProbeEnd end = ProbeEnd::bounced;
    if (probe->sent > kUnknownRepeats)
        end = splice_refusal_is_of(&refusal, &probe->order.bridge.raw()) ? ProbeEnd::clock : ProbeEnd::secret;
    finish(port, *probe, end);
    return true;
}

// Anyone can send one. Who has not seen the opening guesses its port and its sequence number.
bool Prober::handle_icmp(const splice_packet& packet, Bytes bytes) {
    splice_packet quoted{};
    if (splice_parse_icmp_error(bytes.data(), bytes.data() + bytes.size(), &packet, &quoted) !=
        SPLICE_CONTINUE)
        return false;
    const std::uint16_t port = splice_ntohs(quoted.ends.source_port);
    if (!splice_is_probe_port(quoted.ends.source_port)) return false;
    Probe* const probe = probes_[port - SPLICE_PROBE_PORT_FIRST].get();
    if (!probe || !probe->runs || probe->heard) return false;
    const ProbeOrder& order = probe->order;
    const Seq seq(quoted.seq);
    if (!splice_address_equal(&order.own.raw(), &quoted.ends.source) ||
        !splice_address_equal(&order.bridge.raw(), &quoted.ends.destination) ||
        splice_ntohs(quoted.ends.destination_port) != order.vip.port || before(seq, probe->first) ||
        !before(seq, probe->next))
        return false;
    const IpAddress from(packet.ends.source);
    const bool elsewhere = !(from == order.bridge);
    if (is_too_big(packet)) {
        // The last two bytes (RFC 1191), or four (RFC 4443), before the quoted packet.
        const std::byte* const quote = bytes.data() + packet.payload_offset;
        const std::uint32_t mtu =
            packet.family == 4 ? splice_load_be16(quote - 2) : splice_load_be32(quote - 4);
        finish(port, *probe, ProbeEnd::too_big,
               "larger than the way to it, where " + from.to_string() + " takes " + std::to_string(mtu) +
                   " bytes",
               elsewhere);
    } else {
        finish(port, *probe, ProbeEnd::unreachable,
               std::string(unreachable_words(packet)) + ", says " + from.to_string(), elsewhere);
    }
    return true;
}

// RFC 9293 section 3.10.7.4, as far as a client needs it that is answered once.
void Prober::take(Instant now, std::uint16_t port, Probe& probe, const splice_packet& packet, Bytes bytes,
                  Actions& out) {
    const Seq seq(packet.seq);
    const auto ahead = seq - probe.awaited;
    if (packet.tcp_flags & SPLICE_RST) {
        if (ahead >= 0 && ahead <= kWindow) finish(port, probe, ProbeEnd::reset);
        return;
    }
    const Seq acknowledged(packet.ack);
    if ((packet.tcp_flags & (SPLICE_ACK | SPLICE_SYN)) != SPLICE_ACK || before(acknowledged, probe.first) ||
        before(probe.next, acknowledged))
        return;
    if (!std::exchange(probe.heard, true)) note_number(now, probe, packet, bytes);
    if (acknowledged == probe.next && !probe.acknowledged) {
        probe.acknowledged = true;
        unschedule(port, probe);
        probe.repeat = Duration::max();
        schedule(port, probe);
    }
    const bool speaks = packet.payload_length != 0 || (packet.tcp_flags & SPLICE_FIN);
    if (speaks) receive(probe, packet, bytes);
    std::optional<ProbeAnswer> answer;
    if (probe.order.rule->kind != ProbeKind::tcp)
        answer = judge_answer(*probe.order.rule, probe.received, probe.ended);
    else if (probe.acknowledged)
        answer = ProbeAnswer{.passed = true, .words = {}};
    if (answer) {
        send(now, port, probe, SPLICE_RST | SPLICE_ACK, probe.next, {}, out);
        return finish(port, probe, answer->passed ? ProbeEnd::passed : ProbeEnd::wrong,
                      std::move(answer->words));
    }
    // Also of what came out of order: the server learns what is missing.
    if (speaks) send(now, port, probe, SPLICE_ACK, probe.next, {}, out);
}

// The first answer shows the clock that the bridge has given to the connection.
void Prober::note_number(Instant now, Probe& probe, const splice_packet& packet, Bytes bytes) noexcept {
    if (!probe.order.keyed_clock) return;
    splice_tcp_options options{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
    probe.number.emplace();
    if (options.malformed || options.timestamps_offset == 0) return;
    probe.number = {.timestamps = true,
                    .lane = splice_lane_of(probe.lane_hash, options.tsval, now.unix_ms())};
}

// Takes what continues the stream. What is ahead of it comes again.
void Prober::receive(Probe& probe, const splice_packet& packet, Bytes bytes) noexcept {
    const auto known = probe.awaited - Seq(packet.seq);
    if (known < 0 || static_cast<std::uint32_t>(known) > packet.payload_length || probe.ended) return;
    const Bytes payload = bytes.subspan(packet.payload_offset, packet.payload_length);
    const std::string_view more = as_text(payload.subspan(static_cast<std::size_t>(known)));
    probe.received += more.substr(0, kReceivedMax - std::min(kReceivedMax, probe.received.size()));
    probe.awaited = probe.awaited + static_cast<std::uint32_t>(more.size());
    splice_tcp_options options{};
    splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet, &options);
    if (options.timestamps_offset != 0) probe.echo = options.tsval;
    if ((packet.tcp_flags & SPLICE_FIN) == 0) return;
    probe.ended = true;
    probe.awaited = probe.awaited + 1;
}

void Prober::expire(Instant now, Actions& out) {
    while (!deadlines_.empty() && deadlines_.begin()->first <= now.monotonic) {
        const std::uint16_t port = deadlines_.begin()->second;
        Probe& probe = *probes_[port - SPLICE_PROBE_PORT_FIRST];
        if (probe.deadline <= now.monotonic) {
            if (probe.heard) send(now, port, probe, SPLICE_RST | SPLICE_ACK, probe.next, {}, out);
            finish(port, probe, probe.heard ? ProbeEnd::late : ProbeEnd::silent);
            continue;
        }
        unschedule(port, probe);
        probe.gap *= 2;
        probe.repeat = now.monotonic + probe.gap;
        send_stream(now, port, probe, out);
        schedule(port, probe);
    }
}

std::optional<Duration> Prober::next_deadline() const noexcept {
    if (deadlines_.empty()) return std::nullopt;
    return deadlines_.begin()->first;
}

void Prober::schedule(std::uint16_t port, const Probe& probe) {
    deadlines_.emplace(std::min(probe.deadline, probe.repeat), port);
}

void Prober::unschedule(std::uint16_t port, const Probe& probe) noexcept {
    deadlines_.erase({std::min(probe.deadline, probe.repeat), port});
}

void Prober::finish(std::uint16_t port, Probe& probe, ProbeEnd end, std::string words, bool from_elsewhere) {
    unschedule(port, probe);
    results_.push_back({.id = probe.order.id,
                        .end = end,
                        .words = std::move(words),
                        .from_elsewhere = from_elsewhere,
                        .number = probe.number});
    probe.runs = false;
    probe.stream = {};
    probe.received = {};
}

}  // namespace splice
