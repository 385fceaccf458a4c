// The capture reader (engine/pcap_file) over any file, pcap or pcapng.
//
// Aborts when a packet reaches out of its frame, says it is IP and is none, or has a number out of turn; when
// the reader finds more packets than there are bytes for; when a plain pcap file's packets are others than
// the reference reads from the same bytes, or a pcapng file's others than libpcap reads, as far as that goes;
// when what it read, written by PcapWriter, does not read back the same.
//
// Input: the file.
#include "libsplice/engine/pcap_file.hpp"

#include <pcap/pcap.h>
#include <sys/mman.h>

#include <optional>
#include <vector>

#include "tests/fuzz/support/fuzzer.hpp"
#include "tests/fuzz/support/reference_packet.hpp"

namespace splice::fuzz {
namespace {

struct Read {
    Duration time{};
    std::string ip;
    std::uint32_t ip_length = 0;
    friend bool operator==(const Read&, const Read&) = default;
};
struct Reading {
    std::vector<Read> packets;
    bool damaged = false;
};

Reading read_all(PcapReader& reader, std::size_t most) {
    Reading reading;
    for (;;) {
        const auto packet = reader.next();
        if (!packet) {
            const std::string number = fmt::format("packet {}:", reading.packets.size() + 1);
            FUZZ_REQUIRE(packet.error().text.contains(number), "{}", packet.error().text);
            reading.damaged = true;
            return reading;
        }
        if (!*packet) return reading;
        const CapturedPacket& is = **packet;
        const std::string_view ip = as_text(is.ip);
        FUZZ_REQUIRE(is.number == reading.packets.size() + 1, "{} after {}", is.number,
                     reading.packets.size());
        FUZZ_REQUIRE(is.number <= most, "{} packets", is.number);
        FUZZ_REQUIRE(is.ip_length >= ip.size() && is.cut() == (is.ip_length > ip.size()), "{}", is.ip_length);
        FUZZ_REQUIRE(!ip.empty() || is.ip_length == 0, "{}", is.ip_length);
        // So that AddressSanitizer looks at each byte.
        reading.packets.push_back({is.time, std::string(ip), is.ip_length});
    }
}

// --- The reference: pcap of version 2.4 as tcpdump.org/manpages/pcap-savefile.5.html says, link types as
// tcpdump.org/linktypes.html.

class File {
  public:
    explicit File(Octets bytes) : bytes_(std::move(bytes)) {}
    bool swapped = false;

    [[nodiscard]] std::size_t left() const { return bytes_.size() - at_; }
    std::uint32_t word() {
        const std::uint32_t big = load32(bytes_, at_);
        at_ += 4;
        return swapped ? big : __builtin_bswap32(big);
    }
    Octets take(std::size_t size) {
        const auto begin = bytes_.begin() + static_cast<std::ptrdiff_t>(at_);
        at_ += size;
        return {begin, begin + static_cast<std::ptrdiff_t>(size)};
    }

