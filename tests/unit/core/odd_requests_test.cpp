// Odd requests that nginx, Varnish and Apache were asked (tests/odd_requests/answers.tsv, written by
// record.py there): what one of them serves is keyed by the target, and by the header, that it takes. Where
// they differ nginx goes first. What all refuse may have any key, or none with its reason.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "libsplice/core/http_key.hpp"
#include "libsplice/datapath/request_line.h"
#include "tests/unit/core/key_answer.hpp"

using namespace splice;
using splice::test::to_text;

namespace {

// Where we differ from every server that serves it, by design: `answer` is ours.
struct Difference {
    std::string_view name;
    std::string_view answer;
    std::string_view why;
};
constexpr std::array kDifferences{
    Difference{"a method with a colon", "not_http",
               "Varnish alone serves it, and RFC 9110 section 9.1 knows none"},
    Difference{"a method with a byte above 127", "not_http", "the same"},
    Difference{"a method of 33 bytes", "not_http",
               "longer than kMethodMax: text that is no HTTP is told by that"},
    Difference{"absolute form with a query and no path", "key:/?b=c",
               "an empty path is / (RFC 9112 section 3.2.1), and so nginx itself asks an upstream"},
};

// What one server made of a request.
struct Answer {
    bool served = false;
    bool told = false;  // its target and header are known: HEAD has no body
    std::string target, tenant;
};
struct Row {
    std::string name, request;
    std::vector<Answer> answers;  // nginx, Varnish, Apache
};

std::string unescaped(std::string_view text) {
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            bytes += text[i];
        } else if (text[++i] == 'x') {
            bytes += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
            i += 2;
        } else {
            bytes += text[i] == 'r' ? '\r' : '\n';
        }
    }
    return bytes;
}

// Apache tells the absolute form as it came.
std::string without_authority(const std::string& target) {
    const auto mark = target.find("://");
    if (target.starts_with('/') || mark == std::string::npos) return target;
    const auto path = target.find('/', mark + 3);
    return path == std::string::npos ? "/" : target.substr(path);
}

Answer answer_in(std::string_view text) {
    Answer answer;
    answer.served = text.starts_with("200") || text.starts_with("0.9");
    const auto begin = text.find('['), middle = text.rfind("] [");
    answer.told = answer.served && begin != std::string_view::npos && middle != std::string_view::npos;
    if (!answer.told) return answer;
    answer.target = without_authority(unescaped(text.substr(begin + 1, middle - begin - 1)));
    answer.tenant = unescaped(text.substr(middle + 3, text.size() - middle - 4));
    return answer;
}

std::vector<Row> table() {
    std::ifstream file(SPLICELB_SOURCE_DIR "/tests/odd_requests/answers.tsv");
    REQUIRE(file.is_open());
    std::vector<Row> rows;
    std::string line;
    while (std::getline(file, line)) {
        if (line.starts_with('#') || line.starts_with("name\t")) continue;
        std::vector<std::string> fields(1);
        for (const char c : line) {
            if (c == '\t')
                fields.emplace_back();
            else
                fields.back() += c;
        }
        REQUIRE(fields.size() == 5);
        Row row{fields[0], unescaped(fields[1]), {}};
        for (std::size_t i = 2; i < fields.size(); ++i) row.answers.push_back(answer_in(fields[i]));
        rows.push_back(std::move(row));
    }
    return rows;
}

std::string key(const char* rule, const std::string& request) {
    const test::ExactCopy copy(request);
    std::string scratch;
    return to_text(http_key(HashKeyRule::parse(rule).value(), copy.bytes(), scratch));
}

std::string without_blanks(const std::string& text) {
    const auto begin = text.find_first_not_of(" \t");
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Folds are joined by single spaces here; others keep what stood there.
std::string with_single_spaces(std::string text) {
    const auto same = std::ranges::unique(text, [](char a, char b) { return a == ' ' && b == ' '; });
    text.erase(same.begin(), same.end());
    return text;
}

}  // namespace

TEST_CASE("what a server serves is keyed by the target that it takes") {
    std::size_t served = 0;
    std::map<std::string_view, std::size_t> used;
    for (const Row& row : table()) {
        CAPTURE(row.name);
        const auto first = std::ranges::find_if(row.answers, &Answer::told);
        const std::string ours = key("uri", row.request);
        const auto different = std::ranges::find(kDifferences, row.name, &Difference::name);
        if (different != kDifferences.end()) {
            ++used[different->name];
            CHECK(ours == different->answer);
            CHECK((first == row.answers.end() || ours != "key:" + first->target));
            continue;
        }
        CHECK(ours != "need_more");
        if (first == row.answers.end()) continue;
        ++served;
        CHECK(ours == "key:" + first->target);
    }
    CHECK(served > 100);
    CHECK(used.size() == kDifferences.size());
}

TEST_CASE("a header is keyed as a server takes it, whatever comes before it") {
    std::size_t keyed = 0;
    for (const Row& row : table()) {
        if (!row.name.contains("tenant")) continue;
        CAPTURE(row.name);
        const std::string ours = key("hdr(x-tenant)", row.request);
        std::vector<std::string> theirs;
        for (const Answer& answer : row.answers) {
            if (!answer.told) continue;
            const std::string value = with_single_spaces(without_blanks(answer.tenant));
            theirs.push_back(value.empty() ? "no_header" : "key:" + value);
        }
        if (theirs.empty()) continue;
        ++keyed;
        const std::string same =
            ours.starts_with("key:") ? "key:" + with_single_spaces(ours.substr(4)) : ours;
        CHECK_MESSAGE(std::ranges::find(theirs, same) != theirs.end(), ours);
    }
    CHECK(keyed > 25);
}

TEST_CASE("of odd requests the kernel decides none in another way") {
    std::size_t decided = 0;
    for (const Row& row : table()) {
        CAPTURE(row.name);
        for (const std::uint8_t kind : {SPLICE_KEY_URI, SPLICE_KEY_PATH}) {
            splice_request_key found{};
            splice_key_rule rule{};
            rule.kind = kind;
            const char* begin = row.request.data();
            if (splice_request_line(begin, begin + row.request.size(), static_cast<__u32>(row.request.size()),
                                    rule, &found) != SPLICE_REQUEST_KEY)
                continue;
            ++decided;
            CHECK(key(kind == SPLICE_KEY_URI ? "uri" : "path", row.request) ==
                  "key:" + row.request.substr(found.offset, found.length));
        }
    }
    CHECK(decided > 50);
}
