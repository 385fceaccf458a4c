// Lines of logs in every format, and the keys of what they tell.
//
// Aborts when a record names text that is not there (AddressSanitizer sees it), a time or size that is none,
// or a key that is not what the balancer takes of the same request; when a request that is written as each
// format's line is read back as another one.
//
// Input: one byte (the format), then lines.
#include <array>
#include <cmath>

#include "libsplice/core/http_key.hpp"
#include "libsplice/core/told_request_key.hpp"
#include "tests/fuzz/support/fuzzer.hpp"
#include "tools/hash/log_format.hpp"
#include "tools/hash/log_values.hpp"

namespace splice::fuzz {
namespace {

using hash::LineAnswer;
using hash::LineParser;
using hash::LogFormat;
using hash::Record;

constexpr std::array kFormats = {LogFormat::plain, LogFormat::common, LogFormat::combined, LogFormat::json,
                                 LogFormat::w3c,   LogFormat::trace,  LogFormat::keys};
constexpr std::array kRules = {"uri",    "path depth 2 len 20", "host+uri", "url_param(id)", "hdr(a)", "sni",
                               "source", "hdr(a)+hdr(b-c)+path"};

// Reads every byte.
std::size_t touch(std::string_view text) {
    return static_cast<std::size_t>(std::ranges::count(text, 'x'));
}

void require_keys(const Record& record) {
    RequestText request;
    for (const char* text : kRules) {
        const HashKeyRule rule = HashKeyRule::parse(text).value();
        const Protocol protocol = rule.kind == KeyKind::sni      ? Protocol::tls
                                  : rule.kind == KeyKind::source ? Protocol::tcp
                                                                 : Protocol::http;
        request.write(record, rule.headers());
        KeyReader reader(protocol, rule);
        const RecordKey key = reader.key_of(record, request);
        touch(key.bytes);
        touch(printed_key(key));
        if (protocol != Protocol::http || record.target.empty()) continue;
        std::string scratch;
        const KeyAnswer answer = first_payload_key(protocol, rule, as_bytes(request.text()), scratch);
        const Key* balancer = std::get_if<Key>(&answer);
        FUZZ_REQUIRE((balancer != nullptr) == !key.fallback, "{} of {}", text, printable(request.text()));
        if (balancer != nullptr)
            FUZZ_REQUIRE(balancer->bytes == key.bytes, "{} of {}", text, printable(request.text()));
    }
}

void require_record(const LineAnswer& answer) {
    if (const auto* malformed = std::get_if<hash::Malformed>(&answer)) {
        FUZZ_REQUIRE(!malformed->why.empty(), "no reason");
        return;
    }
    const Record* record = std::get_if<Record>(&answer);
    if (record == nullptr) return;
    for (const std::string_view text :
         {record->method, record->target, record->host, record->source, record->connection})
        touch(text);
    for (const std::string_view text : record->headers) touch(text);
    if (record->time_s) FUZZ_REQUIRE(std::isfinite(*record->time_s), "{}", *record->time_s);
    require_keys(*record);
}

// A request of visible characters, in the format's own words.
struct Written {
    std::string target;
    std::uint32_t bytes;
    std::uint16_t seconds;
};

std::string line_of(const Written& request, LogFormat format) {
    std::string escaped;
    for (const char c : request.target) {
        if (c == '"' || c == '\\') escaped += '\\';
        escaped += c;
    }
    switch (format) {
        case LogFormat::common:
        case LogFormat::combined:
            return fmt::format(
                "192.0.2.1 - - [01/Jan/1970:{:02}:{:02}:{:02} +0000] \"GET {} HTTP/1.1\" 200 {}{}",
                request.seconds / 3600, request.seconds / 60 % 60, request.seconds % 60, escaped,
                request.bytes, format == LogFormat::combined ? " \"-\" \"a b\"" : "");
        case LogFormat::json:
            return fmt::format(R"({{"time":{},"uri":"{}","bytes":{}}})", request.seconds, escaped,
                               request.bytes);
        default:
            return fmt::format("{},{},{}", request.seconds, request.target, request.bytes);
    }
}

void require_round_trip(Input input) {
    Written request{.target = "/", .bytes = input.number32(), .seconds = input.number16()};
    for (const std::byte byte : input.rest().first(std::min<std::size_t>(input.rest().size(), 200)))
        request.target += static_cast<char>('!' + std::to_integer<unsigned>(byte) % ('~' - '!' + 1));
    for (const LogFormat format :
         {LogFormat::common, LogFormat::combined, LogFormat::json, LogFormat::trace}) {
        const std::string line = line_of(request, format);
        const auto parser = LineParser::make(format, {});
        const LineAnswer answer = parser->parse(line);
        const Record* record = std::get_if<Record>(&answer);
        FUZZ_REQUIRE(record != nullptr, "{}", printable(line));
        FUZZ_REQUIRE(record->target == request.target, "{}", printable(line));
        FUZZ_REQUIRE(record->bytes == request.bytes && record->time_s == request.seconds, "{}",
                     printable(line));
    }
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(log_line)(splice::Bytes bytes) {
    using namespace splice::fuzz;
    Input input(bytes);
    const auto format = kFormats.at(input.number8() % kFormats.size());
    const ExactCopy copy(input.rest());
    std::string_view rest = splice::as_text(copy.bytes());
    splice::hash::LineRules rules;
    rules.headers = {"a", "b-c"};
    const auto parser = LineParser::make(format, rules);
    while (!rest.empty()) {
        const std::string_view line = splice::hash::take_until(rest, '\n');
        if (const auto guessed = splice::hash::guess_format(line, splice::KeyKind::uri))
            touch(to_string(*guessed));
        require_record(parser->parse(line));
    }
    require_round_trip(Input(bytes));
}
