#include "tools/hash/log_format.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "libsplice/base/text.hpp"
#include "tools/cache_control.hpp"
#include "tools/hash/limits.hpp"
#include "tools/hash/log_values.hpp"

namespace splice::hash {
namespace {

constexpr std::array<std::string_view, 7> kFormatNames = {"plain", "common", "combined", "json",
                                                          "w3c",   "trace",  "keys"};

struct KnownField {
    std::string_view name;
    Meaning meaning;
};

// What people call them with --fields.
constexpr std::array kMeaningNames = {
    KnownField{"request", Meaning::request},
    KnownField{"method", Meaning::method},
    KnownField{"uri", Meaning::target},
    KnownField{"path", Meaning::path},
    KnownField{"query", Meaning::query},
    KnownField{"host", Meaning::host},
    KnownField{"source", Meaning::source},
    KnownField{"port", Meaning::port},
    KnownField{"connection", Meaning::connection},
    KnownField{"bytes", Meaning::bytes},
    KnownField{"time", Meaning::time},
    KnownField{"date", Meaning::date},
    KnownField{"status", Meaning::status},
    KnownField{"ttl", Meaning::ttl},
    KnownField{"cache_control", Meaning::cache_control},
    KnownField{"range", Meaning::range},
    KnownField{"content_range", Meaning::content_range},
    KnownField{"kind", Meaning::kind},
    KnownField{"key", Meaning::key},
};

// What servers call them.
constexpr std::array kUsualFields = {
    // nginx's variables
    KnownField{"request", Meaning::request},
    KnownField{"request_method", Meaning::method},
    KnownField{"request_uri", Meaning::target},
    KnownField{"args", Meaning::query},
    KnownField{"query_string", Meaning::query},
    KnownField{"http_host", Meaning::host},
    KnownField{"ssl_server_name", Meaning::host},
    KnownField{"remote_addr", Meaning::source},
    KnownField{"remote_port", Meaning::port},
    KnownField{"body_bytes_sent", Meaning::bytes},
    KnownField{"bytes_sent", Meaning::bytes},
    KnownField{"time_iso8601", Meaning::time},
    KnownField{"msec", Meaning::time},
    KnownField{"http_range", Meaning::range},
    KnownField{"sent_http_content_range", Meaning::content_range},
    KnownField{"sent_http_cache_control", Meaning::cache_control},
    KnownField{"upstream_http_cache_control", Meaning::cache_control},
    // W3C, IIS, CloudFront
    KnownField{"cs-method", Meaning::method},
    KnownField{"cs-uri", Meaning::target},
    KnownField{"cs-uri-stem", Meaning::path},
    KnownField{"cs-uri-query", Meaning::query},
    KnownField{"cs-host", Meaning::host},
    KnownField{"cs(Host)", Meaning::host},
    KnownField{"x-host-header", Meaning::host},
    KnownField{"c-ip", Meaning::source},
    KnownField{"c-port", Meaning::port},
    KnownField{"sc-bytes", Meaning::bytes},
    KnownField{"sc-status", Meaning::status},
    KnownField{"cs(Range)", Meaning::range},
    KnownField{"sc(Content-Range)", Meaning::content_range},
    KnownField{"sc(Cache-Control)", Meaning::cache_control},
    // plain words
    KnownField{"method", Meaning::method},
    KnownField{"uri", Meaning::target},
    KnownField{"url", Meaning::target},
    KnownField{"path", Meaning::path},
    KnownField{"query", Meaning::query},
    KnownField{"host", Meaning::host},
    KnownField{"source", Meaning::source},
    KnownField{"client", Meaning::source},
    KnownField{"client_ip", Meaning::source},
    KnownField{"client_port", Meaning::port},
    KnownField{"connection", Meaning::connection},
    KnownField{"bytes", Meaning::bytes},
    KnownField{"size", Meaning::bytes},
    KnownField{"time", Meaning::time},
    KnownField{"ts", Meaning::time},
    KnownField{"timestamp", Meaning::time},
    KnownField{"@timestamp", Meaning::time},
    KnownField{"date", Meaning::date},
    KnownField{"status", Meaning::status},
    KnownField{"ttl", Meaning::ttl},
    KnownField{"range", Meaning::range},
    KnownField{"content_range", Meaning::content_range},
    KnownField{"cache_control", Meaning::cache_control},
    KnownField{"kind", Meaning::kind},
    KnownField{"key", Meaning::key},
};

bool same_letters(std::string_view a, std::string_view b) noexcept {
    return std::ranges::equal(a, b, {}, to_lower, to_lower);
}

// "http_x_tenant" is nginx's name for the header x-tenant, "cs(X-Tenant)" W3C's.
bool names_header(std::string_view field, std::string_view header) noexcept {
    if (header.empty()) return false;
    if (field.starts_with("cs(") && field.ends_with(")"))
        return same_letters(field.substr(3, field.size() - 4), header);
    if (field.starts_with("http_")) field.remove_prefix(5);
    return std::ranges::equal(field, header, {}, to_lower,
                              [](char c) { return c == '_' ? '-' : to_lower(c); }) ||
           std::ranges::equal(
               field, header, {}, [](char c) { return c == '_' ? '-' : to_lower(c); }, to_lower);
}

// "hdr(x-tenant)", or "header" where only one is looked for: its place in `headers`.
std::optional<std::uint8_t> header_meant(std::string_view meaning, std::span<const std::string> headers) {
    if (meaning == "header" && headers.size() == 1) return 0;
    if (!meaning.starts_with("hdr(") || !meaning.ends_with(')')) return {};
    const std::string_view name = meaning.substr(4, meaning.size() - 5);
    for (std::size_t i = 0; i < headers.size(); ++i) {
        if (same_letters(name, headers[i])) return static_cast<std::uint8_t>(i);
    }
    return {};
}

// "-" is how logs write nothing.
std::string_view unless_dash(std::string_view text) noexcept {
    return text == "-" ? std::string_view() : text;
}

// A request line as a log has it. One without a target is no HTTP request, and stays a request.
void take_request_line(std::string_view request, Record& record) noexcept {
    record.method = {};
    record.target = {};
    const auto method_end = request.find(' ');
    if (method_end == std::string_view::npos) return;
    record.method = request.substr(0, method_end);
    std::string_view rest = request.substr(method_end + 1);
    // HTTP/0.9 has no version; a target that was sent with a blank in it is kept whole, for the balancer
    // judges it.
    const auto version = rest.rfind(" HTTP/");
    record.target = rest.substr(0, version);
}

class PlainParser final : public LineParser {
  public:
    explicit PlainParser(KeyKind kind) : kind_(kind) {}

