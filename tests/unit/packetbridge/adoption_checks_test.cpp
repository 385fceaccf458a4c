#include "packetbridge/adoption_checks.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

JoinerSetup rules_with_backend(const char* backend) {
    JoinerSetup setup;
    setup.services.push_back(
        {.vip = *Endpoint::parse("192.0.2.10:80"), .backend = *Endpoint::parse(backend)});
    return setup;
}

const JoinerSetup kOwnAddress = rules_with_backend("192.0.2.30:80");
const JoinerSetup kOnVip = rules_with_backend("192.0.2.10:80");

// The one obstacle that `change` makes of a good host.
template <class Change>
std::string obstacle(Change change) {
    AdoptionFacts facts;
    change(facts);
    const AdoptionFindings findings = judge_adoption(facts, kOwnAddress);
    REQUIRE(findings.obstacles.size() + findings.backends.size() == 1);
    return *findings.first_obstacle();
}

}  // namespace

TEST_CASE("a host as distributions install it can adopt") {
    const AdoptionFindings findings = judge_adoption({}, kOwnAddress);
    CHECK_FALSE(findings.first_obstacle());
    CHECK(findings.warnings.empty());
}

TEST_CASE("each setting that stops adoption is named with what to set") {
    CHECK(
        obstacle([](AdoptionFacts& facts) { facts.has_kfunc = false; }).contains("bpf_sk_assign_tcp_reqsk"));
    CHECK(obstacle([](AdoptionFacts& facts) {
              facts.tcp_syncookies = 0;
          }).starts_with("net.ipv4.tcp_syncookies must not be 0"));
    CHECK(obstacle([](AdoptionFacts& facts) {
              facts.tcp_sack = 0;
          }).starts_with("net.ipv4.tcp_sack must be 1"));
    CHECK(obstacle([](AdoptionFacts& facts) {
              facts.tcp_timestamps = 0;
          }).starts_with("net.ipv4.tcp_timestamps must not be 0"));
    CHECK(obstacle([](AdoptionFacts& facts) {
              facts.tcp_window_scaling = 0;
          }).starts_with("net.ipv4.tcp_window_scaling must be 1"));
    CHECK(obstacle([](AdoptionFacts& facts) {
              facts.tcp_rfc1337 = 1;
          }).starts_with("net.ipv4.tcp_rfc1337 must be 0"));
}

TEST_CASE("a backend that is not a plain TCP socket of this host stops adoption") {
    const auto with = [](BackendFacts facts) {
        facts.backend = *Endpoint::parse("192.0.2.30:80");
        return [facts](AdoptionFacts& all) { all.backends = {facts}; };
    };
    CHECK(obstacle(with({.here = false, .way = "docker0", .listens = false}))
              .starts_with("the backend 192.0.2.30:80 is not this host's own (it is reached by docker0)"));
    CHECK(obstacle(with({.here = false, .listens = false})).contains("(no route leads there)"));
    CHECK(obstacle(with({.mptcp = true})).starts_with("the listener at 192.0.2.30:80 speaks MPTCP"));
    CHECK(obstacle(with({.mark = 7})).contains("sets a mark of its own (0x7)"));
    AdoptionFacts marked;
    marked.backends = {{.backend = *Endpoint::parse("192.0.2.10:80"), .mark = 7}};
    CHECK_FALSE(
        judge_adoption(marked, kOnVip).first_obstacle());  // nothing of ours is carried by marks there
}

TEST_CASE("a firewall that drops what begins without a SYN is shown by its rule") {
    for (const char* rule :
         {"-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP",
          "tcp flags & (fin | syn | rst | ack) != syn ct state new drop"}) {
        CAPTURE(rule);
        CHECK(obstacle([&](AdoptionFacts& facts) {
                  facts.firewall.ipv4 = std::string("*filter\n") + rule + "\nCOMMIT\n";
              }).ends_with(rule));
        CHECK(obstacle([&](AdoptionFacts& facts) {
                  facts.firewall.nft = std::string("table inet f {\n\tchain c {\n\t\t") + rule + "\n\t}\n}\n";
              }).ends_with(rule));
    }
    const std::string invalid = "-A INPUT -m conntrack --ctstate INVALID -j DROP";
    CHECK(obstacle([&](AdoptionFacts& facts) {
              facts.firewall.ipv4 = invalid;
              facts.conntrack_tcp_loose = 0;
          }).ends_with(invalid));
}

