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

TEST_CASE("a pcapng time beyond 32 bits of seconds counts as the last second, one before 1970 as the first") {
    const auto block = [](std::uint32_t type, const std::string& body) {
        const std::string size = word(static_cast<std::uint32_t>(12 + body.size()));
        return word(type) + size + body + size;
    };
    constexpr std::uint32_t kWholeSeconds = 0 << 24 | 1 << 16,
                            kTimeResolution = 9;  // option's value, and kind
    const std::string section =
        block(0x0a0d0d0a, word(0x1a2b3c4d) + word(1) + word(0xffffffff) + word(0xffffffff));
    const std::string option = word(kTimeResolution | kWholeSeconds) + word(0) + word(0);
    const std::string interface = block(1, word(kRaw) + word(262144) + option);
    const auto at = [&](std::uint32_t high, std::uint32_t low) {
        const std::string packet = "E..." + segment().substr(4, 36);
        return block(6, word(0) + word(high) + word(low) + word(40) + word(40) + packet);
    };
    const File file(section + interface + at(0x7fffffff, 0) + at(0xffffffff, 0xffffffff) +
                    at(0, 1'700'000'000));
    auto reader = PcapReader::open(file.path());
    REQUIRE(reader.has_value());
    CHECK(read_one(*reader).time == 4'294'967'295s);
    CHECK(read_one(*reader).time == 0s);
    CHECK(read_one(*reader).time == 1'700'000'000s);
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
