#include "libsplice/core/hash_key.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace splice;

namespace {

std::string error_of(std::string_view text) {
    const auto rule = HashKeyRule::parse(text);
    REQUIRE_FALSE(rule.has_value());
    return rule.error();
}

HashKeyRule rule_of(std::string_view text) {
    const auto rule = HashKeyRule::parse(text);
    REQUIRE_MESSAGE(rule.has_value(), text);
    return *rule;
}

Fallback fallback_of(Protocol protocol, std::string_view rule, std::string_view stream) {
    std::string scratch;
    const auto answer = first_payload_key(protocol, rule_of(rule), as_bytes(stream), scratch);
    REQUIRE(std::holds_alternative<NoKey>(answer));
    return std::get<NoKey>(answer).why;
}

}  // namespace

TEST_CASE("a rule reads as it is written") {
    for (const char* text : {"source",
                             "uri",
                             "uri depth 2",
                             "uri len 64",
                             "uri depth 2 len 64",
                             "path",
                             "path depth 255 len 65535",
                             "host+uri",
                             "host+uri depth 1",
                             "url_param(id)",
                             "url_param(Session[0])",
                             "hdr(x-tenant)",
                             "sni",
                             "host",
                             "host+path",
                             "hdr(x)+path",
                             "hdr(x)+hdr(y)+host+url_param(id)+uri query(sort) depth 2",
                             "uri query(sort,include=id,exclude=utm_*)",
                             "uri query(exclude=a,exclude=b)",
                             "uri query(sort) normalise decode depth 1 len 9",
                             "path normalise",
                             "url_param(id) decode"}) {
        CAPTURE(text);
        CHECK(rule_of(text).to_string() == text);
    }
}

TEST_CASE("depth and len may come in either order and with any number of blanks") {
    CHECK(rule_of("uri len 64 depth 2").to_string() == "uri depth 2 len 64");
    CHECK(rule_of("  path   depth  3 ").to_string() == "path depth 3");
}

TEST_CASE("blanks may stand between all words and marks, and normalise may be written with z") {
    CHECK(rule_of(" hdr( X-A ) + path  normalize ").to_string() == "hdr(x-a)+path normalise");
    CHECK(rule_of("uri query( sort , include = id,exclude= utm_* )depth 1").to_string() ==
          "uri query(sort,include=id,exclude=utm_*) depth 1");
    CHECK(rule_of("uri decode query (sort)").to_string() == "uri query(sort) decode");
}

TEST_CASE("a key may name so many parameters and no more") {
    std::string text = "uri query(include=a0";
    for (std::size_t i = 1; i < kKeyPatternsMax; ++i) text += ",exclude=a" + std::to_string(i);
    CHECK(rule_of(text + ")").form.exclude.size() == kKeyPatternsMax - 1);
    CHECK(error_of(text + ",exclude=b)") == "hash key uri: query: query(...) takes at most 32 names");
}

TEST_CASE("the kernel finds the keys that stand in the target as they are") {
    CHECK(kernel_key_rule(rule_of("source")).kind == SPLICE_KEY_SOURCE);
    CHECK(kernel_key_rule(rule_of("uri")).asks == 0);
    const auto whole = kernel_key_rule(rule_of("path normalise depth 2 len 9"));
    CHECK(whole.kind == SPLICE_KEY_PATH);
    CHECK(whole.depth == 2);
    CHECK(whole.length == 9);
    CHECK(whole.asks == (SPLICE_ASKS_ABOUT_PERCENT | SPLICE_ASKS_ABOUT_DOTS));
    CHECK(kernel_key_rule(rule_of("uri query(exclude=a) decode")).asks ==
          (SPLICE_ASKS_ABOUT_QUERY | SPLICE_ASKS_ABOUT_PERCENT));
    for (const char* key : {"host", "host+uri", "hdr(x)", "url_param(a)", "sni"})
        CHECK(kernel_key_rule(rule_of(key)).kind == SPLICE_KEY_USER_SPACE);
}

