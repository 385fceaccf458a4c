// The key of a first payload over HTTP (core/http_key) for every kind of rule.
//
// Aborts when an answer that is not "need more" changes as the stream grows; when a key lies neither in the
// stream nor in the scratch string; when a head that is plainly right or plainly wrong gets another answer
// than the reference's; when Boost.Beast takes a head and its wanted header, and the answer is another; when
// a rule that is written down does not read back the same.
//
// Input: which key, depth, length (two bytes), which name, then the stream.
#include "libsplice/core/http_key.hpp"

#include <array>

#include "tests/fuzz/support/beast_head.hpp"
#include "tests/fuzz/support/key_promises.hpp"
#include "tests/fuzz/support/reference_http.hpp"

namespace splice::fuzz {
namespace {

// NAME is one of kNames.
constexpr std::array<std::string_view, 13> kKeys{
    "uri",
    "path",
    "host+uri",
    "url_param(NAME)",
    "hdr(NAME)",
    "uri query(sort)",
    "uri query(sort,include=NAME,exclude=x*) normalise",
    "uri query(exclude=NAME*) decode",
    "path normalise",
    "hdr(NAME)+path",
    "host+hdr(NAME)+url_param(id)+uri query(sort) normalise decode",
    "url_param(NAME)+hdr(x-tenant)",
    "host"};
constexpr std::array<std::string_view, 4> kNames{"host", "x-tenant", "id", "a"};

HashKeyRule read_rule(Input& input) {
    std::string text(kKeys[input.number8() % kKeys.size()]);
    const std::uint8_t depth = input.number8();
    const std::uint16_t length = input.number16();
    const std::uint8_t name = input.number8();
    if (const auto at = text.find("NAME"); at != std::string::npos)
        text.replace(at, 4, kNames[name % kNames.size()]);
    auto rule = HashKeyRule::parse(text);
    FUZZ_REQUIRE(rule, "{}: {}", text, rule.error());
    if (text.contains("uri") || text.contains("path")) {
        rule->depth = depth;
        rule->length = length;
    }
    return *rule;
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(http_key)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const splice::HashKeyRule rule = read_rule(choices);
    const auto read_back = splice::HashKeyRule::parse(rule.to_string());
    FUZZ_REQUIRE(read_back && *read_back == rule, "{}", rule.to_string());
    const std::string answer = require_stable(splice::Protocol::http, rule, choices.rest());
    const auto expected = reference_http_key(rule, splice::as_text(choices.rest()));
    FUZZ_REQUIRE(!expected || answer == *expected, "{}: {}, not {}", rule.to_string(), printable(answer),
                 printable(*expected));
    if (rule.kind != splice::KeyKind::hdr) return;
    std::string_view text = splice::as_text(choices.rest());
    while (text.starts_with("\r\n")) text.remove_prefix(2);
    // They join the lines of a folded value in ways of their own.
    if (text.contains("\r\n ") || text.contains("\r\n\t")) return;
    const BeastHead beast(text, rule.name);
    if (!beast.whole || !beast.value) return;
    const std::string wanted = beast.value->empty() ? "no_header" : "key:" + *beast.value;
    FUZZ_REQUIRE(answer == wanted, "{}: {}, and Beast {}", rule.to_string(), printable(answer),
                 printable(wanted));
}
