#include "libsplice/ops/steps.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

using Result = std::expected<void, std::string>;

// A step that writes down what was asked of it.
Step step(std::string& diary, const std::string& name, const Result& applied = {},
          const Result& undone = {}) {
    return {.apply =
                [&diary, name, applied] {
                    diary += "+" + name;
                    return applied;
                },
            .undo =
                [&diary, name, undone] {
                    diary += "-" + name;
                    return undone;
                }};
}

}  // namespace

TEST_CASE("steps are done in their order") {
    std::string diary;
    CHECK(apply_steps({step(diary, "a"), step(diary, "b")}).has_value());
    CHECK(diary == "+a+b");
}

TEST_CASE("after a step that fails those before it are undone, the last first, and nothing else is done") {
    std::string diary;
    const auto done = apply_steps({step(diary, "a"), step(diary, "b"),
                                   step(diary, "c", std::unexpected("no memory")), step(diary, "d")});
    REQUIRE_FALSE(done.has_value());
    CHECK(diary == "+a+b+c-b-a");
    CHECK(done.error().text == "no memory");
    CHECK(done.error().undone);
}

TEST_CASE("a step that cannot be undone is told of, and those before it are undone all the same") {
    std::string diary;
    const auto done = apply_steps({step(diary, "a"), step(diary, "b", {}, std::unexpected("b is left")),
                                   step(diary, "c", std::unexpected("no memory"))});
    REQUIRE_FALSE(done.has_value());
    CHECK(diary == "+a+b+c-b-a");
    CHECK(done.error().text == "no memory; and going back failed: b is left");
    CHECK_FALSE(done.error().undone);
}