TEST_CASE("the name of a header is lower-cased and that of a parameter is not") {
    CHECK(rule_of("hdr(X-Tenant)") == rule_of("hdr(x-tenant)"));
    CHECK(rule_of("url_param(Id)") != rule_of("url_param(id)"));
}

TEST_CASE("a wrong rule is answered by a sentence that says what is expected") {
    CHECK(
        error_of("url") ==
        "unknown hash key 'url'; expected uri, path, host, url_param(NAME) or hdr(NAME), or several of them "
        "joined by '+', then depth N, len N, query(...), normalise or decode if wanted; or sni or source");
    CHECK(error_of("").starts_with("unknown hash key ''; expected "));
    CHECK(error_of("URI").starts_with("unknown hash key 'URI'; expected "));
    CHECK(error_of("hdr") == "hash key hdr needs a name, as in hdr(id)");
    CHECK(error_of("hdr()") == "hash key hdr needs a name, as in hdr(id)");
    CHECK(error_of("hdr(id") == "hash key 'hdr(id' lacks its closing parenthesis");
    CHECK(error_of("hdr(") == "hash key 'hdr(' lacks its closing parenthesis");
    CHECK(error_of("hdr(x:y)") == "hash key hdr: 'x:y' can not be the name of a header");
    CHECK(error_of("url_param(a=b)") == "hash key url_param: 'a=b' can not be the name of a query parameter");
    CHECK(error_of("url_param(a&b)") == "hash key url_param: 'a&b' can not be the name of a query parameter");
    CHECK(error_of("uri(x)") == "hash key uri takes no name in parentheses");
    CHECK(error_of("uri depth") == "hash key uri: depth needs a number from 1 to 255");
    CHECK(error_of("uri depth 0") == "hash key uri: depth needs a number from 1 to 255");
    CHECK(error_of("uri depth 256") == "hash key uri: depth needs a number from 1 to 255");
    CHECK(error_of("uri depth 2x") == "hash key uri: depth needs a number from 1 to 255");
    CHECK(error_of("uri len 65536") == "hash key uri: len needs a number from 1 to 65535");
    CHECK(error_of("uri len -1") == "hash key uri: len needs a number from 1 to 65535");
    CHECK(error_of("uri depth 1 depth 2") == "hash key uri: depth stands there twice");
    CHECK(error_of("uri whole") ==
          "hash key uri: 'whole' is unknown here; expected depth N, len N, query(...), normalise or decode");
    CHECK(error_of("sni depth 2") == "hash key sni has no depth; only keys with uri or path have");
    CHECK(error_of("path query(sort)") == "hash key path has no query; only keys with uri have");
    CHECK(error_of("hdr(x) decode") ==
          "hash key hdr(x) has no decode; only keys with uri, path or url_param have");
    CHECK(error_of("uri query") == "hash key uri: query needs what to do, as in query(sort,exclude=utm_*)");
    CHECK(error_of("uri query(sort") == "hash key uri: query( lacks its closing parenthesis");
    CHECK(error_of("uri query()") ==
          "hash key uri: query: '' is unknown here; query(...) takes sort, include=NAME and exclude=NAME");
    CHECK(error_of("uri query(sort,exlude=x)") ==
          "hash key uri: query: 'exlude=x' is unknown here; query(...) takes sort, include=NAME and "
          "exclude=NAME");
    CHECK(error_of("uri query(sort=yes)").contains("'sort=yes' is unknown here"));
    CHECK(error_of("uri query(sort,sort)") == "hash key uri: query: sort stands there twice");
    CHECK(error_of("uri query(sort) query(sort)") == "hash key uri: query(...) stands there twice");
    CHECK(error_of("uri query(include)") == "hash key uri: query: include needs a name, as in include=utm_*");
    CHECK(error_of("uri query(include=a&b)") ==
          "hash key uri: query: include: 'a&b' can not be the name of a query parameter");
    CHECK(error_of("host+uri+path") == "a hash key takes uri or path once; expected one of them");
    CHECK(error_of("uri+uri") == "hash key uri stands there twice");
    CHECK(error_of("host+sni") == "hash key sni can not be joined with others");
    CHECK(error_of("source+uri") == "hash key source can not be joined with others");
    CHECK(error_of("host+").starts_with("unknown hash key 'host+'; expected "));
    CHECK(error_of("hdr(a)+hdr(b)+hdr(c)+hdr(d)+host") == "a hash key takes at most 4 headers");
    CHECK(error_of("uri normalise normalise") == "hash key uri: normalise stands there twice");
    CHECK(error_of("source source") == "hash key source: 'source' is one word too many");
    CHECK(error_of("hdr(" + std::string(256, 'a') + ")") ==
          "the name in hash key hdr is longer than 255 bytes");
}

