// Which bytes of a first payload choose the bridge: the rule, in HAProxy's words, and the answers that a
// parser can give to it.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/head_scan.hpp"
#include "libsplice/core/proxy_scan.hpp"
#include "libsplice/core/uri_form.hpp"
#include "libsplice/datapath/request_line.h"

namespace splice {

enum class Protocol : std::uint8_t { http, tls, tcp };
// Whether a PROXY header comes before what the protocol says (datapath/proxy_header.h).
enum class ProxyProtocol : std::uint8_t { off, accept };
enum class KeyKind : std::uint8_t {
    source,
    host,
    uri,
    path,
    url_param,
    hdr,
    sni,
    joined,  // several of host, uri, path, url_param and hdr
};

// Whether streams of the protocol can have such a key at all; every stream has its source.
[[nodiscard]] bool key_fits(Protocol protocol, KeyKind kind) noexcept;

// Why a first payload gave no key, so that the client's address chose. X(name, sentence)
#define SPLICE_FALLBACKS(X)                                             \
    X(key_is_source, "the service chooses by the client's address")     \
    X(wait_expired, "incomplete for first_payload_wait")                \
    X(too_long, "incomplete at first_payload_max")                      \
    X(ended, "the client ended its stream before the key was complete") \
    X(not_http, "not an HTTP/1 request")                                \
    X(http2, "an HTTP/2 preface: the URL is inside the framing")        \
    X(no_host, "no Host header")                                        \
    X(no_header, "without the header of the rule")                      \
    X(no_param, "without the query parameter of the rule")              \
    X(not_tls, "not a TLS ClientHello")                                 \
    X(bad_hello, "a ClientHello that contradicts itself")               \
    X(no_sni, "a ClientHello without a server name")                    \
    X(bad_proxy_header, "no PROXY header, or a wrong one")              \
    X(proxy_unknown, "a PROXY header that names no TCP client")         \
    X(proxy_local, "a PROXY header that says LOCAL: the proxy's own connection")

enum class Fallback : std::uint8_t {
#define X(name, text) name,
    SPLICE_FALLBACKS(X)
#undef X
};
inline constexpr std::size_t kFallbackCount = 0
#define X(name, text) +1
    SPLICE_FALLBACKS(X)
#undef X
    ;
[[nodiscard]] std::string_view fallback_name(Fallback fallback) noexcept;
[[nodiscard]] std::string_view fallback_sentence(Fallback fallback) noexcept;

// At most so many headers, the Host header among them, and so many parts are in one key.
inline constexpr std::size_t kKeyFieldsMax = HeadScan::kFields;
inline constexpr std::size_t kKeyPartsMax = 8;
inline constexpr std::size_t kKeyPatternsMax = 32;  // of include and exclude together

struct KeyPart {
    KeyKind kind = KeyKind::uri;
    std::string name;  // url_param(name) as it stands, hdr(name) in lower case
    friend bool operator==(const KeyPart&, const KeyPart&) = default;
};

struct HashKeyRule {
    KeyKind kind = KeyKind::uri;
    std::uint16_t depth = 0;          // uri, path: at most so many directories, 1 to 255; 0 = all
    std::uint16_t length = 0;         // uri, path: at most so many bytes of the URI; 0 = all
    std::string name;                 // url_param(name) as it stands, hdr(name) in lower case
    UriForm form = {};                // of the uri, path or url_param
    std::vector<KeyPart> parts = {};  // joined: 2 to kKeyPartsMax, at most one of them uri or path

    // "uri", "uri depth 2 len 64", "uri query(sort,include=id,exclude=utm_*)", "path normalise", "host+uri",
    // "hdr(x-tenant)+path", "url_param(id)", "hdr(x-tenant)", "sni", "source". Blanks may stand between all
    // words and marks. The error is a sentence that says what is expected. depth ends at 255 because the
    // kernel program counts directories in one byte (datapath/request_line.h).
    static std::expected<HashKeyRule, std::string> parse(std::string_view text);
    // As parse() takes it.
    [[nodiscard]] std::string to_string() const;
    // What is joined: "host+uri", without the words that follow.
    [[nodiscard]] std::string parts_text() const;
    // The parts of a joined key, else the one.
    [[nodiscard]] std::vector<KeyPart> all_parts() const;
    // The names of the headers that the key takes, in lower case. Host is one only where the rule says
    // hdr(host).
    [[nodiscard]] std::vector<std::string> headers() const;
    friend bool operator==(const HashKeyRule&, const HashKeyRule&) = default;
};

// What the kernel program finds of the key by itself, given that the service speaks HTTP where the key needs
// it: SPLICE_KEY_USER_SPACE when nothing.
[[nodiscard]] splice_key_rule kernel_key_rule(const HashKeyRule& rule) noexcept;

// The key can not be told yet from these bytes; more may come.
struct NeedMore {};
// It never will be, whatever comes.
struct NoKey {
    Fallback why;
};
// The key's bytes. They live in the stream that was parsed, in the scratch string that the caller gave, or
// for ever.
struct Key {
    std::string_view bytes;
};
using KeyAnswer = std::variant<NeedMore, NoKey, Key>;

// What a caller keeps for a stream that is not told yet. It begins as {}, and belongs to one stream and one
// rule. A ClientHello is looked at anew each time: records and messages are passed over by their lengths.
struct FirstPayloadScan {
    HeadScan http;    // offsets are from the first byte after the PROXY header
    ProxyScan proxy;  // only key_behind_proxy_header() writes it
};

// The key in the stream's beginning, as far as it has come, without a gap; called again with the longer
// stream, from its first byte, when more has come. Once it is not NeedMore, no longer stream changes it, so
// how the stream was cut into segments does not matter. At most first_payload_max bytes. `scratch` is for
// keys that stand nowhere in one piece (host+uri, or a URI in another form); it may be reused between calls.
// With the scan that the last call left each byte of HTTP is read once; without it each call begins anew. The
// answer is the same.
[[nodiscard]] KeyAnswer first_payload_key(Protocol protocol, const HashKeyRule& rule, Bytes stream,
                                          std::string& scratch, FirstPayloadScan& scan);
[[nodiscard]] KeyAnswer first_payload_key(Protocol protocol, const HashKeyRule& rule, Bytes stream,
                                          std::string& scratch);

// The same for a service with ProxyProtocol::accept, whose streams begin with a PROXY header: the key is read
// behind it. Once it is whole, scan.proxy has the client's address, which is what key `source` means and what
// chooses when there is no key. A header without an address does not matter to a key that the payload has;
// key `source` then gives NoKey with proxy_unknown or proxy_local, and the packet's own address chooses.
// Without a right header nobody knows where the payload begins: NoKey with bad_proxy_header, whatever the
// key.
[[nodiscard]] KeyAnswer key_behind_proxy_header(Protocol protocol, const HashKeyRule& rule, Bytes stream,
                                                std::string& scratch, FirstPayloadScan& scan);

}  // namespace splice