    LineAnswer parse(std::string_view line) override {
        if (line.empty()) return NoRecord{};
        Record record;
        switch (kind_) {
            case KeyKind::source:
                record.source = line;
                break;
            case KeyKind::sni:
                record.host = line;
                break;
            case KeyKind::hdr:
                record.target = "/";
                value_ = line;
                record.headers = {&value_, 1};
                break;
            default:
                record.target = line;
        }
        return record;
    }

  private:
    KeyKind kind_;
    std::string_view value_;
};

// common and combined.
class CommonParser final : public LineParser {
  public:
    LineAnswer parse(std::string_view line) override {
        if (line.empty()) return NoRecord{};
        const auto time_begin = line.find('[');
        if (time_begin == std::string_view::npos || time_begin == 0) return Malformed{"no [time]"};
        Record record;
        if (!take_front(line.substr(0, time_begin - 1), record)) return Malformed{"no client before [time]"};
        std::string_view rest = line.substr(time_begin + 1);
        const auto time_end = rest.find(']');
        if (time_end == std::string_view::npos) return Malformed{"no end of [time]"};
        record.time_s = common_log_time(rest.substr(0, time_end));
        if (!record.time_s) record.time_s = written_time(rest.substr(0, time_end));
        if (!record.time_s) return Malformed{"a time that is none"};
        rest.remove_prefix(time_end + 1);
        if (!rest.starts_with(" \"")) return Malformed{"no \"request\" after [time]"};
        rest.remove_prefix(2);
        const auto request_end = end_of_quoted(rest);
        if (request_end == std::string_view::npos) return Malformed{"no end of \"request\""};
        take_request_line(unescaped(rest.substr(0, request_end), scratch_), record);
        rest.remove_prefix(request_end + 1);
        if (!rest.starts_with(' ')) return Malformed{"no status after \"request\""};
        rest.remove_prefix(1);
        const auto status = whole_number(take_until(rest, ' '));
        if (!status || *status > 999) return Malformed{"a status that is no number"};
        record.status = static_cast<std::uint32_t>(*status);
        const std::string_view bytes = take_until(rest, ' ');
        record.bytes = bytes == "-" ? 0 : whole_number(bytes);
        if (!record.bytes) return Malformed{"bytes that are no number"};
        return record;
    }

