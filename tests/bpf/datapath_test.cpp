// The datapath in the kernel and in user space: the programs of datapath.bpf.c pass the verifier, and give
// byte for byte what the same lines give here, for the same packets. Ends with 77 (skipped) where BPF may not
// be loaded.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>

#include "tests/bpf/datapath_vector.h"
#include "tests/bpf/spoilt_packets.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

constexpr int kSkip = 77;

int keep_warnings(libbpf_print_level level, const char* format, va_list arguments) {
    return level == LIBBPF_WARN ? std::vfprintf(stderr, format, arguments) : 0;
}

// The loaded programs and their one global.
class Programs {
  public:
    Programs() : object_(bpf_object__open(DATAPATH_OBJECT)) {
        if (!object_ || bpf_object__load(object_.get()) != 0)
            throw std::runtime_error("load " DATAPATH_OBJECT ": " + std::string(std::strerror(errno)));
        for (bpf_map* map = bpf_object__next_map(object_.get(), nullptr); map != nullptr;
             map = bpf_object__next_map(object_.get(), map))
            if (std::strstr(bpf_map__name(map), ".bss") != nullptr) globals_ = bpf_map__fd(map);
        if (globals_ < 0) throw std::runtime_error("the programs have no .bss");
    }

    // Runs a program on a frame, which is edited in place; the globals go in and come out.
    int run(const char* name, Octets& frame, vector& globals) {
        const std::uint32_t key = 0;
        REQUIRE(bpf_map_update_elem(globals_, &key, &globals, BPF_ANY) == 0);
        const auto* program = bpf_object__find_program_by_name(object_.get(), name);
        REQUIRE(program != nullptr);
        Octets out(frame.size() + 256);
        bpf_test_run_opts options{};
        options.sz = sizeof(options);
        options.data_in = frame.data();
        options.data_size_in = static_cast<__u32>(frame.size());
        options.data_out = out.data();
        options.data_size_out = static_cast<__u32>(out.size());
        options.repeat = 1;
        REQUIRE(bpf_prog_test_run_opts(bpf_program__fd(program), &options) == 0);
        out.resize(options.data_size_out);
        frame = out;
        REQUIRE(bpf_map_lookup_elem(globals_, &key, &globals) == 0);
        return static_cast<int>(options.retval);
    }

  private:
    struct Close {
        void operator()(bpf_object* object) const { bpf_object__close(object); }
    };
    std::unique_ptr<bpf_object, Close> object_;
    int globals_ = -1;
};

Programs& programs() {
    static Programs loaded;
    return loaded;
}

template <class T>
bool same(const T& a, const T& b) {
    return std::memcmp(&a, &b, sizeof(T)) == 0;
}
// Without the padding at its end.
bool same(const splice_packet& a, const splice_packet& b) {
    return std::memcmp(&a, &b, offsetof(splice_packet, zero) + 1) == 0;
}
// What is written of it.
bool same(const splice_segment& a, const splice_segment& b) {
    return a.length == b.length && std::memcmp(a.bytes, b.bytes, a.length) == 0;
}

vector zeroed() {
    vector globals;
    std::memset(&globals, 0, sizeof(globals));
    return globals;
}

// A frame as judged here: what every program begins with.
struct Judged {
    splice_packet packet;
    splice_tcp_options options;
    splice_verdict ethernet = SPLICE_CONTINUE, ip = SPLICE_CONTINUE;

    explicit Judged(const Octets& frame) {
        std::memset(&packet, 0, sizeof(packet));
        std::memset(&options, 0, sizeof(options));
        const auto* end = frame.data() + frame.size();
        ethernet = splice_parse_ethernet(frame.data(), end, &packet);
        if (ethernet != SPLICE_CONTINUE) return;
        ip = splice_parse_ip(frame.data(), end, &packet);
        if (is_tcp()) splice_parse_tcp_options(frame.data(), end, &packet, &options);
    }
    [[nodiscard]] bool good() const { return ethernet == SPLICE_CONTINUE && ip == SPLICE_CONTINUE; }
    [[nodiscard]] bool is_tcp() const { return good() && packet.protocol == SPLICE_PROTOCOL_TCP; }
};

