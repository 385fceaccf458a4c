// The pages under docs/ against the code: what they show is decoded and computed again.
#include <doctest/doctest.h>

#include <fstream>
#include <sstream>
#include <string>

#include "libsplice/datapath/balancer_rules.h"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/refusal.h"
#include "libsplice/datapath/translate.h"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

std::string page(const std::string& name) {
    std::ifstream file(SPLICELB_SOURCE_DIR "/docs/" + name);
    REQUIRE(file.is_open());
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// The hex bytes that stand in a code block behind `label` at the start of a line, up to an empty line, the
// next label or the block's end.
Octets hex_behind(const std::string& text, const std::string& label) {
    const auto start = text.find("\n" + label + " ");
    REQUIRE_MESSAGE(start != std::string::npos, label);
    std::istringstream lines(text.substr(start + 1 + label.size()));
    Octets bytes;
    bool first = true;
    for (std::string line; std::getline(lines, line); first = false) {
        if (!first && (line.empty() || line.front() != ' ')) break;
        std::istringstream words(line);
        for (std::string word; words >> word;)
            bytes.push_back(static_cast<std::uint8_t>(std::stoul(word, nullptr, 16)));
    }
    return bytes;
}

// The number written as 0x... behind `words`.
std::uint32_t number_behind(const std::string& text, const std::string& words) {
    const auto at = text.find(words);
    REQUIRE_MESSAGE(at != std::string::npos, words);
    return static_cast<std::uint32_t>(std::stoul(text.substr(text.find("0x", at)), nullptr, 16));
}

std::uint64_t big_endian(const Octets& bytes) {
    std::uint64_t value = 0;
    for (const auto byte : bytes) value = value << 8 | byte;
    return value;
}

}  // namespace

