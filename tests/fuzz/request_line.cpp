// The request line as the kernel's programs read it (datapath/request_line.h) against user space
// (core/http_key) and against the grammar, and the kernel's hash of what it found against xxHash: the same
// bytes on the same bridge, whoever decides.
//
// Aborts when the kernel gives a key and user space another or none; when the key reaches beyond the payload
// that the IP header declares; when it asks user space about a line that request_line.h promises to take;
// when the two hashes differ.
//
// Input: kind (and in its higher bits the form of the URI), depth, length (two bytes), bytes of padding
// behind the payload, then the payload and the padding.
#include "libsplice/datapath/request_line.h"

#include <xxhash.h>

#include "libsplice/core/http_key.hpp"
#include "libsplice/datapath/hash.h"
#include "tests/fuzz/support/key_promises.hpp"
#include "tests/fuzz/support/reference_http.hpp"

namespace splice::fuzz {
namespace {

// What request_line.h takes: "METHOD SP origin-form SP HTTP/1.[01] CRLF", nothing before it.
std::optional<std::string> promised_key(std::string_view payload, const HashKeyRule& rule) {
    const auto line_end = payload.find("\r\n");
    if (line_end == std::string_view::npos) return {};
    const auto line = read_request_line(payload.substr(0, line_end));
    if (!line || line->method.size() > SPLICE_METHOD_MAX || line->target.size() >= SPLICE_TARGET_MAX)
        return {};
    if (!std::ranges::all_of(line->method, [](char c) { return c >= 'A' && c <= 'Z'; })) return {};
    const bool visible =
        std::ranges::all_of(line->target, [](char c) { return c > ' ' && c < 0x7f && c != '#'; });
    if (line->target[0] != '/' || !visible) return {};
    const UriForm& form = rule.form;
    if (form.changes_query() && line->target.contains('?')) return {};
    if ((form.normalise || form.decode) && line->target.contains('%')) return {};
    if (form.normalise && line->target.contains("/.")) return {};
    std::string uri(line->target);
    if (rule.kind == KeyKind::path) uri.resize(std::min(uri.find('?'), uri.size()));
    uri = cut(uri, rule);
    if (uri.size() > SPLICE_HASH_MAX) return {};
    return uri;
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(request_line)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const std::uint8_t choice = choices.number8();
    const std::uint8_t kind = choice % 4;
    const std::uint8_t depth = choices.number8();
    const std::uint16_t length = choices.number16();
    const std::size_t padding = choices.number8();
    const ExactCopy copy(choices.rest());
    const splice::Bytes all = copy.bytes();
    const splice::Bytes payload = all.first(all.size() - std::min(padding, all.size()));

    splice::HashKeyRule same;
    same.kind = kind == SPLICE_KEY_PATH ? splice::KeyKind::path : splice::KeyKind::uri;
    same.depth = depth;
    same.length = length;
    same.form.normalise = choice & 4;
    same.form.decode = choice & 8;
    same.form.sort = choice & 16;
    if (choice & 32) same.form.exclude = {"a*"};
    splice_key_rule rule = kernel_key_rule(same);
    rule.kind = kind;
    splice_request_key key{};
    const auto answer = splice_request_line(all.data(), all.data() + all.size(),
                                            static_cast<__u32>(payload.size()), rule, &key);
    if (kind != SPLICE_KEY_URI && kind != SPLICE_KEY_PATH) {
        FUZZ_REQUIRE(answer == SPLICE_REQUEST_ASK_USER_SPACE, "kind {}", kind);
        return;
    }
    const auto promised = promised_key(splice::as_text(payload), same);
    if (answer != SPLICE_REQUEST_KEY) {
        FUZZ_REQUIRE(!promised, "asked about {}", printable(*promised));
        return;
    }
    FUZZ_REQUIRE(key.offset + key.length <= payload.size(), "{} and {}", key.offset, key.length);
    FUZZ_REQUIRE(key.length >= 1 && key.length <= SPLICE_HASH_MAX, "{}", key.length);
    const std::string_view found = splice::as_text(payload.subspan(key.offset, key.length));
    FUZZ_REQUIRE(promised && found == *promised, "{}", printable(found));
    const std::string user = answer_to(splice::Protocol::http, same, payload);
    FUZZ_REQUIRE(user == "key:" + std::string(found), "{}, and user space {}", printable(found),
                 printable(user));
    const std::uint64_t hash = splice_xxh64(found.data(), all.data() + all.size(), key.length);
    FUZZ_REQUIRE(hash == XXH64(found.data(), found.size(), 0), "{:x} of {}", hash, printable(found));
}
