#include "libsplice/base/decimal.hpp"

#include <doctest/doctest.h>

namespace splice {
namespace {

TEST_CASE("a decimal number stands behind what was there, the largest included") {
    std::string text = "n=";
    append_decimal(text, 0);
    text += ' ';
    append_decimal(text, 18'446'744'073'709'551'615U);
    CHECK(text == "n=0 18446744073709551615");
}

}  // namespace
}  // namespace splice
