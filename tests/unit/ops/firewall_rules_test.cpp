#include "libsplice/ops/firewall_rules.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

FirewallRules with_nft(const std::string& table, const std::string& rules) {
    return {.ipv4 = {}, .ipv6 = {}, .nft = "table " + table + " {\n\tchain c {\n" + rules + "\n\t}\n}\n"};
}

FirewallRules with_iptables(const std::string& text) {
    return {.ipv4 = text, .ipv6 = {}, .nft = {}};
}

const std::string kNatHook = "\t\ttype nat hook postrouting priority srcnat; policy accept;\n";
const std::string kTracks = "\t\tct state established,related accept";
const Endpoint kBackend = *Endpoint::parse("192.0.2.30:80");
const Endpoint kBackend6 = *Endpoint::parse("[2001:db8::30]:80");

}  // namespace

TEST_CASE(
    "adopted segments are lost where a chain of type nat meets connection tracking, and by neither alone") {
    CHECK_FALSE(nat_takes_adopted_segments({}, 4));
    CHECK_FALSE(nat_takes_adopted_segments(with_nft("ip t", kNatHook), 4));
    CHECK_FALSE(nat_takes_adopted_segments(with_nft("ip t", kTracks), 4));
    CHECK(nat_takes_adopted_segments(with_nft("ip t", kNatHook + kTracks), 4));
    CHECK(nat_takes_adopted_segments(with_nft("ip t", kNatHook + "\t\tip saddr 10.0.0.0/8 masquerade"), 4));
}

TEST_CASE("nft's tables are of IPv4, of IPv6, of both, or of neither") {
    CHECK_FALSE(nat_takes_adopted_segments(with_nft("ip t", kNatHook + kTracks), 6));
    CHECK_FALSE(nat_takes_adopted_segments(with_nft("ip6 t", kNatHook + kTracks), 4));
    CHECK(nat_takes_adopted_segments(with_nft("ip6 t", kNatHook + kTracks), 6));
    CHECK(nat_takes_adopted_segments(with_nft("inet t", kNatHook + kTracks), 4));
    CHECK(nat_takes_adopted_segments(with_nft("inet t", kNatHook + kTracks), 6));
    CHECK_FALSE(nat_takes_adopted_segments(with_nft("bridge t", kNatHook + kTracks), 4));
}

TEST_CASE("iptables: an empty table nat counts, by whatever rule connections are tracked") {
    const std::string empty_nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
    CHECK_FALSE(nat_takes_adopted_segments(with_iptables(empty_nat), 4));
    for (const char* rule :
         {"-A INPUT -m conntrack --ctstate NEW -j ACCEPT", "-A INPUT -p tcp -m state --state NEW -j ACCEPT",
          "-A PREROUTING -d 192.0.2.30/32 -p tcp -m tcp --dport 80 -j CT --notrack",
          "-A FORWARD -j CONNMARK --save-mark"}) {
        CAPTURE(rule);
        CHECK(nat_takes_adopted_segments(with_iptables(empty_nat + "*filter\n" + rule + "\nCOMMIT\n"), 4));
        CHECK_FALSE(nat_takes_adopted_segments(
            with_iptables("*filter\n:INPUT ACCEPT [0:0]\n" + std::string(rule) + "\n"), 4));
    }
    // A comment is no match, and a user's chain no hook.
    CHECK_FALSE(nat_takes_adopted_segments(
        with_iptables(empty_nat + "-A INPUT -m comment --comment \"-m conntrack -j SNAT\" -j ACCEPT\n"), 4));
    CHECK_FALSE(
        nat_takes_adopted_segments(with_iptables("*nat\n:MINE - [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT "
                                                 "[0:0]\n-A INPUT -m state --state NEW -j ACCEPT\n"),
                                   4));
}

