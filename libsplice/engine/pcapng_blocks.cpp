#include "libsplice/engine/pcapng_blocks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

namespace splice {
namespace {

constexpr std::uint32_t kSection = 0x0a0d0d0a;  // the same in both byte orders
constexpr std::uint32_t kInterface = 1, kOldPacket = 2, kSimplePacket = 3, kEnhancedPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
// A block's kind and its length, which comes again at its end.
constexpr std::size_t kLead = 8, kTail = 4;
constexpr std::uint32_t kSmallestBlock = kLead + kTail;
constexpr std::size_t kChunk = 64UZ * 1024;

constexpr std::uint16_t kEndOfOptions = 0, kResolution = 9, kOffset = 14;
constexpr std::uint8_t kBinary = 0x80;

std::unexpected<std::string> failure(std::string text) {
    return std::unexpected(std::move(text));
}

std::size_t padded(std::size_t length) noexcept {
    return (length + 3) / 4 * 4;
}

__extension__ using Wide = unsigned __int128;

// Ticks of a second; 0: more than 64 bits can say.
std::uint64_t ticks_a_second(std::uint8_t resolution) noexcept {
    const int exponent = resolution & ~kBinary;
    if (resolution & kBinary) return exponent > 63 ? 0 : std::uint64_t{1} << exponent;
    if (exponent > 19) return 0;
    std::uint64_t ticks = 1;
    for (int i = 0; i < exponent; ++i) ticks *= 10;
    return ticks;
}

// What lies outside of the 32 bits that pcap has for seconds counts as their first or last, so that two times
// of a capture always have a difference.
Duration time_of(std::uint64_t ticks, std::uint64_t a_second, std::int64_t offset_s) noexcept {
    constexpr std::int64_t kLastSecond = std::numeric_limits<std::uint32_t>::max();
    constexpr std::uint64_t kFar = std::uint64_t{1} << 62;
    const auto whole = static_cast<std::int64_t>(std::min(ticks / a_second, kFar));
    const std::int64_t offset =
        std::clamp<std::int64_t>(offset_s, -static_cast<std::int64_t>(kFar), static_cast<std::int64_t>(kFar));
    const auto fraction = static_cast<std::int64_t>(Wide{ticks % a_second} * 1'000'000'000 / a_second);
    if (whole + offset < 0) return {};
    return std::chrono::seconds(std::min(whole + offset, kLastSecond)) + std::chrono::nanoseconds(fraction);
}

}  // namespace

std::uint16_t PcapngBlocks::word16(std::size_t at) const noexcept {
    std::uint16_t word;
    std::memcpy(&word, block_.data() + at, sizeof(word));
    return swapped_ ? __builtin_bswap16(word) : word;
}

std::uint32_t PcapngBlocks::word32(std::size_t at) const noexcept {
    std::uint32_t word;
    std::memcpy(&word, block_.data() + at, sizeof(word));
    return swapped_ ? __builtin_bswap32(word) : word;
}

std::vector<std::uint32_t> PcapngBlocks::links() const {
    std::vector<std::uint32_t> all;
    all.reserve(interfaces_.size());
    for (const Interface& interface : interfaces_) all.push_back(interface.link);
    return all;
}

std::expected<std::optional<PcapngFrame>, std::string> PcapngBlocks::next() {
    for (;;) {
        const auto got = read_block();
        if (!got) return failure(got.error());
        if (!*got) return std::nullopt;
        Result<void> read;
        switch (kind_) {
            case kSection:
                read = read_section();
                break;
            case kInterface:
                read = read_interface();
                break;
            case kOldPacket:
            case kSimplePacket:
            case kEnhancedPacket: {
                const auto frame = read_packet();
                if (!frame) return failure(frame.error());
                return *frame;
            }
            default:
                break;
        }
        if (!read) return failure(read.error());
    }
}

// Grows with what there is: a length that lies takes no memory.
std::expected<void, std::string> PcapngBlocks::read_bytes(std::size_t count) {
    while (count > 0) {
        const std::size_t before = block_.size(), wanted = std::min(count, kChunk);
        block_.resize(before + wanted);
        if (std::fread(block_.data() + before, 1, wanted, file_.get()) != wanted)
            return failure(std::ferror(file_.get()) ? std::strerror(errno)
                                                    : "the file ends in the middle of a block");
        count -= wanted;
    }
    return {};
}

std::expected<void, std::string> PcapngBlocks::skip_bytes(std::size_t count) {
    while (count > 0) {
        const std::size_t wanted = std::min(count, kChunk);
        block_.clear();
        if (const auto read = read_bytes(wanted); !read) return read;
        count -= wanted;
    }
    return {};
}

std::expected<bool, std::string> PcapngBlocks::read_block() {
    block_.clear();
    const int first = std::fgetc(file_.get());
    if (first == EOF) {
        if (std::ferror(file_.get())) return failure(std::strerror(errno));
        return false;
    }
    std::ungetc(first, file_.get());
    if (const auto read = read_bytes(kLead); !read) return failure(read.error());
    kind_ = word32(0);
    std::size_t there = kLead;
    if (kind_ == kSection) {
        // A section says its byte order behind its length.
        if (const auto read = read_bytes(4); !read) return failure(read.error());
        there += 4;
        swapped_ = false;
        if (word32(kLead) != kByteOrder) swapped_ = true;
        if (word32(kLead) != kByteOrder) return failure("a section that does not say its byte order");
    } else if (!begun_) {
        return failure("unknown file format");
    }
    const std::uint32_t length = word32(4);
    if (length < kSmallestBlock || length % 4 != 0 || length < there + kTail)
        return failure(fmt::format("a block that says that it has {} bytes", length));
    const std::size_t rest = length - there - kTail;
    const bool is_read = kind_ == kSection || kind_ == kInterface || kind_ == kOldPacket ||
                         kind_ == kSimplePacket || kind_ == kEnhancedPacket;
    if (is_read && length > kMaxBlock)
        return failure(fmt::format("a block of {} bytes, and at most {} are read", length, kMaxBlock));
    if (const auto read = is_read ? read_bytes(rest) : skip_bytes(rest); !read) return failure(read.error());
    if (const auto read = read_bytes(kTail); !read) return failure(read.error());
    if (const std::uint32_t again = word32(block_.size() - kTail); again != length)
        return failure(fmt::format(
            "a block that says at its beginning that it has {} bytes, and at its end {}", length, again));
    if (!is_read) return true;
    block_.erase(block_.end() - kTail, block_.end());
    block_.erase(block_.begin(), block_.begin() + kLead);
    return true;
}

std::expected<void, std::string> PcapngBlocks::read_section() {
    constexpr std::size_t kFixed = 16;
    if (block_.size() < kFixed) return failure("a section header that is cut");
    if (const std::uint16_t major = word16(4); major != 1)
        return failure(fmt::format("a section of pcapng's version {}; version 1 is read", major));
    begun_ = true;
    interfaces_.clear();
    return {};
}

std::expected<void, std::string> PcapngBlocks::read_interface() {
    constexpr std::size_t kFixed = 8;
    if (block_.size() < kFixed) return failure("an interface description that is cut");
    if (interfaces_.size() >= kMaxInterfaces)
        return failure(fmt::format("a section with more than {} interfaces", kMaxInterfaces));
    Interface interface{.link = word16(0), .snap_length = word32(4)};
    for (std::size_t at = kFixed; at + 4 <= block_.size();) {
        const std::uint16_t kind = word16(at);
        const std::size_t length = word16(at + 2);
        at += 4;
        if (kind == kEndOfOptions) break;
        if (length > block_.size() - at) return failure("an interface description whose options are cut");
        if (const auto read = read_interface_option(interface, kind, at, length); !read) return read;
        at = std::min(block_.size(), at + padded(length));
    }
    interfaces_.push_back(interface);
    return {};
}

std::expected<void, std::string> PcapngBlocks::read_interface_option(Interface& interface, std::uint16_t kind,
                                                                     std::size_t at,
                                                                     std::size_t length) const {
    if (kind == kResolution) {
        if (length != 1) return failure(fmt::format("an if_tsresol of {} bytes instead of 1", length));
        interface.resolution = std::to_integer<std::uint8_t>(block_[at]);
        if (ticks_a_second(interface.resolution) == 0)
            return failure(
                fmt::format("an if_tsresol of {:#04x}: finer than 64 bits can say", interface.resolution));
    } else if (kind == kOffset) {
        if (length != 8) return failure(fmt::format("an if_tsoffset of {} bytes instead of 8", length));
        const std::uint64_t low = word32(swapped_ ? at + 4 : at), high = word32(swapped_ ? at : at + 4);
        interface.offset_s = static_cast<std::int64_t>(high << 32 | low);
    }
    return {};
}

std::expected<PcapngFrame, std::string> PcapngBlocks::read_packet() {
    const std::size_t fixed = kind_ == kSimplePacket ? 4 : 20;
    if (block_.size() < fixed) return failure("a packet block that is cut");
    if (kind_ == kSimplePacket) {
        // The first interface's snapshot length is all that says how much was captured.
        const std::uint32_t length = word32(0);
        std::uint32_t captured = length;
        if (!interfaces_.empty() && interfaces_[0].snap_length != 0)
            captured = std::min(captured, interfaces_[0].snap_length);
        return frame_of(0, fixed, captured, length);
    }
    const std::uint32_t interface = kind_ == kOldPacket ? word16(0) : word32(0);
    if (interface >= interfaces_.size())
        return failure(fmt::format("a packet of interface {}, which is not described", interface));
    const Interface& known = interfaces_[interface];
    time_ =
        time_of(std::uint64_t{word32(4)} << 32 | word32(8), ticks_a_second(known.resolution), known.offset_s);
    return frame_of(interface, fixed, word32(12), word32(16));
}

// A packet without a time has that of the one before it.
std::expected<PcapngFrame, std::string> PcapngBlocks::frame_of(std::uint32_t interface, std::size_t at,
                                                               std::uint32_t captured, std::uint32_t length) {
    if (interface >= interfaces_.size())
        return failure(fmt::format("a packet of interface {}, which is not described", interface));
    if (captured > block_.size() - at)
        return failure(fmt::format("a packet of {} captured bytes in a block that has room for {}", captured,
                                   block_.size() - at));
    return PcapngFrame{interfaces_[interface].link, Bytes(block_).subspan(at, captured), length, time_};
}

}  // namespace splice
