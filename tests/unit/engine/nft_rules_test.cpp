#include "libsplice/engine/nft_rules.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "libsplice/engine/nft_table.hpp"
#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

Endpoint endpoint(const char* text) {
    return Endpoint::parse(text).value();
}

// What the kernel makes of the rules, as nft lists it. A kernel may have no `queue`: in its place a counter.
std::string listed(const std::vector<NetfilterMatch>& rules) {
    std::string content = nft_rules(rules);
    for (std::size_t at = 0; (at = content.find("queue num ", at)) != std::string::npos;)
        content.replace(at, content.find('\n', at) - at, "counter");
    std::string text;
    lab::in_new_namespace([&] {
        const auto table = NftTable::install("splicelb-test", content);
        INFO((table ? std::string() : table.error().text));
        REQUIRE(table);
        text = lab::run("nft", {"-s", "-n", "list", "table", "inet", "splicelb-test"});
    });
    return text;
}

bool has(const std::string& text, const std::string& part) {
    INFO(text);
    return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the ends of all services are one rule a family") {
    NetfilterMatch match;
    match.destinations = {endpoint("192.0.2.10:80"), endpoint("[2001:db8::10]:80"),
                          endpoint("192.0.2.10:443"), endpoint("192.0.2.10:80")};
    match.queue = 5330;
    CHECK(nft_rules({match}) ==
          "chain prerouting {\n"
          "type filter hook prerouting priority -301; policy accept;\n"
          "meta nfproto ipv4 meta l4proto tcp ip daddr . tcp dport { 192.0.2.10 . 80, 192.0.2.10 . 443 } "
          "queue num 5330\n"
          "meta nfproto ipv6 meta l4proto tcp ip6 daddr . tcp dport { 2001:db8::10 . 80 } queue num 5330\n"
          "}\n");
}

TEST_CASE("the kernel takes whatever a match can say, each hook in a chain of its own") {
    NetfilterMatch marked;
    marked.interface = "eth1.100";
    marked.destinations = {{address("192.0.2.20"), 0}, {address("2001:db8::20"), 0}};
    marked.dscps = {1, 62};
    NetfilterMatch leaving;
    leaving.hook = NetfilterHook::postrouting;
    leaving.interface = "lo";
    leaving.sources = {endpoint("[2001:db8::30]:80")};
    leaving.destinations = {endpoint("[2001:db8::1]:4711")};
    leaving.bypass = true;
    NetfilterMatch all;
    all.hook = NetfilterHook::forward;
    all.kind = NetfilterMatch::Kind::any;
    all.except_mark = 7;
    // As nft writes it: without what follows from the rest, and a set of one as that.
    const std::string text = listed({marked, leaving, all});
    CHECK(
        has(text, "iifname \"eth1.100\" meta l4proto 6 ip daddr 192.0.2.20 ip dscp { 0x01, 0x3e } counter"));
    CHECK(has(text, "ip6 daddr 2001:db8::20 ip6 dscp { 0x01, 0x3e } counter"));
    CHECK(has(text,
              "oifname \"lo\" ip6 saddr . tcp sport { 2001:db8::30 . 80 } "
              "ip6 daddr . tcp dport { 2001:db8::1 . 4711 } counter"));
    CHECK(has(text, "type filter hook forward priority -301"));
    CHECK(has(text, "meta nfproto 2 meta mark != 0x00000007 counter"));
    CHECK(has(text, "meta nfproto 10 meta mark != 0x00000007 counter"));
    CHECK_FALSE(has(text, "hook input"));
    CHECK(has(nft_rules({leaving}), "queue num 0 bypass\n"));
}

TEST_CASE("ICMP errors are one rule a family, for all addresses, and no other types") {
    NetfilterMatch match;
    match.kind = NetfilterMatch::Kind::icmp_error;
    match.destinations = {
        {address("192.0.2.10"), 0}, {address("192.0.2.11"), 0}, {address("2001:db8::10"), 0}};
    const std::string text = listed({match});
    CHECK(has(text, "icmp type { 3, 11, 12 } ip daddr { 192.0.2.10, 192.0.2.11 } counter"));
    CHECK(has(text, "icmpv6 type { 1, 2, 3, 4 } ip6 daddr 2001:db8::10 counter"));
}