  private:
    // "client ident user", with the virtual host in front or not.
    static bool take_front(std::string_view front, Record& record) noexcept {
        const auto blanks = std::ranges::count(front, ' ');
        if (blanks < 2) return false;
        if (blanks >= 3) {
            std::string_view rest = front;
            const std::string_view vhost = take_until(rest, ' ');
            // A user name may have blanks; a virtual host has a dot or a colon, and so has what follows it.
            const std::string_view next = rest.substr(0, rest.find(' '));
            if (next.find_first_of(".:") != std::string_view::npos) {
                record.host = vhost;
                front = rest;
            }
        }
        record.source = front.substr(0, front.find(' '));
        return !record.source.empty();
    }

    static std::size_t end_of_quoted(std::string_view text) noexcept {
        for (std::size_t at = text.find('"'); at != std::string_view::npos; at = text.find('"', at + 1)) {
            std::size_t backslashes = 0;
            while (backslashes < at && text[at - backslashes - 1] == '\\') ++backslashes;
            if (backslashes % 2 == 0) return at;
        }
        return std::string_view::npos;
    }

    std::string scratch_;
};

// A key that somebody has told with its kind, in the place of the request.
class ToldKey {
  public:
    // The request that has this key. Empty, or why it cannot be told.
    std::string_view take(std::string_view kind, std::string_view key, Record& record) {
        const auto name_begin = kind.find('(') + 1;
        const std::string_view word = kind.substr(0, name_begin);  // "hdr(", or nothing
        const bool is_one = kind.find(')') == kind.size() - 1;     // hdr(NAME) or url_param(NAME) alone
        if (kind == "uri" || kind == "path") {
            record.target = key;
        } else if (kind == "host+uri" || kind == "host+path") {
            target_.assign("http://").append(key);
            record.target = target_;
        } else if (kind == "host") {
            record.target = "/";
            record.host = key;
        } else if (kind == "sni") {
            record.host = key;
        } else if (word == "hdr(" && is_one) {
            record.target = "/";
            value_ = key;
            record.headers = {&value_, 1};
        } else if (word == "url_param(" && is_one) {
            const std::string_view name = kind.substr(name_begin, kind.size() - 1 - name_begin);
            target_.assign("/?").append(name).append("=").append(key);
            record.target = target_;
        } else if (kind.find('+') != std::string_view::npos) {
            return "a key of several parts, which nobody can take apart again (--requests has them)";
        } else if (kind != "source") {
            return "a kind of key that is not known";
        }
        return {};
    }

  private:
    std::string target_;
    std::string_view value_;
};

// Where the part begins in "bytes=500-999" or "bytes 500-999/1234"; nothing where it is told otherwise, or
// several are asked for.
std::optional<std::uint64_t> first_byte_of(std::string_view text, std::string_view unit) noexcept {
    if (!text.starts_with(unit) || text.contains(',')) return {};
    text.remove_prefix(unit.size());
    return whole_number(text.substr(0, text.find('-')));
}

// Values by their meaning, until they make a record.
class Fields {
  public:
    void clear() {
        record_ = {}, path_ = query_ = date_ = clock_ = request_ = port_ = kind_ = key_ = {}, defect_ = {};
        shared_ttl_ = {}, headers_ = {};
    }

