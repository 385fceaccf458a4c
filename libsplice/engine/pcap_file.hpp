// Capture files: pcap (by libpcap) and pcapng (by engine/pcapng_blocks) in, microseconds or nanoseconds, from
// whatever links they were recorded on; pcap with raw IP packets out.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/base/time.hpp"

namespace splice {

struct CapturedPacket {
    std::uint64_t number = 0;  // from 1, as Wireshark counts
    Duration time{};           // since 1970
    // From the IP header on, as far as it was captured; link headers, VLAN tags and trailers that the capture
    // cut are gone. Not empty only when the link says IPv4 or IPv6. Lives until the next call of next().
    Bytes ip;
    std::uint32_t ip_length = 0;  // on the wire; more than ip.size() when the capture cut the packet
    [[nodiscard]] bool cut() const noexcept { return ip_length > ip.size(); }
};

// Reads Ethernet and VLAN tags (IEEE 802.1Q, also stacked), Linux cooked captures (SLL, SLL2), raw IP, and
// BSD's loopback links; of a pcapng file each interface has its own. Errors name the file, the packet's
// number and what is wrong.
class PcapReader {
  public:
    static SystemResult<PcapReader> open(const std::string& path);
    // Takes the open file over; `name` is for errors.
    static SystemResult<PcapReader> from(std::FILE* file, const std::string& name);
    PcapReader(PcapReader&&) noexcept;
    PcapReader& operator=(PcapReader&&) noexcept;
    ~PcapReader();

    // The next packet; nothing at the file's end.
    SystemResult<std::optional<CapturedPacket>> next();

  private:
    struct Impl;
    explicit PcapReader(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

// Whether the file begins as a pcap or pcapng file does; false also when it cannot be read.
[[nodiscard]] bool is_capture_file(const std::string& path);

// Writes link type raw IP, nanoseconds.
class PcapWriter {
  public:
    static SystemResult<PcapWriter> create(const std::string& path);
    PcapWriter(PcapWriter&&) noexcept;
    PcapWriter& operator=(PcapWriter&&) noexcept;
    ~PcapWriter();

    // `ip` begins at the IP header and is whole. What goes wrong is told by close().
    void write(Duration time, Bytes ip) noexcept;
    SystemResult<void> close();

  private:
    struct Impl;
    explicit PcapWriter(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice
