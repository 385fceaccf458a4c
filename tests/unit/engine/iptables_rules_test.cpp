#include "libsplice/engine/iptables_rules.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

NetfilterMatch to_vip(const char* vip, std::uint16_t port) {
    NetfilterMatch match;
    match.destinations = {{address(vip), port}};
    match.queue = 5;
    return match;
}

// The lines about our chains, built-in chains' jumps included.
std::vector<std::string> our_lines(const char* program, const char* table) {
    const std::string saved = lab::run(program, {"-t", table});
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < saved.size();) {
        const std::size_t end = saved.find('\n', at);
        const std::string line = saved.substr(at, end - at);
        if (line.find("SPLICELB") != std::string::npos) lines.push_back(line);
        at = end + 1;
    }
    return lines;
}

using Lines = std::vector<std::string>;

IptablesRules install(const std::vector<NetfilterMatch>& rules) {
    auto installed = IptablesRules::install("BALANCER", rules);
    INFO((installed ? std::string() : installed.error().text));
    REQUIRE(installed);
    return std::move(*installed);
}

void check_nothing_left() {
    for (const char* program : {"iptables-save", "ip6tables-save"}) {
        for (const char* table : {"raw", "mangle"}) CHECK(our_lines(program, table).empty());
    }
}

void check_one_rule_comes_and_goes() {
    {
        const IptablesRules rules = install({to_vip("192.0.2.10", 80)});
        CHECK(our_lines("iptables-save", "raw") == Lines{":SPLICELB-BALANCER - [0:0]",
                                                         "-A PREROUTING -j SPLICELB-BALANCER",
                                                         "-A SPLICELB-BALANCER -d 192.0.2.10/32 -p tcp "
                                                         "-m tcp --dport 80 -j NFQUEUE --queue-num 5"});
        CHECK(our_lines("iptables-save", "mangle").empty());
        CHECK(our_lines("ip6tables-save", "raw").empty());
    }
    check_nothing_left();
}

}  // namespace

TEST_CASE("rules stand in a chain of ours, one jump leads there, and both go when the object does") {
    lab::in_new_namespace([] { check_one_rule_comes_and_goes(); });
}

TEST_CASE("everything that a match can say becomes a rule of the right table and family") {
    lab::in_new_namespace([] {
        NetfilterMatch marked = to_vip("2001:db8::20", 0);
        marked.interface = "lo";
        marked.dscps = {1};
        marked.bypass = true;
        NetfilterMatch leaving;
        leaving.hook = NetfilterHook::postrouting;
        leaving.interface = "lo";
        leaving.sources = {{address("192.0.2.30"), 80}};
        leaving.queue = 6;
        const IptablesRules rules = install({marked, leaving});
        CHECK(our_lines("ip6tables-save", "raw").back() ==
              "-A SPLICELB-BALANCER -d 2001:db8::20/128 -i lo -p tcp -m tcp -m dscp --dscp 0x01 "
              "-j NFQUEUE --queue-num 5 --queue-bypass");
        CHECK(our_lines("iptables-save", "mangle") ==
              Lines{":SPLICELB-BALANCER - [0:0]", "-A POSTROUTING -j SPLICELB-BALANCER",
                    "-A SPLICELB-BALANCER -s 192.0.2.30/32 -o lo -p tcp -m tcp --sport 80 -j NFQUEUE "
                    "--queue-num 6"});
    });
}

TEST_CASE("ICMP errors about a VIP are the error types of its family and no others") {
    lab::in_new_namespace([] {
        NetfilterMatch ipv4 = to_vip("192.0.2.10", 0);
        ipv4.kind = NetfilterMatch::Kind::icmp_error;
        NetfilterMatch ipv6 = to_vip("2001:db8::10", 0);
        ipv6.kind = NetfilterMatch::Kind::icmp_error;
        const IptablesRules rules = install({ipv4, ipv6});
        const auto rule4 = [](int type) {
            return "-A SPLICELB-BALANCER -d 192.0.2.10/32 -p icmp -m icmp --icmp-type " +
                   std::to_string(type) + " -j NFQUEUE --queue-num 5";
        };
        const auto rule6 = [](int type) {
            return "-A SPLICELB-BALANCER -d 2001:db8::10/128 -p ipv6-icmp -m icmp6 --icmpv6-type " +
                   std::to_string(type) + " -j NFQUEUE --queue-num 5";
        };
        CHECK(our_lines("iptables-save", "raw") == Lines{":SPLICELB-BALANCER - [0:0]",
                                                         "-A PREROUTING -j SPLICELB-BALANCER", rule4(3),
                                                         rule4(11), rule4(12)});
        CHECK(our_lines("ip6tables-save", "raw") == Lines{":SPLICELB-BALANCER - [0:0]",
                                                          "-A PREROUTING -j SPLICELB-BALANCER", rule6(1),
                                                          rule6(2), rule6(3), rule6(4)});
    });
}

