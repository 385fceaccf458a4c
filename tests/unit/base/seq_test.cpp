#include "libsplice/base/seq.hpp"

#include <doctest/doctest.h>

namespace splice {
namespace {

TEST_CASE(
    "a sequence number is before another that is less than half the circle ahead, also across the wrap") {
    CHECK(before(Seq(1), Seq(2)));
    CHECK_FALSE(before(Seq(2), Seq(1)));
    CHECK_FALSE(before(Seq(2), Seq(2)));
    CHECK(at_or_before(Seq(2), Seq(2)));
    CHECK(before(Seq(0xffffffff), Seq(0)));
    CHECK(before(Seq(0xfffffff0), Seq(0x10)));
    CHECK_FALSE(before(Seq(0x10), Seq(0xfffffff0)));
    CHECK(before(Seq(0), Seq(0x7fffffff)));
}

TEST_CASE("the difference of two sequence numbers says how far the first is ahead") {
    CHECK(Seq(5) - Seq(3) == 2);
    CHECK(Seq(3) - Seq(5) == -2);
    CHECK(Seq(4) - Seq(0xfffffffe) == 6);
    CHECK(Seq(0xfffffffe) - Seq(4) == -6);
}

TEST_CASE("adding and taking away wrap") {
    CHECK(Seq(0xffffffff) + 2 == Seq(1));
    CHECK(Seq(1) - 2U == Seq(0xffffffff));
    CHECK(TsVal(0xffffffff) + 1 == TsVal(0));
}

}  // namespace
}  // namespace splice