Octets timestamps_at(std::size_t padding) {
    Octets options(padding, 1);
    append(options, {8, 10});
    append32(options, 0x11223344);
    append32(options, 0x55667788);
    while (options.size() % 4) options.push_back(1);
    return options;
}

// Packets of every kind that the unit tests know, as frames with 0 to 2 VLAN tags.
std::vector<Octets> frames() {
    std::vector<Octets> all;
    const std::vector<Octets> layouts = {
        {},
        timestamps_at(2),
        timestamps_at(1),
        timestamps_at(3),
        {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7},
        {2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 4, 2, 0, 0},
        {2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2},
        {2, 4, 0x21, 0x00},
        {1, 5, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1},
        {5, 34, 255, 255, 255, 240, 0,  0,  0,  16, 1,  2,  3,  4,  5,  6,  7, 8,
         9, 10, 11,  12,  13,  14,  15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 1, 1},
        {254, 40},
        {2, 4, 5, 0xb4, 99, 0, 0, 0},
        Octets(40, 1)};
    for (const int family : {4, 6}) {
        for (auto options : layouts) {
            if (options.size() == 2) options.resize(40, 0x77);
            for (const std::uint8_t flags :
                 {std::uint8_t{SPLICE_SYN}, std::uint8_t{SPLICE_ACK | SPLICE_PSH}}) {
                RawPacket packet{.family = family,
                                 .traffic_class = 6,
                                 .flags = flags,
                                 .options = options,
                                 .payload = flags == SPLICE_SYN ? "" : "GET /a HTTP/1.1\r\n\r\n"};
                all.push_back(in_ethernet(packet.build(), static_cast<int>(all.size() % 3)));
                packet.ip_options = {7, 7, 4, 0, 0, 0, 0, 0};
                packet.first_next = SPLICE_NEXT_DESTINATION;
                packet.extensions = {6, 0, 1, 4, 0, 0, 0, 0};
                all.push_back(in_ethernet(packet.build()));
                if (family == 4) continue;
                // Whole, but with a fragment header: alone, before another extension header, behind one.
                packet.first_next = SPLICE_NEXT_FRAGMENT;
                packet.extensions = {6, 0, 0, 0, 1, 2, 3, 4};
                all.push_back(in_ethernet(packet.build()));
                packet.extensions = {60, 0, 0, 0, 1, 2, 3, 4, 6, 0, 1, 4, 0, 0, 0, 0};
                all.push_back(in_ethernet(packet.build()));
                packet.first_next = SPLICE_NEXT_HOP_BY_HOP;
                packet.extensions = {44, 0, 1, 4, 0, 0, 0, 0, 6, 0xff, 0, 6, 1, 2, 3, 4};
                all.push_back(in_ethernet(packet.build(), 1));
            }
        }
        const auto quoted = RawPacket{.family = family}.build();
        const std::uint8_t type = family == 4 ? 3 : 2;
        all.push_back(in_ethernet(RawPacket{.family = family}.build_icmp(type, 4, quoted)));
        all.push_back(in_ethernet(RawPacket{.family = family}.build_icmp(
            type, 4, Octets(quoted.begin(), quoted.begin() + (family == 4 ? 28 : 48)))));
        all.push_back(in_ethernet(RawPacket{.family = family}.build_icmp(type, 4, Octets(12))));
        for (const int flags : {0, 3, 6, 0x29})
            all.push_back(
                in_ethernet(RawPacket{.family = family, .flags = static_cast<std::uint8_t>(flags)}.build()));
    }
    all.push_back(in_ethernet(RawPacket{.fragment = 0x2000}.build()));
    all.push_back(in_ethernet(RawPacket{.ip_options = {131, 3, 4, 0}}.build()));
    all.push_back(in_ethernet(RawPacket{.protocol = 17}.build()));
    all.push_back(in_ethernet(
        RawPacket{.family = 6, .extensions = {6, 0, 0, 0, 0, 0, 0, 0}, .first_next = 43}.build()));
    all.push_back(in_ethernet(
        RawPacket{.family = 6, .extensions = {6, 0, 0, 1, 0, 0, 0, 0}, .first_next = 44}.build()));
    for (const int family : {4, 6})
        for (const SpoiltPacket& packet : spoilt_packets({.family = family, .payload = "x"}))
            all.push_back(in_ethernet(packet.bytes, family == 4 ? 1 : 0));
    all.push_back(in_ethernet(RawPacket{}.build(), 2));
    all.back()[20] = 0x12;  // a third tag's type, or any but IP's
    const auto good = in_ethernet(RawPacket{.payload = "x"}.build());
    for (std::size_t length = 14; length < good.size(); ++length)
        all.emplace_back(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length));
    return all;
}