TEST_CASE("a reload replaces the rules of every table and family and leaves no other behind") {
    lab::in_new_namespace([] {
        NetfilterMatch leaving = to_vip("192.0.2.30", 0);
        leaving.hook = NetfilterHook::postrouting;
        IptablesRules rules = install({to_vip("192.0.2.10", 80), to_vip("2001:db8::10", 80), leaving});
        REQUIRE(rules.replace({to_vip("192.0.2.11", 81)}));
        CHECK(
            our_lines("iptables-save", "raw") ==
            Lines{":SPLICELB-BALANCER - [0:0]", "-A PREROUTING -j SPLICELB-BALANCER",
                  "-A SPLICELB-BALANCER -d 192.0.2.11/32 -p tcp -m tcp --dport 81 -j NFQUEUE --queue-num 5"});
        CHECK(our_lines("iptables-save", "mangle").empty());
        CHECK(our_lines("ip6tables-save", "raw").empty());
    });
}

TEST_CASE(
    "what a killed run left is replaced, its doubled jumps included, and all of it is removed in the end") {
    lab::in_new_namespace([] {
        lab::run("iptables-restore", {"--noflush"},
                 "*raw\n:SPLICELB-BALANCER - [0:0]\n-A SPLICELB-BALANCER -p tcp -j NFQUEUE --queue-num 9\n"
                 "-A PREROUTING -j SPLICELB-BALANCER\n-A PREROUTING -j SPLICELB-BALANCER\nCOMMIT\n"
                 "*mangle\n:SPLICELB-BALANCER - [0:0]\n-A POSTROUTING -j SPLICELB-BALANCER\nCOMMIT\n");
        lab::run("ip6tables-restore", {"--noflush"}, "*raw\n:SPLICELB-BALANCER - [0:0]\nCOMMIT\n");
        check_one_rule_comes_and_goes();
    });
}

TEST_CASE("the rules of others, and of our other program, stay as they are") {
    lab::in_new_namespace([] {
        lab::run("iptables-restore", {"--noflush"},
                 "*raw\n:SPLICELB-BALANCER2 - [0:0]\n-A PREROUTING -j SPLICELB-BALANCER2\n"
                 "-A PREROUTING -p udp -j ACCEPT\nCOMMIT\n");
        const std::string before = lab::run("iptables", {"-t", "raw", "-S"});
        {
            const IptablesRules rules = install({to_vip("192.0.2.10", 80)});
            // Ours comes first: another's ACCEPT must not let a packet past it.
            CHECK(lab::run("iptables", {"-t", "raw", "-S", "PREROUTING", "1"}) ==
                  "-A PREROUTING -j SPLICELB-BALANCER\n");
        }
        CHECK(lab::run("iptables", {"-t", "raw", "-S"}) == before);
        CHECK(our_lines("iptables-save", "raw") ==
              Lines{":SPLICELB-BALANCER2 - [0:0]", "-A PREROUTING -j SPLICELB-BALANCER2"});
    });
}

TEST_CASE("a rule that iptables refuses is told in its own words, and nothing of it stays") {
    lab::in_new_namespace([] {
        NetfilterMatch wrong = to_vip("192.0.2.10", 80);
        wrong.interface = "a-name-that-is-too-long-for-an-interface";
        const auto refused = IptablesRules::install("BALANCER", {to_vip("192.0.2.10", 81), wrong});
        REQUIRE_FALSE(refused);
        CHECK(refused.error().text.starts_with("install the netfilter rules of SPLICELB-BALANCER: /"));
        CHECK(refused.error().text.find("iptables-restore: ") != std::string::npos);
        CHECK(refused.error().text.find("a-name-that-is") != std::string::npos);
        CHECK(refused.error().text.find('\n') == std::string::npos);
        check_nothing_left();
    });
}

TEST_CASE("after a refused reload the rules before it are back") {
    lab::in_new_namespace([] {
        IptablesRules rules = install({to_vip("192.0.2.10", 80)});
        const Lines before = our_lines("iptables-save", "raw");
        // The IPv4 half is taken, the IPv6 half is not.
        NetfilterMatch wrong = to_vip("2001:db8::10", 80);
        wrong.interface = "a-name-that-is-too-long-for-an-interface";
        CHECK_FALSE(rules.replace({to_vip("192.0.2.11", 81), wrong}));
        CHECK(our_lines("iptables-save", "raw") == before);
    });
}

TEST_CASE("the rules of a moved object are removed once, by the one that has them now") {
    lab::in_new_namespace([] {
        std::optional<IptablesRules> keeper;
        {
            IptablesRules rules = install({to_vip("192.0.2.10", 80)});
            keeper.emplace(std::move(rules));
        }
        CHECK(our_lines("iptables-save", "raw").size() == 3);
        keeper.reset();
        check_nothing_left();
    });
}
