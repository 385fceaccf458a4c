// Nanoseconds of each rule by itself. An edited packet is copied anew before each edit: the copy is part of
// the figure (BM_copy says how much).
#include <benchmark/benchmark.h>

#include <cstring>

#include "libsplice/core/http_key.hpp"
#include "libsplice/core/tls_hello.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/hash.h"
#include "libsplice/datapath/request_line.h"
#include "libsplice/datapath/translate.h"
#include "tests/bench/flows.hpp"

namespace {

using namespace splice;
using namespace splice::bench;
using testing::PacketBytes;

struct Judged {
    explicit Judged(PacketBytes packet) : bytes(std::move(packet)) {
        splice_parse_ip(bytes.data(), bytes.data() + bytes.size(), &packet_view);
        splice_parse_tcp_options(bytes.data(), bytes.data() + bytes.size(), &packet_view, &options);
    }
    PacketBytes bytes;
    splice_packet packet_view{};
    splice_tcp_options options{};
};

PacketBytes syn() {
    testing::Segment segment;
    segment.flags = SPLICE_SYN;
    segment.mss = 1460;
    segment.sack_permitted = true;
    segment.window_scale = 7;
    segment.timestamps = testing::Timestamps{777'000, 0};
    return segment.build();
}

PacketBytes ack_with_sack() {
    testing::Segment segment;
    segment.timestamps = testing::Timestamps{777'000, 888'000};
    segment.sack = {{1000, 2000}, {3000, 4000}};
    return segment.build();
}

PacketBytes full_segment() {
    testing::Segment segment;
    segment.timestamps = testing::Timestamps{777'000, 888'000};
    segment.payload = std::string(1448, 'x');
    return segment.build();
}

void BM_copy(benchmark::State& state) {
    const PacketBytes original = ack_with_sack();
    PacketBytes packet = original;
    for (auto _ : state) {
        std::memcpy(packet.data(), original.data(), original.size());
        benchmark::DoNotOptimize(packet.data());
    }
}
BENCHMARK(BM_copy);

void BM_cookie_make(benchmark::State& state) {
    const Judged judged(syn());
    for (auto _ : state)
        benchmark::DoNotOptimize(
            splice_cookie_make(&testing::kSecret, &judged.packet_view, &judged.options, 1'700'000'000));
}
BENCHMARK(BM_cookie_make);

void BM_cookie_check(benchmark::State& state) {
    FirstPayloads flows;
    const Judged judged(flows.packet(1));
    const auto now = static_cast<std::uint64_t>(testing::at(0).unix_s);
    splice_negotiated negotiated{};
    for (auto _ : state) {
        const int valid =
            splice_cookie_check_segment(&testing::kSecret, &judged.packet_view, now, &negotiated);
        if (!valid) state.SkipWithError("the cookie is not valid");
    }
}
BENCHMARK(BM_cookie_check);

void BM_parse(benchmark::State& state) {
    const PacketBytes packet = ack_with_sack();
    splice_packet parsed{};
    for (auto _ : state) {
        benchmark::DoNotOptimize(splice_parse_ip(packet.data(), packet.data() + packet.size(), &parsed));
        benchmark::DoNotOptimize(parsed);
    }
}
BENCHMARK(BM_parse);

void BM_parse_tcp_options(benchmark::State& state) {
    const Judged judged(ack_with_sack());
    splice_tcp_options options{};
    for (auto _ : state) {
        splice_parse_tcp_options(judged.bytes.data(), judged.bytes.data() + judged.bytes.size(),
                                 &judged.packet_view, &options);
        benchmark::DoNotOptimize(options);
    }
}
BENCHMARK(BM_parse_tcp_options);

void BM_request_line(benchmark::State& state) {
    splice_request_key key{};
    const splice_key_rule rule{0, SPLICE_KEY_URI, 0, 0, 0};
    const char* const begin = kRequest.data();
    for (auto _ : state) {
        const auto answer = splice_request_line(begin, begin + kRequest.size(),
                                                static_cast<std::uint32_t>(kRequest.size()), rule, &key);
        if (answer != SPLICE_REQUEST_KEY) state.SkipWithError("no key");
        benchmark::DoNotOptimize(key);
    }
}
BENCHMARK(BM_request_line);

void measure_key(benchmark::State& state, Protocol protocol, const std::string& rule_text,
                 const std::string& stream) {
    const HashKeyRule rule = *HashKeyRule::parse(rule_text);
    std::string scratch;
    for (auto _ : state) {
        const KeyAnswer answer = first_payload_key(protocol, rule, std::as_bytes(std::span(stream)), scratch);
        if (!std::holds_alternative<Key>(answer)) state.SkipWithError("no key");
        benchmark::DoNotOptimize(answer);
    }
}
void BM_key_uri(benchmark::State& state) {
    measure_key(state, Protocol::http, "uri", kRequest);
}
void BM_key_host_uri(benchmark::State& state) {
    measure_key(state, Protocol::http, "host+uri", kRequest);
}

std::string number(std::size_t value, int bytes) {
    std::string text;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
        text += static_cast<char>(value >> shift & 0xff);
    return text;
}
std::string sized(int length_bytes, const std::string& text) {
    return number(text.size(), length_bytes) + text;
}

// As a browser sends it: a post-quantum key share before the name (RFC 8446 section 4.1.2).
std::string client_hello() {
    const std::string name = sized(2, sized(2, number(0, 1) + sized(2, "cdn.example.com")));
    const std::string extensions = number(0x0033, 2) + sized(2, std::string(1260, 'k')) + number(0, 2) + name;
    const std::string body = std::string("\x03\x03") + std::string(32, 'r') + sized(1, std::string(32, 's')) +
                             sized(2, std::string("\x13\x01", 2)) + sized(1, std::string(1, '\0')) +
                             sized(2, extensions);
    return std::string("\x16\x03\x01") + sized(2, std::string(1, '\1') + sized(3, body));
}
void BM_key_sni(benchmark::State& state) {
    measure_key(state, Protocol::tls, "sni", client_hello());
}
BENCHMARK(BM_key_uri);
BENCHMARK(BM_key_host_uri);
BENCHMARK(BM_key_sni);

void BM_hash(benchmark::State& state) {
    const std::string key(static_cast<std::size_t>(state.range(0)), 'u');
    for (auto _ : state) {
        benchmark::DoNotOptimize(
            splice_xxh64(key.data(), key.data() + key.size(), static_cast<std::uint32_t>(key.size())));
    }
}
BENCHMARK(BM_hash)->Arg(16)->Arg(60)->Arg(180);

void BM_forward(benchmark::State& state) {
    const Judged judged(ack_with_sack());
    const splice_address bridge = IpAddress::parse("10.0.0.2")->raw();
    PacketBytes packet = judged.bytes;
    for (auto _ : state) {
        std::memcpy(packet.data(), judged.bytes.data(), judged.bytes.size());
        splice_packet view = judged.packet_view;
        benchmark::DoNotOptimize(splice_carry(packet.data(), packet.data() + packet.size(), &view, &bridge,
                                              splice_carriage_by_dscp(1)));
        benchmark::ClobberMemory();
    }
}
BENCHMARK(BM_forward);

template <class Translate>
void measure_translate(benchmark::State& state, PacketBytes original, Translate translate) {
    const Judged judged(std::move(original));
    splice_translation how{};
    how.vip = IpAddress::parse("198.51.100.10")->raw();
    how.backend = IpAddress::parse("10.0.1.1")->raw();
    how.vip_port = splice_htons(80);
    how.backend_port = splice_htons(8080);
    how.seq_shift = 0x12345678;
    how.ts_shift = 0x00abcdef;
    how.advertised_window_scale = 7;
    how.backend_window_scale = 10;
    PacketBytes packet = judged.bytes;
    std::byte* const end = packet.data() + packet.size();
    for (auto _ : state) {
        // The headers are all that is written.
        std::memcpy(packet.data(), judged.bytes.data(), judged.packet_view.payload_offset);
        splice_translate_deltas deltas{};
        translate(packet.data(), end, &judged.packet_view, &judged.options, &how, &deltas);
        splice_translate_finish(packet.data(), end, &judged.packet_view, &deltas);
        benchmark::ClobberMemory();
    }
}
void BM_translate_toward_client(benchmark::State& state) {
    measure_translate(state, full_segment(),
                      [](auto... args) { return splice_translate_toward_client(args...); });
}
void BM_translate_toward_backend(benchmark::State& state) {
    measure_translate(state, ack_with_sack(),
                      [](auto... args) { return splice_translate_toward_backend(args...); });
}
BENCHMARK(BM_translate_toward_client);
BENCHMARK(BM_translate_toward_backend);

}  // namespace
