#include <doctest/doctest.h>

#include <cerrno>
#include <ctime>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/subprocess.hpp"

using namespace splice;

TEST_CASE("an error says what was done, what the system answered and what to try") {
    const auto error = system_error("bind NFQUEUE 1000", EBUSY, "stop the other one").error();
    CHECK(error.text == "bind NFQUEUE 1000: Device or resource busy (stop the other one)");
    CHECK(error.code == EBUSY);
    CHECK(system_error("read x", ENOENT).error().text == "read x: No such file or directory");
    CHECK(system_error("parse x", 0, "no brace").error().text == "parse x (no brace)");
}

TEST_CASE("the clock's two hands are the kernel's two clocks, and the steady one does not go back") {
    const std::time_t before = std::time(nullptr);
    const Instant first = read_clock();
    const Instant second = read_clock();
    CHECK(first.unix_s >= before);
    CHECK(second.unix_s <= std::time(nullptr) + 1);
    CHECK(first.monotonic > Duration::zero());
    CHECK(second.monotonic >= first.monotonic);
}

TEST_CASE("a program gets its input, and gives back its output, its complaints and its exit code") {
    const auto sh = find_program("sh", "dash");
    REQUIRE(sh);
    const auto result = run_program(*sh, {"-c", "cat; echo said >&2; exit 3"}, "given");
    REQUIRE(result);
    CHECK(result->output == "given");
    CHECK(result->complaints == "said\n");
    CHECK(result->exit_code == 3);
}

TEST_CASE("input and output larger than any pipe do not block") {
    const auto cat = find_program("cat", "coreutils");
    REQUIRE(cat);
    const std::string large(1 << 20, 'x');
    const auto result = run_program(*cat, {}, large);
    REQUIRE(result);
    CHECK(result->output == large);
}

TEST_CASE("a program that a signal ends has 128 and the signal's number as its exit code") {
    const auto sh = find_program("sh", "dash");
    REQUIRE(sh);
    const auto result = run_program(*sh, {"-c", "kill -TERM $$"}, {});
    REQUIRE(result);
    CHECK(result->exit_code == 128 + 15);
}

TEST_CASE("a program that is missing is named with the package that has it") {
    const auto none = find_program("no-such-program", "no-such-package");
    REQUIRE_FALSE(none);
    CHECK(
        none.error().text ==
        "find the program no-such-program: No such file or directory (install the package no-such-package)");
}
