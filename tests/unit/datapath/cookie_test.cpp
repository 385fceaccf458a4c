#include "libsplice/datapath/cookie.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

// SipHash-2-4 for any length, written from the paper's section 2; checked below against the paper's own
// vector.
std::uint64_t reference_siphash(const splice_key& key, const Octets& message) {
    std::array<std::uint64_t, 4> v{key.k0 ^ 0x736f6d6570736575ULL, key.k1 ^ 0x646f72616e646f6dULL,
                                   key.k0 ^ 0x6c7967656e657261ULL, key.k1 ^ 0x7465646279746573ULL};
    const auto rotate = [](std::uint64_t x, int bits) { return x << bits | x >> (64 - bits); };
    const auto rounds = [&](int count) {
        for (int i = 0; i < count; ++i) {
            v[0] += v[1], v[2] += v[3];
            v[1] = rotate(v[1], 13), v[3] = rotate(v[3], 16);
            v[1] ^= v[0], v[3] ^= v[2];
            v[0] = rotate(v[0], 32);
            v[2] += v[1], v[0] += v[3];
            v[1] = rotate(v[1], 17), v[3] = rotate(v[3], 21);
            v[1] ^= v[2], v[3] ^= v[0];
            v[2] = rotate(v[2], 32);
        }
    };
    Octets padded = message;
    while (padded.size() % 8 != 7) padded.push_back(0);
    padded.push_back(static_cast<std::uint8_t>(message.size()));
    for (std::size_t at = 0; at < padded.size(); at += 8) {
        std::uint64_t word = 0;
        for (std::size_t i = 8; i-- > 0;) word = word << 8 | padded[at + i];
        v[3] ^= word;
        rounds(2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    rounds(4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

constexpr splice_key kPaperKey{0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL, {}};

Octets counting(std::size_t count) {
    Octets bytes(count);
    for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(i);
    return bytes;
}

struct Handshake {
    splice_secret secret{};
    splice_packet syn{};
    splice_tcp_options offered{};

    explicit Handshake(int family = 4) {
        secret.keys[0] = {1, 2, {}};
        secret.count = 1;
        const auto packet = RawPacket{.family = family, .flags = SPLICE_SYN}.build();
        REQUIRE(judge(packet, syn) == SPLICE_CONTINUE);
        offered = options_of(packet, syn);
    }
    [[nodiscard]] std::uint32_t make(std::uint64_t unix_s) const {
        return splice_cookie_make(&secret, &syn, &offered, unix_s);
    }
    [[nodiscard]] bool check(std::uint32_t cookie, std::uint64_t unix_s,
                             splice_negotiated* negotiated = nullptr) const {
        splice_negotiated ignored{};
        return splice_cookie_check(&secret, splice_flow_toward_server(&syn), syn.family, syn.seq, cookie,
                                   unix_s, negotiated ? negotiated : &ignored) != 0;
    }
};

// The start of an even epoch.
constexpr std::uint64_t kEpochStart = 64 * 27'000'000ULL;

}  // namespace

TEST_CASE("the reference SipHash gives the paper's test vector") {
    CHECK(reference_siphash(kPaperKey, counting(15)) == 0xa129ca6149be45e5ULL);
}

TEST_CASE("SipHash of 48 bytes is the authors' vector of that length") {
    const Octets message = counting(48);
    std::array<std::uint64_t, 6> m{};
    std::memcpy(m.data(), message.data(), 48);
    CHECK(reference_siphash(kPaperKey, message) == 0xe612a3cb9ecba951ULL);
    CHECK(splice_siphash_48(&kPaperKey, m[0], m[1], m[2], m[3], m[4], m[5]) == 0xe612a3cb9ecba951ULL);
}

TEST_CASE("a prepared key hashes as before, whatever the message begins with") {
    splice_key prepared = kPaperKey;
    splice_key_prepare(&prepared);
    for (const std::uint64_t first : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}})
        CHECK(splice_siphash_48(&prepared, first, 2, 3, 4, 5, 6) ==
              splice_siphash_48(&kPaperKey, first, 2, 3, 4, 5, 6));
}

TEST_CASE("the hashed bytes are addresses, ports, ISN, epoch and options, in that order") {
    const Handshake four(4), six(6);
    for (const auto* handshake : {&four, &six}) {
        const splice_flow_key& key = *splice_flow_toward_server(&handshake->syn);
        Octets message(key.client.bytes, key.client.bytes + 16);
        message.insert(message.end(), key.server.bytes, key.server.bytes + 16);
        append16(message, 40000);
        append16(message, 80);
        append32(message, 0x01020304);
        append32(message, 0x11223344);
        append32(message, 0x97000000);
        REQUIRE(message.size() == 48);
        CHECK(splice_cookie_hash(&kPaperKey, &key, 0x01020304, 0x11223344, 0x97) ==
              reference_siphash(kPaperKey, message));
    }
}

TEST_CASE("a cookie carries the largest MSS of the family's table that is not above the client's") {
    const auto mss = [](int family, std::uint16_t offered) {
        Handshake handshake(family);
        handshake.offered.mss = offered;
        splice_negotiated negotiated{};
        REQUIRE(handshake.check(handshake.make(kEpochStart), kEpochStart, &negotiated));
        return negotiated.mss;
    };
    CHECK(mss(4, 0) == 536);
    CHECK(mss(4, 100) == 536);
    CHECK(mss(4, 1299) == 536);
    CHECK(mss(4, 1300) == 1300);
    CHECK(mss(4, 1439) == 1300);
    CHECK(mss(4, 1440) == 1440);
    CHECK(mss(4, 1459) == 1440);
    CHECK(mss(4, 1460) == 1460);
    CHECK(mss(4, 65535) == 1460);
    CHECK(mss(6, 0) == 1220);
    CHECK(mss(6, 1300) == 1300);
    CHECK(mss(6, 1419) == 1300);
    CHECK(mss(6, 1420) == 1420);
    CHECK(mss(6, 1439) == 1420);
    CHECK(mss(6, 1440) == 1440);
    CHECK(mss(6, 8940) == 1440);
}

TEST_CASE("a cookie carries SACK-permitted and every window scale, none is not zero") {
    for (const int family : {4, 6}) {
        for (unsigned scale = 0; scale <= 15; ++scale) {
            for (unsigned sack = 0; sack <= 1; ++sack) {
                Handshake handshake(family);
                handshake.offered.window_scale = static_cast<std::uint8_t>(scale);
                handshake.offered.sack_permitted = static_cast<std::uint8_t>(sack);
                splice_negotiated negotiated{};
                REQUIRE(handshake.check(handshake.make(kEpochStart), kEpochStart, &negotiated));
                CHECK(negotiated.window_scale == scale);
                CHECK(negotiated.sack_permitted == sack);
            }
        }
    }
    CHECK((Handshake().make(kEpochStart) & 0x0f) == SPLICE_NO_WINDOW_SCALE);
}

TEST_CASE("a cookie lives 32 seconds at least, and until its epoch's parity means another epoch") {
    const Handshake handshake;
    for (const std::uint64_t second : {0, 31, 32, 33, 63}) {
        const auto issued = kEpochStart + second;
        const auto cookie = handshake.make(issued);
        // Valid from 32 s before the epoch to 32 s after it.
        for (const std::uint64_t now :
             {kEpochStart - 32, kEpochStart - 1, kEpochStart, kEpochStart + 31, kEpochStart + 32,
              kEpochStart + 33, kEpochStart + 63, kEpochStart + 64, kEpochStart + 95})
            CHECK_MESSAGE(handshake.check(cookie, now), second << " s, seen at " << now - kEpochStart + 64);
        for (const std::uint64_t now :
             {kEpochStart - 33, kEpochStart - 64, kEpochStart + 96, kEpochStart + 128, kEpochStart + 6400})
            CHECK_FALSE(handshake.check(cookie, now));
        // Whatever the second: hosts may differ by 32 s either way, the end of it excluded ahead.
        for (std::uint64_t apart = 0; apart <= 31; ++apart) {
            CHECK(handshake.check(cookie, issued + apart));
            CHECK(handshake.check(cookie, issued - apart));
        }
    }
}

TEST_CASE("an odd epoch's cookies live as an even one's") {
    const Handshake handshake;
    const auto start = kEpochStart + 64;
    const auto cookie = handshake.make(start);
    CHECK((cookie >> 7 & 1) == 1);
    CHECK(handshake.check(cookie, start - 32));
    CHECK_FALSE(handshake.check(cookie, start - 33));
    CHECK(handshake.check(cookie, start + 95));
    CHECK_FALSE(handshake.check(cookie, start + 96));
}

TEST_CASE("a cookie is of one flow, one ISN, one secret and one set of options") {
    const Handshake handshake;
    const auto cookie = handshake.make(kEpochStart);
    REQUIRE(handshake.check(cookie, kEpochStart));
    for (unsigned bit = 0; bit < 32; ++bit) CHECK_FALSE(handshake.check(cookie ^ 1U << bit, kEpochStart));
    for (std::size_t byte = 0; byte < 36; ++byte) {
        Handshake other;
        reinterpret_cast<std::uint8_t*>(&other.syn.ends)[byte] ^= 1;
        CHECK_FALSE(other.check(cookie, kEpochStart));
    }
    Handshake other;
    other.syn.seq += 1;
    CHECK_FALSE(other.check(cookie, kEpochStart));
    other = Handshake();
    other.secret.keys[0].k1 ^= 1;
    CHECK_FALSE(other.check(cookie, kEpochStart));
}

TEST_CASE("keys are rotated without losing a handshake: the first issues, both verify") {
    Handshake before, both, after;
    both.secret.keys[0] = {3, 4, {}};
    both.secret.keys[1] = before.secret.keys[0];
    both.secret.count = 2;
    after.secret.keys[0] = {3, 4, {}};
    after.secret.keys[1] = before.secret.keys[0];  // left behind, but not counted
    const auto old_cookie = before.make(kEpochStart);
    const auto new_cookie = both.make(kEpochStart);
    CHECK(new_cookie == after.make(kEpochStart));
    CHECK(both.check(old_cookie, kEpochStart));
    CHECK(both.check(new_cookie, kEpochStart));
    CHECK(after.check(new_cookie, kEpochStart));
    CHECK_FALSE(after.check(old_cookie, kEpochStart));
    CHECK_FALSE(before.check(new_cookie, kEpochStart));
}

TEST_CASE("a segment's own numbers are checked, also when they wrap") {
    for (const std::uint32_t isn : {0xffffffffU, 0U, 0x7fffffffU}) {
        Handshake handshake;
        handshake.syn.seq = isn;
        const auto cookie = handshake.make(kEpochStart);
        auto segment = handshake.syn;
        segment.seq = isn + 1;
        segment.ack = cookie + 1;
        splice_negotiated negotiated{};
        CHECK(splice_cookie_check_segment(&handshake.secret, &segment, kEpochStart, &negotiated));
        segment.seq += 1;
        CHECK_FALSE(splice_cookie_check_segment(&handshake.secret, &segment, kEpochStart, &negotiated));
    }
}
