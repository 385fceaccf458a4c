#include "tools/splicectl/options.hpp"

#include <doctest/doctest.h>

#include <initializer_list>

namespace splice::control {
namespace {

using Parsed = std::expected<std::variant<Options, tools::Notice>, std::string>;

Parsed parse(std::vector<std::string> words, const char* environment = nullptr) {
    words.insert(words.begin(), "splicectl");
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    return parse_options(static_cast<int>(pointers.size()), pointers.data(), environment);
}

Options options(const std::vector<std::string>& words, const char* environment = nullptr) {
    const Parsed parsed = parse(words, environment);
    INFO((parsed ? std::string() : parsed.error()));
    REQUIRE(parsed.has_value());
    return std::get<Options>(*parsed);
}

std::string refusal(const std::vector<std::string>& words, const char* environment = nullptr) {
    const Parsed parsed = parse(words, environment);
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().find('\n') == std::string::npos);
    return parsed.error();
}

TEST_CASE("the API's address: a flag, else the environment's, else the balancer's default") {
    CHECK(options({"status"}).api.to_string() == "127.0.0.1:10001");
    CHECK(options({"status"}, "").api.to_string() == "127.0.0.1:10001");
    CHECK(options({"status"}, "[::1]:7").api.to_string() == "[::1]:7");
    CHECK(options({"--api", "unix:/run/x", "status"}, "[::1]:7").api.to_string() == "unix:/run/x");
    CHECK(refusal({"status"}, "here").starts_with("the environment's SPLICELB_API: 'here': expected"));
    for (const char* wrong : {"", "localhost", "127.0.0.1", "127.0.0.1:0", "unix:", "::1:80"})
        CHECK(
            refusal({"--api", wrong, "status"}).starts_with("--api: '" + std::string(wrong) + "': expected"));
    CHECK(refusal({"--api", "unix:/" + std::string(107, 'x'), "status"}).find("107 bytes") !=
          std::string::npos);
}

TEST_CASE("check takes a service, as a word or by its flag") {
    CHECK(options({"check"}).service.empty());
    CHECK(options({"check", "web"}).service == "web");
    CHECK(options({"--service", "web", "check"}).service == "web");
    CHECK(refusal({"--service", "web", "check", "web"}) == "check: --service names a service already");
    CHECK(refusal({"check", "a", "b"}).starts_with("check: one word too many: b"));
}

TEST_CASE("a bridge is named alone, with its service before it, or beside a flag that names the service") {
    CHECK(options({"drain", "b2"}).service.empty());
    CHECK(options({"drain", "b2"}).bridge == "b2");
    CHECK(options({"drain", "web/b2"}).service == "web");
    CHECK(options({"drain", "web/b2"}).bridge == "b2");
    CHECK(options({"drain", "a/b/c"}).service == "a/b");
    CHECK(options({"--service", "web", "drain", "x/y"}).bridge == "x/y");
    CHECK(options({"drain", "--all-services", "x/y"}).bridge == "x/y");
    for (const char* wrong : {"", "/", "/b2", "web/"})
        CHECK(refusal({"ready", wrong}).starts_with("BRIDGE: '" + std::string(wrong) + "': expected"));
    CHECK(refusal({"--all-services", "--service", "web", "down", "b2"})
              .starts_with("--all-services: not together"));
}

TEST_CASE("weights are 0 to 256, and a word that is none is refused by name") {
    CHECK(options({"weight", "b2", "0"}).weight == 0U);
    CHECK(options({"weight", "b2", "256"}).weight == 256U);
    for (const char* wrong : {"257", "-1", "1.5", "", "one", "0x1", "1 "})
        CHECK(refusal({"weight", "--", "b2", wrong})
                  .starts_with("WEIGHT: '" + std::string(wrong) + "': expected"));
    CHECK(refusal({"weight", "b2"}) == "weight: expected weight BRIDGE WEIGHT");
}

TEST_CASE("a command that is missing or unknown is answered with those that there are") {
    CHECK(refusal({}).starts_with("a command is missing: status, check, services"));
    CHECK(refusal({"stat"}).starts_with("stat: no such command; there are status"));
    CHECK(refusal({"status", "web"}) == "status: one word too many: web; expected status");
    CHECK(refusal({"bridges", "web", "x"}) == "bridges: one word too many: x; expected bridges [SERVICE]");
    CHECK(refusal({"explain"}) == "explain: expected explain URL");
}

TEST_CASE("a flag is refused by a command that would not heed it") {
    CHECK(refusal({"--limit", "3", "status"}) == "--limit: not with status");
    CHECK(refusal({"--all-services", "flows"}) == "--all-services: not with flows");
    CHECK(refusal({"--header", "a:b", "flows"}) == "--header: not with flows");
    CHECK(refusal({"--service", "web", "services"}) == "--service: not with services");
    CHECK(refusal({"--count", "3", "drain", "b1"}) == "--count: not with drain");
    CHECK(refusal({"--service", "web", "bridges", "web"}).starts_with("bridges: --service"));
    CHECK(refusal({"--lim", "3", "flows"}).find("lim") != std::string::npos);
}

TEST_CASE("what flags say is taken, within bounds") {
    const Options flows =
        options({"flows", "--service", "web", "--bridge", "b1", "--client", "192.0.2.1", "--limit", "7"});
    CHECK(
        (flows.service == "web" && flows.bridge == "b1" && flows.client == "192.0.2.1" && flows.limit == 7));
    const Options explain =
        options({"explain", "/a", "--header", "host:a", "--header", "x: y", "--source", "192.0.2.1"});
    CHECK((explain.url == "/a" && explain.headers.size() == 2 && explain.source == "192.0.2.1"));
    const Options watch = options({"watch", "--interval", "0.5", "--count", "3", "--format", "json"});
    CHECK((watch.interval == 0.5 && watch.looks == 3 && watch.format == OutputFormat::json));
    CHECK(refusal({"flows", "--limit", "0"}).starts_with("--limit: '0': expected 1 to 1000000"));
    for (const char* wrong : {"0", "0.09", "nan", "inf", "3601", "1s"})
        CHECK(refusal({"watch", "--interval", wrong}).starts_with("--interval: '" + std::string(wrong)));
    CHECK(refusal({"watch", "--count", "0"}).starts_with("--count: '0'"));
    CHECK(
        refusal({"explain", "/a", "--header", "host"}).starts_with("--header: 'host': expected NAME:VALUE"));
    CHECK(refusal({"status", "--format", "csv"}).starts_with("--format: 'csv': expected table or json"));
    CHECK(refusal({"flows", "--client", ""}).starts_with("--client: expected something"));
    CHECK(refusal({"status", "--token-file", ""}).starts_with("--token-file: expected a file's name"));
}

TEST_CASE("every command has a name of its own, and the help lists it") {
    const Parsed help = parse({"--help"});
    REQUIRE(help.has_value());
    const std::string& text = std::get<tools::Notice>(*help).text;
    for (int i = 0; i <= static_cast<int>(Command::watch); i++)
        CHECK(text.find("\n  " + std::string(to_string(static_cast<Command>(i)))) != std::string::npos);
}

}  // namespace
}  // namespace splice::control