    // `text` must live until the record has been used.
    void take(Field field, std::string_view text) {
        text = unless_dash(text);
        if (text.empty()) return;
        switch (field.meaning) {
            case Meaning::none:
                return;
            case Meaning::request:
                request_ = text;
                return;
            case Meaning::method:
                record_.method = text;
                return;
            case Meaning::target:
                record_.target = text;
                return;
            case Meaning::path:
                path_ = text;
                return;
            case Meaning::query:
                query_ = text;
                return;
            case Meaning::host:
                record_.host = text;
                return;
            case Meaning::header:
                headers_[field.header] = text;
                return;
            case Meaning::source:
                take_source(text);
                return;
            case Meaning::port:
                port_ = text;
                return;
            case Meaning::connection:
                record_.connection = text;
                return;
            case Meaning::bytes:
                record_.bytes = whole_number(text);
                if (!record_.bytes) defect_ = "bytes that are no number";
                return;
            case Meaning::time:
                clock_ = text;
                return;
            case Meaning::date:
                date_ = text;
                return;
            case Meaning::status:
                record_.status = static_cast<std::uint32_t>(whole_number(text).value_or(0));
                return;
            case Meaning::ttl:
                if (const auto ttl = decimal_number(text); ttl && *ttl < 4e9)
                    record_.ttl_s = static_cast<std::uint32_t>(*ttl);
                else
                    defect_ = "a ttl that is no number of seconds";
                return;
            case Meaning::cache_control:
                shared_ttl_ = tools::shared_ttl(text);
                return;
            case Meaning::range:
                if (!record_.first_byte) record_.first_byte = first_byte_of(text, "bytes=");
                return;
            case Meaning::content_range:
                record_.first_byte = first_byte_of(text, "bytes ");
                record_.object_bytes =
                    whole_number(text.substr(std::min(text.rfind('/'), text.size() - 1) + 1));
                return;
            case Meaning::kind:
                kind_ = text;
                return;
            case Meaning::key:
                key_ = text;
                return;
        }
    }

    // A number of a JSON line.
    void take_number(Meaning meaning, double number) {
        if (meaning == Meaning::time)
            record_.time_s = number >= 1e14 ? number / 1e6 : number >= 1e11 ? number / 1e3 : number;
        else if (meaning == Meaning::ttl && number >= 0 && number < 4e9)
            record_.ttl_s = static_cast<std::uint32_t>(number);
        else if (meaning == Meaning::bytes && number >= 0 && number < 9e18)
            record_.bytes = static_cast<std::uint64_t>(number);
        else if (meaning == Meaning::status && number >= 0 && number < 1000)
            record_.status = static_cast<std::uint32_t>(number);
        else if (meaning == Meaning::bytes || meaning == Meaning::ttl)
            defect_ = "a number that is out of range";
    }

    [[nodiscard]] LineAnswer record() {
        if (!defect_.empty()) return Malformed{defect_};
        if (!date_.empty() || !clock_.empty()) {
            if (!date_.empty() && !clock_.empty()) {
                scratch_.assign(date_).append(" ").append(clock_);
                record_.time_s = written_time(scratch_);
            } else if (!clock_.empty()) {
                record_.time_s = written_time(clock_);
                if (!record_.time_s) record_.time_s = common_log_time(clock_);
            }
            if (!clock_.empty() && !record_.time_s) return Malformed{"a time that is none"};
        }
        if (!record_.ttl_s) record_.ttl_s = shared_ttl_;
        if (!request_.empty()) take_request_line(request_, record_);
        if (record_.target.empty() && !path_.empty()) {
            record_.target = path_;
            if (!query_.empty() && path_.find('?') == std::string_view::npos) {
                target_.assign(path_).append("?").append(query_);
                record_.target = target_;
            }
        }
        if (record_.connection.empty() && !record_.source.empty() && !port_.empty()) {
            connection_.assign(record_.source).append(" ").append(port_);
            record_.connection = connection_;
        }
        const bool tells_something = !record_.target.empty() || !request_.empty() || !record_.host.empty() ||
                                     !record_.source.empty() || (!kind_.empty() && !key_.empty());
        if (!tells_something) return Malformed{"no field with a URL, host or client (see --fields)"};
        record_.headers = headers_;
        const bool tells_request = !record_.target.empty() || !request_.empty();
        if (!tells_request && !kind_.empty() && !key_.empty()) {
            if (const std::string_view defect = told_key_.take(kind_, key_, record_); !defect.empty())
                return Malformed{defect};
        }
        return record_;
    }

