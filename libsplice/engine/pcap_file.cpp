#include "libsplice/engine/pcap_file.hpp"

#include <pcap/pcap.h>
#include <pcap/sll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "libsplice/datapath/packet.h"
#include "libsplice/engine/pcapng_blocks.hpp"

namespace splice {
namespace {

constexpr std::size_t kEthernetHeader = 14;
constexpr std::size_t kVlanTag = 4;
constexpr std::size_t kSllHeader = SLL_HDR_LEN;
constexpr std::size_t kSll2Header = 20;  // tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html
constexpr std::size_t kFamilyHeader = 4;
// Stacked tags that are looked behind; more is no network's.
constexpr int kMaxTags = 4;
// Wide enough for the largest IP packet; libpcap's own default.
constexpr int kSnapLength = 262144;

// Of a capture that is read or written: a system call for hundreds of packets instead of two or three.
constexpr std::size_t kFileBuffer = 256UZ * 1024;

// What a link header says of its packet.
struct Inner {
    bool ip = false;
    std::size_t offset = 0;
};

std::uint16_t load16(Bytes frame, std::size_t at) noexcept {
    return splice_load_be16(frame.data() + at);
}

bool is_ip(std::uint16_t ethertype) noexcept {
    return ethertype == SPLICE_ETHERTYPE_IPV4 || ethertype == SPLICE_ETHERTYPE_IPV6;
}

bool is_tag(std::uint16_t ethertype) noexcept {
    constexpr std::uint16_t kOldQinq = 0x9100;
    return ethertype == SPLICE_ETHERTYPE_VLAN || ethertype == SPLICE_ETHERTYPE_QINQ || ethertype == kOldQinq;
}

// `type_at` is where the ethertype stands, `offset` what follows the link header.
Inner behind_ethertype(Bytes frame, std::size_t type_at, std::size_t offset) noexcept {
    if (frame.size() < offset) return {};
    std::uint16_t type = load16(frame, type_at);
    for (int tags = 0; tags < kMaxTags && is_tag(type); ++tags) {
        if (frame.size() < offset + kVlanTag) return {};
        type = load16(frame, offset + 2);
        offset += kVlanTag;
    }
    return {is_ip(type), offset};
}

Inner behind_version(Bytes frame, std::size_t offset) noexcept {
    if (frame.size() <= offset) return {};
    const int version = std::to_integer<int>(frame[offset] >> 4);
    return {version == 4 || version == 6, offset};
}

// A BSD loopback link says an address family, whose number for IPv6 depends on the system, in the byte order
// of the host that recorded it or (LOOP) of the network. The IP version is the surer witness.
Inner behind_family(Bytes frame) noexcept {
    return behind_version(frame, kFamilyHeader);
}

std::optional<Inner> inner_of(int link, Bytes frame) noexcept {
    switch (link) {
        case DLT_EN10MB:
            return behind_ethertype(frame, kEthernetHeader - 2, kEthernetHeader);
        case DLT_LINUX_SLL:
            return behind_ethertype(frame, kSllHeader - 2, kSllHeader);
        case DLT_LINUX_SLL2:
            return behind_ethertype(frame, 0, kSll2Header);
        case DLT_RAW:
        case DLT_IPV4:
        case DLT_IPV6:
            return behind_version(frame, 0);
        case DLT_NULL:
        case DLT_LOOP:
            return behind_family(frame);
        default:
            return std::nullopt;
    }
}

// libpcap reads 32 bits of seconds, with a sign or without.
Duration time_of(const pcap_pkthdr& header) noexcept {
    constexpr std::int64_t kLastSecond = std::numeric_limits<std::uint32_t>::max();
    const std::chrono::seconds seconds(std::clamp<std::int64_t>(header.ts.tv_sec, 0, kLastSecond));
    return std::max(seconds + std::chrono::nanoseconds(header.ts.tv_usec), Duration::zero());
}

// A link type as files number it, as libpcap names it here. The others that are read have one number.
int link_of(std::uint32_t link_type) noexcept {
    constexpr std::uint32_t kRawIp = 101;
    return link_type == kRawIp ? DLT_RAW : static_cast<int>(link_type);
}

std::string link_name(int link) {
    const char* name = pcap_datalink_val_to_name(link);
    return name ? name : std::to_string(link);
}

std::unexpected<SystemError> refuse_link(const std::string& path, const std::string& names) {
    return system_error("read the capture " + path + ": its link type is " + names, 0,
                        "Ethernet, Linux cooked, raw IP and loopback are read");
}

// One packet, from its link header on.
struct Frame {
    int link;
    Bytes bytes;
    std::uint32_t length;  // on the wire
    Duration time;
};

struct PcapCloser {
    void operator()(pcap_t* pcap) const noexcept { pcap_close(pcap); }
};
struct DumpCloser {
    void operator()(pcap_dumper_t* dump) const noexcept { pcap_dump_close(dump); }
};

}  // namespace

struct PcapReader::Impl {
    using Next = std::expected<std::optional<Frame>, std::string>;

