#include "balancer/control/health_words.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "balancer/setup.hpp"

using namespace splice;

namespace {

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}

// One checked service over three bridges, and what the checks say of them.
struct Rig {
    Rig() {
        ServiceConfig service;
        service.name = "cdn";
        service.vip = Endpoint::parse("192.0.2.10:80").value();
        service.bridges = {
            {"b1", address("192.0.2.21")}, {"b2", address("192.0.2.22")}, {"b3", address("192.0.2.23")}};
        service.health = HealthConfig{};
        config.services.push_back(service);
        build();
        news.report = {{.service = "cdn", .bridges = std::vector<BridgeHealth>(3)}};
        for (std::uint16_t i = 0; i < 3; ++i) health(i).bridge = i;
    }
    void build() {
        BridgeIndex index;
        ServiceNumbers services;
        setup = build_setup(config, splice_secret{}, {.health = &news.report}, index, services).value();
    }
    BridgeHealth& health(std::size_t bridge) { return news.report[0].bridges[bridge]; }
    // A state that changes, and the lines that tell of it.
    std::vector<HealthLine> change(std::size_t bridge, HealthState to, HealthEvent::Why why,
                                   std::optional<ProbeEnd> failure = {}, std::string text = {}) {
        news.changes = {{.service = "cdn",
                         .bridge = static_cast<std::uint16_t>(bridge),
                         .was = health(bridge).state,
                         .is = to,
                         .why = why,
                         .failure = failure,
                         .words = std::move(text)}};
        health(bridge).state = to;
        return tell();
    }
    std::vector<HealthLine> tell() {
        auto lines = words.tell(news, config, *setup);
        news.changes.clear();
        return lines;
    }

    BalancerConfig config;
    HealthNews news;
    std::shared_ptr<const SplicerSetup> setup;
    HealthWords words;
};

using Why = HealthEvent::Why;

}  // namespace

TEST_CASE("a change of a bridge's state is one line: who, why, and how many are left") {
    Rig rig;
    CHECK(rig.tell().empty());
    auto lines =
        rig.change(1, HealthState::ill, Why::checks, ProbeEnd::wrong, "status 503, expected 200-399");
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].warns);
    CHECK(lines[0].text ==
          "service cdn: bridge b2 (192.0.2.22) is ill: 3 checks in a row failed, the last one: status 503, "
          "expected "
          "200-399; 2 of 3 bridges are up");
    lines = rig.change(1, HealthState::gone, Why::silence, ProbeEnd::silent);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text == "service cdn: bridge b2 (192.0.2.22) is gone: nothing was heard of it for 2 s");
    lines = rig.change(1, HealthState::gone, Why::in_vain);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].warns);
    CHECK(
        lines[0].text ==
        "service cdn: bridge b2 (192.0.2.22) is silent to its clients, too: it gets no connections until it "
        "is heard of");
    lines = rig.change(1, HealthState::ill, Why::heard, ProbeEnd::bounced);
    REQUIRE(lines.size() == 1);
    CHECK_FALSE(lines[0].warns);
    lines = rig.change(1, HealthState::up, Why::checks);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text ==
          "service cdn: bridge b2 (192.0.2.22) is up again: 2 checks in a row passed; 3 of 3 bridges are up");
    CHECK(rig.tell().empty());
}

TEST_CASE("every way in which a check fails has words of its own") {
    std::vector<std::string> texts;
    for (const ProbeEnd end : {ProbeEnd::silent, ProbeEnd::bounced, ProbeEnd::reset, ProbeEnd::late,
                               ProbeEnd::secret, ProbeEnd::clock}) {
        const std::string text = describe_failure(end, "");
        CHECK_FALSE(text.empty());
        CHECK(std::ranges::find(texts, text) == texts.end());
        texts.push_back(text);
    }
    CHECK(describe_failure(ProbeEnd::wrong, "TLS alert 40") == "TLS alert 40");
    CHECK(describe_failure(ProbeEnd::unreachable, "no route, says ::1") == "no route, says ::1");
}