  private:
    // An address, or one with a port as in "192.0.2.1:5000" and "[2001:db8::1]:5000".
    void take_source(std::string_view text) {
        record_.source = text;
        if (text.starts_with('[')) {
            const auto end = text.find(']');
            record_.source = text.substr(1, end - 1);
            if (end == std::string_view::npos || end + 2 >= text.size()) return;
            port_ = text.substr(end + 2);
        } else if (const auto colon = text.find(':');
                   colon != std::string_view::npos && colon == text.rfind(':')) {
            record_.source = text.substr(0, colon);
            port_ = text.substr(colon + 1);
        }
    }

    Record record_;
    std::array<std::string_view, kMaxHeaders> headers_;
    std::string_view request_, path_, query_, date_, clock_, port_, kind_, key_, defect_;
    std::optional<std::uint32_t> shared_ttl_;
    ToldKey told_key_;
    std::string scratch_, target_, connection_;
};

// The members of the outermost object, as they come; what is inside of others is passed over.
class JsonMembers final : public nlohmann::json_sax<nlohmann::json> {
  public:
    JsonMembers(const LineRules& rules, Fields& fields) : rules_(rules), fields_(fields) {}
    void restart() {
        used_ = depth_ = 0;
        field_ = {};
    }

    bool null() override { return true; }
    bool boolean(bool /*value*/) override { return true; }
    bool number_integer(std::int64_t value) override { return number(static_cast<double>(value)); }
    bool number_unsigned(std::uint64_t value) override {
        if (!wanted()) return true;
        if (field_.meaning == Meaning::bytes || is_text(field_.meaning)) return text(std::to_string(value));
        return number(static_cast<double>(value));
    }
    bool number_float(double value, const std::string& /*written*/) override { return number(value); }
    bool string(std::string& value) override { return wanted() ? text(std::move(value)) : true; }
    bool binary(binary_t& /*value*/) override { return true; }
    bool start_object(std::size_t /*size*/) override { return enter(); }
    bool end_object() override { return leave(); }
    bool start_array(std::size_t /*size*/) override { return enter(); }
    bool end_array() override { return leave(); }
    bool key(std::string& name) override {
        if (depth_ == 1) field_ = rules_.fields.field_of(name, rules_.headers);
        return true;
    }
    bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return false;
    }
    [[nodiscard]] bool was_object() const noexcept { return was_object_; }

  private:
    static bool is_text(Meaning meaning) noexcept {
        return meaning == Meaning::connection || meaning == Meaning::port || meaning == Meaning::target ||
               meaning == Meaning::path || meaning == Meaning::header || meaning == Meaning::key;
    }
    [[nodiscard]] bool wanted() const noexcept { return depth_ == 1 && field_.meaning != Meaning::none; }
    bool number(double value) {
        if (wanted()) fields_.take_number(field_.meaning, value);
        return true;
    }
    // The texts live here until the next line; a deque's elements would stay, a vector's small strings move.
    bool text(std::string value) {
        if (used_ == texts_.size()) return true;
        texts_[used_] = std::move(value);
        fields_.take(field_, texts_[used_++]);
        return true;
    }
    bool enter() {
        if (depth_ == 0) was_object_ = true;
        ++depth_;
        return true;
    }
    bool leave() {
        --depth_;
        return true;
    }

    static constexpr std::size_t kTexts = 64;  // wanted members of one line
    const LineRules& rules_;
    Fields& fields_;
    std::array<std::string, kTexts> texts_;
    std::size_t used_ = 0;
    int depth_ = 0;
    Field field_;
    bool was_object_ = false;
};

class JsonParser final : public LineParser {
  public:
    explicit JsonParser(LineRules rules) : rules_(std::move(rules)), members_(rules_, fields_) {}

