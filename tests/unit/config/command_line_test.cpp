#include "libsplice/config/command_line.hpp"

#include <doctest/doctest.h>

#include <initializer_list>

using namespace splice;

namespace {

const std::vector<FlagGroup> kGroups = {
    {"Where", {{.name = "port", .argument = "PORT", .help = "the port", .defaults = {"80"}}}},
    {"Who",
     {{.name = "bridge", .argument = "NAME", .help = "one", .defaults = {"b1"}, .repeatable = true},
      {.name = "check", .help = "look only"}}}};

CommandLine parse(std::initializer_list<const char*> arguments) {
    std::vector<const char*> argv = {"program"};
    argv.insert(argv.end(), arguments);
    return {kGroups, static_cast<int>(argv.size()), argv.data()};
}

std::string complaint(std::initializer_list<const char*> arguments) {
    try {
        (void)parse(arguments).as("port", parse_port);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "nothing was refused";
}

}  // namespace

TEST_CASE("a flag that is not given has its default") {
    const CommandLine line = parse({});
    CHECK(line.as("port", parse_port) == 80);
    CHECK(line.values("bridge") == std::vector<std::string>{"b1"});
    CHECK_FALSE(line.given("check"));
}

TEST_CASE("values stand behind the flag or behind an equals sign") {
    CHECK(parse({"--port", "81"}).as("port", parse_port) == 81);
    CHECK(parse({"--port=82"}).as("port", parse_port) == 82);
    CHECK(parse({"--check"}).given("check"));
}

TEST_CASE("a repeatable flag's values replace the default, in their order") {
    CHECK(parse({"--bridge", "x", "--bridge", "y=1,weight=2"}).values("bridge") ==
          std::vector<std::string>{"x", "y=1,weight=2"});
}

TEST_CASE("what is wrong is named in one line") {
    CHECK(complaint({"--prot", "80"}) == "unknown flag '--prot'; did you mean --port?");
    CHECK(complaint({"--zzzzzz"}) == "unknown flag '--zzzzzz'; --help lists them");
    CHECK(complaint({"--por", "80"}) == "unknown flag '--por'; did you mean --port?");
    CHECK(complaint({"stray"}) == "unexpected argument 'stray'; flags begin with --");
    CHECK(complaint({"-p", "80"}).starts_with("unexpected argument '-p'"));
    CHECK(complaint({"--port"}) == "--port: expected a value behind it (--help)");
    CHECK(complaint({"--port="}) == "--port: expected a value behind it (--help)");
    CHECK(complaint({"--check=yes"}) == "--check: expected no value with it");
    CHECK(complaint({"--port", "1", "--port", "2"}) == "--port is given twice");
    CHECK(complaint({"--port", "eighty"}) == "--port 'eighty': expected a port from 1 to 65535");
}

TEST_CASE("the help has each group with its flags, their form and defaults") {
    const std::string help = describe_flags(kGroups);
    CHECK(help.find("Where:\n  --port PORT") != std::string::npos);
    CHECK(help.find("[80]") != std::string::npos);
    CHECK(help.find("Who:\n") != std::string::npos);
}