splice_translation translation(int family) {
    splice_translation how{};
    how.vip = address_of(family == 4 ? "203.0.113.10" : "2001:db8:1::10");
    how.backend = address_of(family == 4 ? "10.0.0.30" : "fd00::30");
    how.vip_port = splice_htons(80);
    how.backend_port = splice_htons(8080);
    how.seq_shift = 0xf0000001;
    how.ts_shift = 0x01020304;
    how.advertised_window_scale = 7;
    how.backend_window_scale = 10;
    how.client_window_scale = 3;
    return how;
}

}  // namespace

TEST_CASE("the kernel judges every frame as user space does") {
    std::set<splice_verdict> judged;
    for (const auto& frame : frames()) {
        const Judged here(frame);
        judged.insert(here.ethernet == SPLICE_CONTINUE ? here.ip : here.ethernet);
        auto kernel = zeroed();
        Octets edited = frame;
        programs().run("vector_parse", edited, kernel);
        REQUIRE(kernel.output.ethernet == here.ethernet);
        if (here.ethernet != SPLICE_CONTINUE) continue;
        REQUIRE(kernel.output.ip == here.ip);
        if (!here.good()) {
            REQUIRE(kernel.output.packet.family == here.packet.family);
            if (here.packet.family != 0) REQUIRE(same(kernel.output.packet.ends, here.packet.ends));
            continue;
        }
        REQUIRE(same(kernel.output.packet, here.packet));
        if (here.is_tcp()) {
            REQUIRE(same(kernel.output.options, here.options));
            continue;
        }
        splice_packet quoted;
        std::memset(&quoted, 0, sizeof(quoted));
        const auto quote =
            splice_parse_icmp_error(frame.data(), frame.data() + frame.size(), &here.packet, &quoted);
        REQUIRE(kernel.output.quote == quote);
        if (quote == SPLICE_CONTINUE) REQUIRE(same(kernel.output.quoted, quoted));
    }
    // Every verdict that bytes alone give before anything is looked up.
    CHECK(judged == std::set<splice_verdict>{
                        SPLICE_pass_not_ip, SPLICE_pass_not_tcp, SPLICE_drop_truncated,
                        SPLICE_drop_bad_ip_header, SPLICE_drop_bad_ip_checksum, SPLICE_drop_bad_tcp_header,
                        SPLICE_drop_bad_tcp_flags, SPLICE_drop_bad_icmp, SPLICE_drop_fragment,
                        SPLICE_drop_source_routed, SPLICE_drop_extension_headers, SPLICE_CONTINUE});
}

TEST_CASE("the kernel answers a SYN with the same cookie and the same bytes") {
    for (const auto& frame : frames()) {
        const Judged here(frame);
        if (!here.is_tcp()) continue;
        for (const std::uint64_t unix_s : {std::uint64_t{1'700'000'000}, std::uint64_t{1'700'000'063}}) {
            auto kernel = zeroed();
            kernel.input.secret = {{{0x0706050403020100, 0x0f0e0d0c0b0a0908, {}}, {3, 4, {}}}, 2, 0, {}};
            kernel.input.terms = {
                .mss = 1460, .window = 65535, .window_scale = 7, .zero = {}, .tsval = 0xcafebabe};
            kernel.input.unix_s = unix_s;
            Octets edited = frame;
            programs().run("vector_syn_ack", edited, kernel);
            const auto cookie = splice_cookie_make(&kernel.input.secret, &here.packet, &here.options, unix_s);
            splice_segment segment{};
            splice_write_syn_ack(&segment, &here.packet, &here.options, cookie, &kernel.input.terms);
            REQUIRE(kernel.output.cookie == cookie);
            REQUIRE(same(kernel.output.syn_ack, segment));
        }
    }
}

