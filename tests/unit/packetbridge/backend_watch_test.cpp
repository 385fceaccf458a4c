#include "packetbridge/backend_watch.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace splice;

namespace {

const std::vector<Endpoint> kBoth{Endpoint::parse("192.0.2.30:80").value(),
                                  Endpoint::parse("[2001:db8::30]:443").value()};

std::vector<std::string> texts(const std::vector<BackendStates::Line>& lines) {
    std::vector<std::string> all;
    for (const auto& line : lines) all.push_back((line.warns ? "warning: " : "") + line.text);
    return all;
}

}  // namespace

TEST_CASE("a backend that is not up at first is told of at once, and a change when two looks have found it") {
    BackendStates states;
    states.replace(kBoth);
    CHECK(states.states().empty());
    CHECK(texts(states.take(std::vector{BackendLook::listens, BackendLook::refuses})) ==
          std::vector<std::string>{
              "warning: the backend [2001:db8::30]:443 refuses connections: nobody listens there"});
    CHECK(states.states() ==
          std::vector<BackendState>{{kBoth[0], BackendLook::listens}, {kBoth[1], BackendLook::refuses}});
    // A backend that restarts is looked at once while it does not listen.
    CHECK(states.take(std::vector{BackendLook::refuses, BackendLook::refuses}).empty());
    CHECK(states.take(std::vector{BackendLook::listens, BackendLook::listens}).empty());
    CHECK(states.states()[0].look == BackendLook::listens);
    CHECK(states.states()[1].look == BackendLook::refuses);
    CHECK(texts(states.take(std::vector{BackendLook::listens, BackendLook::listens})) ==
          std::vector<std::string>{"the backend [2001:db8::30]:443 takes connections again"});
    CHECK(states.take(std::vector{BackendLook::full, BackendLook::listens}).empty());
    const auto lines = states.take(std::vector{BackendLook::full, BackendLook::listens});
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].text.find("queue") != std::string::npos);
    // It is told once.
    for (int i = 0; i < 10; ++i)
        CHECK(states.take(std::vector{BackendLook::full, BackendLook::listens}).empty());
}

TEST_CASE("backends that stay keep what is known of them, those that come are not known yet") {
    BackendStates states;
    states.replace(std::vector{kBoth[0]});
    (void)states.take(std::vector{BackendLook::refuses});
    states.replace(kBoth);
    CHECK(states.backends() == kBoth);
    CHECK(states.states() == std::vector<BackendState>{{kBoth[0], BackendLook::refuses}});
    states.replace({});
    CHECK(states.states().empty());
}
