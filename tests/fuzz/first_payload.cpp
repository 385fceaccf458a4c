// First payloads in any order of segments: repeated, overlapping, overtaking their own beginning, through
// SegmentHold and through the balancer's whole machine.
//
// Aborts when the stream that SegmentHold gives ever changes what it had, has a gap, or lacks a byte that is
// held without one; when the machine sends the connection to another bridge than the same bytes in one piece
// would go to, or to two; when a byte arrives there altered or not at all, or something arrives there before
// the segment that opens the connection; when something waits though the key is known, or is still held in
// the end.
//
// Input: which rule, the number of segments, for each an offset and a length (two bytes and one), then the
// stream.
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "libsplice/core/segment_hold.hpp"
#include "libsplice/core/splicer.hpp"
#include "tests/fuzz/support/key_promises.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

namespace splice::fuzz {
namespace {

using testing::Octets;
using testing::RawPacket;

constexpr std::uint32_t kIsn = 0xfffffff0;  // the stream crosses the wrap
constexpr std::size_t kStreamMax = 2048;
constexpr Instant kNow{std::chrono::seconds(1000), 1'700'000'000};

struct Cut {
    std::size_t offset, length;
};

// The segments in the order of their coming: as the input says, then the whole stream once in pieces of the
// last one's length, so that every byte has come in the end.
std::vector<Cut> read_cuts(Input& input, Bytes& stream) {
    std::vector<std::pair<std::size_t, std::size_t>> wanted(input.number8() % 32);
    for (auto& [offset, length] : wanted) {
        offset = input.number16();
        length = input.number8();
    }
    stream = input.rest().first(std::min(input.rest().size(), kStreamMax));
    std::vector<Cut> cuts;
    if (stream.empty()) return cuts;
    std::size_t piece = stream.size();
    for (const auto& [offset, length] : wanted) {
        const std::size_t at = offset % stream.size();
        cuts.push_back({at, std::min(length + 1, stream.size() - at)});
        piece = std::max<std::size_t>(length + 1, 8);
    }
    for (std::size_t at = 0; at < stream.size(); at += piece)
        cuts.push_back({at, std::min(piece, stream.size() - at)});
    return cuts;
}

// --- SegmentHold alone, also with segments that contradict each other

void fuzz_hold(const std::vector<Cut>& cuts, Bytes stream, std::uint8_t spoil) {
    const SegmentHoldLimits limits{stream.size() * 3 / 4 + 1, 24};
    SegmentHold hold(Seq(kIsn + 1), limits);
    std::vector<Octets> held;
    // By place: whether its byte came as it is (1), or spoilt (2).
    std::vector<std::uint8_t> came(stream.size());
    const std::string_view text = as_text(stream);
    std::string before;
    for (std::size_t i = 0; i < cuts.size(); ++i) {
        RawPacket segment;
        segment.seq = kIsn + 1 + static_cast<std::uint32_t>(cuts[i].offset);
        segment.payload = as_text(stream.subspan(cuts[i].offset, cuts[i].length));
        if (spoil >> (i % 8) & 1) segment.payload[0] = static_cast<char>(segment.payload[0] ^ 1);
        const Octets bytes = segment.build();
        splice_packet packet{};
        FUZZ_REQUIRE(testing::judge(bytes, packet) == SPLICE_CONTINUE, "our own segment");
        const auto added = hold.add(packet, std::as_bytes(std::span(bytes)));
        if (cuts[i].offset >= limits.stream_bytes)
            FUZZ_REQUIRE(added == SegmentHold::Added::outside, "{}", static_cast<int>(added));
        if (added == SegmentHold::Added::stored) {
            held.push_back(bytes);
            for (std::size_t at = 0; at < cuts[i].length; ++at) {
                std::uint8_t& place = came[cuts[i].offset + at];
                const bool as_it_is = segment.payload[at] == text[cuts[i].offset + at];
                place = static_cast<std::uint8_t>(place | (as_it_is ? 1U : 2U));
            }
        }
        const std::string is(as_text(hold.stream()));
        FUZZ_REQUIRE(is.starts_with(before), "it had {}, and has {}", printable(before), printable(is));
        std::size_t gapless = 0;
        while (gapless < std::min(came.size(), limits.stream_bytes) && came[gapless] != 0) ++gapless;
        FUZZ_REQUIRE(is.size() == gapless, "{} bytes of {}", is.size(), gapless);
        for (std::size_t at = 0; at < is.size(); ++at)
            FUZZ_REQUIRE(came[at] & (is[at] == text[at] ? 1 : 2), "byte {} came in no segment", at);
        FUZZ_REQUIRE(held.size() <= limits.packets, "{} packets", held.size());
        FUZZ_REQUIRE(hold.at_limit() == (is.size() == limits.stream_bytes), "{}", is.size());
        before = is;
    }
    std::uint32_t last = 0;
    std::size_t packets = 0;
    hold.for_each([&](MutableBytes bytes) {
        const auto at = testing::load32(Octets(reinterpret_cast<std::uint8_t*>(bytes.data()),
                                               reinterpret_cast<std::uint8_t*>(bytes.data()) + bytes.size()),
                                        24) -
                        kIsn;
        FUZZ_REQUIRE(at >= last, "{} behind {}", at, last);
        last = at;
        ++packets;
    });
    FUZZ_REQUIRE(packets == held.size(), "{} of {}", packets, held.size());
}

// --- The machine

struct Service {
    Protocol protocol;
    const char* key;
    ProxyProtocol proxy_protocol = ProxyProtocol::off;
};
constexpr std::array<Service, 8> kServices{{{Protocol::http, "uri"},
                                            {Protocol::http, "path depth 1"},
                                            {Protocol::http, "host+uri"},
                                            {Protocol::http, "hdr(x-tenant)"},
                                            {Protocol::http, "url_param(id)"},
                                            {Protocol::tls, "sni"},
                                            {Protocol::http, "uri", ProxyProtocol::accept},
                                            {Protocol::tcp, "source", ProxyProtocol::accept}}};
constexpr std::size_t kBridges = 3;

std::shared_ptr<const SplicerSetup> build_setup(const Service& kind) {
    auto setup = std::make_shared<SplicerSetup>();
    setup->secret = {{{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {}}, 1, 0, {}};
    setup->timeouts = {900, 60, 300};
    setup->max_flows = 8;
    std::vector<PlacementMember> members;
    for (std::uint16_t i = 0; i < kBridges; ++i) {
        members.push_back({fmt::format("b{}", i), fmt::format("b{}:80", i), 1, i});
        setup->bridges.push_back({members.back().name, IpAddress::from_ipv4(0x0a000001U + i)});
    }
    SplicerService service;
    service.name = "cdn";
    service.vip = Endpoint::parse("198.51.100.10:80").value();
    service.protocol = kind.protocol;
    service.key = HashKeyRule::parse(kind.key).value();
    service.proxy_protocol = kind.proxy_protocol;
    service.placement =
        std::make_shared<const Placement>(Placement::build(Algorithm::rendezvous, members, 251).value());
    setup->services.push_back(std::move(service));
    return setup;
}

const std::shared_ptr<const SplicerSetup>& rules_of(std::size_t kind) {
    static const auto all = [] {
        std::array<std::shared_ptr<const SplicerSetup>, kServices.size()> built;
        for (std::size_t i = 0; i < built.size(); ++i) built[i] = build_setup(kServices[i]);
        return built;
    }();
    return all[kind];
}

// Bridges, as what reaches them.
class Bridges final : public Actions {
  public:
    Bridges(Bytes stream, std::uint32_t cookie) : stream_(stream), cookie_(cookie), arrived_(stream.size()) {}

    void send(Bytes packet) noexcept override { take(packet); }
    void send_to_hop(const Hop&, Bytes) noexcept override { FUZZ_REQUIRE(false, "the balancer bounced"); }

    void take(Bytes bytes) {
        splice_packet packet{};
        FUZZ_REQUIRE(splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet) == SPLICE_CONTINUE,
                     "broken");
        FUZZ_REQUIRE(splice_verify_tcp_checksum(bytes.data(), &packet) == 1, "checksum");
        const std::uint32_t bridge = splice_load_be32(packet.ends.destination.bytes + 12) - 0x0a000001U;
        FUZZ_REQUIRE(bridge < kBridges, "{}", IpAddress(packet.ends.destination).to_string());
        const std::uint32_t offset = packet.seq - kIsn - 1;
        if (!bridge_) FUZZ_REQUIRE(offset == 0 && packet.ack == cookie_ + 1, "{} came first", offset);
        FUZZ_REQUIRE(!bridge_ || *bridge_ == bridge, "{} and {}", *bridge_, bridge);
        bridge_ = bridge;
        FUZZ_REQUIRE(offset + packet.payload_length <= stream_.size(), "{}", offset);
        const Bytes payload = bytes.subspan(packet.payload_offset, packet.payload_length);
        FUZZ_REQUIRE(std::ranges::equal(payload, stream_.subspan(offset, payload.size())), "altered at {}",
                     offset);
        std::fill_n(arrived_.begin() + offset, payload.size(), true);
    }
    [[nodiscard]] std::optional<std::uint32_t> bridge() const { return bridge_; }
    [[nodiscard]] bool all_arrived() const { return std::ranges::all_of(arrived_, std::identity{}); }

  private:
    Bytes stream_;
    std::uint32_t cookie_;
    std::optional<std::uint32_t> bridge_;
    std::vector<bool> arrived_;
};

class Answer final : public Actions {
  public:
    void send(Bytes packet) noexcept override { cookie = splice_load_be32(packet.data() + 24); }
    void send_to_hop(const Hop&, Bytes) noexcept override {}
    std::uint32_t cookie = 0;
};

Octets segment_of(std::uint32_t seq, std::uint32_t ack, std::uint8_t flags, std::string payload) {
    RawPacket segment;
    segment.seq = seq;
    segment.ack = ack;
    segment.flags = flags;
    segment.payload = std::move(payload);
    return segment.build();
}

struct Expected {
    std::uint32_t bridge;
    bool at_once;  // as soon as every byte has come; otherwise when the wait is over
};

Expected expected_of(const SplicerService& service, Bytes stream) {
    std::string scratch;
    FirstPayloadScan scan;
    const bool behind_header = service.proxy_protocol == ProxyProtocol::accept;
    const KeyAnswer answer =
        behind_header ? key_behind_proxy_header(service.protocol, service.key, stream, scratch, scan)
                      : first_payload_key(service.protocol, service.key, stream, scratch);
    const splice_address client = scan.proxy.source.value_or(testing::address_of("192.0.2.1"));
    const std::string source(reinterpret_cast<const char*>(client.bytes), sizeof(client.bytes));
    const auto* key = std::get_if<Key>(&answer);
    return {service.placement->choose(key ? key->bytes : source).bridges.choices[0],
            !std::holds_alternative<NeedMore>(answer)};
}

void fuzz_machine(const std::shared_ptr<const SplicerSetup>& setup, const std::vector<Cut>& cuts,
                  Bytes stream) {
    Splicer splicer(setup);
    Answer answer;
    Octets syn = segment_of(kIsn, 0, SPLICE_SYN, "");
    splicer.handle_packet(kNow, std::as_writable_bytes(std::span(syn)), true, answer);
    Bridges bridges(stream, answer.cookie);
    const Expected expected = expected_of(setup->services.front(), stream);
    std::vector<bool> came(stream.size());
    for (const Cut& cut : cuts) {
        Octets bytes = segment_of(kIsn + 1 + static_cast<std::uint32_t>(cut.offset), answer.cookie + 1,
                                  SPLICE_ACK, std::string(as_text(stream.subspan(cut.offset, cut.length))));
        const MutableBytes packet = std::as_writable_bytes(std::span(bytes));
        const Verdict verdict = splicer.handle_packet(kNow, packet, true, bridges);
        if (verdict_kind(verdict) == SPLICE_KIND_forward) bridges.take(packet);
        splicer.expire(kNow, bridges);
        std::fill_n(came.begin() + static_cast<std::ptrdiff_t>(cut.offset), cut.length, true);
        if (expected.at_once && std::ranges::all_of(came, std::identity{}))
            FUZZ_REQUIRE(bridges.all_arrived(), "something waits for nothing");
    }
    splicer.expire(kNow.after(kFirstPayloadWait), bridges);
    FUZZ_REQUIRE(bridges.bridge() == expected.bridge, "{}", bridges.bridge().value_or(kBridges));
    FUZZ_REQUIRE(bridges.all_arrived(), "lost");
    FUZZ_REQUIRE(splicer.counters().held_bytes == 0 && splicer.counters().flows_pending == 0, "held");
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(first_payload)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const std::uint8_t choice = choices.number8();
    splice::Bytes stream;
    const auto cuts = read_cuts(choices, stream);
    if (stream.empty()) return;
    fuzz_hold(cuts, stream, choice);
    fuzz_machine(rules_of(choice % kServices.size()), cuts, stream);
}
