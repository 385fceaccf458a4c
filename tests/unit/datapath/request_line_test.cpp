#include "libsplice/datapath/request_line.h"

#include <doctest/doctest.h>

#include <array>
#include <optional>
#include <string>

#include "libsplice/core/http_key.hpp"
#include "tests/unit/datapath/raw_packet.hpp"

using namespace splice::testing;

namespace {

constexpr splice_key_rule kUri{.length = 0, .kind = SPLICE_KEY_URI, .depth = 0, .asks = 0, .zero = 0};
constexpr splice_key_rule kPath{.length = 0, .kind = SPLICE_KEY_PATH, .depth = 0, .asks = 0, .zero = 0};

std::optional<std::string> key_of(const std::string& payload, splice_key_rule rule = kUri) {
    // A heap copy without slack, so that a sanitizer sees a byte too many.
    const Octets bytes(payload.begin(), payload.end());
    splice_request_key key{};
    const auto answer = splice_request_line(bytes.data(), bytes.data() + bytes.size(),
                                            static_cast<__u32>(bytes.size()), rule, &key);
    if (answer != SPLICE_REQUEST_KEY) return std::nullopt;
    return payload.substr(key.offset, key.length);
}

std::optional<std::string> target_key(const std::string& target, splice_key_rule rule = kUri) {
    return key_of("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n", rule);
}

// What user space says of the same bytes.
std::optional<std::string> user_space(const std::string& payload, splice_key_rule rule) {
    splice::HashKeyRule same;
    same.kind = rule.kind == SPLICE_KEY_PATH ? splice::KeyKind::path : splice::KeyKind::uri;
    same.depth = rule.depth;
    same.length = rule.length;
    same.form.sort = (rule.asks & SPLICE_ASKS_ABOUT_QUERY) != 0;
    same.form.normalise = (rule.asks & SPLICE_ASKS_ABOUT_DOTS) != 0;
    same.form.decode = rule.asks & SPLICE_ASKS_ABOUT_PERCENT && !same.form.normalise;
    std::string scratch;
    const auto answer = splice::http_key(same, splice::as_bytes(payload), scratch);
    const auto* key = std::get_if<splice::Key>(&answer);
    if (key == nullptr) return std::nullopt;
    return std::string(key->bytes);
}

}  // namespace

TEST_CASE("the key is the target as it stands") {
    CHECK(target_key("/") == "/");
    CHECK(target_key("/a/b?c=d&e=/f") == "/a/b?c=d&e=/f");
    CHECK(target_key("/%7euser/;x=y!$'()*+,:@~[]|") == "/%7euser/;x=y!$'()*+,:@~[]|");
    CHECK(key_of("DELETE /x HTTP/1.0\r\n") == "/x");
}

TEST_CASE("methods of one to sixteen capital letters are understood") {
    for (std::size_t length = 1; length <= 20; ++length) {
        const auto key = key_of(std::string(length, 'Z') + " /k HTTP/1.1\r\n");
        CHECK(key.has_value() == (length <= 16));
    }
    for (const std::string method :
         {"", "get", "GEt", "G3T", "GET\t", "G@T", "G[T", "M-SEARCH", "GETGETGETGETGET_"})
        CHECK_FALSE(key_of(method + " /k HTTP/1.1\r\n").has_value());
}

TEST_CASE("a line that is cut anywhere is user space's to judge") {
    const std::string whole = "OPTIONS /some/where?else HTTP/1.1\r\n";
    for (std::size_t length = 0; length < whole.size(); ++length)
        CHECK_FALSE(key_of(whole.substr(0, length)).has_value());
    CHECK(key_of(whole) == "/some/where?else");
}

TEST_CASE("padding behind the payload is no part of the line") {
    const std::string frame = "GET / HTTP/1.1\r\n";
    splice_request_key key{};
    for (__u32 length = 0; length <= frame.size(); ++length) {
        const auto answer =
            splice_request_line(frame.data(), frame.data() + frame.size(), length, kUri, &key);
        CHECK((answer == SPLICE_REQUEST_KEY) == (length == frame.size()));
    }
}

