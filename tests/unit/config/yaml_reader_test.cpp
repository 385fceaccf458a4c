#include "libsplice/config/yaml_reader.hpp"

#include <doctest/doctest.h>

using namespace splice;

namespace {

template <class Read>
std::string complaint(const std::string& text, Read read) {
    try {
        read(parse_yaml(text, "f.yaml"));
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "nothing was refused";
}

std::string complaint(const std::string& text) {
    return complaint(text, [](const YamlValue& top) { (void)top.map({"port", "name", "list", "inner"}); });
}

std::string complaint_about_port(const std::string& text) {
    return complaint(text,
                     [](const YamlValue& top) { (void)top.map({"port"}).require("port").as(parse_port); });
}

}  // namespace

TEST_CASE("a value is read through its parser") {
    std::uint16_t port = 1;
    const YamlMap map = parse_yaml("port: 80\nname: x\n", "f").map({"port", "name", "other"});
    map.read("port", port, parse_port);
    CHECK(port == 80);
    CHECK(map.require("name").text() == "x");
    CHECK_FALSE(map.has("other"));
}

TEST_CASE("an unknown key is refused where it stands, with the one that was meant") {
    CHECK(complaint("name: x\npotr: 80\n") == "f.yaml:2:1: unknown key 'potr'; did you mean 'port'?");
    CHECK(complaint("zzzzzz: 80\n") ==
          "f.yaml:1:1: unknown key 'zzzzzz'; expected one of port, name, list, inner");
}

TEST_CASE("a key that is given twice is refused at the second") {
    CHECK(complaint("port: 80\nname: x\nport: 81\n") == "f.yaml:3:1: 'port' is given twice, first in line 1");
}

TEST_CASE("a wrong value is refused with its place, its key and the expected form") {
    CHECK(complaint_about_port("port:   eighty\n") ==
          "f.yaml:1:9: port 'eighty': expected a port from 1 to 65535");
    CHECK(complaint_about_port("port: [80]\n") == "f.yaml:1:7: port: expected a single value, found a list");
    CHECK(complaint_about_port("port:\n").find("port: expected a single value, found nothing") !=
          std::string::npos);
    CHECK(complaint_about_port("{}\n") == "f.yaml:1:1: 'port' is missing");
}

TEST_CASE("a list is bounded and never empty") {
    const auto items = [](const YamlValue& top) { (void)top.map({"list"}).require("list").items(2); };
    CHECK(complaint("list: [1, 2]\n", items) == "nothing was refused");
    CHECK(complaint("list: []\n", items).find("at least one entry") != std::string::npos);
    CHECK(complaint("list: [1, 2, 3]\n", items).find("at most 2 entries, found 3") != std::string::npos);
    CHECK(complaint("list: 5\n", items) == "f.yaml:1:7: list: expected a list, found a single value");
}

TEST_CASE("what is no map, no YAML, nothing or several documents is refused") {
    CHECK(complaint("- 1\n").starts_with("f.yaml:1:1: f.yaml: expected a map of port, name"));
    CHECK(complaint("port: [80\n").starts_with("f.yaml:2:1: no YAML: "));
    CHECK(complaint("") == "f.yaml: empty; expected a map of keys");
    CHECK(complaint("port: 1\n---\nport: 2\n").find("one YAML document") != std::string::npos);
    CHECK(complaint("? [a]\n: 1\n").find("expected a key, found a list") != std::string::npos);
}

TEST_CASE("what the file says of itself in a complaint stays on one line") {
    CHECK(complaint("name: \"\\q\"\n") ==
          "f.yaml:1:8: no YAML: found unknown escape character while parsing a quoted scalar that begins in "
          "line 1");
    CHECK(complaint("name: \"\\\x01\"\n").starts_with("f.yaml:1:9: no YAML: "));
}

TEST_CASE("bytes that are no text are refused where they stand") {
    CHECK(complaint("name: x\nport: \xff\n").starts_with("f.yaml:2:7: no YAML: "));
    CHECK(complaint("\x01").starts_with("f.yaml:1:1: no YAML: "));
}

TEST_CASE("what is no YAML is refused in the end, also where a reader might find documents without end") {
    CHECK(complaint("--- !a, b]\nport: 1\n").starts_with("f.yaml:1:"));
}

TEST_CASE("a value that contains itself is refused as any list is") {
    CHECK(complaint_about_port("port: &p [*p]\n") ==
          "f.yaml:1:7: port: expected a single value, found a list");
    CHECK(complaint("list: *none\n").starts_with("f.yaml:1:7: no YAML: found undefined alias"));
}

TEST_CASE("quoted words are values, whatever they say") {
    const auto name = [](const std::string& text) {
        return parse_yaml(text, "f").map({"name"}).require("name").text();
    };
    CHECK(name("name: 'null'") == "null");
    CHECK(name("name: \"\"").empty());
    CHECK(name("name: |\n  two\n  lines\n") == "two\nlines\n");
    CHECK(complaint("null: 1\n").starts_with("f.yaml:1:1: expected a key, found nothing"));
}

TEST_CASE("deep nesting is refused, not followed") {
    CHECK(complaint("port: " + std::string(100'000, '[')).find("f.yaml") == 0);
}
