#include "tools/replay/http_messages.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "libsplice/base/text.hpp"

namespace splice::replay {
namespace {

std::string in_lower_case(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), to_lower);
    return out;
}

std::optional<std::uint64_t> number(std::string_view text, int base) noexcept {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size()) return {};
    return value;
}

}  // namespace

std::string_view HttpHead::field(std::string_view name) const noexcept {
    const auto found =
        std::ranges::find(fields, name, [](const auto& each) { return std::string_view(each.first); });
    return found == fields.end() ? std::string_view() : found->second;
}

void HttpMessages::take(Bytes bytes) {
    std::string_view text = as_text(bytes);
    while (!text.empty() && at_ != At::broken) {
        if (at_ == At::body || at_ == At::chunk || at_ == At::until_closed) {
            const auto taken =
                at_ == At::until_closed ? text.size() : std::min<std::uint64_t>(left_, text.size());
            count_body(taken);
            text.remove_prefix(taken);
            continue;
        }
        const auto end = text.find('\n');
        line_.append(text.substr(0, end));
        if (line_.size() + head_bytes_ > kMaxHttpHead) return break_off();
        if (end == std::string_view::npos) return;
        text.remove_prefix(end + 1);
        if (line_.ends_with('\r')) line_.pop_back();
        take_line(std::exchange(line_, {}));
    }
}

// Within a body only their number counts.
void HttpMessages::lost(std::uint32_t bytes) {
    if (at_ == At::broken) return;
    const bool in_body = at_ == At::until_closed || ((at_ == At::body || at_ == At::chunk) && bytes <= left_);
    in_body ? count_body(bytes) : break_off();
}

void HttpMessages::close() {
    if (at_ == At::until_closed) end_message();
}

void HttpMessages::take_line(std::string_view line) {
    switch (at_) {
        case At::head:
            if (line.find('\0') != std::string_view::npos) return break_off();
            if (line.empty() && lines_.empty()) return;  // servers skip it (RFC 9112 section 2.2)
            if (line.empty()) return take_head();
            head_bytes_ += line.size();
            lines_.emplace_back(line);
            return;
        case At::chunk_size:
            return begin_chunk(line);
        case At::chunk_end:
            at_ = At::chunk_size;
            return;
        case At::trailer:
            if (line.empty()) end_message();
            return;
        default:
            return;
    }
}

void HttpMessages::take_head() {
    HttpHead head{.first_line = std::move(lines_.front()), .fields = {}};
    for (std::size_t i = 1; i < lines_.size(); ++i) {
        const std::string_view line = lines_[i];
        if (is_blank(line.front()) && !head.fields.empty()) {  // obs-fold (RFC 9112 section 5.2)
            head.fields.back().second.append(" ").append(without_blanks(line));
            continue;
        }
        const auto colon = line.find(':');
        if (colon == std::string_view::npos) continue;
        head.fields.emplace_back(in_lower_case(line.substr(0, colon)),
                                 without_blanks(line.substr(colon + 1)));
    }
    lines_.clear();
    head_bytes_ = 0;
    begin_body(listener_.head(head), head);
}

void HttpMessages::begin_body(HttpBody body, const HttpHead& head) {
    if (body == HttpBody::none) return end_message();
    if (body == HttpBody::not_http) {
        at_ = At::until_closed;
        return;
    }
    if (in_lower_case(head.field("transfer-encoding")).ends_with("chunked")) {
        at_ = At::chunk_size;
        return;
    }
    const std::string_view length = head.field("content-length");
    if (length.empty()) {
        if (body == HttpBody::told) return end_message();
        at_ = At::until_closed;
        return;
    }
    const auto bytes = number(length, 10);
    if (!bytes) return break_off();
    if (*bytes == 0) return end_message();
    at_ = At::body;
    left_ = *bytes;
}

void HttpMessages::begin_chunk(std::string_view line) {
    const auto bytes = number(without_blanks(line.substr(0, line.find(';'))), 16);
    if (!bytes) return break_off();
    at_ = *bytes == 0 ? At::trailer : At::chunk;
    left_ = *bytes;
}

void HttpMessages::count_body(std::uint64_t bytes) {
    listener_.body(bytes);
    if (at_ == At::until_closed) return;
    left_ -= bytes;
    if (left_ > 0) return;
    if (at_ == At::chunk)
        at_ = At::chunk_end;
    else
        end_message();
}

void HttpMessages::end_message() {
    at_ = At::head;
    listener_.end();
}

void HttpMessages::break_off() {
    at_ = At::broken;
    line_.clear();
    lines_.clear();
    listener_.broken();
}

}  // namespace splice::replay
