// The options of a TCP header (RFC 9293 section 3.1), one after the other, to be read or edited in place. The
// walk is datapath's; splice_parse_tcp_options() is for the few that a decision needs, this is for all of
// them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "libsplice/base/bytes.hpp"
#include "libsplice/datapath/options.h"
#include "libsplice/datapath/packet.h"

namespace splice {

template <class Byte>
struct BasicTcpOption {
    std::uint8_t kind;
    std::span<Byte> body;  // behind kind and length; empty for NOP. Lives as long as the header's bytes
    std::uint8_t offset;   // of the kind byte, from the first byte of the options
};

// Byte is const std::byte to read and std::byte to edit bodies. What is edited does not change the walk.
template <class Byte>
class BasicTcpOptionCursor {
  public:
    // `options`: what stands behind the 20 bytes of the fixed header: a multiple of 4, at most 40; of
    // anything longer the first 40 are walked.
    explicit BasicTcpOptionCursor(std::span<Byte> options) noexcept
        : options_(options.first(std::min<std::size_t>(options.size() & ~3UZ, SPLICE_TCP_OPTIONS_MAX))) {
        const auto* const first = reinterpret_cast<const __u8*>(options_.data());
        splice_option_begin(&walk_, first, first + options_.size(), static_cast<__u32>(options_.size()));
    }

    // The options of a segment that splice_parse_ip() has judged; `data` is what it was given.
    BasicTcpOptionCursor(std::span<Byte> data, const splice_packet& packet) noexcept
        : BasicTcpOptionCursor(
              data.subspan(packet.l4_offset + SPLICE_TCP_HEADER_MIN,
                           packet.payload_offset - packet.l4_offset - SPLICE_TCP_HEADER_MIN)) {}

    // Nothing at the end of the list or of the header, and where an option overruns the header.
    std::optional<BasicTcpOption<Byte>> next() noexcept {
        splice_option option{};
        if (splice_option_next(&walk_, &option) == 0) return std::nullopt;
        const std::size_t lead = option.size > 1 ? 2 : 1;
        return BasicTcpOption<Byte>{option.kind, options_.subspan(option.at + lead, option.size - lead),
                                    static_cast<std::uint8_t>(option.at)};
    }

    // After next() said nothing: whether it was because an option overruns the header.
    [[nodiscard]] bool malformed() const noexcept { return walk_.malformed == 1; }

  private:
    std::span<Byte> options_;
    splice_option_walk walk_;
};

using TcpOption = BasicTcpOption<const std::byte>;
using TcpOptionCursor = BasicTcpOptionCursor<const std::byte>;
using TcpOptionEditor = BasicTcpOptionCursor<std::byte>;

}  // namespace splice