TEST_CASE("every byte at every place of the target is either taken or left to user space") {
    for (std::size_t place = 1; place < 40; ++place) {
        for (unsigned byte = 0; byte < 256; ++byte) {
            std::string target = "/" + std::string(40, 'a');
            target[place] = static_cast<char>(byte);
            const bool visible = byte > 0x20 && byte < 0x7f && byte != '#';
            REQUIRE(target_key(target).has_value() == visible);
        }
    }
}

TEST_CASE("what is not origin form or not HTTP/1.0 or 1.1 is left to user space") {
    for (const std::string line :
         {"GET http://h/x HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n", "CONNECT h:443 HTTP/1.1\r\n",
          "GET  /x HTTP/1.1\r\n", "GET /x  HTTP/1.1\r\n", "GET /x HTTP/1.2\r\n", "GET /x HTTP/2.0\r\n",
          "GET /x http/1.1\r\n", "GET /x\r\n", "GET /x HTTP/1.1\n\n", "GET /x HTTP/1.1 \r\n",
          "\r\nGET /x HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"})
        CHECK_FALSE(key_of(line).has_value());
}

TEST_CASE("a path ends before the query") {
    CHECK(target_key("/a/b?c?d", kPath) == "/a/b");
    CHECK(target_key("/?", kPath) == "/");
    CHECK(target_key("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa?", kPath) == "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    CHECK(target_key("/abc", kPath) == "/abc");
}

TEST_CASE("depth and length cut as HAProxy does: before slash depth + 1, at most length bytes") {
    const auto cut = [](const std::string& target, std::uint16_t length, std::uint8_t depth,
                        std::uint8_t kind) {
        return target_key(target, {.length = length, .kind = kind, .depth = depth, .asks = 0, .zero = 0})
            .value();
    };
    CHECK(cut("/a/b/c", 0, 1, SPLICE_KEY_URI) == "/a");
    CHECK(cut("/a/b/c", 0, 2, SPLICE_KEY_URI) == "/a/b");
    CHECK(cut("/a/b/c", 0, 3, SPLICE_KEY_URI) == "/a/b/c");
    CHECK(cut("//a", 0, 1, SPLICE_KEY_URI) == "/");
    CHECK(cut("/a?b/c", 0, 1, SPLICE_KEY_URI) == "/a?b");
    CHECK(cut("/a?b/c", 0, 1, SPLICE_KEY_PATH) == "/a");
    CHECK(cut("/a/b/c", 4, 1, SPLICE_KEY_URI) == "/a");
    CHECK(cut("/abcdef/b", 4, 1, SPLICE_KEY_URI) == "/abc");
    CHECK(cut("/", 1, 255, SPLICE_KEY_URI) == "/");
    CHECK(cut("/" + std::string(300, '/'), 0, 255, SPLICE_KEY_URI) == std::string(255, '/'));
}

TEST_CASE("keys up to the hash's limit are found, longer ones are user space's") {
    for (const std::size_t length : {1UL, 31UL, 32UL, 33UL, 1407UL, 1408UL})
        CHECK(target_key("/" + std::string(length - 1, 'u')).value().size() == length);
    CHECK_FALSE(target_key("/" + std::string(SPLICE_HASH_MAX, 'u')).has_value());
    CHECK(target_key("/" + std::string(SPLICE_HASH_MAX, 'u'),
                     {.length = 10, .kind = SPLICE_KEY_URI, .depth = 0, .asks = 0, .zero = 0})
              .value()
              .size() == 10);
    CHECK_FALSE(target_key("/" + std::string(4000, 'u'),
                           {.length = 10, .kind = SPLICE_KEY_URI, .depth = 0, .asks = 0, .zero = 0}));
}

TEST_CASE("rules that need more than the line are user space's") {
    CHECK_FALSE(target_key("/", {.length = 0, .kind = SPLICE_KEY_SOURCE, .depth = 0, .asks = 0, .zero = 0})
                    .has_value());
    CHECK_FALSE(
        target_key("/", {.length = 0, .kind = SPLICE_KEY_USER_SPACE, .depth = 0, .asks = 0, .zero = 0})
            .has_value());
}

TEST_CASE("where the kernel gives a key, user space gives the same") {
    auto& random = generator();
    const std::string alphabet = "/?#ab %\x7f\t//??;";
    // With these the target of a key is what user space leaves as it stands.
    constexpr std::array<std::uint8_t, 6> kAsks = {
        0,
        0,
        SPLICE_ASKS_ABOUT_QUERY,
        SPLICE_ASKS_ABOUT_PERCENT,
        SPLICE_ASKS_ABOUT_PERCENT | SPLICE_ASKS_ABOUT_DOTS,
        SPLICE_ASKS_ABOUT_QUERY | SPLICE_ASKS_ABOUT_PERCENT | SPLICE_ASKS_ABOUT_DOTS};
    int keys = 0;
    for (int round = 0; round < 50'000; ++round) {
        std::string target = "/";
        const auto length = random() % 60;
        for (std::size_t i = 0; i < length; ++i)
            target += random() % 8 ? random() % 16 ? 'a' : "./"[random() % 2]
                                   : alphabet[random() % (random() % 8 ? 5 : alphabet.size())];
        const std::string payload = "GET " + target + " HTTP/1." + (random() % 2 ? "1" : "0") + "\r\n\r\n";
        const splice_key_rule rule{.length = static_cast<__u16>(random() % 3 ? 0 : random() % 40),
                                   .kind = static_cast<__u8>(random() % 2 ? SPLICE_KEY_URI : SPLICE_KEY_PATH),
                                   .depth = static_cast<__u8>(random() % 3 ? 0 : random() % 6),
                                   .asks = kAsks[random() % kAsks.size()],
                                   .zero = 0};
        const auto key = key_of(payload, rule);
        if (!key) continue;
        ++keys;
        REQUIRE_MESSAGE(key == user_space(payload, rule), payload);
    }
    CHECK(keys > 10'000);
}

TEST_CASE("what the rule may write otherwise is user space's, at every place of the target") {
    const auto asking = [](std::uint8_t asks) {
        return splice_key_rule{.length = 0, .kind = SPLICE_KEY_URI, .depth = 0, .asks = asks, .zero = 0};
    };
    for (std::size_t place = 1; place < 40; ++place) {
        CAPTURE(place);
        std::string target = "/" + std::string(40, 'a');
        CHECK(target_key(target, asking(7)) == target);
        target[place] = '.';
        CHECK(target_key(target, asking(SPLICE_ASKS_ABOUT_DOTS)).has_value() == (place > 1));
        target[place] = '%';
        CHECK_FALSE(target_key(target, asking(SPLICE_ASKS_ABOUT_PERCENT)));
        CHECK(target_key(target, asking(SPLICE_ASKS_ABOUT_QUERY)) == target);
        target[place] = '?';
        CHECK_FALSE(target_key(target, asking(SPLICE_ASKS_ABOUT_QUERY)));
        CHECK(target_key(target, asking(SPLICE_ASKS_ABOUT_PERCENT)) == target);
        target.replace(place, 2, "/.");
        CHECK_FALSE(target_key(target, asking(SPLICE_ASKS_ABOUT_DOTS)));
        CHECK(target_key(target, asking(SPLICE_ASKS_ABOUT_QUERY)) == target);
    }
    // The version's own slash and dot are no part of the target.
    for (std::size_t length = 1; length < 40; ++length)
        CHECK(target_key("/" + std::string(length, 'a') + "/", asking(7)));
}