TEST_CASE("the worked example of docs/cookie.md is what the code does") {
    const auto text = page("cookie.md");
    const auto key_bytes = hex_behind(text, "key");
    const auto message = hex_behind(text, "message");
    REQUIRE(key_bytes.size() == 16);
    REQUIRE(message.size() == 48);
    splice_secret secret{};
    std::memcpy(&secret.keys[0], key_bytes.data(), 16);
    secret.count = 1;

    splice_packet syn;
    const auto packet = RawPacket{.source = "192.0.2.1",
                                  .destination = "192.168.33.10",
                                  .seq = 0x1000,
                                  .flags = SPLICE_SYN,
                                  .options = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}}
                            .build();
    REQUIRE(judge(packet, syn) == SPLICE_CONTINUE);
    const auto offered = options_of(packet, syn);
    CHECK(std::equal(message.begin(), message.begin() + 16, syn.ends.source.bytes));
    CHECK(std::equal(message.begin() + 16, message.begin() + 32, syn.ends.destination.bytes));
    CHECK(load16(message, 32) == splice_ntohs(syn.ends.source_port));
    CHECK(load16(message, 34) == splice_ntohs(syn.ends.destination_port));
    CHECK(load32(message, 36) == syn.seq);
    const auto epoch = load32(message, 40);
    CHECK(epoch == number_behind(text, "epoch 26562500"));
    CHECK(epoch == 1'700'000'000 / SPLICE_EPOCH_SECONDS);
    CHECK(message[44] == number_behind(text, "scale 7: "));

    const auto hash = big_endian(hex_behind(text, "hash"));
    const auto cookie = static_cast<std::uint32_t>(big_endian(hex_behind(text, "cookie")));
    CHECK(splice_cookie_hash(&secret.keys[0], splice_flow_toward_server(&syn), syn.seq, epoch, message[44]) ==
          hash);
    CHECK(cookie == (hash >> 40 << 8 | message[44]));
    CHECK(splice_cookie_make(&secret, &syn, &offered, 1'700'000'000) == cookie);
    splice_negotiated negotiated{};
    REQUIRE(splice_cookie_check(&secret, splice_flow_toward_server(&syn), 4, syn.seq, cookie, 1'700'000'000,
                                &negotiated));
    CHECK(negotiated.mss == 1460);
    CHECK(negotiated.sack_permitted == 1);
    CHECK(negotiated.window_scale == 7);
}

TEST_CASE("the worked example of docs/lanes.md is what the code does") {
    const auto text = page("lanes.md");
    splice_secret secret{};
    std::memcpy(&secret.keys[0], hex_behind(page("cookie.md"), "key").data(), 16);
    const splice_lane_key key = splice_lane_key_from(&secret.keys[0]);
    const splice_flow_key flow{.client = address_of("192.0.2.1"),
                               .server = address_of("192.168.33.10"),
                               .client_port = splice_htons(40000),
                               .server_port = splice_htons(80),
                               .zero = 0};
    const auto hash = splice_lane_hash(&key, &flow);
    const auto proof = splice_proof_of_hash(big_endian(hex_behind(page("cookie.md"), "hash")));
    const auto now = static_cast<std::uint32_t>(1'700'000'000'123);
    const auto last = [&](const std::string& line) {
        const auto at = text.find(line);
        REQUIRE_MESSAGE(at != std::string::npos, line);
        const auto end = text.find('\n', at);
        return static_cast<std::uint32_t>(std::stoul(text.substr(text.rfind("= ", end) + 2), nullptr, 16));
    };
    CHECK(proof == number_behind(text, "so the proof is"));
    CHECK(hash == number_behind(text, "H is"));
    CHECK(now == number_behind(text, "the wall clock is"));
    CHECK(splice_clock_of_syn_ack(hash, proof, now) == last("SYN-ACK     TSval"));
    const auto begin = splice_lane_begin(hash, 7, now + 40);
    CHECK(begin == last("bridge 7    40 ms later"));
    const auto echo = begin + 90'000 - 35;
    CHECK(echo == last("the echo    90 s after that"));
    CHECK(echo - (now + 40 + 90'000) - hash == last("less the clock"));
    CHECK(splice_lane_of(hash, echo, now + 40 + 90'000) == 7);
}

TEST_CASE("the worked example of docs/translation.md is what the code does") {
    const auto text = page("translation.md");
    const auto cookie = number_behind(text, "the cookie is");
    const auto backend_isn = number_behind(text, "chose the ISN");
    splice_translation how{};
    how.vip = address_of("192.168.33.10");
    how.backend = address_of("192.168.33.30");
    how.vip_port = splice_htons(80);
    how.backend_port = splice_htons(8080);
    how.seq_shift = cookie - backend_isn;
    how.ts_shift = number_behind(text, "payload TSecr") - number_behind(text, "SYN-ACK said TSval");
    how.advertised_window_scale = 7;
    how.backend_window_scale = 10;
    CHECK(cookie == big_endian(hex_behind(page("cookie.md"), "cookie")));
    CHECK(how.seq_shift == number_behind(text, "`seq_shift` is"));
    CHECK(how.ts_shift == number_behind(text, "`ts_shift` is"));

    for (const bool toward_client : {true, false}) {
        auto packet = hex_behind(text, toward_client ? "backend sends" : "client sends");
        const auto expected = hex_behind(text, toward_client ? "client sees" : "backend sees");
        REQUIRE(checksums_right(packet));
        splice_packet judged;
        REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
        const auto options = options_of(packet, judged);
        splice_translate_deltas deltas{};
        auto* end = packet.data() + packet.size();
        const auto translate =
            toward_client ? splice_translate_toward_client : splice_translate_toward_backend;
        REQUIRE(translate(packet.data(), end, &judged, &options, &how, &deltas) == SPLICE_CONTINUE);
        splice_translate_finish(packet.data(), end, &judged, &deltas);
        CHECK(packet == expected);
        CHECK(checksums_right(packet));
    }
}

TEST_CASE("the worked example of docs/flow_entry.md is what the code does") {
    const auto bytes = hex_behind(page("flow_entry.md"), "entry");
    splice_packet payload;
    const auto cookie = static_cast<std::uint32_t>(big_endian(hex_behind(page("cookie.md"), "cookie")));
    const auto packet = RawPacket{.source = "192.0.2.1",
                                  .destination = "192.168.33.10",
                                  .ack = cookie + 1,
                                  .flags = SPLICE_ACK,
                                  .payload = "GET /a"}
                            .build();
    REQUIRE(judge(packet, payload) == SPLICE_CONTINUE);
    splice_flow_entry entry{};
    splice_flow_begin(&entry, &payload, SPLICE_FLOW_OPEN, 1, splice_carriage_by_dscp(1), 3023, 2, 1000);
    REQUIRE(bytes.size() == sizeof(entry));
    splice_flow_entry shown{};
    std::memcpy(&shown, bytes.data(), sizeof(shown));
    CHECK(std::memcmp(&shown, &entry, sizeof(entry)) == 0);
    CHECK(shown.last_seen_s == 1000);
    CHECK(shown.row + 0U == 3023);
    CHECK(shown.bridge == 2);
    CHECK(shown.service == 1);
    CHECK(shown.state + 0 == SPLICE_FLOW_OPEN);
    CHECK(splice_flow_is_own(&shown, cookie));
}

TEST_CASE("the worked example of docs/refusal.md is what the code does") {
    constexpr splice_secret kSecret{{{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {}}, 1, 0, {}};
    const auto text = page("refusal.md");
    auto packet = hex_behind(text, "got");
    const auto bounced = hex_behind(text, "bounced");
    const auto name_bytes = hex_behind(text, "name");
    const auto seal_bytes = hex_behind(text, "seal");
    const auto mark_bytes = hex_behind(text, "mark");
    REQUIRE(packet.size() == 20);
    packet.resize(40);  // a TCP header behind it: only the IP header is shown
    splice_store_be16(packet.data() + 20, 40000);
    splice_store_be16(packet.data() + 22, 80);
    splice_store_be32(packet.data() + 28, 0x3c5d3700);
    packet[32] = 0x50;
    packet[33] = SPLICE_ACK;
    splice_packet judged;
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const splice_address bridge = judged.ends.destination;
    const splice_address vip = address_of("192.168.33.10");
    const splice_ends& ends = judged.ends;
    const std::uint16_t name = splice_refuser_name(&bridge);
    const std::uint16_t seal = splice_refusal_seal(&kSecret.keys[0], &ends.source, &vip, ends.source_port,
                                                   ends.destination_port, judged.ack);
    const std::uint16_t mark = splice_refusal_mark(&kSecret, &judged, &vip, &bridge);
    CHECK(std::memcmp(&name, name_bytes.data(), 2) == 0);
    CHECK(std::memcmp(&seal, seal_bytes.data(), 2) == 0);
    CHECK(std::memcmp(&mark, mark_bytes.data(), 2) == 0);
    auto* end = packet.data() + packet.size();
    REQUIRE(splice_carry_back(packet.data(), end, &judged, &vip) == SPLICE_CONTINUE);
    splice_write_refusal(packet.data(), end, &judged, mark);
    CHECK(std::equal(bounced.begin(), bounced.end(), packet.begin()));
    REQUIRE(judge(packet, judged) == SPLICE_CONTINUE);
    const splice_refusal refusal = splice_read_refusal(packet.data(), end, &judged, &kSecret);
    CHECK(splice_refusal_is_of(&refusal, &bridge));
    CHECK_FALSE(splice_refusal_is_of(&refusal, &vip));
}

TEST_CASE("docs/verdicts.md has every verdict, in the order of the list, with its kind and meaning") {
    const std::string text = page("verdicts.md");
    const auto table = text.find("|---|---|---|\n");
    REQUIRE(table != std::string::npos);
    std::istringstream rows(text.substr(table + 14));
    std::string row;
    // A verdict that is new in verdicts.h wants the row that this prints.
#define X(kind, name, meaning) \
    std::getline(rows, row);   \
    REQUIRE(row == "| `" #name "` | " #kind " | " meaning " |");
    SPLICE_VERDICTS(X)
#undef X
    CHECK_FALSE(std::getline(rows, row));
}