    SystemResult<void> open_pcap(std::FILE* file);
    SystemResult<void> open_pcapng(std::FILE* file);
    Next next() { return blocks ? next_of_pcapng() : next_of_pcap(); }
    Next next_of_pcap();
    Next next_of_pcapng();

    std::string path;
    std::vector<char> file_buffer;  // the file's, which lives as long as `pcap` or `blocks`
    std::unique_ptr<pcap_t, PcapCloser> pcap;
    int link = 0;                        // of `pcap`
    std::optional<PcapngBlocks> blocks;  // instead of `pcap`
    std::optional<Next> first;           // of `blocks`: read when the file was opened
    std::uint64_t read = 0;
};

SystemResult<void> PcapReader::Impl::open_pcap(std::FILE* file) {
    std::array<char, PCAP_ERRBUF_SIZE> why{};
    // Closes the file with itself, but leaves it open when it fails.
    pcap.reset(pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, why.data()));
    if (!pcap) {
        std::fclose(file);
        return system_error("read the capture " + path + ": " + why.data(), 0,
                            "expected a pcap or pcapng file");
    }
    link = pcap_datalink(pcap.get());
    if (!inner_of(link, {})) return refuse_link(path, link_name(link));
    return {};
}

// Its interfaces are described before the first packet, as a rule: a file of links that are not read is
// refused at once.
SystemResult<void> PcapReader::Impl::open_pcapng(std::FILE* file) {
    blocks.emplace(file);
    first = next_of_pcapng();
    std::string names;
    for (const std::uint32_t type : blocks->links()) {
        if (inner_of(link_of(type), {})) return {};
        if (!names.contains(link_name(link_of(type))))
            names += (names.empty() ? "" : ", ") + link_name(link_of(type));
    }
    if (!names.empty()) return refuse_link(path, names);
    if (!*first)
        return system_error("read the capture " + path + ": " + first->error(), 0,
                            "expected a pcap or pcapng file");
    return {};
}

PcapReader::Impl::Next PcapReader::Impl::next_of_pcap() {
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    const int got = pcap_next_ex(pcap.get(), &header, &data);
    if (got == PCAP_ERROR_BREAK) return std::nullopt;
    if (got != 1) return std::unexpected(pcap_geterr(pcap.get()));
    return Frame{link, std::as_bytes(std::span(data, header->caplen)), header->len, time_of(*header)};
}

PcapReader::Impl::Next PcapReader::Impl::next_of_pcapng() {
    if (first) return *std::exchange(first, std::nullopt);
    const auto frame = blocks->next();
    if (!frame) return std::unexpected(frame.error());
    if (!*frame) return std::nullopt;
    return Frame{link_of((*frame)->link), (*frame)->bytes, (*frame)->length, (*frame)->time};
}

PcapReader::PcapReader(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapReader::PcapReader(PcapReader&&) noexcept = default;
PcapReader& PcapReader::operator=(PcapReader&&) noexcept = default;
PcapReader::~PcapReader() = default;

SystemResult<PcapReader> PcapReader::open(const std::string& path) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) return system_error("open the capture " + path, errno);
    return from(file, path);
}

SystemResult<PcapReader> PcapReader::from(std::FILE* file, const std::string& path) {
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->file_buffer.resize(kFileBuffer);
    std::setvbuf(file, impl->file_buffer.data(), _IOFBF, impl->file_buffer.size());
    // pcapng alone begins with a line feed. One byte can be put back into any file, a pipe too.
    const int begins = std::fgetc(file);
    if (begins != EOF) std::ungetc(begins, file);
    if (const auto opened = begins == '\n' ? impl->open_pcapng(file) : impl->open_pcap(file); !opened)
        return std::unexpected(opened.error());
    return PcapReader(std::move(impl));
}