TEST_CASE("a bridge whose number differs from the file's is told of once, and when it agrees") {
    Rig rig;
    rig.config.services[0].bridges[1].number = 2;
    rig.build();
    rig.health(1).number_word = NumberWord::differs;
    rig.health(1).told_number = 7;
    auto lines = rig.tell();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].warns);
    CHECK(lines[0].text.starts_with(
        "service cdn: bridge b2 (192.0.2.22) calls itself number 7, and this file calls it 2"));
    CHECK(rig.tell().empty());
    rig.health(1).number_word = NumberWord::missing;
    lines = rig.tell();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text.starts_with("service cdn: bridge b2 (192.0.2.22) has no number"));
    rig.health(1).number_word = NumberWord::unknown;
    CHECK(rig.tell().empty());
    rig.health(1).number_word = NumberWord::agrees;
    lines = rig.tell();
    REQUIRE(lines.size() == 1);
    CHECK_FALSE(lines[0].warns);
    CHECK(rig.tell().empty());
}

TEST_CASE("panic and narrow ways are told when they begin and when they end") {
    Rig rig;
    rig.news.report[0].panics = true;
    rig.health(2).narrow = true;
    auto lines = rig.tell();
    REQUIRE(lines.size() == 2);
    CHECK(lines[0].text.starts_with("service cdn: less than 50 % of its bridges are up"));
    CHECK(lines[1].text.starts_with(
        "service cdn: bridge b3 (192.0.2.23) answers, but not to full segments (mss 1460)"));
    CHECK(rig.tell().empty());
    rig.news.report[0].panics = false;
    rig.health(2).narrow = false;
    lines = rig.tell();
    REQUIRE(lines.size() == 2);
    CHECK_FALSE(lines[0].warns);
    CHECK_FALSE(lines[1].warns);
}

TEST_CASE("who is not placed for its health has no row, who is gone is down; the configuration comes first") {
    Rig rig;
    const auto first_choices = [&](std::uint16_t bridge) {
        std::size_t rows = 0;
        for (const splice_placement_row& row : rig.setup->services[0].placement->rows())
            rows += row.choices[0] == bridge ? 1 : 0;
        return rows;
    };
    CHECK(first_choices(1) > 0);
    rig.health(1).placed = false;
    rig.build();
    CHECK(first_choices(1) == 0);
    CHECK(rig.setup->services[0].down.empty());
    rig.health(1).ends_flows = true;
    rig.build();
    CHECK(rig.setup->services[0].gone == std::vector<std::uint16_t>{1});
    rig.health(1).ends_flows = false;
    rig.health(1).strands = true;
    rig.build();
    CHECK(rig.setup->services[0].gone.empty());
    CHECK(rig.setup->services[0].silent == std::vector<std::uint16_t>{1});
    CHECK(rig.setup->services[0].check->bridges ==
          std::vector<CheckedBridge>{{0, true}, {1, true}, {2, true}});
    rig.config.services[0].bridges[0].state = BridgeState::drain;
    rig.config.services[0].bridges[2].state = BridgeState::down;
    rig.build();
    CHECK(first_choices(0) == 0);
    CHECK(rig.setup->services[0].check->bridges == std::vector<CheckedBridge>{{0, false}, {1, true}});
    // Without checks nothing that was known counts.
    rig.config.services[0].health.reset();
    rig.build();
    CHECK(first_choices(1) > 0);
    CHECK_FALSE(rig.setup->services[0].check);
}

TEST_CASE("a bridge that is back gets its keys by and by: told when it begins and when it ends") {
    Rig rig;
    rig.config.services[0].health->rule.slow_start = 60s;
    const auto first_choices = [&](std::uint16_t bridge) {
        return std::ranges::count_if(rig.setup->services[0].placement->rows(),
                                     [&](const auto& row) { return row.choices[0] == bridge; });
    };
    const auto all = first_choices(1);
    static_cast<void>(rig.change(1, HealthState::ill, HealthEvent::Why::checks, ProbeEnd::bounced));
    rig.health(1).placed = false;
    rig.build();
    CHECK(first_choices(1) == 0);
    rig.health(1).placed = true;
    rig.health(1).share = 0.25;
    auto lines = rig.change(1, HealthState::up, HealthEvent::Why::checks);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text.ends_with("3 of 3 bridges are up; its keys come back within 1m"));
    rig.build();
    CHECK(first_choices(1) > all / 5);
    CHECK(first_choices(1) < all / 3);
    rig.health(1).share = 0.5;
    CHECK(rig.tell().empty());
    rig.health(1).share = 1;
    lines = rig.tell();
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text == "service cdn: bridge b2 (192.0.2.22) has all its keys again");
    CHECK(rig.tell().empty());
    rig.build();
    CHECK(first_choices(1) == all);
    CHECK_FALSE(rig.setup->services[0].slow_start);
}
