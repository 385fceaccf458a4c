// Lines of logs, by their format, as records.
//
//   plain      one URL a line ("/a?b", "http://host/a"); with the key hdr, sni or source: that value
//   common     host ident user [time] "request" status bytes
//   combined   the same with "referer" "user agent"; both may have the virtual host in front ("host:port")
//   json       one object a line; which members are read, FieldNames says
//   w3c        extended log file format: "#Fields:" names the columns, between blanks or tabs (CloudFront)
//   trace      time,object,bytes: seconds, any name or number, a number; a first line of words is passed over
//   keys       what `splice-replay --keys` prints, one line a connection
//
// A JSON or W3C log may tell the key with its kind instead of the request, as in
// {"client":"192.0.2.1","kind":"uri","key":"/a","bytes":10}.
//
// What tells connections: a field of its own, else the client's port beside its address, in a field of its
// own or as in "192.0.2.1:5000" and "[2001:db8::1]:5000".
#pragma once

#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libsplice/core/hash_key.hpp"
#include "tools/hash/record.hpp"

namespace splice::hash {

enum class LogFormat : std::uint8_t { plain, common, combined, json, w3c, trace, keys };
// The error says what is expected.
[[nodiscard]] std::expected<LogFormat, std::string> parse_log_format(std::string_view text);
[[nodiscard]] std::string_view to_string(LogFormat format) noexcept;
// What a log's first line looks like; nothing for one that is of no format. `kind` is the key's: what a plain
// line has.
[[nodiscard]] std::optional<LogFormat> guess_format(std::string_view first_line, KeyKind kind) noexcept;

// What a member of a JSON line or a column of a W3C log tells.
enum class Meaning : std::uint8_t {
    none,
    request,
    method,
    target,
    path,
    query,
    host,
    header,
    source,
    port,
    connection,
    bytes,
    time,
    date,
    status,
    ttl,
    cache_control,
    range,
    content_range,
    kind,
    key
};

struct Field {
    Meaning meaning = Meaning::none;
    std::uint8_t header = 0;  // Meaning::header: which of LineRules::headers
    friend bool operator==(const Field&, const Field&) = default;
};

// Names that people have chosen for a meaning, before the usual ones.
class FieldNames {
  public:
    // "uri=request_uri,bytes=size,host=vhost,hdr(x-tenant)=tenant"; `headers` may be meant. The error is a
    // sentence.
    static std::expected<FieldNames, std::string> parse(std::string_view text,
                                                        std::span<const std::string> headers);
    // A header's field is called cs(name), http_name or name.
    [[nodiscard]] Field field_of(std::string_view name, std::span<const std::string> headers) const noexcept;

  private:
    struct Chosen {
        Field field;
        std::string name;
    };
    std::vector<Chosen> chosen_;
};

// No request is on this line, and none is missing: a comment, an empty line, a heading.
struct NoRecord {};
struct Malformed {
    std::string_view why;
};
using LineAnswer = std::variant<Record, NoRecord, Malformed>;

struct LineRules {
    HashKeyRule key;                   // what a plain line is
    std::vector<std::string> headers;  // those that are looked for, in lower case: at most kMaxHeaders
    FieldNames fields;
};

// Reads the lines of one file: a W3C log's columns belong to it.
class LineParser {
  public:
    static std::unique_ptr<LineParser> make(LogFormat format, const LineRules& rules);
    LineParser(const LineParser&) = delete;
    LineParser& operator=(const LineParser&) = delete;
    virtual ~LineParser() = default;
    [[nodiscard]] virtual LineAnswer parse(std::string_view line) = 0;

  protected:
    LineParser() = default;
};

}  // namespace splice::hash