TEST_CASE("an error is one short line, whatever was written") {
    CHECK(error_of("u\nri\x7f").starts_with("unknown hash key 'u?ri?'; expected "));
    CHECK(error_of("hdr(a\tb)") == "hash key hdr: 'a?b' can not be the name of a header");
    CHECK(error_of(std::string(100, 'x'))
              .starts_with("unknown hash key '" + std::string(60, 'x') + "...'; expected "));
}

TEST_CASE("each fallback has a name and a sentence of its own") {
    std::set<std::string_view> names;
    std::set<std::string_view> sentences;
    for (std::size_t i = 0; i < kFallbackCount; ++i) {
        names.insert(fallback_name(static_cast<Fallback>(i)));
        sentences.insert(fallback_sentence(static_cast<Fallback>(i)));
    }
    CHECK(names.size() == kFallbackCount);
    CHECK(sentences.size() == kFallbackCount);
    CHECK(fallback_name(Fallback::no_host) == "no_host");
    CHECK(fallback_sentence(Fallback::http2) == "an HTTP/2 preface: the URL is inside the framing");
}

TEST_CASE("a protocol has the keys that its streams can show") {
    CHECK(key_fits(Protocol::http, KeyKind::uri));
    CHECK(key_fits(Protocol::http, KeyKind::hdr));
    CHECK(key_fits(Protocol::http, KeyKind::joined));
    CHECK_FALSE(key_fits(Protocol::http, KeyKind::sni));
    CHECK(key_fits(Protocol::tls, KeyKind::sni));
    CHECK_FALSE(key_fits(Protocol::tls, KeyKind::uri));
    CHECK_FALSE(key_fits(Protocol::tcp, KeyKind::uri));
    CHECK_FALSE(key_fits(Protocol::tcp, KeyKind::sni));
    for (const auto protocol : {Protocol::http, Protocol::tls, Protocol::tcp}) {
        CHECK(key_fits(protocol, KeyKind::source));
    }
}

TEST_CASE("the key source needs no byte of the stream") {
    CHECK(fallback_of(Protocol::tcp, "source", "") == Fallback::key_is_source);
    CHECK(fallback_of(Protocol::http, "source", "GET / HTTP/1.1\r\n") == Fallback::key_is_source);
}

TEST_CASE("a key that the protocol can not have is told at once") {
    CHECK(fallback_of(Protocol::tls, "uri", "GET / HTTP/1.1\r\n") == Fallback::not_http);
    CHECK(fallback_of(Protocol::http, "sni", "") == Fallback::not_tls);
    CHECK(fallback_of(Protocol::tcp, "path", "") == Fallback::not_http);
}

TEST_CASE("the protocol's parser gives the key") {
    std::string scratch;
    const auto answer =
        first_payload_key(Protocol::http, rule_of("uri depth 1"), as_bytes("GET /a/b HTTP/1.1\r\n"), scratch);
    REQUIRE(std::holds_alternative<Key>(answer));
    CHECK(std::get<Key>(answer).bytes == "/a");
}