TEST_CASE("iptables' rules that leave a backend untracked, and those that do so for some segments alone") {
    for (const char* rule :
         {"-A PREROUTING -d 192.0.2.30/32 -p tcp -m tcp --dport 80 -j CT --notrack",
          "-A PREROUTING -p tcp -j NOTRACK",
          "-A PREROUTING -d 192.0.2.0/24 -i eth1 -p tcp -m multiport --dports 443,8000:8010,80 -j NOTRACK",
          "-A PREROUTING -p tcp -m tcp --dport 79:81 -m comment --comment \"of the cache ! -s\" -j CT "
          "--notrack",
          "-A PREROUTING -j CT --notrack"}) {
        CAPTURE(rule);
        CHECK(leaves_untracked(with_iptables(rule), kBackend));
    }
    for (const char* rule : {"-A PREROUTING -d 192.0.2.31/32 -p tcp -m tcp --dport 80 -j CT --notrack",
                             "-A PREROUTING ! -d 192.0.2.30/32 -p tcp -j CT --notrack",
                             "-A PREROUTING -d 192.0.2.30/32 -p udp -j CT --notrack",
                             "-A PREROUTING -s 10.0.0.0/8 -d 192.0.2.30/32 -p tcp -j CT --notrack",
                             "-A PREROUTING -p tcp -m tcp --dport 81:90 -j CT --notrack",
                             "-A PREROUTING -p tcp -m set --match-set s dst -j NOTRACK",
                             "-A PREROUTING -p tcp -m tcp --dport 80 -j CT --zone 3",
                             "-A OUTPUT -s 192.0.2.30/32 -p tcp -m tcp --sport 80 -j NOTRACK",
                             "-A PREROUTING -d 192.0.2.30/32 -j", "-A"}) {
        CAPTURE(rule);
        CHECK_FALSE(leaves_untracked(with_iptables(rule), kBackend));
    }
    CHECK_FALSE(leaves_untracked(with_iptables("-A PREROUTING -j CT --notrack"), kBackend6));
}

TEST_CASE("nft's rules that leave a backend untracked, and those that do so for some segments alone") {
    for (const char* rule :
         {"\t\tip daddr 192.0.2.30 tcp dport 80 notrack",
          "\t\ttcp dport { 443, 80 } counter packets 3 bytes 180 notrack",
          "\t\tiifname \"eth1\" ip daddr { 192.0.2.0/24, 198.51.100.1 } tcp dport 80-90 counter notrack "
          "comment \"x y\"",
          "\t\tiifname { \"eth1\", \"eth2\" } meta l4proto tcp th dport 80 notrack", "\t\tnotrack"}) {
        CAPTURE(rule);
        CHECK(leaves_untracked(with_nft("inet raw", rule), kBackend));
        CHECK(leaves_untracked(with_nft("ip raw", rule), kBackend));
        CHECK_FALSE(leaves_untracked(with_nft("ip6 raw", rule), kBackend));
    }
    for (const char* rule :
         {"\t\tip daddr 192.0.2.31 tcp dport 80 notrack", "\t\tip daddr != 192.0.2.30 notrack",
          "\t\ttcp dport @ports notrack", "\t\tip saddr 10.0.0.0/8 tcp dport 80 notrack",
          "\t\tip daddr . tcp dport { 192.0.2.30 . 80 } notrack", "\t\tudp dport 80 notrack",
          "\t\tmeta l4proto udp notrack", "\t\ttcp dport { 80", "\t\tip daddr"}) {
        CAPTURE(rule);
        CHECK_FALSE(leaves_untracked(with_nft("inet raw", rule), kBackend));
    }
    CHECK(leaves_untracked(with_nft("inet raw", "\t\tip6 daddr 2001:db8::/64 tcp dport 80 notrack"),
                           kBackend6));
    CHECK_FALSE(leaves_untracked(with_nft("inet raw", "\t\tip6 daddr 2001:db8:1::/64 tcp dport 80 notrack"),
                                 kBackend6));
}

TEST_CASE("chains whose policy drops what nothing accepts are named, once each") {
    FirewallRules rules;
    CHECK(dropping_chains(rules, "output").empty());
    rules.ipv4 =
        "*mangle\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n*filter\n:INPUT DROP [0:0]\n:OUTPUT DROP [1:60]\nCOMMIT\n";
    rules.nft =
        "table ip filter {\n\tchain OUTPUT {\n\t\ttype filter hook output priority filter; policy "
        "drop;\n\t}\n}\n"
        "table bridge b {\n\tchain out {\n\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n"
        "table inet mine {\n\tchain in {\n\t\ttype filter hook input priority filter; policy accept;\n\t}\n"
        "\tchain out {\n\t\ttype filter hook output priority filter; policy drop;\n\t}\n}\n";
    const auto output = dropping_chains(rules, "output");
    REQUIRE(output.size() == 2);
    CHECK(output[0] == "OUTPUT of iptables' table filter");
    CHECK(output[1] == "chain out of nft's table inet mine");
    const auto input = dropping_chains(rules, "input");
    REQUIRE(input.size() == 1);
    CHECK(input[0] == "INPUT of iptables' table filter");
}
