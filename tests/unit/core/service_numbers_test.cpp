#include "libsplice/core/service_numbers.hpp"

#include <doctest/doctest.h>

#include <set>

#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/flow.h"

using namespace splice;

namespace {

using Names = std::vector<std::string>;
using Numbers = std::vector<std::uint16_t>;

}  // namespace

TEST_CASE("a service keeps its number over reloads, wherever it stands in the list") {
    ServiceNumbers numbers;
    CHECK(numbers.assign(Names{"cdn", "images"}) == Numbers{1, 2});
    CHECK(numbers.assign(Names{"images", "new", "cdn"}) == Numbers{2, 3, 1});
    CHECK(numbers.assign(Names{"new"}) == Numbers{3});
    // It was away: its flows may still be there.
    CHECK(numbers.assign(Names{"cdn", "other", "new"}) == Numbers{1, 4, 3});
    CHECK(numbers.names() == Names{"", "cdn", "images", "new", "other"});
}

TEST_CASE("what an earlier process gave out is kept, and its gaps are given to nobody who has a number") {
    ServiceNumbers numbers(Names{"", "cdn", "", "images"});
    CHECK(numbers.assign(Names{"images", "cdn"}) == Numbers{3, 1});
    CHECK(ServiceNumbers(numbers.names()).assign(Names{"cdn", "images"}) == Numbers{1, 3});
}

TEST_CASE("when all numbers are given out, a new service takes the one that rests longest") {
    ServiceNumbers numbers;
    const auto name = [](int n) { return "s" + std::to_string(n); };
    for (int n = 1; n < SPLICE_SERVICE_NUMBERS - 1; ++n) {
        CHECK(numbers.assign(Names{"stays", name(n)}).front() == 1);
    }
    // s1 has number 2 and rests longest; "stays" never rests.
    CHECK(numbers.assign(Names{"one more", "stays"}) == Numbers{2, 1});
    CHECK(numbers.assign(Names{"and another", "stays"}) == Numbers{3, 1});
}

TEST_CASE("as many services as marks have a number each, all of them in range") {
    Names names;
    for (int n = 0; n < SPLICE_MAX_SERVICES; ++n) names.push_back("service " + std::to_string(n));
    const Numbers numbers = ServiceNumbers().assign(names);
    CHECK(std::set<std::uint16_t>(numbers.begin(), numbers.end()).size() == names.size());
    for (const std::uint16_t number : numbers) {
        CHECK(number != SPLICE_NO_SERVICE);
        CHECK(number < SPLICE_SERVICE_NUMBERS);
    }
}
