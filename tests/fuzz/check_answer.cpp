// What a server answers to a health check (core/prober, core/probe_rule): any bytes in any segments.
//
// Aborts when an answer that is there changes as the stream grows, or cannot be shown in one line; when a
// stream that has ended gets none; when the probe has not exactly one result, or another than the stream in
// one piece.
//
// Input: the probe's kind and rule, whether the stream ends, and how it is cut into segments; then the
// stream.
#include "libsplice/core/prober.hpp"

#include <algorithm>

#include "libsplice/datapath/packet.h"
#include "libsplice/datapath/segment.h"
#include "tests/fuzz/support/fuzzer.hpp"

namespace splice::fuzz {
namespace {

class Nowhere final : public Actions {
  public:
    void send(Bytes packet) noexcept override {
        splice_packet judged{};
        FUZZ_REQUIRE(
            splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged) == SPLICE_CONTINUE,
            "sends {} bytes that are no packet", packet.size());
        last = judged;
    }
    void send_to_hop(const Hop&, Bytes) noexcept override {}
    splice_packet last{};
};

void require_stable_answer(const ProbeRule& rule, std::string_view stream) {
    if (rule.kind == ProbeKind::tcp) return;
    std::optional<ProbeAnswer> before;
    for (std::size_t length = 0; length <= stream.size(); ++length) {
        const auto answer = judge_answer(rule, stream.substr(0, length), false);
        const auto ended = judge_answer(rule, stream.substr(0, length), true);
        FUZZ_REQUIRE(ended.has_value(), "no answer though the stream has ended after {} bytes", length);
        if (answer)
            FUZZ_REQUIRE(answer->passed == ended->passed, "the end changes the answer after {} bytes",
                         length);
        if (before && before->passed)
            FUZZ_REQUIRE(answer && answer->passed, "passed, and not any more after {} bytes", length);
        const bool shows = std::ranges::all_of(ended->words, [](char c) { return c >= ' ' && c < '\x7f'; });
        FUZZ_REQUIRE(shows, "words that cannot be shown after {} bytes", length);
        before = answer;
    }
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(check_answer)(splice::Bytes input) {
    using namespace splice;
    using namespace splice::fuzz;
    Input choices(input);
    const unsigned choice = choices.number8();
    ProbeRule rule;
    rule.kind = static_cast<ProbeKind>(choice % 3);
    if (choice & 4) rule.body = "ok";
    const bool ends = (choice & 8) != 0;
    const std::size_t cut = 1UZ + choices.number8();
    const std::string_view stream = as_text(choices.rest()).substr(0, 512);
    require_stable_answer(rule, stream);

    const Endpoint vip{*IpAddress::parse("192.0.2.100"), 80};
    const IpAddress own = *IpAddress::parse("192.0.2.10");
    const Instant now{std::chrono::seconds(10), 1'700'000'000};
    Prober prober(1);
    Nowhere out;
    splice_secret secret{};
    secret.count = 1;
    const bool begun = prober.begin(now, secret,
                                    {.id = 1,
                                     .rule = std::make_shared<const ProbeRule>(rule),
                                     .vip = vip,
                                     .own = own,
                                     .bridge = *IpAddress::parse("192.0.2.20"),
                                     .carriage = splice_carriage_by_dscp(1),
                                     .timeout = std::chrono::seconds(1)},
                                    out);
    FUZZ_REQUIRE(begun, "{}", "no probe begins");
    const splice_packet opening = out.last;
    for (std::size_t at = 0; at <= stream.size(); at += cut) {
        const std::string_view payload = stream.substr(at, cut);
        const bool last = at + cut > stream.size();
        const splice_option_words options = splice_timestamps_option(0, 0, 0);
        const splice_segment_draft draft{
            .from = &vip.address.raw(),
            .to = &own.raw(),
            .family = 4,
            .from_port = splice_htons(vip.port),
            .to_port = opening.ends.source_port,
            .seq = opening.ack + static_cast<std::uint32_t>(at),
            .ack = opening.seq + opening.payload_length + ((opening.tcp_flags & SPLICE_FIN) ? 1 : 0),
            .window = 1000,
            .flags = static_cast<__u8>(last && ends ? SPLICE_ACK | SPLICE_FIN : SPLICE_ACK)};
        std::vector<std::byte> packet(SPLICE_SEGMENT_MAX + payload.size());
        packet.resize(splice_write_segment_with_payload(packet.data(), &draft, &options, payload.data(),
                                                        static_cast<__u32>(payload.size())));
        splice_packet judged{};
        (void)splice_parse_ip(packet.data(), packet.data() + packet.size(), &judged);
        FUZZ_REQUIRE(prober.handle(now, judged, packet, out), "{}",
                     "a segment of its own is not the probe's");
    }
    prober.expire(now.after(std::chrono::seconds(1)), out);
    const auto results = prober.take_results();
    FUZZ_REQUIRE(results.size() == 1 && prober.running() == 0, "{} results", results.size());
    if (rule.kind == ProbeKind::tcp) return;
    const auto answer = judge_answer(rule, stream, ends);
    const bool passed = answer && answer->passed;
    FUZZ_REQUIRE((results[0].end == ProbeEnd::passed) == passed, "ended as {}", to_string(results[0].end));
}
