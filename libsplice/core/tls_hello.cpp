#include "libsplice/core/tls_hello.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "libsplice/base/limits.hpp"

namespace splice {
namespace {

constexpr std::uint8_t kRecordHandshake = 22;
constexpr std::uint8_t kMessageClientHello = 1;
constexpr std::uint8_t kVersionMajor = 3;  // of every SSL 3 and TLS so far
constexpr std::uint16_t kExtensionServerName = 0;
constexpr std::uint8_t kNameTypeHost = 0;

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kRecordMax = 16UZ * 1024;  // RFC 8446 section 5.1
constexpr std::size_t kMessageHeader = 4;
constexpr std::size_t kRandom = 32;
constexpr std::size_t kSessionIdMax = 32;
constexpr std::size_t kNameMax = 255;  // a DNS name's octets (RFC 1035 section 2.3.4)

// Reads a structure whose end is known but of which only a part may have come. The first thing that goes
// wrong stays: after it every read gives 0 and nothing is judged, so the order of the reads is the order of
// the bytes.
class Cursor {
  public:
    enum class State : std::uint8_t { good, short_of_bytes, broken };

    // `bytes`: what has come, from the structure's first byte; `end`: its whole size.
    Cursor(Bytes bytes, std::size_t end) noexcept
        : bytes_(bytes.first(std::min(bytes.size(), end))), end_(end) {}

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] bool good() const noexcept { return state_ == State::good; }
    [[nodiscard]] std::size_t left() const noexcept { return end_ - position_; }
    [[nodiscard]] bool more() const noexcept { return good() && left() != 0; }

    void require(bool condition) noexcept {
        if (good() && !condition) state_ = State::broken;
    }

    Bytes take(std::size_t size) noexcept {
        if (!good()) return {};
        if (size > left()) {
            state_ = State::broken;
            return {};
        }
        if (size > bytes_.size() - position_) {
            state_ = State::short_of_bytes;
            return {};
        }
        position_ += size;
        return bytes_.subspan(position_ - size, size);
    }

    // Big-endian, of up to four bytes.
    std::uint32_t take_number(std::size_t size) noexcept {
        std::uint32_t number = 0;
        for (const std::byte byte : take(size)) number = number << 8U | std::to_integer<std::uint32_t>(byte);
        return number;
    }

    // A structure of `size` bytes that begins here, to be read before it is complete. It is not skipped by
    // that.
    Cursor enter(std::size_t size) noexcept {
        require(size <= left());
        if (!good()) return {{}, 0};
        return {bytes_.subspan(position_), size};
    }

