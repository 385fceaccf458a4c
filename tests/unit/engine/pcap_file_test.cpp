#include "libsplice/engine/pcap_file.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/support/lib/packets.hpp"

namespace splice {
using namespace std::chrono_literals;
namespace {

using testing::Segment;

// The link types' numbers in files: tcpdump.org/linktypes.html.
constexpr std::uint32_t kEthernet = 1, kNull = 0, kLoop = 108, kRaw = 101, kSll = 113, kSll2 = 276,
                        kWifi = 105;
constexpr std::uint32_t kMicroseconds = 0xa1b2c3d4, kNanoseconds = 0xa1b23c4d;

// A file in a folder of its own, gone with the test.
class File {
  public:
    explicit File(const std::string& bytes = {}) {
        std::string pattern = (std::filesystem::temp_directory_path() / "pcap_file_test.XXXXXX").string();
        folder_ = mkdtemp(pattern.data());
        std::ofstream(path(), std::ios::binary) << bytes;
    }
    ~File() { std::filesystem::remove_all(folder_); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    [[nodiscard]] std::string path() const { return (folder_ / "file.pcap").string(); }

  private:
    std::filesystem::path folder_;
};

std::string word(std::uint32_t value) {
    return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

std::string header(std::uint32_t link, std::uint32_t magic = kMicroseconds) {
    return word(magic) + word(2 | 4U << 16) + word(0) + word(0) + word(262144) + word(link);
}

std::string record(const std::string& frame, std::uint32_t fraction = 0, std::size_t on_wire = 0) {
    return word(1'700'000'000) + word(fraction) + word(static_cast<std::uint32_t>(frame.size())) +
           word(static_cast<std::uint32_t>(on_wire ? on_wire : frame.size())) + frame;
}

std::string text_of(Bytes bytes) {
    return std::string(as_text(bytes));
}

const std::string& segment() {
    static const std::string bytes = [] {
        Segment built;
        built.payload = "GET / HTTP/1.1\r\n\r\n";
        return text_of(built.build());
    }();
    return bytes;
}

std::string hex(std::string_view digits) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        bytes += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
    return bytes;
}

// pcapng's blocks, in either byte order.
struct Pcapng {
    bool big;

    [[nodiscard]] std::string word16(std::uint16_t value) const {
        std::string bytes{static_cast<char>(value & 0xff), static_cast<char>(value >> 8)};
        return big ? std::string(bytes.rbegin(), bytes.rend()) : bytes;
    }
    [[nodiscard]] std::string word(std::uint32_t value) const {
        const std::string low = word16(static_cast<std::uint16_t>(value)),
                          high = word16(static_cast<std::uint16_t>(value >> 16));
        return big ? high + low : low + high;
    }
    // 64 bits, as two halves.
    [[nodiscard]] std::string word(std::uint32_t high, std::uint32_t low) const {
        return big ? word(high) + word(low) : word(low) + word(high);
    }
    [[nodiscard]] static std::string padded(const std::string& bytes) {
        return bytes + std::string((4 - bytes.size() % 4) % 4, '\0');
    }
    [[nodiscard]] std::string block(std::uint32_t kind, const std::string& body) const {
        const std::string size = word(static_cast<std::uint32_t>(12 + padded(body).size()));
        return word(kind) + size + padded(body) + size;
    }
    [[nodiscard]] std::string section() const {
        return block(0x0a0d0d0a,
                     word(0x1a2b3c4d) + word16(1) + word16(0) + word(0xffffffff) + word(0xffffffff));
    }
    [[nodiscard]] std::string option(std::uint16_t kind, const std::string& value) const {
        return word16(kind) + word16(static_cast<std::uint16_t>(value.size())) + padded(value);
    }
    [[nodiscard]] std::string interface(std::uint32_t link, std::uint32_t snap_length,
                                        const std::string& options = {}) const {
        return block(
            1, word16(static_cast<std::uint16_t>(link)) + word16(0) + word(snap_length) + options + word(0));
    }
    [[nodiscard]] std::string packet(std::uint32_t interface, std::uint64_t ticks, const std::string& frame,
                                     std::size_t on_wire = 0) const {
        return block(6, word(interface) + rest(ticks, frame, on_wire));
    }
    // The form that enhanced packets have replaced.
    [[nodiscard]] std::string old_packet(std::uint16_t interface, std::uint64_t ticks,
                                         const std::string& frame) const {
        return block(2, word16(interface) + word16(0) + rest(ticks, frame, 0));
    }
    [[nodiscard]] std::string rest(std::uint64_t ticks, const std::string& frame, std::size_t on_wire) const {
        return word(static_cast<std::uint32_t>(ticks >> 32)) + word(static_cast<std::uint32_t>(ticks)) +
               word(static_cast<std::uint32_t>(frame.size())) +
               word(static_cast<std::uint32_t>(on_wire ? on_wire : frame.size())) + frame;
    }
};

CapturedPacket read_one(PcapReader& reader) {
    auto packet = reader.next();
    REQUIRE(packet.has_value());
    REQUIRE(packet->has_value());
    return **packet;
}

}  // namespace

TEST_CASE("each link's header is taken off, and what stays is the IP packet") {
    const std::string macs = hex("020000000001020000000002");
    struct Link {
        const char* name;
        std::uint32_t type;
        std::string header;
    };
    const Link links[] = {
        {"Ethernet", kEthernet, macs + hex("0800")},
        {"Ethernet with a VLAN tag", kEthernet, macs + hex("810000640800")},
        {"Ethernet with two VLAN tags", kEthernet, macs + hex("88a80064810000650800")},
        {"Linux cooked", kSll, hex("00000001000602000000000100000800")},
        {"Linux cooked with a VLAN tag", kSll, hex("00000001000602000000000100008100") + hex("00640800")},
        {"Linux cooked, version 2", kSll2, hex("0800000000000002000100060200000000010000")},
        {"raw IP", kRaw, ""},
        {"BSD loopback", kNull, hex("02000000")},
        {"OpenBSD loopback", kLoop, hex("00000002")},
    };
    for (const Link& link : links) {
        CAPTURE(link.name);
        const File file(header(link.type) + record(link.header + segment()));
        auto reader = PcapReader::open(file.path());
        REQUIRE(reader.has_value());
        const CapturedPacket packet = read_one(*reader);
        CHECK(text_of(packet.ip) == segment());
        CHECK(packet.ip_length == segment().size());
        CHECK_FALSE(packet.cut());
        CHECK_FALSE(reader->next().value().has_value());
    }
}

TEST_CASE("what is not IP has no IP bytes: ARP, a header that is cut, an empty frame") {
    const std::string macs = hex("020000000001020000000002");
    for (const std::string& frame : {macs + hex("0806") + segment(), macs.substr(0, 9), std::string(),
                                     macs + hex("8100"), macs + hex("0800")}) {
        const File file(header(kEthernet) + record(frame));
        auto reader = PcapReader::open(file.path());
        REQUIRE(reader.has_value());
        CHECK(read_one(*reader).ip.empty());
    }
}

TEST_CASE("times are nanoseconds, whichever the file has") {
    const File micro(header(kRaw, kMicroseconds) + record(segment(), 123'456));
    const File nano(header(kRaw, kNanoseconds) + record(segment(), 123'456'789));
    auto first = PcapReader::open(micro.path());
    auto second = PcapReader::open(nano.path());
    REQUIRE(first.has_value());
    REQUIRE(second.has_value());
    CHECK(read_one(*first).time == 1'700'000'000s + 123'456us);
    CHECK(read_one(*second).time == 1'700'000'000s + 123'456'789ns);
}

TEST_CASE("a pcapng file's interfaces have each their own link, snapshot length and clock") {
    for (const bool big : {false, true}) {
        CAPTURE(big);
        const Pcapng ng{big};
        const std::string ethernet = hex("0200000000010200000000020800");
        const std::string file_bytes =
            ng.section() + ng.interface(kEthernet, 65535) + ng.block(5, "statistics.?") +
            ng.packet(0, 7, ethernet + segment()) + ng.interface(kRaw, 262144, ng.option(9, "\x09")) +
            ng.interface(kWifi, 128) +
            ng.interface(
                kRaw, 96,
                ng.option(2, "eth1") + ng.option(9, "\x81") + ng.option(14, ng.word(0, 1'700'000'000U))) +
            ng.packet(1, 1'700'000'000'000'000'007, segment()) + ng.packet(2, 8'000'000, segment()) +
            ng.packet(3, 3, segment().substr(0, 44), segment().size()) +
            ng.old_packet(0, 9, ethernet + segment());
        const File file(file_bytes);
        auto reader = PcapReader::open(file.path());
        REQUIRE(reader.has_value());
        struct Expected {
            Duration time;
            std::size_t ip, on_wire;
        };
        for (const auto& [time, ip, on_wire] :
             {Expected{7us, segment().size(), segment().size()},
              Expected{1'700'000'000s + 7ns, segment().size(), segment().size()}, Expected{8s, 0, 0},
              Expected{1'700'000'001s + 500ms, 44, segment().size()},
              Expected{9us, segment().size(), segment().size()}}) {
            const CapturedPacket packet = read_one(*reader);
            CAPTURE(packet.number);
            CHECK(packet.time == time);
            CHECK(text_of(packet.ip) == segment().substr(0, ip));
            CHECK(packet.ip_length == on_wire);
        }
        CHECK_FALSE(reader->next().value().has_value());
    }
}

TEST_CASE("a pcapng file's sections have each their own interfaces and byte order") {
    const Pcapng little{false}, big{true};
    const File file(little.section() + little.interface(kRaw, 0) + little.packet(0, 1, segment()) +
                    big.section() + big.interface(kEthernet, 0) +
                    big.packet(0, 2, hex("0200000000010200000000020800") + segment()));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    CHECK(text_of(read_one(*reader).ip) == segment());
    CHECK(text_of(read_one(*reader).ip) == segment());
    CHECK_FALSE(reader->next().value().has_value());
}

TEST_CASE(
    "a packet without a time has that of the one before it, and is cut at the first interface's snapshot "
    "length") {
    const Pcapng ng{false};
    const File file(
        ng.section() + ng.interface(kRaw, 44) + ng.packet(0, 5, segment()) +
        ng.block(3, ng.word(static_cast<std::uint32_t>(segment().size())) + segment().substr(0, 44)));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    read_one(*reader);
    const CapturedPacket simple = read_one(*reader);
    CHECK(simple.time == 5us);
    CHECK(simple.ip.size() == 44);
    CHECK(simple.ip_length == segment().size());
}

TEST_CASE("a pcapng time beyond 32 bits of seconds counts as the last second, one before 1970 as the first") {
    const Pcapng ng{false};
    const std::string whole_seconds = ng.option(9, std::string(1, '\0'));
    const std::string hour_before =
        ng.option(14, ng.word(static_cast<std::uint32_t>(-3600)) + ng.word(0xffffffff));
    const File file(ng.section() + ng.interface(kRaw, 262144, whole_seconds) +
                    ng.interface(kRaw, 262144, whole_seconds + hour_before) +
                    ng.packet(0, UINT64_MAX, segment()) + ng.packet(0, 1'700'000'000, segment()) +
                    ng.packet(1, 3599, segment()) + ng.packet(1, 3601, segment()));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    CHECK(read_one(*reader).time == 4'294'967'295s);
    CHECK(read_one(*reader).time == 1'700'000'000s);
    CHECK(read_one(*reader).time == 0s);
    CHECK(read_one(*reader).time == 1s);
}

TEST_CASE("a damaged pcapng file is told with the packet's number and what is wrong") {
    const Pcapng ng{false};
    const std::string good = ng.section() + ng.interface(kRaw, 0) + ng.packet(0, 1, segment());
    const auto with = [](std::string block, std::size_t at, std::string bytes) {
        return block.replace(at, bytes.size(), bytes);
    };
    const std::string packet = ng.packet(0, 1, segment());
    struct Damage {
        const char* words;
        std::string bytes;
    };
    for (const Damage& damage :
         {Damage{"the file ends in the middle of a block", packet.substr(0, 3)},
          Damage{"the file ends in the middle of a block", packet.substr(0, packet.size() - 1)},
          Damage{"the file ends in the middle of a block", ng.block(4, std::string(400, 'n')).substr(0, 100)},
          Damage{"a block that says that it has 8 bytes", with(packet, 4, ng.word(8))},
          Damage{"a block that says that it has 41 bytes", with(packet, 4, ng.word(41))},
          Damage{"a block that says that it has 13 bytes", with(ng.section(), 4, ng.word(13))},
          Damage{"a block of 4294967292 bytes, and at most 16777216 are read",
                 with(packet, 4, ng.word(0xfffffffc))},
          Damage{"and at its end 8", with(packet, packet.size() - 4, ng.word(8))},
          Damage{"a packet of interface 1, which is not described", ng.packet(1, 1, segment())},
          Damage{"a packet of 4000 captured bytes in a block", with(packet, 20, ng.word(4000))},
          Damage{"a packet block that is cut", ng.block(6, ng.word(0))},
          Damage{"a section that does not say its byte order", with(ng.section(), 8, ng.word(7))},
          Damage{"a section of pcapng's version 2", with(ng.section(), 12, ng.word(2))},
          Damage{"a section header that is cut", ng.block(0x0a0d0d0a, ng.word(0x1a2b3c4d))},
          Damage{"an interface description that is cut", ng.block(1, ng.word(kRaw))},
          Damage{"whose options are cut", ng.interface(kRaw, 0, ng.word(2 | 100U << 16))},
          Damage{"an if_tsresol of 2 bytes", ng.interface(kRaw, 0, ng.option(9, "ab"))},
          Damage{"an if_tsresol of 0x14", ng.interface(kRaw, 0, ng.option(9, "\x14"))},
          Damage{"an if_tsoffset of 4 bytes", ng.interface(kRaw, 0, ng.option(14, "four"))}}) {
        CAPTURE(damage.words);
        const File file(good + damage.bytes);
        auto reader = PcapReader::open(file.path());
        REQUIRE(reader.has_value());
        read_one(*reader);
        const auto second = reader->next();
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().text.starts_with("read the capture " + file.path() + ": packet 2: "));
        CHECK_MESSAGE(second.error().text.contains(damage.words), second.error().text);
    }
}

TEST_CASE("a packet that the capture cut says how long it was on the wire") {
    const std::string ethernet = hex("0200000000010200000000020800");
    const File file(header(kEthernet) +
                    record(ethernet + segment().substr(0, 44), 0, ethernet.size() + segment().size()));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    const CapturedPacket packet = read_one(*reader);
    CHECK(packet.ip.size() == 44);
    CHECK(packet.ip_length == segment().size());
    CHECK(packet.cut());
}

TEST_CASE("a damaged file is told with its name, the packet's number and what is wrong") {
    const File file(header(kRaw) + record(segment()) + record(segment()).substr(0, 30));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    CHECK(read_one(*reader).number == 1);
    const auto second = reader->next();
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().text.starts_with("read the capture " + file.path() +
                                          ": packet 2: truncated dump file"));
}

TEST_CASE("a file that is no capture, one of another link and one that is not there are refused at once") {
    const File text("this is no capture, though it is long enough to be one\n");
    const auto not_capture = PcapReader::open(text.path());
    REQUIRE_FALSE(not_capture.has_value());
    CHECK(not_capture.error().text.contains(text.path()));
    CHECK(not_capture.error().text.contains("unknown file format"));
    CHECK_FALSE(is_capture_file(text.path()));

    const File wifi(header(kWifi) + record(segment()));
    const auto other_link = PcapReader::open(wifi.path());
    REQUIRE_FALSE(other_link.has_value());
    CHECK(other_link.error().text.contains("IEEE802_11"));
    const Pcapng ng{false};
    const File wifi_ng(ng.section() + ng.interface(kWifi, 0) + ng.packet(0, 1, segment()));
    const auto other_links = PcapReader::open(wifi_ng.path());
    REQUIRE_FALSE(other_links.has_value());
    CHECK(other_links.error().text.contains("IEEE802_11"));
    const File line_feed("\nthis is no capture, though it begins as pcapng does\n");
    const auto no_section = PcapReader::open(line_feed.path());
    REQUIRE_FALSE(no_section.has_value());
    CHECK(no_section.error().text.contains("unknown file format"));

    const auto missing = PcapReader::open("/nonexistent/file.pcap");
    REQUIRE_FALSE(missing.has_value());
    CHECK(missing.error().text == "open the capture /nonexistent/file.pcap: No such file or directory");
}

TEST_CASE("what is written is read again, to the nanosecond") {
    const File file;
    auto writer = PcapWriter::create(file.path());
    REQUIRE(writer.has_value());
    const std::string bytes = segment();
    writer->write(1'700'000'000s + 7ns, as_bytes(bytes));
    writer->write(1'700'000'001s, as_bytes(bytes));
    REQUIRE(writer->close().has_value());
    CHECK(is_capture_file(file.path()));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    const CapturedPacket first = read_one(*reader);
    CHECK(first.time == 1'700'000'000s + 7ns);
    CHECK(text_of(first.ip) == bytes);
    CHECK(read_one(*reader).number == 2);
    CHECK_FALSE(reader->next().value().has_value());
}

TEST_CASE("a capture that cannot be written says so") {
    const auto refused = PcapWriter::create("/nonexistent/file.pcap");
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().text == "create the capture /nonexistent/file.pcap: No such file or directory");
    if (!std::filesystem::exists("/dev/full")) return;
    auto full = PcapWriter::create("/dev/full");
    REQUIRE(full.has_value());
    full->write(0s, as_bytes(segment()));
    const auto closed = full->close();
    REQUIRE_FALSE(closed.has_value());
    CHECK(closed.error().text == "write the capture /dev/full: No space left on device");
}

}  // namespace splice
