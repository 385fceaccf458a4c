#include "libsplice/core/told_request_key.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "libsplice/base/address.hpp"
#include "libsplice/core/placement/placement.hpp"
#include "libsplice/datapath/request_line.h"

namespace splice {
namespace {

// As tls_sni() gives it: lower-cased, without a trailing dot.
std::string_view as_server_name(std::string_view host, std::string& scratch) {
    scratch.assign(host.substr(0, host.size() - (host.ends_with('.') ? 1 : 0)));
    std::ranges::transform(scratch, scratch.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return scratch;
}

// What the balancer's kernel program decides by itself. User space gives the same key, more slowly.
std::optional<std::string_view> key_of_plain_line(splice_key_rule rule, std::string_view request) {
    splice_request_key key{};
    if (splice_request_line(request.data(), request.data() + request.size(),
                            static_cast<std::uint32_t>(request.size()), rule, &key) != SPLICE_REQUEST_KEY)
        return {};
    return request.substr(key.offset, key.length);
}

}  // namespace

void RequestText::write(const ToldRequest& record, std::span<const std::string> headers) {
    const std::string_view method = record.method.empty() ? "GET" : record.method;
    constexpr std::string_view kVersion = " HTTP/1.1\r\n";
    text_.clear();
    text_.append(method).append(" ").append(record.target).append(kVersion);
    if (!record.host.empty()) text_.append("Host: ").append(record.host).append("\r\n");
    for (std::size_t i = 0; i < headers.size() && i < record.headers.size(); ++i) {
        if (!record.headers[i].empty())
            text_.append(headers[i]).append(": ").append(record.headers[i]).append("\r\n");
    }
    text_.append("\r\n");
}

RecordKey KeyReader::by_source(const ToldRequest& record, Fallback why) {
    const auto address = IpAddress::parse(record.source);
    if (!address) return {.bytes = {}, .placed = false, .fallback = why};
    const auto& bytes = address->raw().bytes;  // all 16, as the balancer hashes them
    scratch_.assign(std::begin(bytes), std::end(bytes));
    return {.bytes = scratch_, .placed = true, .fallback = why};
}

RecordKey KeyReader::key_of(const ToldRequest& record, const RequestText& request) {
    if (rule_.kind == KeyKind::source) return by_source(record, Fallback::key_is_source);
    if (rule_.kind == KeyKind::sni) {
        if (record.host.empty()) return by_source(record, Fallback::no_sni);
        RecordKey key{.bytes = as_server_name(record.host, scratch_), .placed = true, .fallback = {}};
        if (const auto address = IpAddress::parse(record.source); subset_ != 0 && address) {
            const auto& bytes = address->raw().bytes;
            source_.assign(std::begin(bytes), std::end(bytes));
            key.source = source_;
        }
        return key;
    }
    if (record.target.empty()) return by_source(record, Fallback::not_http);
    if (const auto key = key_of_plain_line(kernel_rule_, request.text()))
        return {.bytes = *key, .placed = true, .fallback = {}};
    const KeyAnswer answer = first_payload_key(protocol_, rule_, as_bytes(request.text()), scratch_);
    if (const Key* key = std::get_if<Key>(&answer))
        return {.bytes = key->bytes, .placed = true, .fallback = {}};
    const NoKey* none = std::get_if<NoKey>(&answer);
    return by_source(record, none != nullptr ? none->why : Fallback::not_http);
}

Choices KeyReader::choose(const Placement& placement, const RecordKey& key) const noexcept {
    if (subset_ == 0 || key.source.empty()) return placement.choose(key.bytes);
    return placement.choose_in_subset(key.bytes, key.source, subset_);
}

std::uint64_t object_of(const ToldRequest& record) noexcept {
    const std::uint64_t target = hash_key_bytes(record.target);
    return record.host.empty() ? target : target ^ (hash_key_bytes(record.host) * 0x9e3779b97f4a7c15U);
}

std::string printed_key(const RecordKey& key) {
    if (key.fallback) {
        if (!key.placed) return "-";
        splice_address address{};
        static_assert(sizeof(address.bytes) == 16);
        std::memcpy(address.bytes, key.bytes.data(), std::min(key.bytes.size(), sizeof(address.bytes)));
        return IpAddress(address).to_string();
    }
    std::string out;
    for (const char c : key.bytes) {
        if (c > ' ' && c < '\x7f' && c != '\\')
            out += c;
        else
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return out;
}

}  // namespace splice
