// llhttp's test pages against http_key: each request's URI, or its refusal, is what stands beside it in the
// page, except where the table below says that we decided otherwise.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <vector>

#include "libsplice/core/http_key.hpp"
#include "tests/unit/core/key_answer.hpp"

using namespace splice;

namespace {

// Where llhttp and we differ, by design: `answer` is ours.
struct Difference {
    std::string_view title;
    std::string_view answer;
    std::string_view why;
};
constexpr std::array kDifferences{
    Difference{"HTTP protocol and ANNOUNCE method", "key:/music/sweet/music", "any token is a method"},
    Difference{"Invalid method", "key:/", "any token is a method"},
    Difference{"Disallow UTF-8 in URI path in strict mode", "key:/δ¶/δt/pope?q=1#narf",
               "bytes above 127 pass in a target, as in nginx and HAProxy"},
    Difference{"Host terminated by a query string", "key:/?hail=all", "absolute-form loses its authority"},
    Difference{"`host:port` terminated by a query string", "key:/?hail=all",
               "absolute-form loses its authority"},
    Difference{"`host:port` terminated by a space", "key:/", "absolute-form loses its authority"},
    Difference{"`host:port` and basic auth", "key:/toto", "absolute-form loses its authority"},
    Difference{"SOURCE request with ICE", "not_http", "not HTTP"},
    Difference{"OPTIONS request with RTSP", "not_http", "not HTTP"},
    Difference{"ANNOUNCE request with RTSP", "not_http", "not HTTP"},
    Difference{"Invalid HTTP version", "need_more", "Apache serves any major version of one digit"},
    Difference{"No HTTP version", "key:/", "HTTP/0.9, which nginx serves"},
    Difference{"Only LFs present", "key:/", "a bare LF ends a line (RFC 9112 section 2.2)"},
    Difference{"No LF after CR (lenient)", "not_http", "a CR alone ends no line"},
};

struct Case {
    std::string page;
    std::string title;
    std::string type;   // "request", "request-lenient-all", "response", ...
    std::string input;  // the bytes on the wire
    std::string log;
};

std::string replaced(std::string text, std::string_view from, std::string_view to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
        text.replace(at, from.size(), to);
    }
    return text;
}

// \xff and \033 of the pages.
std::string with_numbers_unescaped(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const bool hex = text.starts_with("\\x");
        const std::string_view digits = text.size() >= 4 ? text.substr(hex ? 2 : 1, hex ? 2 : 3) : "";
        unsigned value = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 8);
        if (text.front() == '\\' && error == std::errc{} && end == digits.data() + digits.size() &&
            !digits.empty()) {
            out += static_cast<char>(value);
            text.remove_prefix(4);
        } else {
            out += text.front();
            text.remove_prefix(1);
        }
    }
    return out;
}

// The pages write line ends as CRLF, "\" before one for none, and what is not visible as an escape.
std::string on_the_wire(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    text = replaced(std::move(text), "\\\n", "");
    text = replaced(std::move(text), "\n", "\r\n");
    text = replaced(std::move(text), "\\r", "\r");
    text = replaced(std::move(text), "\\n", "\n");
    text = replaced(std::move(text), "\\t", "\t");
    text = replaced(std::move(text), "\\f", "\f");
    return with_numbers_unescaped(text);
}

std::string between(std::string_view text, std::string_view before, std::string_view after) {
    const auto begin = text.find(before);
    if (begin == std::string_view::npos) return {};
    const auto rest = text.substr(begin + before.size());
    return std::string(rest.substr(0, rest.find(after)));
}

std::string read_block(std::istream& page) {
    std::string block;
    for (std::string line; std::getline(page, line) && line != "```";) block += line + "\n";
    return block;
}

std::vector<Case> read_page(const std::filesystem::path& path) {
    std::ifstream page(path);
    std::vector<Case> cases;
    Case now{path.filename().string(), {}, {}, {}, {}};
    for (std::string line; std::getline(page, line);) {
        if (line.starts_with("#")) now.title = line.substr(line.find_first_not_of("# "));
        if (line.starts_with("<!-- meta=")) now.type = between(replaced(line, " ", ""), "\"type\":\"", "\"");
        if (line == "```http") now.input = on_the_wire(read_block(page));
        if (line == "```log") {
            now.log = read_block(page);
            cases.push_back(now);
        }
    }
    return cases;
}

// The request line as llhttp saw it: the URL's bytes, or nothing when it refused the line. HTTP/0.9, whose
// lines show no version, is refused by us and accepted there.
std::optional<std::string> url_by_log(const Case& now) {
    const auto error = now.log.find(" error ");
    const auto version = now.log.find("version complete");
    const auto span = now.log.find("span[url]");
    if (span == std::string::npos || version == std::string::npos || error < version) return {};
    if (now.log.find("after version") != std::string::npos) return {};
    const auto line = now.log.rfind("off=", span);
    const auto offset = std::stoul(now.log.substr(line + 4));
    const auto size = std::stoul(between(now.log.substr(line), "len=", " "));
    return now.input.substr(offset, size);
}

std::string answer_to(const HashKeyRule& rule, std::string_view input) {
    std::string scratch;
    return test::to_text(http_key(rule, as_bytes(input), scratch));
}

const std::vector<Case>& corpus() {
    static const std::vector<Case> cases = [] {
        std::vector<Case> all;
        const char* corpora = std::getenv("SPLICELB_CORPORA");
        const auto folder = std::filesystem::path(corpora == nullptr ? "" : corpora) / "http" / "llhttp";
        if (!std::filesystem::is_directory(folder)) return all;
        for (const auto& page : std::filesystem::directory_iterator(folder)) {
            std::ranges::copy_if(read_page(page.path()), std::back_inserter(all),
                                 [](const Case& now) { return now.type.starts_with("request"); });
        }
        return all;
    }();
    return cases;
}

bool skip_without_corpus() {
    if (!corpus().empty()) return false;
    std::cout << "SKIP llhttp's requests: SPLICELB_CORPORA does not name the corpora\n";
    return true;
}

}  // namespace

TEST_CASE("llhttp's requests give the URI that stands beside them or are refused") {
    if (skip_without_corpus()) return;
    std::size_t differences = 0;
    std::size_t keys = 0;
    for (const Case& now : corpus()) {
        CAPTURE(now.page);
        CAPTURE(now.title);
        const auto url = url_by_log(now);
        std::string expected = url ? "key:" + *url : "not_http";
        const auto difference = std::ranges::find(kDifferences, now.title, &Difference::title);
        if (difference != kDifferences.end()) {
            CAPTURE(difference->why);
            CHECK(difference->answer != expected);
            expected = difference->answer;
            ++differences;
        }
        CHECK(answer_to({}, now.input) == expected);
        keys += expected.starts_with("key:");
    }
    CHECK(differences == kDifferences.size());
    CHECK(keys > 100);
    CHECK(corpus().size() >= 166);  // or the pages were not read whole
}

TEST_CASE("an answer to a part of one of llhttp's requests is the answer to the whole") {
    if (skip_without_corpus()) return;
    for (const char* text : {"uri", "host+uri", "hdr(connection)", "hdr(x-none)"}) {
        const auto rule = HashKeyRule::parse(text).value();
        for (const Case& now : corpus()) {
            CAPTURE(text);
            CAPTURE(now.title);
            const auto whole = answer_to(rule, now.input);
            for (std::size_t size = 0; size < now.input.size(); ++size) {
                const auto part = answer_to(rule, std::string_view(now.input).substr(0, size));
                if (part != "need_more") CHECK(part == whole);
            }
        }
    }
}
