#include "libsplice/wire/tcp_options.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

namespace splice {
namespace {

using Octets = std::vector<std::uint8_t>;

Bytes bytes_of(const Octets& octets) {
    return std::as_bytes(std::span(octets));
}

// "2@0+2": kind, offset, bytes of body.
std::string walk(const Octets& octets) {
    TcpOptionCursor cursor(bytes_of(octets));
    std::string text;
    while (const auto option = cursor.next()) {
        if (!text.empty()) text += ' ';
        text += std::to_string(option->kind) + '@' + std::to_string(option->offset) + '+' +
                std::to_string(option->body.size());
    }
    return text + (cursor.malformed() ? " malformed" : "");
}

TEST_CASE("a Linux SYN's options come one after the other, each with its body") {
    const Octets syn = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7};
    CHECK(walk(syn) == "2@0+2 4@4+0 8@6+8 1@16+0 3@17+1");
    TcpOptionCursor cursor(bytes_of(syn));
    const auto mss = cursor.next();
    REQUIRE(mss.has_value());
    CHECK(splice_load_be16(mss->body.data()) == 1460);
}

TEST_CASE("no options, and padding alone") {
    CHECK(walk({}).empty());
    CHECK(walk({1, 1, 1, 1}) == "1@0+0 1@1+0 1@2+0 1@3+0");
}

TEST_CASE("the end of the list ends it, whatever stands behind") {
    CHECK(walk({4, 2, 0, 2}) == "4@0+0");
    CHECK(walk({0, 255, 255, 255}).empty());
}

TEST_CASE("forty bytes of options are walked to the last") {
    Octets full(40, 1);
    full[38] = 4;
    full[39] = 2;
    CHECK(walk(full).ends_with("1@37+0 4@38+0"));
}

TEST_CASE("an option that overruns the header ends the walk; what stood before it is valid") {
    CHECK(walk({1, 1, 2, 4}) == "1@0+0 1@1+0 malformed");
    CHECK(walk({4, 2, 8, 10}) == "4@0+0 malformed");
    CHECK(walk({1, 1, 1, 8}) == "1@0+0 1@1+0 1@2+0 malformed");
}

TEST_CASE("a length of 0 or 1 is malformed and no endless loop") {
    CHECK(walk({2, 0, 1, 1}) == " malformed");
    CHECK(walk({2, 1, 1, 1}) == " malformed");
}

TEST_CASE("bytes beyond the forty that a header can have, or beyond whole words, are not walked") {
    CHECK(walk(Octets(48, 1)).ends_with("1@39+0"));
    CHECK(walk({1, 1, 1, 1, 2}) == "1@0+0 1@1+0 1@2+0 1@3+0");
}

TEST_CASE("an editor changes a body in place and goes on behind it") {
    Octets octets = {8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 4, 2};
    TcpOptionEditor editor(std::as_writable_bytes(std::span(octets)));
    const auto timestamps = editor.next();
    REQUIRE(timestamps.has_value());
    splice_store_be32(timestamps->body.data(), 0x01020304);
    CHECK(octets[2] == 1);
    CHECK(octets[5] == 4);
    const auto sack_permitted = editor.next();
    REQUIRE(sack_permitted.has_value());
    CHECK(sack_permitted->kind == SPLICE_TCP_OPTION_SACK_PERMITTED);
    CHECK_FALSE(editor.next().has_value());
    CHECK_FALSE(editor.malformed());
}

}  // namespace
}  // namespace splice