TEST_CASE("a firewall that drops INVALID lets adopted connections through while conntrack is loose") {
    AdoptionFacts facts;
    facts.firewall.ipv4 =
        "-A INPUT -m conntrack --ctstate INVALID -j DROP\n-A INPUT -p tcp -m state --state NEW -j ACCEPT\n";
    CHECK_FALSE(judge_adoption(facts, kOwnAddress).first_obstacle());
}

TEST_CASE("marks of the firewall matter where the backend has an address of its own") {
    AdoptionFacts facts;
    facts.firewall.ipv4 = "-A PREROUTING -i eth1 -j MARK --set-xmark 0x1/0xffffffff\n";
    CHECK(judge_adoption(facts, kOwnAddress).warnings.size() == 1);
    CHECK(judge_adoption(facts, kOnVip).warnings.empty());
    CHECK(needs_egress(kOwnAddress));
    CHECK_FALSE(needs_egress(kOnVip));
}

TEST_CASE(
    "address translation on a host that tracks connections stops adoption, of backends that are tracked") {
    const std::string docker =
        "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j "
        "MASQUERADE\nCOMMIT\n";
    const std::string said = obstacle([&](AdoptionFacts& facts) { facts.firewall.ipv4 = docker; });
    CHECK(said.contains("connections to 192.0.2.30:80 are tracked"));
    CHECK(said.contains("`iptables -t raw -A PREROUTING -d 192.0.2.30 -p tcp --dport 80 -j CT --notrack`"));
    AdoptionFacts untracked;
    untracked.firewall.ipv4 =
        docker + "*raw\n-A PREROUTING -d 192.0.2.30/32 -p tcp -m tcp --dport 80 -j CT --notrack\nCOMMIT\n";
    CHECK_FALSE(judge_adoption(untracked, kOwnAddress).first_obstacle());
    AdoptionFacts other_family;
    other_family.firewall.ipv6 = docker;
    CHECK_FALSE(judge_adoption(other_family, kOwnAddress).first_obstacle());
}

TEST_CASE("what stands against one backend's adoption is of that backend, and none of the others'") {
    JoinerSetup two = rules_with_backend("192.0.2.30:80");
    two.services.push_back(
        {.vip = *Endpoint::parse("192.0.2.10:81"), .backend = *Endpoint::parse("172.17.0.2:81")});
    AdoptionFacts facts;
    facts.backends = {{.backend = *Endpoint::parse("192.0.2.30:80")},
                      {.backend = *Endpoint::parse("172.17.0.2:81"), .here = false, .way = "docker0"}};
    const AdoptionFindings findings = judge_adoption(facts, two);
    CHECK(findings.obstacles.empty());
    REQUIRE(findings.backends.size() == 1);
    CHECK(findings.backends[0].backend == *Endpoint::parse("172.17.0.2:81"));
    facts.tcp_sack = 0;
    CHECK(judge_adoption(facts, two).first_obstacle()->starts_with("net.ipv4.tcp_sack"));
}

TEST_CASE("what only may harm is a warning, of each uplink that it is of") {
    AdoptionFacts facts;
    facts.uplinks = {{.name = "eth1", .rp_filter = 2}, {.name = "eth2", .rp_filter = 1}};
    facts.backends = {{.backend = *Endpoint::parse("192.0.2.10:80"), .listens = false}};
    const AdoptionFindings findings = judge_adoption(facts, kOnVip);
    CHECK_FALSE(findings.first_obstacle());
    REQUIRE(findings.warnings.size() == 2);
    CHECK(findings.warnings[0].starts_with("rp_filter of eth2 is strict"));
    CHECK(findings.warnings[1].starts_with("nobody listens at 192.0.2.10:80"));
    facts.uplinks[1] = {.name = "eth2", .rp_filter = 0};
    CHECK(judge_adoption(facts, kOnVip).warnings.size() == 1);
}
