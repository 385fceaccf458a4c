#include "tools/splicectl/views.hpp"

#include <doctest/doctest.h>

#include "tools/splicectl/api_client.hpp"
#include "tools/splicectl/names.hpp"
#include "tools/splicectl/table.hpp"

namespace splice::control {
namespace {

Json backend(const char* name, const char* state = "ready", unsigned weight = 1) {
    return {{"uuid", std::string("uuid-of-") + name},
            {"name", name},
            {"ip", "192.0.2.21"},
            {"weight", weight},
            {"number", nullptr},
            {"state", state},
            {"origin", "file"},
            {"changed", Json::array()},
            {"health", nullptr},
            {"failure", nullptr},
            {"table_share", 0.5},
            {"connections", 12}};
}

Json service(const char* name, const char* vip, unsigned port, std::vector<Json> backends) {
    return {{"uuid", std::string("uuid-of-") + name},
            {"name", name},
            {"vip", vip},
            {"port", port},
            {"dscp", 1},
            {"protocol", "http"},
            {"hash", {{"key", "uri"}, {"algorithm", "rendezvous"}}},
            {"origin", "file"},
            {"backends", std::move(backends)}};
}

Json fleet() {
    return Json::array({service("web4", "192.0.2.1", 80, {backend("b1"), backend("b2"), backend("only4")}),
                        service("web6", "2001:db8::1", 8080, {backend("b1"), backend("b2")})});
}

std::string bridge_error(const std::string& in, const std::string& bridge) {
    const auto found = find_bridges(fleet(), in, bridge, false);
    REQUIRE(!found.has_value());
    return found.error();
}

TEST_CASE("columns are as wide as their widest cell, and no line ends with a blank") {
    Table table({{"NAME"}, {"COUNT", Table::Align::right}, {"WORDS"}});
    table.add({"a", "1", ""});
    table.add({"a-long-name", "", "x"});
    CHECK(table.text() ==
          "NAME         COUNT  WORDS\n"
          "a                1\n"
          "a-long-name      -  x\n");
}

TEST_CASE("what a stranger wrote does not move a terminal's cursor") {
    CHECK(harmless("a\x1b[2Jb\r\n\t\x7f") == "a?[2Jb????");
    CHECK(harmless("caf\xc3\xa9 \xe2\x9c\x93 \xf0\x9f\x98\x80") ==
          "caf\xc3\xa9 \xe2\x9c\x93 \xf0\x9f\x98\x80");
    CHECK(harmless("\xc2\x9b"
                   "31m") == "?31m");  // CSI in one character
    CHECK(harmless("\xff\xc0\xaf\xe0\x80\xaf\xed\xa0\x80\xf4\x90\x80\x80\xc3") == std::string(14, '?'));
    Table table({{"A"}, {"B"}});
    table.add({"caf\xc3\xa9",
               "\x1b"
               "c"});
    CHECK(table.text() == "A     B\ncaf\xc3\xa9  ?c\n");
}

TEST_CASE("a bridge that one service has needs no service's name") {
    const auto found = find_bridges(fleet(), "", "only4", false);
    REQUIRE(found.has_value());
    REQUIRE(found->size() == 1);
    CHECK(found->front().path == "/loadbalancer/uuid-of-web4/backend/uuid-of-only4");
    CHECK(find_bridges(fleet(), "web6", "b2", false).value().front().path ==
          "/loadbalancer/uuid-of-web6/backend/uuid-of-b2");
    CHECK(find_bridges(fleet(), "", "b2", true).value().size() == 2);
}

TEST_CASE("a bridge of several services, or of none, is answered with the candidates") {
    CHECK(
        bridge_error("", "b2") ==
        "2 services have a bridge b2: name one of them, as web4/b2, or all with --all-services: web4, web6");
    CHECK(bridge_error("web6", "only4") == "service web6 has no bridge only4; it has: b1, b2");
    CHECK(bridge_error("web5", "b1") == "there is no service web5; there are: web4, web6");
    CHECK(bridge_error("", "b9").starts_with("no service has a bridge b9;"));
}

TEST_CASE("a URL with a service's address names the service") {
    const Json all = fleet();
    CHECK(service_of_url(all, "http://192.0.2.1/a?b").value() == "web4");
    CHECK(service_of_url(all, "http://192.0.2.1:80").value() == "web4");
    CHECK(service_of_url(all, "http://[2001:db8::1]:8080/").value() == "web6");
    for (const char* other :
         {"http://192.0.2.1:81/", "https://192.0.2.1/", "http://lab/", "/a", "http://", ""}) {
        CHECK(service_of_url(all, other).error().ends_with("--service one of: web4, web6"));
        CHECK(service_of_url(Json::array({all[1]}), other).value() == "web6");  // the only one
    }
}

TEST_CASE("a target's parameters are escaped, and empty ones left out") {
    CHECK(make_target("/flows", {{"service", ""}, {"client", "[::1]:80"}, {"x", "a b&c=d+~\xc3\xa9"}}) ==
          "/flows?client=%5B%3A%3A1%5D%3A80&x=a%20b%26c%3Dd%2B~%C3%A9");
    CHECK(make_target("/flows", {}) == "/flows");
}

TEST_CASE("a refusal says what was asked, the API's words and what to do") {
    CHECK(describe_refusal("PATCH /x",
                           {422, R"({"error":"weight: 300: expected 0 to 256","field":"weight"})"}) ==
          "PATCH /x: 422: weight: 300: expected 0 to 256");
    CHECK(describe_refusal("GET /x", {401, R"({"error":"no token"})"})
              .ends_with("--token-file names the file with the balancer's token)"));
    CHECK(describe_refusal("GET /x", {404, "not found\x1b[2J\nmore"}) ==
          "GET /x: 404: not found?[2J (is this a balancer's API, of this version?)");
    CHECK(describe_refusal("GET /x", {422, R"({"error":"expected an address","field":"source"})"}) ==
          "GET /x: 422: source: expected an address");
    CHECK(describe_refusal("GET /x", {500, ""}) == "GET /x: 500: ");
}

TEST_CASE("what is the matter with a bridge is said in the same words of either answer") {
    CHECK(attention(backend("b1")).empty());
    CHECK(attention(backend("b1", "drain")) == "drain");
    CHECK(attention(backend("b1", "ready", 0)) == "weight 0");
    Json ill = backend("b1", "down");
    ill["health"] = "ill";
    ill["failure"] = "no answer from it";
    CHECK(attention(ill) == "down, ill: no answer from it");
    Json status = backend("b1");
    status.erase("failure");
    status["health"] = {
        {"state", "gone"}, {"failure", "nothing at all"}, {"suspect", true}, {"slow_start", 1}};
    CHECK(attention(status) == "gone: nothing at all");
    status["health"] = {
        {"state", "up"}, {"failure", nullptr}, {"suspect", true}, {"slow_start", 0.25}, {"narrow", true}};
    CHECK(attention(status) ==
          "suspect: clients repeat themselves, a narrow way: checks of full segments fail, is back, with "
          "25.0 % of its keys");
}

TEST_CASE("the status begins with whether the balancer serves, and says what needs attention") {
    const Json status = {{"version", "1.2"},
                         {"engine", {{"name", "ebpf"}, {"reason", "works"}}},
                         {"interface", "eth1"},
                         {"flows", 5},
                         {"flows_pending", 1},
                         {"max_flows", 100},
                         {"services",
                          {{{"name", "web"},
                            {"vip", "192.0.2.1:80"},
                            {"protocol", "http"},
                            {"hash_key", "uri"},
                            {"bridges",
                             {{{"name", "b1"}, {"state", "ready"}, {"weight", 1}, {"flows", 2}},
                              {{"name", "b2"}, {"state", "drain"}, {"weight", 1}, {"flows", 3}}}}}}}};
    CHECK(status_view(status, "", "127.0.0.1:10001") ==
          "balancer 1.2 at 127.0.0.1:10001: ready\n"
          "engine ebpf, interface eth1\n"
          "table: 5 of 100 entries; 1 wait for their first request\n"
          "\n"
          "SERVICE  VIP           PROTOCOL  KEY  TAKE    CONNECTIONS  ATTENTION\n"
          "web      192.0.2.1:80  http      uri  1 of 2            5  b2: drain\n");
    Json limited = status;
    limited["limits"] = {{"deny", {{"prefixes", 3}, {"dropped", 12}}},
                         {"new_connections", {{"services", {"web", "shop"}}, {"dropped", 0}}},
                         {"table_share", {{"services", Json::array()}, {"dropped", 0}}},
                         {"cookie_guesses", {{"noted", 7}, {"dropped", 2}}}};
    CHECK(status_view(limited, "", "x")
              .contains("first request\ndeny: 3 prefixes; 12 packets dropped\n"
                        "new_connections: of web, shop; 0 packets dropped\n"
                        "cookie_guesses: 7 wrong cookies; 2 packets dropped\n\nSERVICE"));
    CHECK(status_view(status, "one\ntwo\n", "x")
              .starts_with("balancer 1.2 at x: NOT READY\n  one\n  two\nengine"));
    CHECK(!status_view(Json(nullptr), "", "x").empty());  // whatever comes
}

TEST_CASE("services and bridges are a line each") {
    CHECK(services_view(fleet()) ==
          "SERVICE  VIP                 PROTOCOL  KEY  ALGORITHM   DSCP  TAKE    CONNECTIONS  FROM\n"
          "web4     192.0.2.1:80        http      uri  rendezvous     1  3 of 3           36  file\n"
          "web6     [2001:db8::1]:8080  http      uri  rendezvous     1  2 of 2           24  file\n");
    Json one = service("web", "192.0.2.1", 80, {backend("b1"), backend("b2", "drain", 7)});
    one["backends"][1]["changed"] = {"state", "weight"};
    one["backends"][1]["health"] = "ill";
    one["backends"][1]["failure"] = "no answer";
    CHECK(bridges_view(Json::array({one})) ==
          "SERVICE  BRIDGE  ADDRESS     WEIGHT  STATE  HEALTH   SHARE  CONNECTIONS  FROM  SET            "
          "LAST CHECK\n"
          "web      b1      192.0.2.21       1  ready  -       50.0 %           12  file  -\n"
          "web      b2      192.0.2.21       7  drain  ill     50.0 %           12  file  state, weight  no "
          "answer\n");
    CHECK(change_view("web", one["backends"][1]) ==
          "web/b2: drain, weight 7, 50.0 % of the keys, 12 connections\n");
    CHECK(change_view("web", one["backends"][0]).ends_with("12 connections (as in the configuration)\n"));
}

TEST_CASE("an explanation names the key, the choices and who serves") {
    const Json choice = {
        {"rank", 1},        {"bridge", "b2"}, {"ip", "192.0.2.22"}, {"weight", 3},
        {"state", "ready"}, {"health", "up"}, {"takes", true},      {"why", "takes connections"}};
    Json explanation = {{"service", "web"},    {"url", "/a"},          {"rule", "uri"},
                        {"key", "/a"},         {"by_source", nullptr}, {"algorithm", "maglev"},
                        {"hash", "0x1f"},      {"rows", 65537},        {"row", 7},
                        {"choices", {choice}}, {"serves", choice},     {"why", "the first choice"}};
    CHECK(explain_view(explanation) ==
          "url       /a\n"
          "service   web\n"
          "key       uri: /a\n"
          "hash      0x1f, row 7 of 65537 (maglev)\n"
          "choice 1  b2 (192.0.2.22), weight 3, ready, up: takes connections\n"
          "serves    b2: the first choice\n");
    explanation["serves"] = nullptr;
    explanation["why"] = "no bridge takes connections";
    explanation["by_source"] = "no whole request line";
    const std::string text = explain_view(explanation);
    CHECK(text.find("the client's address chooses: no whole request line\n") != std::string::npos);
    CHECK(text.ends_with("serves    nobody: no bridge takes connections\n"));
}

TEST_CASE("a flow's silence is in seconds, and one without a bridge has a dash") {
    CHECK(flows_view({{{"client", "192.0.2.9:5000"},
                       {"service", "web"},
                       {"bridge", ""},
                       {"state", "pending"},
                       {"idle_ms", 1250}}}) ==
          "CLIENT          SERVICE  BRIDGE  STATE    SILENT\n"
          "192.0.2.9:5000  web      -       pending   1.2 s\n");
}

Json checked(const char* service, const char* bridge, const char* ip, Json troubles) {
    return {{"service", service},
            {"bridge", bridge},
            {"ip", ip},
            {"answers", true},
            {"round_trip_ms", 0.31},
            {"clock_ahead_ms", 3},
            {"version", "1.2"},
            {"number", 1},
            {"secret", {"8f929694"}},
            {"services", 2},
            {"mode", "adopt"},
            {"connections", 12},
            {"troubles", std::move(troubles)}};
}

TEST_CASE("a check is a line for each bridge, and below it each trouble once, however many services it has") {
    const Json clock = {{"what", "clock"}, {"note", false}, {"text", "its clock is 4.2 s behind"}};
    const Json version = {{"what", "version"}, {"note", true}, {"text", "its version is 1.2"}};
    const Json service = {{"what", "service"}, {"note", false}, {"text", "it has no service"}};
    Json silent =
        checked("web", "b3", "192.0.2.23", {{{"what", "no_answer"}, {"note", false}, {"text", "no answer"}}});
    for (const char* said : {"round_trip_ms", "clock_ahead_ms", "version", "number", "secret", "services",
                             "mode", "connections"})
        silent[said] = nullptr;
    const Json check = {{"ok", false},
                        {"missing", nullptr},
                        {"bridges",
                         {checked("web", "b1", "192.0.2.21", Json::array()),
                          checked("web", "b2", "192.0.2.22", {clock, version}),
                          checked("tls", "b2", "192.0.2.22", {clock, service, version}), silent}}};
    CHECK(check_view(check) ==
          "SERVICE  BRIDGE  ADDRESS     ANSWERS  VERSION  NUMBER  SECRET     CLOCK  SERVED   MODE   "
          "CONNECTIONS\n"
          "web      b1      192.0.2.21  0.3 ms   1.2           1  fits    +0.003 s  fits     adopt           "
          "12\n"
          "web      b2      192.0.2.22  0.3 ms   1.2           1  fits    +0.003 s  fits     adopt           "
          "12\n"
          "tls      b2      192.0.2.22  0.3 ms   1.2           1  fits    +0.003 s  differs  adopt           "
          "12\n"
          "web      b3      192.0.2.23  no       -             -  -              -  -        -\n"
          "\n"
          "b2 (192.0.2.22): its clock is 4.2 s behind\n"
          "note: b2 (192.0.2.22): its version is 1.2\n"
          "b2 (192.0.2.22): it has no service\n"
          "b3 (192.0.2.23): no answer\n");
    CHECK(check_view({{"ok", false}, {"missing", "channel off: so\x1b[2J"}, {"bridges", Json::array()}}) ==
          "channel off: so?[2J\n");
}

}  // namespace
}  // namespace splice::control