TEST_CASE("the kernel writes the same RST, replayed SYN and ACK") {
    for (const auto& frame : frames()) {
        const Judged here(frame);
        if (!here.is_tcp()) continue;
        auto kernel = zeroed();
        kernel.input.backend_flow = *splice_flow_toward_server(&here.packet);
        kernel.input.backend_flow.server = translation(here.packet.family).backend;
        kernel.input.family = here.packet.family;
        kernel.input.client_isn = 0xffffffff;
        kernel.input.negotiated = {
            .mss = 1300, .window_scale = 9, .sack_permitted = 1, .proof = 0, .zero = 0};
        kernel.input.tsval_present = here.options.timestamps_offset != 0;
        kernel.input.tsval = 0x12345678;
        Octets edited = frame;
        programs().run("vector_segments", edited, kernel);
        const auto& input = kernel.input;
        splice_segment rst{}, syn{}, ack{};
        splice_write_rst(&rst, &here.packet);
        splice_write_replay_syn(&syn, &input.backend_flow, input.family, input.client_isn, here.packet.window,
                                &input.negotiated, input.tsval_present, input.tsval);
        splice_write_ack(&ack, &input.backend_flow, input.family, here.packet.seq, here.packet.ack,
                         here.packet.window, input.tsval_present, input.tsval, input.client_isn);
        REQUIRE(same(kernel.output.rst, rst));
        REQUIRE(same(kernel.output.replay_syn, syn));
        REQUIRE(same(kernel.output.ack, ack));
    }
}

