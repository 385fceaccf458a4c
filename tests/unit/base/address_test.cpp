#include "libsplice/base/address.hpp"

#include <doctest/doctest.h>

#include <unordered_map>
#include <unordered_set>

#include "libsplice/base/quoted.hpp"

namespace splice {
namespace {

IpAddress address(std::string_view text) {
    return IpAddress::parse(text).value();
}

splice_flow_key flow(std::string_view client, std::uint16_t client_port, std::string_view vip,
                     std::uint16_t vip_port) {
    return {address(client).raw(), address(vip).raw(), splice_htons(client_port), splice_htons(vip_port), 0};
}

TEST_CASE("an address is printed as it was written, in its shortest form") {
    for (const char* text :
         {"192.168.33.10", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "fe80::5"}) {
        CHECK(address(text).to_string() == text);
    }
    CHECK(address("2001:0DB8:0:0:0:0:0:1").to_string() == "2001:db8::1");
}

TEST_CASE("an IPv4 address is held mapped, so an IPv4-mapped spelling is the same address") {
    const IpAddress ipv4 = address("192.0.2.1");
    CHECK(ipv4.family() == 4);
    CHECK(ipv4 == address("::ffff:192.0.2.1"));
    CHECK(ipv4 == IpAddress::from_ipv4(0xc0000201));
    CHECK(ipv4.raw().bytes[10] == 0xff);
    CHECK(ipv4.raw().bytes[12] == 192);
    CHECK(address("2001:db8::1").family() == 6);
    CHECK(ipv4 != address("192.0.2.2"));
}

TEST_CASE("what is no address is refused in a sentence that quotes it") {
    for (const char* text :
         {"", " 192.0.2.1", "192.0.2.1 ", "192.0.2", "192.0.2.256", "192.0.2.1/24", "::1%lo", "2001:db8:::1",
          "localhost", "[::1]", "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"}) {
        const auto refused = IpAddress::parse(text);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().contains(quoted(text)));
    }
    CHECK_FALSE(IpAddress::parse(std::string_view("1.1.1.1\0junk", 12)).has_value());
}

TEST_CASE("loopback, unspecified and multicast are told in both families") {
    for (const char* text : {"127.0.0.1", "127.255.0.3", "::1"}) CHECK(address(text).is_loopback());
    for (const char* text : {"128.0.0.1", "::2", "::"}) CHECK_FALSE(address(text).is_loopback());
    for (const char* text : {"0.0.0.0", "::"}) CHECK(address(text).is_unspecified());
    for (const char* text : {"0.0.0.1", "::1"}) CHECK_FALSE(address(text).is_unspecified());
    for (const char* text : {"224.0.0.1", "239.255.255.255", "ff02::1"}) CHECK(address(text).is_multicast());
    for (const char* text : {"223.255.255.255", "240.0.0.1", "fe80::1"})
        CHECK_FALSE(address(text).is_multicast());
    CHECK(IpAddress().is_unspecified());
}

TEST_CASE("an endpoint is printed as it was written") {
    for (const char* text : {"192.168.33.30:80", "[2001:db8::1]:80", "0.0.0.0:1", "[::]:65535"}) {
        const auto endpoint = Endpoint::parse(text);
        REQUIRE(endpoint.has_value());
        CHECK(endpoint->to_string() == text);
    }
    CHECK(Endpoint::parse("192.168.33.30:80")->port == 80);
}

TEST_CASE("an endpoint without a port, without its brackets or with a port out of range is refused") {
    for (const char* text : {"", "192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:+80",
                             "192.0.2.1:80x", "192.0.2.1: 80", "2001:db8::1:80", "[2001:db8::1]",
                             "[2001:db8::1]80", "[192.0.2.1]:80", ":80", "[]:80", "host:80"}) {
        CAPTURE(text);
        CHECK_FALSE(Endpoint::parse(text).has_value());
    }
    CHECK(Endpoint::parse("192.0.2.1:99999").error() ==
          "'99999' in '192.0.2.1:99999' is not a port from 1 to 65535");
}

TEST_CASE("a flow key finds its entry, and every field of it counts") {
    const splice_flow_key key = flow("192.0.2.1", 1234, "192.0.2.10", 80);
    std::unordered_map<splice_flow_key, int, FlowKeyHash, FlowKeyEqual> table{{key, 7}};
    CHECK(table.at(flow("192.0.2.1", 1234, "192.0.2.10", 80)) == 7);
    CHECK_FALSE(table.contains(flow("192.0.2.2", 1234, "192.0.2.10", 80)));
    CHECK_FALSE(table.contains(flow("192.0.2.1", 1235, "192.0.2.10", 80)));
    CHECK_FALSE(table.contains(flow("192.0.2.1", 1234, "192.0.2.11", 80)));
    CHECK_FALSE(table.contains(flow("192.0.2.1", 1234, "192.0.2.10", 81)));
}

TEST_CASE("the hash of flow keys spreads neighbouring ports and addresses over low bits and high bits") {
    std::unordered_set<std::size_t> low;
    std::unordered_set<std::size_t> high;
    const splice_flow_key first = flow("192.0.2.1", 1, "192.0.2.10", 80);
    for (std::uint32_t i = 0; i < 4096; ++i) {
        splice_flow_key key = first;
        key.client_port = splice_htons(1024 + i % 64);
        key.client.words[3] = splice_htonl(0xc0000200 + i / 64);
        low.insert(FlowKeyHash{}(key) & 0xfff);
        high.insert(FlowKeyHash{}(key) >> 52);
    }
    // 4096 balls in 4096 bins leave 63.2 % of the bins used; the standard deviation is 0.5 %.
    CHECK(low.size() > 2480);
    CHECK(high.size() > 2480);
}

TEST_CASE("a flow key is printed with its direction") {
    CHECK(to_string(flow("192.0.2.1", 1234, "192.0.2.10", 80)) == "192.0.2.1:1234 > 192.0.2.10:80");
    CHECK(to_string(flow("2001:db8::1", 1234, "2001:db8::a", 443)) ==
          "[2001:db8::1]:1234 > [2001:db8::a]:443");
}

}  // namespace
}  // namespace splice
