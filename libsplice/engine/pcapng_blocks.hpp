// The blocks of a pcapng file (draft-ietf-opsawg-pcapng section 4), one after another: sections in either
// byte order, interfaces with a link type, a snapshot length and a clock each, packets in each of their three
// forms. A reader of our own, because libpcap refuses files whose interfaces differ, and what mergecap or
// `tcpdump -i any` on several hosts writes are such files.
#pragma once

#include <cstdint>
#include <cstdio>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"

namespace splice {

struct PcapngFrame {
    std::uint32_t link = 0;  // LINKTYPE_, as in files: tcpdump.org/linktypes.html
    Bytes bytes;             // from the link header on, as far as it was captured; lives until the next call
    std::uint32_t length = 0;  // on the wire
    Duration time{};           // since 1970, from 0 to the last of 32 bits of seconds
};

class PcapngBlocks {
  public:
    // A block of a kind that is read is no longer than this; others are skipped, whatever their length.
    static constexpr std::uint32_t kMaxBlock = 16U * 1024 * 1024;
    static constexpr std::size_t kMaxInterfaces = 65'536;

    // Takes the open file over.
    explicit PcapngBlocks(std::FILE* file) noexcept : file_(file) {}

    // The next packet; nothing at the file's end. The error says what is wrong with the file; after it
    // nothing is read.
    std::expected<std::optional<PcapngFrame>, std::string> next();
    // Of the interfaces that the section has described so far.
    [[nodiscard]] std::vector<std::uint32_t> links() const;

  private:
    struct Interface {
        std::uint32_t link = 0;
        std::uint32_t snap_length = 0;  // 0: none
        std::uint8_t resolution = 6;    // if_tsresol: 10^-n s, with the highest bit 2^-n s
        std::int64_t offset_s = 0;      // if_tsoffset
    };
    struct Close {
        void operator()(std::FILE* file) const noexcept { std::fclose(file); }
    };
    using Failure = std::unexpected<std::string>;
    template <class T>
    using Result = std::expected<T, std::string>;

    [[nodiscard]] std::uint16_t word16(std::size_t at) const noexcept;
    [[nodiscard]] std::uint32_t word32(std::size_t at) const noexcept;
    Result<bool> read_block();  // into block_ and kind_; false at the file's end
    Result<void> read_bytes(std::size_t count);
    Result<void> skip_bytes(std::size_t count);
    Result<void> read_section();
    Result<void> read_interface();
    Result<void> read_interface_option(Interface& interface, std::uint16_t kind, std::size_t at,
                                       std::size_t length) const;
    Result<PcapngFrame> read_packet();
    Result<PcapngFrame> frame_of(std::uint32_t interface, std::size_t at, std::uint32_t captured,
                                 std::uint32_t length);

    std::unique_ptr<std::FILE, Close> file_;
    bool begun_ = false;    // a section has
    bool swapped_ = false;  // its byte order is not this host's
    std::uint32_t kind_ = 0;
    std::vector<std::byte> block_;  // without its kind and its two lengths
    std::vector<Interface> interfaces_;
    Duration time_{};  // of the last packet
};

}  // namespace splice
