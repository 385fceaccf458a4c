#include "libsplice/base/quoted.hpp"

#include <doctest/doctest.h>

using namespace splice;

TEST_CASE("quoted text is one short line") {
    CHECK(quoted("a\nb") == "'a?b'");
    CHECK(quoted(std::string(100, 'x')).size() < 70);
}
