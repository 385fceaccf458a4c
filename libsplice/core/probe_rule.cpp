#include "libsplice/core/probe_rule.hpp"

#include <algorithm>
#include <utility>

namespace splice {
namespace {

// --- What is asked

std::string in_url(const Endpoint& vip) {
    const std::string text = vip.to_string();
    return vip.port == 80 ? text.substr(0, text.rfind(':')) : text;
}

// Version 1 (HAProxy, doc/proxy-protocol.txt, section 2.1): what every reader of either version reads.
std::string proxy_line(const ProbeEnds& ends) {
    return std::string("PROXY TCP") + (ends.vip.address.family() == 4 ? "4 " : "6 ") +
           ends.own.address.to_string() + ' ' + ends.vip.address.to_string() + ' ' +
           std::to_string(ends.own.port) + ' ' + std::to_string(ends.vip.port) + "\r\n";
}

std::string http_request(const ProbeRule& rule, const Endpoint& vip, std::size_t least) {
    constexpr std::string_view kPadding = "X-Padding: ";
    std::string request = rule.method + ' ' + rule.path +
                          " HTTP/1.1\r\nHost: " + (rule.host.empty() ? in_url(vip) : rule.host) +
                          "\r\nUser-Agent: SpliceLB-health\r\nConnection: close\r\n";
    const std::size_t ends = request.size() + 2;  // with the empty line
    if (least > ends) {
        const std::size_t line = std::max(least - ends, kPadding.size() + 3);
        request += kPadding;
        request.append(line - kPadding.size() - 2, 'x');
        request += "\r\n";
    }
    return request + "\r\n";
}

// SplitMix64 (Steele, Lea and Flood 2014).
std::uint64_t next(std::uint64_t& state) noexcept {
    state += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    return mixed ^ (mixed >> 31);
}

std::string random_bytes(std::uint64_t& state, std::size_t count) {
    std::string bytes;
    while (bytes.size() < count) bytes += static_cast<char>(next(state) >> 56);
    return bytes;
}

// Big-endian, in so many bytes.
std::string number(std::size_t value, std::size_t bytes) {
    std::string text;
    while (bytes-- > 0) text += static_cast<char>(value >> (8 * bytes) & 0xff);
    return text;
}

// RFC 8446 section 3.4: a vector behind its length in so many bytes.
std::string vector_of(std::string_view content, std::size_t length_bytes) {
    return number(content.size(), length_bytes) + std::string(content);
}

std::string extension(std::uint16_t type, std::string_view content) {
    return number(type, 2) + vector_of(content, 2);
}

// RFC 8446 section 4.1.2, for versions 1.2 and 1.3, of what every server of these knows.
std::string client_hello(const ProbeRule& rule, std::uint64_t random, std::size_t least) {
    using namespace std::string_literals;
    using namespace std::string_view_literals;
    constexpr auto kSuites =
        "\x13\x01\x13\x02\x13\x03\xc0\x2b\xc0\x2f\xc0\x2c\xc0\x30\xcc\xa9\xcc\xa8\xc0\x13\xc0\x14\x00\x9c\x00\x9d\x00\x2f\x00\x35"sv;
    constexpr auto kGroups = "\x00\x1d\x00\x17\x00\x18"sv;  // x25519, secp256r1, secp384r1
    constexpr auto kSignatures = "\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01\x02\x01"sv;
    constexpr std::size_t kHeads = 9;    // of the record and of the message
    constexpr std::size_t kPadHead = 4;  // of the extension that pads (RFC 7685)
    std::string extensions;
    if (!rule.sni.empty())
        extensions += extension(0, vector_of('\0' + vector_of(rule.sni, 2), 2));  // RFC 6066 section 3
    extensions += extension(10, vector_of(kGroups, 2));
    extensions += extension(11, "\x01\x00"sv);  // points uncompressed
    extensions += extension(13, vector_of(kSignatures, 2));
    extensions += extension(43, vector_of("\x03\x04\x03\x03"sv, 1));
    extensions += extension(45, "\x01\x01"sv);  // psk_dhe_ke
    // Any 32 bytes are a public key of x25519 (RFC 7748 section 5).
    extensions += extension(51, vector_of("\x00\x1d"s + vector_of(random_bytes(random, 32), 2), 2));
    const std::string before = "\x03\x03"s + random_bytes(random, 32) +
                               vector_of(random_bytes(random, 32), 1) + vector_of(kSuites, 2) +
                               vector_of("\x00"sv, 1);
    const std::size_t all = kHeads + before.size() + 2 + extensions.size();
    if (least > all)
        extensions += extension(21, std::string(std::max(least - all, kPadHead) - kPadHead, '\0'));
    const std::string message = '\x01' + vector_of(before + vector_of(extensions, 2), 3);
    return "\x16\x03\x01"s + vector_of(message, 2);
}

// --- What is answered

std::string printable(std::string_view bytes) {
    constexpr std::size_t kShown = 40;
    std::string text;
    for (const char c : bytes.substr(0, kShown)) text += c >= ' ' && c < '\x7f' ? c : '.';
    return '"' + text + (bytes.size() > kShown ? "\"..." : "\"");
}

ProbeAnswer fails(std::string words) {
    return {.passed = false, .words = std::move(words)};
}

// RFC 9112 section 4: "HTTP/1.1 200 OK"; nothing when the line does not begin so.
std::optional<std::uint16_t> status_of(std::string_view line) {
    const auto digit = [&](std::size_t at) { return line[at] >= '0' && line[at] <= '9'; };
    if (!line.starts_with("HTTP/1.") || !digit(7) || line[8] != ' ' || !digit(9) || !digit(10) || !digit(11))
        return {};
    return static_cast<std::uint16_t>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
}

std::optional<ProbeAnswer> judge_http(const ProbeRule& rule, std::string_view stream, bool no_more) {
    constexpr std::string_view kStart = "HTTP/1.";
    constexpr std::size_t kStatusEnd = 12;
    if (!kStart.starts_with(stream.substr(0, kStart.size())))
        return fails("no HTTP/1 but " + printable(stream));
    if (stream.size() < kStatusEnd) {
        if (!no_more) return {};
        return fails(stream.empty() ? "closed without an answer" : "closed within the status line");
    }
    const auto status = status_of(stream);
    if (!status) return fails("no status but " + printable(stream));
    const auto has = [&](const StatusRange& range) {
        return range.first <= *status && *status <= range.last;
    };
    if (std::ranges::none_of(rule.expect, has))
        return fails("status " + std::to_string(*status) + ", expected " + to_string(rule.expect));
    if (rule.body.empty()) return ProbeAnswer{.passed = true, .words = {}};
    const std::size_t head = stream.find("\r\n\r\n");
    if (head != std::string_view::npos && stream.find(rule.body, head + 4) != std::string_view::npos)
        return ProbeAnswer{.passed = true, .words = {}};
    if (!no_more) return {};
    return fails("status " + std::to_string(*status) + ", but the body lacks " + printable(rule.body));
}

// RFC 8446 sections 5.1 and 4.
std::optional<ProbeAnswer> judge_tls(std::string_view stream, bool no_more) {
    constexpr char kAlert = 21, kHandshake = 22, kServerHello = 2;
    constexpr std::size_t kRecordHead = 5;
    if (stream.size() < kRecordHead + 2) {
        if (!no_more) return {};
        return fails(stream.empty() ? "closed without an answer" : "closed within the first record");
    }
    if (stream[0] == kAlert && stream[1] == 3)
        return fails("TLS alert " + std::to_string(static_cast<unsigned char>(stream[kRecordHead + 1])));
    if (stream[0] != kHandshake || stream[1] != 3 || stream[kRecordHead] != kServerHello)
        return fails("no ServerHello but " + printable(stream));
    return ProbeAnswer{.passed = true, .words = {}};
}

}  // namespace

std::string to_string(const std::vector<StatusRange>& ranges) {
    std::string text;
    for (const StatusRange& range : ranges) {
        text += (text.empty() ? "" : ", ") + std::to_string(range.first);
        if (range.last != range.first) text += '-' + std::to_string(range.last);
    }
    return text;
}

std::string_view to_string(ProbeKind kind) noexcept {
    switch (kind) {
        case ProbeKind::tls:
            return "tls";
        case ProbeKind::tcp:
            return "tcp";
        case ProbeKind::http:
            break;
    }
    return "http";
}

std::string probe_stream(const ProbeRule& rule, const ProbeEnds& ends, bool proxy_header,
                         std::uint64_t random, std::size_t least) {
    const std::string header = proxy_header ? proxy_line(ends) : "";
    const std::size_t rest = least > header.size() ? least - header.size() : 0;
    switch (rule.kind) {
        case ProbeKind::tls:
            return header + client_hello(rule, random, rest);
        case ProbeKind::tcp:
            return header + rule.send;
        case ProbeKind::http:
            break;
    }
    return header + http_request(rule, ends.vip, rest);
}

std::optional<ProbeAnswer> judge_answer(const ProbeRule& rule, std::string_view stream, bool ended) {
    const bool no_more = ended || stream.size() >= kProbeAnswerMax;
    return rule.kind == ProbeKind::tls ? judge_tls(stream, no_more) : judge_http(rule, stream, no_more);
}

}  // namespace splice
