// The PROXY header before a first payload (datapath/proxy_header.h), and the key behind it.
//
// Aborts when the answer differs from that of a second reader, which is written from the specification with
// inet_pton; when an answer that is not "need more" changes as the stream grows; when the key behind a header
// is not the key of the stream without it; when a stream that comes in two pieces, cut anywhere, gets another
// answer than in one.
//
// Input: which rule, which beginning (0: as it stands; others: a header that is nearly right, with what
// follows in its middle), then the stream.
#include "libsplice/datapath/proxy_header.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>

#include "libsplice/base/address.hpp"
#include "libsplice/core/hash_key.hpp"
#include "tests/fuzz/support/fuzzer.hpp"
#include "tests/fuzz/support/key_promises.hpp"

namespace splice::fuzz {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr std::size_t kLineMax = 107;

struct Said {
    enum class Is { wrong, more, unknown, local, address } is = Is::wrong;
    std::size_t length = 0;
    std::string source{};
    friend bool operator==(const Said&, const Said&) = default;
};

std::string text_of(const Said& said) {
    return fmt::format("{} {} {}", static_cast<int>(said.is), said.length, said.source);
}

// --- The second reader

std::optional<std::string> read_address(std::string_view text, int family) {
    std::array<unsigned char, 16> bytes{};
    if (inet_pton(family, std::string(text).c_str(), bytes.data()) != 1) return {};
    // inet_pton of some systems takes leading zeros in dotted numbers; the specification does not.
    splice_address address{};
    if (family == AF_INET6) {
        std::memcpy(address.bytes, bytes.data(), 16);
    } else {
        address.bytes[10] = address.bytes[11] = 0xff;
        std::memcpy(address.bytes + 12, bytes.data(), 4);
    }
    return IpAddress(address).to_string();
}

bool is_port(std::string_view text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return !text.empty() && error == std::errc{} && end == text.data() + text.size() && value <= 65535 &&
           (text.size() == 1 || text[0] != '0');
}

std::optional<std::string_view> take_until(std::string_view& text, char mark) {
    const auto at = text.find(mark);
    if (at == std::string_view::npos) return {};
    const auto word = text.substr(0, at);
    text.remove_prefix(at + 1);
    return word;
}

// A whole line, without its CRLF.
Said read_line(std::string_view line) {
    const Said wrong{};
    const std::size_t length = line.size() + 2;
    if (line.starts_with("PROXY UNKNOWN")) return {Said::Is::unknown, length};
    const bool ipv4 = line.starts_with("PROXY TCP4 ");
    if (!ipv4 && !line.starts_with("PROXY TCP6 ")) return wrong;
    line.remove_prefix(11);
    const auto source = take_until(line, ' ');
    const auto destination = take_until(line, ' ');
    const auto source_port = take_until(line, ' ');
    if (!source || !destination || !source_port || !is_port(*source_port) || !is_port(line)) return wrong;
    const int family = ipv4 ? AF_INET : AF_INET6;
    const auto address = read_address(*source, family);
    if (!address || source->contains('\0') || destination->contains('\0')) return wrong;
    if (!read_address(*destination, family)) return wrong;
    return {Said::Is::address, length, *address};
}

// Nothing: this reader waits for the line's end, and the other may see before it that the line is wrong.
std::optional<Said> read_v1(std::string_view stream) {
    const auto end = stream.substr(0, kLineMax).find("\r\n");
    if (end != std::string_view::npos) return read_line(stream.substr(0, end));
    if (stream.size() >= kLineMax) return Said{};
    return {};
}

std::size_t number_at(std::string_view stream, std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(stream[at])) << 8 |
           static_cast<unsigned char>(stream[at + 1]);
}

Said read_v2(std::string_view stream) {
    const auto size = std::min(stream.size(), kSignature.size());
    if (stream.substr(0, size) != kSignature.substr(0, size)) return {};
    if (stream.size() >= 13 && stream[12] != '\x20' && stream[12] != '\x21') return {};
    if (stream.size() < 16) return {Said::Is::more};
    const bool local = stream[12] == '\x20';
    const int family = static_cast<unsigned char>(stream[13]) >> 4, protocol = stream[13] & 15;
    if (!local && (family > 3 || protocol > 2)) return {};
    const std::size_t rest = number_at(stream, 14);
    const bool tcp = !local && protocol == 1 && (family == 1 || family == 2);
    if (tcp && rest < (family == 1 ? 12U : 36U)) return {};
    if (stream.size() < 16 + rest) return {Said::Is::more};
    if (local) return {Said::Is::local, 16 + rest};
    if (!tcp) return {Said::Is::unknown, 16 + rest};
    std::array<char, INET6_ADDRSTRLEN> written{};
    inet_ntop(family == 1 ? AF_INET : AF_INET6, stream.data() + 16, written.data(), written.size());
    return {Said::Is::address, 16 + rest, *read_address(written.data(), family == 1 ? AF_INET : AF_INET6)};
}

