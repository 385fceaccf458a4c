#include "libsplice/engine/netfilter_rules.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "libsplice/engine/ruleset_stamp.hpp"
#include "tests/support/lab/lab.hpp"

using namespace splice;

namespace {

constexpr const char* kTable = "table inet splicelb-balancer ";

NetfilterMatch to_vip(const char* vip) {
    NetfilterMatch match;
    match.destinations = {Endpoint::parse(vip).value()};
    match.queue = 5;
    return match;
}

bool lists(const std::string& program, const std::vector<std::string>& words, const std::string& part) {
    return lab::run(program, words).find(part) != std::string::npos;
}

bool is_in_nftables(const std::string& part) {
    return lists("nft", {"list", "ruleset"}, part);
}

bool is_in_iptables(const std::string& part) {
    return lists("iptables-save", {"-t", "raw"}, part);
}

// Where the kernel can queue by it.
void with_nftables(const std::function<void()>& body) {
    lab::in_new_namespace([&] {
        if (const auto can = nftables_can_queue(); !can)
            return lab::skip("no queue here: " + can.error().text);
        body();
    });
}

}  // namespace

TEST_CASE("rules are made by nftables where that can queue, else by iptables") {
    lab::in_new_namespace([] {
        const bool can = nftables_can_queue().has_value();
        CHECK_FALSE(is_in_nftables("splicelb"));  // to ask leaves nothing
        const auto rules = NetfilterRules::install("BALANCER", {to_vip("192.0.2.10:80")});
        REQUIRE(rules);
        CHECK((rules->tool() == NetfilterTool::nftables) == can);
        CHECK(is_in_nftables(kTable) == can);
        CHECK(is_in_iptables("SPLICELB-BALANCER") != can);
    });
}

TEST_CASE("by nftables: rules are replaced and put right as a whole, and go with their object") {
    with_nftables([] {
        {
            auto rules =
                NetfilterRules::install("BALANCER", {to_vip("192.0.2.10:80")}, NetfilterTool::nftables);
            REQUIRE(rules);
            CHECK(rules->are_whole());
            REQUIRE(rules->replace({to_vip("192.0.2.11:81")}));
            CHECK(rules->are_whole());
            CHECK_FALSE(is_in_nftables("192.0.2.10"));
            lab::run("nft", {"flush", "ruleset"});
            CHECK_FALSE(rules->are_whole());
            REQUIRE(rules->restore());
            CHECK(rules->are_whole());
            CHECK(is_in_nftables("192.0.2.11"));
            NetfilterMatch wrong = to_vip("192.0.2.12:80");
            wrong.interface = "a-name-that-is-too-long-for-an-interface";
            CHECK_FALSE(rules->replace({wrong}));
            CHECK(is_in_nftables("192.0.2.11"));
            CHECK(rules->are_whole());
        }
        CHECK_FALSE(is_in_nftables("splicelb"));
    });
}

TEST_CASE("the same rules again do not ask netfilter") {
    lab::in_new_namespace([] {
        auto rules = NetfilterRules::install("BALANCER", {to_vip("192.0.2.10:80")});
        REQUIRE(rules);
        const std::string stamp = ruleset_stamp();
        REQUIRE(rules->replace({to_vip("192.0.2.10:80")}));
        CHECK(ruleset_stamp() == stamp);
        REQUIRE(rules->replace({to_vip("192.0.2.11:81")}));
        CHECK(ruleset_stamp() != stamp);
        CHECK(rules->are_whole());
    });
}

TEST_CASE("what a killed run made by one tool goes when the next makes its rules by the other") {
    lab::in_new_namespace([] {
        lab::run("nft", {"add", "table", "inet", "splicelb-balancer"});
        {
            const auto rules =
                NetfilterRules::install("BALANCER", {to_vip("192.0.2.10:80")}, NetfilterTool::iptables);
            REQUIRE(rules);
            CHECK_FALSE(is_in_nftables(kTable));
        }
        CHECK_FALSE(is_in_iptables("SPLICELB"));
    });
    with_nftables([] {
        lab::run("iptables-restore", {"--noflush"},
                 "*raw\n:SPLICELB-BALANCER - [0:0]\n-A PREROUTING -j SPLICELB-BALANCER\nCOMMIT\n");
        const auto rules = NetfilterRules::install("BALANCER", {to_vip("192.0.2.10:80")});
        REQUIRE(rules);
        CHECK_FALSE(is_in_iptables("SPLICELB"));
    });
}

TEST_CASE("what nftables refuses is told in its own words, and nothing of it stays") {
    lab::in_new_namespace([] {
        NetfilterMatch wrong = to_vip("192.0.2.10:80");
        wrong.interface = "a-name-that-is-too-long-for-an-interface";
        const auto refused = NetfilterRules::install("BALANCER", {wrong}, NetfilterTool::nftables);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().text.starts_with("install the nftables table inet splicelb-balancer: nft: "));
        CHECK(refused.error().text.find('\n') == std::string::npos);
        CHECK_FALSE(is_in_nftables("splicelb"));
    });
}