    LineAnswer parse(std::string_view line) override {
        if (line.empty()) return NoRecord{};
        if (!line.starts_with('{')) return Malformed{"no JSON object"};
        fields_.clear();
        members_.restart();
        if (!nlohmann::json::sax_parse(line, &members_)) return Malformed{"not valid JSON"};
        return fields_.record();
    }

  private:
    LineRules rules_;
    Fields fields_;
    JsonMembers members_;
};

class W3cParser final : public LineParser {
  public:
    explicit W3cParser(LineRules rules) : rules_(std::move(rules)) {}

    LineAnswer parse(std::string_view line) override {
        if (line.empty()) return NoRecord{};
        if (line.starts_with('#')) {
            constexpr std::string_view kFields = "#Fields:";
            if (line.starts_with(kFields)) take_columns(line.substr(kFields.size()));
            return NoRecord{};
        }
        if (columns_.empty()) return Malformed{"no #Fields: line before it"};
        fields_.clear();
        const char separator = line.find('\t') != std::string_view::npos ? '\t' : ' ';
        std::string_view rest = line;
        std::size_t column = 0;
        for (; column < columns_.size() && !rest.empty(); ++column)
            fields_.take(columns_[column], take_until(rest, separator));
        if (column < columns_.size() || !rest.empty())
            return Malformed{"not as many columns as #Fields: names"};
        return fields_.record();
    }

  private:
    void take_columns(std::string_view names) {
        columns_.clear();
        while (!names.empty()) {
            const auto end = names.find_first_of(" \t");
            const std::string_view name = names.substr(0, end);
            if (!name.empty()) columns_.push_back(rules_.fields.field_of(name, rules_.headers));
            names.remove_prefix(end == std::string_view::npos ? names.size() : end + 1);
        }
    }

    LineRules rules_;
    std::vector<Field> columns_;
    Fields fields_;
};

class TraceParser final : public LineParser {
  public:
    LineAnswer parse(std::string_view line) override {
        if (line.empty() || line.starts_with('#')) return NoRecord{};
        const bool first = std::exchange(first_, false);
        std::string_view rest = line;
        Record record;
        record.time_s = decimal_number(take_until(rest, ','));
        // The object's name may have commas: the size is what is after the last one.
        const auto last = rest.rfind(',');
        if (last != std::string_view::npos) record.bytes = whole_number(rest.substr(last + 1));
        if (first && !record.time_s && !record.bytes && last != std::string_view::npos) return NoRecord{};
        if (!record.time_s || !record.bytes || last == 0) return Malformed{"not time,object,bytes"};
        const std::string_view object = rest.substr(0, last);
        record.target = object;
        if (!object.starts_with('/') && object.find("://") == std::string_view::npos) {
            target_.assign("/").append(object);
            record.target = target_;
        }
        return record;
    }

  private:
    bool first_ = true;
    std::string target_;
};

class KeysParser final : public LineParser {
  public:
    LineAnswer parse(std::string_view line) override {
        if (line.empty()) return NoRecord{};
        std::string_view rest = line;
        Record record;
        record.source = take_until(rest, '\t');
        for (int passed = 0; passed < 3; ++passed) take_until(rest, '\t');
        const std::string_view ends = line.substr(0, line.size() - rest.size());
        const std::string_view kind = take_until(rest, '\t');
        const std::string_view key = unescaped(take_until(rest, '\t'), scratch_);
        if (kind.empty() || rest.empty()) return Malformed{"not a line of splice-replay --keys"};
        if (kind == "-") return NoRecord{};  // begun before the capture: nobody knows its key
        // Each line is a connection: a later one of the same ends is another.
        connection_.assign(ends).append(std::to_string(++connections_));
        record.connection = connection_;
        if (const std::string_view defect = told_key_.take(kind, key, record); !defect.empty())
            return Malformed{defect};
        return record;
    }