  private:
    Octets bytes_;
    std::size_t at_ = 0;
};

// Where IP begins in a frame; nothing where it does not.
std::optional<std::size_t> ip_in(std::uint32_t link, const Octets& frame) {
    std::size_t type_at = 0, behind = 0;
    switch (link) {
        case 1:
            type_at = 12, behind = 14;
            break;
        case 113:
            type_at = 14, behind = 16;
            break;
        case 276:
            type_at = 0, behind = 20;
            break;
        default:
            behind = link == 0 || link == 108 ? 4 : 0;
            if (frame.size() <= behind) return {};
            return frame.at(behind) >> 4 == 4 || frame.at(behind) >> 4 == 6 ? std::optional(behind)
                                                                            : std::nullopt;
    }
    if (frame.size() < behind) return {};
    for (int tags = 0; tags <= 4; ++tags) {
        const std::uint32_t type = load16(frame, type_at);
        if (type == 0x0800 || type == 0x86dd)
            return frame.size() > behind ? std::optional(behind) : std::nullopt;
        if (type != 0x8100 && type != 0x88a8 && type != 0x9100) return {};
        if (frame.size() < behind + 4) return {};
        type_at = behind + 2;
        behind += 4;
    }
    return {};
}

// Nothing: a file that this does not know, or of which it says nothing.
std::optional<Reading> reference_read(const Octets& bytes) {
    constexpr std::uint32_t kSnapLength = 262144;
    File file(bytes);
    if (file.left() < 24) return {};
    std::uint32_t magic = file.word();
    file.swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
    if (file.swapped) magic = __builtin_bswap32(magic);
    if (magic != 0xa1b2c3d4 && magic != 0xa1b23c4d) return {};
    const std::int64_t fraction = magic == 0xa1b2c3d4 ? 1000 : 1;
    const std::uint32_t version = file.word();
    if (version != (file.swapped ? 0x00020004U : 0x00040002U)) return {};
    file.word();
    file.word();
    const std::uint32_t snap_length = file.word(), link = file.word();
    constexpr std::array kLinks{0U, 1U, 101U, 108U, 113U, 276U};
    if (snap_length != kSnapLength || std::ranges::find(kLinks, link) == kLinks.end()) return {};
    Reading reading;
    while (file.left() >= 16) {
        const std::uint32_t seconds = file.word(), fractions = file.word(), captured = file.word(),
                            length = file.word();
        if (seconds >> 31 || fractions >> 31) return {};
        if (captured > file.left()) {
            reading.damaged = true;
            return reading;
        }
        const Octets frame = file.take(captured);
        Read packet;
        packet.time = Duration(static_cast<std::int64_t>(seconds) * 1'000'000'000 + fraction * fractions);
        if (const auto at = ip_in(link, frame)) {
            packet.ip.assign(frame.begin() + static_cast<std::ptrdiff_t>(*at), frame.end());
            packet.ip_length = static_cast<std::uint32_t>(std::max(length, captured) - *at);
        }
        reading.packets.push_back(packet);
    }
    reading.damaged = file.left() != 0;
    return reading;
}

// --- The reference for pcapng: libpcap, which reads it where all interfaces are alike.

Reading libpcap_read(const Octets& bytes) {
    Reading reading;
    Octets copy = bytes;
    char why[PCAP_ERRBUF_SIZE];
    std::FILE* file = fmemopen(copy.data(), copy.size(), "rb");
    pcap_t* pcap = pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, why);
    if (!pcap) {
        std::fclose(file);
        reading.damaged = true;
        return reading;
    }
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    int got = 0;
    while ((got = pcap_next_ex(pcap, &header, &data)) == 1) {
        const Octets frame(data, data + header->caplen);
        Read packet;
        // Nothing where the seconds do not fit, or went over the end of what libpcap counts in.
        if (header->ts.tv_sec > 0 && header->ts.tv_sec < 0xffffffff)
            packet.time =
                std::chrono::seconds(header->ts.tv_sec) + std::chrono::nanoseconds(header->ts.tv_usec);
        if (const auto at = ip_in(static_cast<std::uint32_t>(pcap_datalink(pcap)), frame)) {
            packet.ip.assign(frame.begin() + static_cast<std::ptrdiff_t>(*at), frame.end());
            packet.ip_length = static_cast<std::uint32_t>(std::max(header->len, header->caplen) - *at);
        }
        reading.packets.push_back(packet);
    }
    reading.damaged = got != PCAP_ERROR_BREAK;
    pcap_close(pcap);
    return reading;
}

void require_as_libpcap(const Reading& is, const Reading& libpcap) {
    constexpr auto kLast = std::chrono::seconds(0xffffffff);
    FUZZ_REQUIRE(is.packets.size() >= libpcap.packets.size(), "{} packets, not {}", is.packets.size(),
                 libpcap.packets.size());
    Duration before{};
    for (std::size_t i = 0; i < libpcap.packets.size(); ++i) {
        const Read& packet = is.packets[i];
        Read expected = libpcap.packets[i];
        // A simple packet has no time: libpcap says 0, and we the one before.
        const bool timeless = packet.time == before || expected.time == Duration{};
        if (timeless || packet.time <= Duration{} || packet.time >= kLast) expected.time = packet.time;
        FUZZ_REQUIRE(packet == expected, "packet {}: {} bytes at {}, not {} at {}", i + 1, packet.ip.size(),
                     packet.time.count(), expected.ip.size(), expected.time.count());
        before = packet.time;
    }
    FUZZ_REQUIRE(libpcap.damaged || !is.damaged, "damaged after {} packets", is.packets.size());
    FUZZ_REQUIRE(libpcap.damaged || is.packets.size() == libpcap.packets.size(), "{} packets, not {}",
                 is.packets.size(), libpcap.packets.size());
}

// --- Writing

const std::string& scratch_file() {
    static const std::string path = fmt::format("/proc/self/fd/{}", memfd_create("capture", MFD_CLOEXEC));
    return path;
}

void require_read_back(const Reading& reading) {
    std::vector<Read> written;
    auto writer = PcapWriter::create(scratch_file());
    FUZZ_REQUIRE(writer.has_value(), "{}", writer.error().text);
    for (const Read& packet : reading.packets) {
        // The format has 31 bits for the seconds, and what is no IP has nothing to be written.
        const bool fits = packet.time >= Duration{} && packet.time < std::chrono::seconds(1LL << 31);
        const bool ip = !packet.ip.empty() && (packet.ip[0] >> 4 == 4 || packet.ip[0] >> 4 == 6);
        if (!fits || !ip) continue;
        writer->write(packet.time, as_bytes(packet.ip));
        written.push_back({packet.time, packet.ip, static_cast<std::uint32_t>(packet.ip.size())});
    }
    const auto closed = writer->close();
    FUZZ_REQUIRE(closed.has_value(), "{}", closed.error().text);
    FUZZ_REQUIRE(is_capture_file(scratch_file()), "our own file");
    auto reader = PcapReader::open(scratch_file());
    FUZZ_REQUIRE(reader.has_value(), "{}", reader.error().text);
    const Reading back = read_all(*reader, written.size());
    FUZZ_REQUIRE(!back.damaged && back.packets == written, "{} packets of {}", back.packets.size(),
                 written.size());
}

}  // namespace
}  // namespace splice::fuzz

FUZZER(capture)(splice::Bytes input) {
    using namespace splice::fuzz;
    if (input.empty()) return;
    ExactCopy copy(input);
    std::FILE* file = fmemopen(copy.data(), input.size(), "rb");
    FUZZ_REQUIRE(file != nullptr, "fmemopen");
    auto reader = splice::PcapReader::from(file, "fuzz.pcap");
    const auto expected = reference_read(octets(input));
    const bool is_pcapng = input[0] == std::byte{'\n'};
    if (!reader) {
        FUZZ_REQUIRE(!expected, "{}", reader.error().text);
        FUZZ_REQUIRE(reader.error().text.contains("fuzz.pcap"), "{}", reader.error().text);
        return;
    }
    // A record has 16 bytes at least, a block of pcapng 12.
    const Reading reading = read_all(*reader, input.size() / 12);
    if (expected) {
        FUZZ_REQUIRE(reading.packets == expected->packets, "{} packets, not {}", reading.packets.size(),
                     expected->packets.size());
        FUZZ_REQUIRE(reading.damaged == expected->damaged, "{}", reading.damaged);
    }
    if (is_pcapng) require_as_libpcap(reading, libpcap_read(octets(input)));
    require_read_back(reading);
}