SystemResult<std::optional<CapturedPacket>> PcapReader::next() {
    const Impl::Next next = impl_->next();
    if (next && !*next) return std::nullopt;
    CapturedPacket packet;
    packet.number = ++impl_->read;
    if (!next)
        return system_error("read the capture " + impl_->path + ": packet " + std::to_string(packet.number) +
                                ": " + next.error(),
                            0, "the file is damaged from there on");
    const Frame& frame = **next;
    packet.time = frame.time;
    // Frames of links that are not read, among others, are as good as no IP.
    const Inner inner = inner_of(frame.link, frame.bytes).value_or(Inner{});
    if (inner.ip && inner.offset < frame.bytes.size()) {
        packet.ip = frame.bytes.subspan(inner.offset);
        const std::uint32_t on_wire = std::max(frame.length, static_cast<std::uint32_t>(frame.bytes.size()));
        packet.ip_length = on_wire - static_cast<std::uint32_t>(inner.offset);
    }
    return packet;
}

bool is_capture_file(const std::string& path) {
    std::array<std::byte, 4> magic{};
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) return false;
    const std::size_t got = std::fread(magic.data(), 1, magic.size(), file);
    std::fclose(file);
    if (got != magic.size()) return false;
    switch (splice_load_be32(magic.data())) {
        case 0xa1b2c3d4:  // microseconds, in either byte order
        case 0xd4c3b2a1:
        case 0xa1b23c4d:  // nanoseconds
        case 0x4d3cb2a1:
        case 0x0a0d0d0a:  // pcapng's section header
            return true;
        default:
            return false;
    }
}

struct PcapWriter::Impl {
    std::string path;
    std::vector<char> file_buffer;  // the file's, which lives as long as `dump`
    std::unique_ptr<pcap_t, PcapCloser> pcap;
    std::unique_ptr<pcap_dumper_t, DumpCloser> dump;
};

PcapWriter::PcapWriter(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
PcapWriter::PcapWriter(PcapWriter&&) noexcept = default;
PcapWriter& PcapWriter::operator=(PcapWriter&&) noexcept = default;
PcapWriter::~PcapWriter() = default;

SystemResult<PcapWriter> PcapWriter::create(const std::string& path) {
    auto impl = std::make_unique<Impl>();
    impl->path = path;
    impl->pcap.reset(pcap_open_dead_with_tstamp_precision(DLT_RAW, kSnapLength, PCAP_TSTAMP_PRECISION_NANO));
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (!file) return system_error("create the capture " + path, errno);
    impl->file_buffer.resize(kFileBuffer);
    std::setvbuf(file, impl->file_buffer.data(), _IOFBF, impl->file_buffer.size());
    impl->dump.reset(pcap_dump_fopen(impl->pcap.get(), file));
    if (!impl->dump) {
        std::fclose(file);
        return system_error("create the capture " + path + ": " + pcap_geterr(impl->pcap.get()), 0);
    }
    return PcapWriter(std::move(impl));
}

void PcapWriter::write(Duration time, Bytes ip) noexcept {
    pcap_pkthdr header{};
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    header.ts.tv_sec = static_cast<time_t>(seconds.count());
    header.ts.tv_usec = static_cast<suseconds_t>((time - seconds).count());  // nanoseconds, by the precision
    header.caplen = header.len = static_cast<bpf_u_int32>(ip.size());
    pcap_dump(reinterpret_cast<u_char*>(impl_->dump.get()), &header,
              reinterpret_cast<const u_char*>(ip.data()));
}

SystemResult<void> PcapWriter::close() {
    std::FILE* const file = pcap_dump_file(impl_->dump.get());
    errno = 0;
    const bool failed = pcap_dump_flush(impl_->dump.get()) != 0 || std::ferror(file) != 0;
    const int code = errno;
    impl_->dump.reset();
    if (failed) return system_error("write the capture " + impl_->path, code ? code : EIO);
    return {};
}

}  // namespace splice
