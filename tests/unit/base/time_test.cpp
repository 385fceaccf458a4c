#include "libsplice/base/time.hpp"

#include <doctest/doctest.h>

namespace splice {
namespace {

using namespace std::chrono_literals;

TEST_CASE("the timestamp clock counts milliseconds and wraps after 49 days") {
    CHECK(Instant{.monotonic = 1500us}.tsval() == 1);
    CHECK(Instant{.monotonic = 4294967295ms}.tsval() == 0xffffffff);
    CHECK(Instant{.monotonic = 4294967296ms}.tsval() == 0);
}

TEST_CASE("time that passes moves the monotonic clock and leaves the wall clock alone") {
    const Instant now{.monotonic = 10s, .unix_s = 1'700'000'000};
    const Instant later = now.after(2500ms);
    CHECK(later.monotonic == 12500ms);
    CHECK(later.seconds() == 12);
    CHECK(later.unix_s == now.unix_s);
}

}  // namespace
}  // namespace splice