std::optional<Said> reference(std::string_view stream) {
    if (stream.empty()) return Said{Said::Is::more};
    return stream[0] == 'P' ? read_v1(stream) : std::optional(read_v2(stream));
}

// --- Ours

Said ours(Bytes stream) {
    const ExactCopy copy(stream);
    splice_proxy_header header{};
    switch (splice_proxy_read(copy.bytes().data(), copy.bytes().data() + copy.bytes().size(),
                              static_cast<__u32>(stream.size()), &header)) {
        case SPLICE_PROXY_NEED_MORE:
            return {Said::Is::more};
        case SPLICE_PROXY_UNKNOWN:
            return {Said::Is::unknown, header.length};
        case SPLICE_PROXY_LOCAL:
            return {Said::Is::local, header.length};
        case SPLICE_PROXY_ADDRESS:
            return {Said::Is::address, header.length, IpAddress(header.source).to_string()};
        default:
            return {};
    }
}

// --- The key behind it

const std::array<HashKeyRule, 4> kRules{*HashKeyRule::parse("uri"), *HashKeyRule::parse("source"),
                                        *HashKeyRule::parse("hdr(a)"), *HashKeyRule::parse("host+uri")};

struct Answer {
    std::string key;
    std::string source;  // that the scan has
    friend bool operator==(const Answer&, const Answer&) = default;
};

Answer answer_behind(const HashKeyRule& rule, Bytes stream, FirstPayloadScan& scan) {
    const ExactCopy copy(stream);
    std::string scratch = "left over from the last call";
    const KeyAnswer answer = key_behind_proxy_header(Protocol::http, rule, copy.bytes(), scratch, scan);
    return {to_text(answer), scan.proxy.source ? IpAddress(*scan.proxy.source).to_string() : ""};
}

std::string expected_key(const Said& said, const HashKeyRule& rule, Bytes stream) {
    if (said.is == Said::Is::wrong) return "bad_proxy_header";
    if (said.is == Said::Is::more) return "need_more";
    if (rule.kind == KeyKind::source && said.is != Said::Is::address)
        return said.is == Said::Is::local ? "proxy_local" : "proxy_unknown";
    return answer_to(Protocol::http, rule, stream.subspan(said.length));
}

// A header that is nearly right, and `rest` in its place or behind it.
std::string begun(std::uint8_t kind, std::string_view rest) {
    const std::string text(rest);
    switch (kind % 8) {
        case 1:
            return "PROXY TCP4 " + text;
        case 2:
            return "PROXY TCP6 " + text;
        case 3:
            return "PROXY TCP6 " + text + " ::1 1 2\r\nGET /a HTTP/1.1\r\n\r\n";
        case 4:
            return "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + text;
        case 5:
            return std::string(kSignature) + text;
        case 6:
            return std::string(kSignature) + std::string("\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\0\1\0\2", 16) +
                   text;
        case 7:
            return "PROXY TCP4 " + text + " 192.0.2.2 1 2\r\nGET /a HTTP/1.1\r\n\r\n";
        default:
            return text;
    }
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(proxy_header)(splice::Bytes input) {
    using namespace splice::fuzz;
    Input choices(input);
    const splice::HashKeyRule& rule = kRules[choices.number8() % kRules.size()];
    const std::uint8_t kind = choices.number8();
    const std::string text = begun(kind, splice::as_text(choices.rest()));
    const splice::Bytes stream = splice::as_bytes(text);

    const Said said = ours(stream);
    const auto expected = reference(text);
    if (expected)
        FUZZ_REQUIRE(said == *expected, "{}, not {}: {}", text_of(said), text_of(*expected), printable(text));
    else
        FUZZ_REQUIRE(said.is == Said::Is::more || said.is == Said::Is::wrong, "{}", text_of(said));

    splice::FirstPayloadScan scan;
    const Answer whole = answer_behind(rule, stream, scan);
    FUZZ_REQUIRE(whole.key == expected_key(said, rule, stream), "{}: {}", whole.key, printable(text));
    FUZZ_REQUIRE(whole.source == said.source, "{}, not {}", whole.source, said.source);

    // Cut at every byte of what may be a header, and at some behind it.
    for (std::size_t size = 0; size < text.size(); size += size < 160 ? 1 : text.size() / 16 + 1) {
        splice::FirstPayloadScan kept;
        const Said first = ours(stream.first(size));
        FUZZ_REQUIRE(first.is == Said::Is::more || first == said, "{} at {} bytes, {} at {}", text_of(first),
                     size, text_of(said), text.size());
        const Answer half = answer_behind(rule, stream.first(size), kept);
        const Answer again = half.key == "need_more" ? answer_behind(rule, stream, kept) : half;
        FUZZ_REQUIRE(again == whole, "{} and {} in one piece, cut at {}: {}", again.key, whole.key, size,
                     printable(text));
    }
}
