// The server name of a TLS ClientHello (core/tls_hello), across records.
//
// Aborts when an answer that is not "need more" changes as the stream grows; when the same message, cut into
// other records, gets another answer; when a whole message gets another answer than the reference's.
//
// Input: the number of cuts; 0: what follows is the stream as it comes. Otherwise so many fragments' sizes
// (two bytes each) and then the body of a ClientHello, which is put into a message and into records of these
// sizes.
#include "libsplice/core/tls_hello.hpp"

#include <optional>
#include <vector>

#include "libsplice/base/limits.hpp"
#include "tests/fuzz/support/key_promises.hpp"

namespace splice::fuzz {
namespace {

constexpr std::size_t kRecordMax = 16 * 1024;
const HashKeyRule kSni{.kind = KeyKind::sni, .depth = 0, .length = 0, .name = {}};

std::string number(std::size_t value, std::size_t bytes) {
    std::string text;
    while (bytes-- > 0) text += static_cast<char>(value >> (8 * bytes) & 0xff);
    return text;
}

// RFC 8446 section 3.4's vectors: a length of so many bytes, then that much; nothing when it is not there.
std::optional<std::size_t> take_number(std::string_view& from, std::size_t bytes) {
    if (from.size() < bytes) return {};
    std::size_t value = 0;
    for (const char c : from.substr(0, bytes)) value = value << 8 | static_cast<unsigned char>(c);
    from.remove_prefix(bytes);
    return value;
}
std::optional<std::string_view> take(std::string_view& from, std::size_t size) {
    if (from.size() < size) return {};
    const auto taken = from.substr(0, size);
    from.remove_prefix(size);
    return taken;
}
std::optional<std::string_view> take_vector(std::string_view& from, std::size_t length_bytes) {
    const auto size = take_number(from, length_bytes);
    return size ? take(from, *size) : std::nullopt;
}

constexpr auto kBroken = "bad_hello";

// RFC 6066 section 3: the answer, or nothing when there is no host name in it.
std::optional<std::string> read_names(std::string_view extension) {
    auto list = take_vector(extension, 2);
    if (!list || list->empty() || !extension.empty()) return kBroken;
    std::optional<std::string> answer;
    while (!list->empty()) {
        const auto type = take_number(*list, 1);
        const auto name = take_vector(*list, 2);
        if (!name) return kBroken;
        if (*type != 0) continue;
        const bool visible = std::ranges::all_of(*name, [](char c) { return c > ' ' && c < 0x7f; });
        if (answer || name->empty() || name->size() > 255 || !visible || *name == ".") return kBroken;
        std::string key(name->substr(0, name->size() - (name->back() == '.' ? 1 : 0)));
        std::ranges::transform(key, key.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        answer = "key:" + key;
    }
    return answer;
}

// RFC 8446 section 4.1.2, of a whole body.
std::string reference_hello(std::string_view body) {
    const auto version = take_number(body, 2);
    if (!version || *version >> 8 != 3 || !take(body, 32)) return kBroken;
    const auto session = take_vector(body, 1);
    if (!session || session->size() > 32) return kBroken;
    const auto suites = take_vector(body, 2);
    if (!suites || suites->empty() || suites->size() % 2 != 0) return kBroken;
    const auto compressions = take_vector(body, 1);
    if (!compressions || compressions->empty()) return kBroken;
    if (body.empty()) return "no_sni";
    auto extensions = take_vector(body, 2);
    if (!extensions || !body.empty()) return kBroken;
    std::optional<std::string> answer;
    bool seen = false;
    while (!extensions->empty()) {
        const auto type = take_number(*extensions, 2);
        const auto extension = take_vector(*extensions, 2);
        if (!extension) return kBroken;
        if (*type != 0) continue;
        if (seen) return kBroken;
        seen = true;
        answer = read_names(*extension);
        if (answer == kBroken) return kBroken;
    }
    return answer.value_or("no_sni");
}

std::string in_record(std::string_view fragment) {
    return std::string("\x16\x03\x01") + number(fragment.size(), 2) + std::string(fragment);
}

// The message in records of the given sizes; what is left when they are used up goes into as few as possible.
std::string in_records(std::string_view message, const std::vector<std::size_t>& sizes) {
    std::string stream;
    for (const std::size_t wanted : sizes) {
        const auto fragment = take(message, std::min({wanted % kRecordMax + 1, message.size()}));
        if (!fragment->empty()) stream += in_record(*fragment);
    }
    while (!message.empty()) stream += in_record(*take(message, std::min(message.size(), kRecordMax)));
    return stream;
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(client_hello)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const std::size_t cuts = choices.number8();
    if (cuts == 0) {
        const std::string raw = require_stable(splice::Protocol::tls, kSni, choices.rest());
        // One record that holds a whole message: the reference knows it.
        std::string_view stream = splice::as_text(choices.rest());
        const auto type = take(stream, 2);
        if (!type || *type != "\x16\x03" || !take(stream, 1)) return;
        auto record = take_vector(stream, 2);
        if (!record || record->size() > kRecordMax) return;
        if (const auto message = take_number(*record, 1); message != 1) return;
        const auto body = take_vector(*record, 3);
        FUZZ_REQUIRE(!body || raw == reference_hello(*body), "{}", printable(raw));
        return;
    }
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < cuts; ++i) sizes.push_back(choices.number16());
    const std::string body(splice::as_text(choices.rest()));
    const std::string message = "\x01" + number(body.size(), 3) + body;
    const std::string expected =
        message.size() > splice::kFirstPayloadMaxLimit ? "too_long" : reference_hello(body);
    const std::string cut = in_records(message, sizes), whole = in_records(message, {});
    const std::string answer = require_stable(splice::Protocol::tls, kSni, splice::as_bytes(cut));
    FUZZ_REQUIRE(answer == expected, "{}, not {}", printable(answer), printable(expected));
    const std::string uncut = answer_to(splice::Protocol::tls, kSni, splice::as_bytes(whole));
    FUZZ_REQUIRE(uncut == answer, "{} uncut", printable(uncut));
    const std::string followed =
        answer_to(splice::Protocol::tls, kSni, splice::as_bytes(cut + "\x17\x03\x03"));
    FUZZ_REQUIRE(followed == answer, "{} with more behind it", printable(followed));
}