  private:
    Bytes bytes_;
    std::size_t end_;
    std::size_t position_ = 0;
    State state_ = State::good;
};

// What the record layer has shown of the first handshake message.
struct Message {
    Bytes bytes;                     // header and body, from the first byte, perhaps with more behind it
    std::optional<Fallback> defect;  // of the record layer, behind `bytes`
};

// The header of a record that is not complete must be able to become a good one.
bool is_handshake_header(Bytes header) noexcept {
    const auto is = [&](std::size_t i, std::uint8_t value) {
        return i >= header.size() || std::to_integer<std::uint8_t>(header[i]) == value;
    };
    return is(0, kRecordHandshake) && is(1, kVersionMajor);
}

std::size_t record_length(Bytes header) noexcept {
    return std::to_integer<std::size_t>(header[3]) << 8U | std::to_integer<std::size_t>(header[4]);
}

// The length in the message's header with the header's own; nothing while it has not come.
std::optional<std::size_t> message_size(Bytes message) noexcept {
    if (message.size() < kMessageHeader) return {};
    Cursor header(message, kMessageHeader);
    header.take(1);
    return kMessageHeader + header.take_number(3);
}

bool is_complete(Bytes message) noexcept {
    const auto size = message_size(message);
    return size && message.size() >= *size;
}

// Takes the first message out of its records: in place when one record holds it, joined in `scratch`
// otherwise.
Message join_records(Bytes stream, std::string& scratch) {
    Message message;
    std::size_t records = 0;
    while (!stream.empty() && !is_complete(message.bytes)) {
        const Bytes header = stream.first(std::min(stream.size(), kRecordHeader));
        // What the first record is no part of may be any protocol; what follows it is TLS gone wrong.
        message.defect = records == 0 ? Fallback::not_tls : Fallback::bad_hello;
        if (!is_handshake_header(header)) return message;
        if (header.size() == kRecordHeader &&
            (record_length(header) == 0 || record_length(header) > kRecordMax)) {
            return message;
        }
        message.defect.reset();
        if (header.size() < kRecordHeader) return message;

        stream = stream.subspan(kRecordHeader);
        const Bytes fragment = stream.first(std::min(stream.size(), record_length(header)));
        stream = stream.subspan(fragment.size());
        if (records == 0) {
            message.bytes = fragment;
        } else {
            if (records == 1) scratch = as_text(message.bytes);
            scratch += as_text(fragment);
            message.bytes = as_bytes(scratch);
        }
        ++records;
    }
    return message;
}

bool is_name_byte(char c) noexcept {
    return c > ' ' && c < '\x7f';
}

// The ServerNameList of RFC 6066; the host name, if there is one.
std::optional<std::string_view> read_server_names(Cursor& extension) noexcept {
    std::optional<std::string_view> host_name;
    const std::size_t list_size = extension.take_number(2);
    extension.require(list_size == extension.left() && list_size != 0);
    while (extension.more()) {
        const auto type = extension.take_number(1);
        const std::size_t size = extension.take_number(2);
        if (type != kNameTypeHost) {
            extension.take(size);
            continue;
        }
        extension.require(!host_name && size != 0 && size <= kNameMax);
        host_name = as_text(extension.take(size));
        extension.require(std::ranges::all_of(*host_name, is_name_byte) && *host_name != ".");
    }
    return host_name;
}

void skip_to_extensions(Cursor& hello) noexcept {
    hello.require(hello.take_number(1) == kVersionMajor);
    hello.take(1);
    hello.take(kRandom);
    const std::size_t session_id = hello.take_number(1);
    hello.require(session_id <= kSessionIdMax);
    hello.take(session_id);
    const std::size_t cipher_suites = hello.take_number(2);
    hello.require(cipher_suites != 0 && cipher_suites % 2 == 0);
    hello.take(cipher_suites);
    const std::size_t compressions = hello.take_number(1);
    hello.require(compressions != 0);
    hello.take(compressions);
}

// Reads the hello as far as it has come. Before TLS 1.2 it could end without extensions.
std::optional<std::string_view> read_client_hello(Cursor& hello) noexcept {
    skip_to_extensions(hello);
    if (!hello.more()) return {};
    const std::size_t extensions = hello.take_number(2);
    hello.require(extensions == hello.left());
    std::optional<std::string_view> host_name;
    bool seen = false;
    while (hello.more()) {
        const auto type = hello.take_number(2);
        const std::size_t size = hello.take_number(2);
        if (hello.good() && type == kExtensionServerName) {
            hello.require(!seen);
            seen = true;
            Cursor extension = hello.enter(size);
            host_name = read_server_names(extension);
            hello.require(extension.state() != Cursor::State::broken);
        }
        hello.take(size);
    }
    return host_name;
}

Key normalised(std::string_view name, std::string& scratch) {
    if (name.ends_with('.')) name.remove_suffix(1);
    // `name` may stand in `scratch`.
    std::array<char, kNameMax> lower{};
    std::ranges::transform(name, lower.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    scratch.assign(lower.data(), name.size());
    return Key{scratch};
}

}  // namespace

KeyAnswer tls_sni(Bytes stream, std::string& scratch) {
    const Message message = join_records(stream, scratch);
    if (message.bytes.empty()) return message.defect ? KeyAnswer{NoKey{*message.defect}} : NeedMore{};
    if (std::to_integer<std::uint8_t>(message.bytes[0]) != kMessageClientHello)
        return NoKey{Fallback::not_tls};

    if (const auto size = message_size(message.bytes)) {
        if (*size > kFirstPayloadMaxLimit) return NoKey{Fallback::too_long};
        Cursor hello(message.bytes.subspan(kMessageHeader), *size - kMessageHeader);
        const auto host_name = read_client_hello(hello);
        if (hello.state() == Cursor::State::broken) return NoKey{Fallback::bad_hello};
        if (hello.good())
            return host_name ? KeyAnswer{normalised(*host_name, scratch)} : NoKey{Fallback::no_sni};
    }
    return message.defect ? KeyAnswer{NoKey{*message.defect}} : NeedMore{};
}

}  // namespace splice