TEST_CASE("the kernel knows our cookies, of both keys, and no others") {
    for (const int family : {4, 6}) {
        for (int which = 0; which < 3; ++which) {
            splice_secret issuer{{{static_cast<__u64>(which), 7, {}}, {}}, 1, 0, {}};
            const Judged syn(in_ethernet(RawPacket{.family = family, .flags = SPLICE_SYN}.build()));
            const auto cookie = splice_cookie_make(&issuer, &syn.packet, &syn.options, 1'700'000'000);
            auto frame = in_ethernet(
                RawPacket{.family = family, .seq = syn.packet.seq + 1, .ack = cookie + 1, .payload = "x"}
                    .build());
            auto kernel = zeroed();
            kernel.input.secret = {{{0, 7, {}}, {1, 7, {}}}, 2, 0, {}};
            kernel.input.unix_s = 1'700'000'031;
            programs().run("vector_cookie_check", frame, kernel);
            CHECK(kernel.output.cookie_valid == (which < 2));
            if (which < 2) CHECK(kernel.output.negotiated.mss == (family == 4 ? 536 : 1220));
        }
    }
}

TEST_CASE("the kernel forwards the same bytes") {
    for (const auto& frame : frames()) {
        Judged here(frame);
        if (!here.good()) continue;
        auto kernel = zeroed();
        kernel.input.destination = translation(here.packet.family).backend;
        kernel.input.dscp = 41;
        Octets there = frame, edited = frame;
        programs().run("vector_forward", there, kernel);
        const auto verdict =
            splice_carry(edited.data(), edited.data() + edited.size(), &here.packet,
                         &kernel.input.destination, splice_carriage_by_dscp(kernel.input.dscp));
        REQUIRE(kernel.output.edit == verdict);
        REQUIRE(there == edited);
    }
}

TEST_CASE("the kernel translates the same bytes in both directions") {
    for (const bool toward_client : {true, false}) {
        for (const auto& frame : frames()) {
            const Judged here(frame);
            if (!here.is_tcp()) continue;
            auto kernel = zeroed();
            kernel.input.translation = translation(here.packet.family);
            Octets there = frame, edited = frame;
            programs().run(toward_client ? "vector_toward_client" : "vector_toward_backend", there, kernel);
            splice_translate_deltas deltas{};
            auto* end = edited.data() + edited.size();
            const auto translate =
                toward_client ? splice_translate_toward_client : splice_translate_toward_backend;
            const auto verdict = translate(edited.data(), end, &here.packet, &here.options,
                                           &kernel.input.translation, &deltas);
            splice_translate_finish(edited.data(), end, &here.packet, &deltas);
            REQUIRE(kernel.output.edit == verdict);
            REQUIRE(same(kernel.output.deltas, deltas));
            REQUIRE(there == edited);
        }
    }
}

TEST_CASE("the kernel finds the same key in a request line and gives it the same hash") {
    auto& random = generator();
    for (int round = 0; round < 3000; ++round) {
        std::string target = "/";
        const auto length = round < 1500 ? static_cast<std::size_t>(round) : random() % 80;
        for (std::size_t i = 0; i < length; ++i)
            target += random() % 20 ? static_cast<char>('a' + random() % 26)
                                    : "/?#%= "[random() % (round % 2 ? 6 : 2)];
        const std::string payload =
            (round % 3 ? "GET " : "PROPFIND ") + target + " HTTP/1.1\r\nHost: x\r\n\r\n";
        auto frame = in_ethernet(RawPacket{
            .family = round % 2 ? 6 : 4, .options = timestamps_at(2), .payload = payload.substr(0, 1400)}
                                     .build());
        auto kernel = zeroed();
        kernel.input.rule = {.length = static_cast<__u16>(random() % 4 ? 0 : random() % 50),
                             .kind = static_cast<__u8>(random() % 4),
                             .depth = static_cast<__u8>(random() % 4),
                             .asks = static_cast<__u8>(random() % 8),
                             .zero = 0};
        const Judged here(frame);
        REQUIRE(here.is_tcp());
        const auto* begin = frame.data() + here.packet.payload_offset;
        const auto* end = frame.data() + frame.size();
        splice_request_key key{};
        const auto answer =
            splice_request_line(begin, end, here.packet.payload_length, kernel.input.rule, &key);
        const auto hash =
            answer == SPLICE_REQUEST_KEY ? splice_xxh64(begin + key.offset, end, key.length) : 0;
        Octets edited = frame;
        programs().run("vector_request_line", edited, kernel);
        REQUIRE(kernel.output.answer == answer);
        REQUIRE(kernel.output.hash == hash);
        if (answer != SPLICE_REQUEST_KEY) continue;
        REQUIRE(same(kernel.output.key, key));
        REQUIRE(kernel.output.row == splice_placement_row_of(hash, 1 << 16));
    }
}

TEST_CASE("the kernel hashes every length as user space does") {
    for (std::uint32_t length = 0; length <= SPLICE_HASH_MAX; ++length) {
        std::string payload(length, '\0');
        for (auto& byte : payload) byte = static_cast<char>(generator()());
        auto frame = in_ethernet(RawPacket{.payload = payload}.build());
        auto kernel = zeroed();
        programs().run("vector_hash", frame, kernel);
        REQUIRE(kernel.output.hash == splice_xxh64(payload.data(), payload.data() + length, length));
    }
}

int main(int argc, char** argv) {
    libbpf_set_print(keep_warnings);
    // The smallest program there is tells whether this machine lets us load any.
    const bpf_insn nothing[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
        {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const int probe = bpf_prog_load(BPF_PROG_TYPE_XDP, "probe", "GPL", nothing, 2, nullptr);
    if (probe < 0) {
        std::printf("skipped: the kernel does not load BPF programs for us (%s)\n", std::strerror(-probe));
        return kSkip;
    }
    close(probe);
    doctest::Context context(argc, argv);
    return context.run();
}