  private:
    ToldKey told_key_;
    std::string scratch_, connection_;
    std::uint64_t connections_ = 0;
};

bool looks_like_common(std::string_view line) noexcept {
    const auto bracket = line.find(" [");
    const auto quote = line.find("] \"");
    return bracket != std::string_view::npos && quote != std::string_view::npos && bracket < quote;
}

bool looks_like_keys(std::string_view line) noexcept {
    return std::ranges::count(line, '\t') == 6;
}

bool looks_like_trace(std::string_view line) noexcept {
    TraceParser parser;
    return !std::holds_alternative<Malformed>(parser.parse(line));
}

}  // namespace

std::expected<LogFormat, std::string> parse_log_format(std::string_view text) {
    const auto found = std::ranges::find(kFormatNames, text);
    if (found == kFormatNames.end())
        return std::unexpected("expected plain, common, combined, json, w3c, trace or keys");
    return static_cast<LogFormat>(found - kFormatNames.begin());
}

std::string_view to_string(LogFormat format) noexcept {
    return kFormatNames[static_cast<std::size_t>(format)];
}

std::optional<LogFormat> guess_format(std::string_view line, KeyKind kind) noexcept {
    if (line.starts_with('{')) return LogFormat::json;
    if (line.starts_with('/')) return LogFormat::plain;
    if (line.starts_with("#Version") || line.starts_with("#Fields") || line.starts_with("#Software") ||
        line.starts_with("#Date"))
        return LogFormat::w3c;
    if (looks_like_common(line)) return line.ends_with('"') ? LogFormat::combined : LogFormat::common;
    if (looks_like_keys(line)) return LogFormat::keys;
    if (looks_like_trace(line)) return LogFormat::trace;
    // A URL, a name and an address have no blanks; a header's value may.
    if (kind != KeyKind::hdr && line.find_first_of(" \t") != std::string_view::npos) return {};
    return LogFormat::plain;
}

std::expected<FieldNames, std::string> FieldNames::parse(std::string_view text,
                                                         std::span<const std::string> headers) {
    FieldNames names;
    while (!text.empty()) {
        std::string_view one = take_until(text, ',');
        const std::string_view meaning = take_until(one, '=');
        const auto known = std::ranges::find(kMeaningNames, meaning, &KnownField::name);
        Field field;
        if (known != kMeaningNames.end()) {
            field.meaning = known->meaning;
        } else if (const auto header = header_meant(meaning, headers)) {
            field = {Meaning::header, *header};
        }
        if (field.meaning == Meaning::none || one.empty())
            return std::unexpected(
                "expected MEANING=FIELD[,...] with a meaning of request, method, uri, path, query, host, "
                "source, port, connection, bytes, time, date, status, ttl, or hdr(NAME) of a header that the "
                "key takes");
        names.chosen_.push_back({field, std::string(one)});
    }
    return names;
}

Field FieldNames::field_of(std::string_view name, std::span<const std::string> headers) const noexcept {
    const auto chosen = std::ranges::find(chosen_, name, &Chosen::name);
    if (chosen != chosen_.end()) return chosen->field;
    const auto decided = [&](Field field) {
        return std::ranges::find(chosen_, field, &Chosen::field) != chosen_.end();
    };
    for (std::size_t i = 0; i < headers.size(); ++i) {
        const Field field{Meaning::header, static_cast<std::uint8_t>(i)};
        if (!decided(field) && names_header(name, headers[i])) return field;
    }
    const auto usual = std::ranges::find(kUsualFields, name, &KnownField::name);
    if (usual == kUsualFields.end() || decided({usual->meaning, 0})) return {};
    return {usual->meaning, 0};
}

std::unique_ptr<LineParser> LineParser::make(LogFormat format, const LineRules& rules) {
    switch (format) {
        case LogFormat::common:
        case LogFormat::combined:
            return std::make_unique<CommonParser>();
        case LogFormat::json:
            return std::make_unique<JsonParser>(rules);
        case LogFormat::w3c:
            return std::make_unique<W3cParser>(rules);
        case LogFormat::trace:
            return std::make_unique<TraceParser>();
        case LogFormat::keys:
            return std::make_unique<KeysParser>();
        case LogFormat::plain:
            break;
    }
    return std::make_unique<PlainParser>(rules.key.kind);
}

}  // namespace splice::hash
