#include "libsplice/ops/api_routes.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

ApiRoutes routes() {
    ApiRoutes all;
    all.page("/", [](const ApiRequest&) { return ApiReply{}; });
    all.page("/thing/{uuid}", [](const ApiRequest&) { return ApiReply{}; });
    all.add({.method = "DELETE", .path = "/thing/{uuid}", .handle = {}});
    all.add({.method = "POST", .path = "/thing/{uuid}/part/{part}", .handle = {}});
    return all;
}

}  // namespace

TEST_CASE("a path is found by its parts, and those in braces are told") {
    const ApiRoutes all = routes();
    REQUIRE(all.find("GET", "/").route);
    REQUIRE(all.find("HEAD", "/thing/1").route);
    const auto found = all.find("POST", "/thing/ab/part/cd");
    REQUIRE(found.route);
    CHECK(found.variables == std::vector<std::string>{"ab", "cd"});
    CHECK(all.find("DELETE", "/thing/x").route->method == "DELETE");
}

TEST_CASE("a path that is not there has no methods, and one that is tells its own") {
    const ApiRoutes all = routes();
    for (const std::string path :
         {"", "thing/1", "/thing", "/thing/", "/thing/1/", "/thing/1/2", "//", "/thing/1/part/"}) {
        CHECK_MESSAGE(!all.find("GET", path).route, path);
        CHECK_MESSAGE(all.find("GET", path).allowed.empty(), path);
    }
    CHECK(all.find("PATCH", "/thing/1").allowed == "GET, HEAD, DELETE");
    CHECK(all.find("GET", "/thing/1/part/2").allowed == "POST");
}

TEST_CASE("a query is decoded, and a broken escape is none") {
    using Pairs = std::vector<std::pair<std::string, std::string>>;
    CHECK(parse_query("") == Pairs{});
    CHECK(parse_query("a=1&b&=x&&c=%41+%2b") == Pairs{{"a", "1"}, {"b", ""}, {"", "x"}, {"c", "A +"}});
    CHECK(parse_query("u=http://h/p?q=1") == Pairs{{"u", "http://h/p?q=1"}});
    CHECK_FALSE(parse_query("a=%4").has_value());
    CHECK_FALSE(parse_query("a=%g1").has_value());
    CHECK_FALSE(parse_query("%=1").has_value());
}

TEST_CASE("a refusal is one object, with the field where there is one") {
    CHECK(api_error(404, "no such \"thing\"").body == "{\"error\":\"no such \\\"thing\\\"\"}\n");
    CHECK(api_error(422, "expected a port", "port").body ==
          "{\"error\":\"expected a port\",\"field\":\"port\"}\n");
    CHECK(api_error(422, "bytes \xff").status == 422);  // is no text, and no fault either
}
