// What core/hash_key.hpp promises of every parser of first payloads.
#pragma once

#include <string>

#include "libsplice/core/hash_key.hpp"
#include "tests/fuzz/support/fuzzer.hpp"

namespace splice::fuzz {

// "key:/a", "no_host" or "need_more".
inline std::string to_text(const KeyAnswer& answer) {
    if (const auto* key = std::get_if<Key>(&answer)) return "key:" + std::string(key->bytes);
    if (const auto* no_key = std::get_if<NoKey>(&answer)) return std::string(fallback_name(no_key->why));
    return "need_more";
}

inline std::string answer_to(Protocol protocol, const HashKeyRule& rule, Bytes stream) {
    // Of its exact size, and behind it what an earlier call left.
    const ExactCopy copy(stream);
    std::string scratch = "left over from the last call";
    const KeyAnswer answer = first_payload_key(protocol, rule, copy.bytes(), scratch);
    if (const auto* key = std::get_if<Key>(&answer); key != nullptr && !key->bytes.empty()) {
        const auto inside = [&](std::string_view whole) {
            return key->bytes.data() >= whole.data() &&
                   key->bytes.data() + key->bytes.size() <= whole.data() + whole.size();
        };
        // Constants are the paths of targets without one.
        const bool constant = key->bytes == "/" || key->bytes == "*";
        FUZZ_REQUIRE(constant || inside(as_text(copy.bytes())) || inside(scratch), "{}",
                     printable(key->bytes));
    }
    return to_text(answer);
}

// The answer to the whole stream, after: "once it is not NeedMore, no longer stream changes it". Of long
// streams not every prefix is looked at, and other ones in a stream of another length.
inline std::string require_stable(Protocol protocol, const HashKeyRule& rule, Bytes stream) {
    constexpr std::size_t kPrefixes = 64;
    const std::string whole = answer_to(protocol, rule, stream);
    const std::size_t step = stream.size() / kPrefixes + 1;
    for (std::size_t size = stream.size() % step; size < stream.size(); size += step) {
        const std::string answer = answer_to(protocol, rule, stream.first(size));
        if (answer == "need_more") continue;
        FUZZ_REQUIRE(answer == whole, "{} at {} bytes and {} at {}", printable(answer), size,
                     printable(whole), stream.size());
    }
    return whole;
}

}  // namespace splice::fuzz
