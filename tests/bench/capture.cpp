// Writes a capture of many connections that overlap, the same each time: what splice-replay is timed with.
//
//   bench_capture FILE CONNECTIONS
//
// Every fourth connection keeps alive for many requests, every fifth is over IPv6. Prints the number of
// packets.
#include <charconv>
#include <cstdio>
#include <deque>
#include <string>

#include "libsplice/engine/pcap_file.hpp"
#include "tests/support/lib/packets.hpp"

namespace {

using namespace splice;
using testing::Segment;

constexpr std::uint32_t kAtOnce = 1000;  // connections that take turns
constexpr std::uint32_t kRequestsKeptAlive = 20;
constexpr std::uint32_t kDataBytes = 1448;
constexpr auto kBetweenPackets = std::chrono::microseconds(10);
constexpr Duration kBegin = std::chrono::seconds(1'700'000'000);

// One connection's packets, one after the other as they cross the wire before the client.
class Connection {
  public:
    explicit Connection(std::uint32_t number)
        : number_(number), requests_left_(number % 4 == 0 ? kRequestsKeptAlive : 1) {
        client_.next_seq = number * 2'654'435'761U;
        server_.next_seq = number * 2'246'822'519U;
        shake_hands();
    }

    [[nodiscard]] bool over() const { return packets_.empty() && requests_left_ == 0; }

    Segment next(std::uint32_t clock_ms) {
        if (packets_.empty()) request();
        Segment segment = std::move(packets_.front());
        packets_.pop_front();
        const bool from_client = segment.destination_port == kPort;
        segment.timestamps =
            testing::Timestamps{.value = clock_ms + (from_client ? 0 : kServerClockAhead),
                                .echo_reply = clock_ms + (from_client ? kServerClockAhead : 0)};
        return segment;
    }

  private:
    static constexpr std::uint16_t kPort = 80;
    static constexpr std::uint32_t kServerClockAhead = 77'000'000;
    struct End {
        std::uint32_t next_seq = 0;
    };

    void shake_hands() {
        Segment& syn = say(client_, server_, SPLICE_SYN);
        syn.ack = 0;
        with_options_of_a_handshake(syn);
        with_options_of_a_handshake(say(server_, client_, SPLICE_SYN | SPLICE_ACK));
        say(client_, server_, SPLICE_ACK);
    }

    // The answer is one to eight segments; the client acknowledges every second one, and the last.
    void request() {
        --requests_left_;
        const std::uint32_t page = (number_ * 31 + requests_left_) % 5000;
        say(client_, server_, SPLICE_ACK | SPLICE_PSH,
            "GET /video/" + std::to_string(page) + "/segment.ts HTTP/1.1\r\nHost: cdn.example\r\n\r\n");
        const std::uint32_t segments = 1 + page % 8;
        for (std::uint32_t i = 1; i <= segments; ++i) {
            say(server_, client_, SPLICE_ACK, std::string(kDataBytes, 'x'));
            if (i % 2 == 0 || i == segments) say(client_, server_, SPLICE_ACK);
        }
        if (requests_left_ > 0) return;
        say(server_, client_, SPLICE_FIN | SPLICE_ACK);
        say(client_, server_, SPLICE_FIN | SPLICE_ACK);
        say(server_, client_, SPLICE_ACK);
    }

    Segment& say(End& from, const End& to, int flags, std::string payload = {}) {
        Segment segment;
        const bool ipv6 = number_ % 5 == 0;
        const std::string server = ipv6 ? "2001:db8:1::80" : "198.51.100.10";
        const std::string host = std::to_string(1 + number_ / 50'000 % 250);
        const std::string client = ipv6 ? "2001:db8:2::" + host : "203.0.113." + host;
        const auto port = static_cast<std::uint16_t>(10'000 + number_ % 50'000);
        const bool from_client = &from == &client_;
        segment.source = from_client ? client : server;
        segment.destination = from_client ? server : client;
        segment.source_port = from_client ? port : kPort;
        segment.destination_port = from_client ? kPort : port;
        segment.seq = from.next_seq;
        segment.ack = to.next_seq;
        segment.flags = static_cast<std::uint8_t>(flags);
        from.next_seq += static_cast<std::uint32_t>(payload.size());
        if (flags & (SPLICE_SYN | SPLICE_FIN)) ++from.next_seq;
        segment.payload = std::move(payload);
        return packets_.emplace_back(std::move(segment));
    }

    static void with_options_of_a_handshake(Segment& segment) {
        segment.mss = 1460;
        segment.window_scale = 7;
        segment.sack_permitted = true;
    }

    std::uint32_t number_;
    std::uint32_t requests_left_;
    End client_, server_;
    std::deque<Segment> packets_;
};

// The number of packets.
std::uint64_t write_all(PcapWriter& capture, std::uint32_t count) {
    std::deque<Connection> open;
    std::uint32_t begun = 0;
    std::uint64_t written = 0;
    Duration now = kBegin;
    while (begun < count || !open.empty()) {
        // A new one takes its first turn as soon as another has gone.
        if (begun < count && open.size() < kAtOnce) open.emplace_back(begun++);
        Connection connection = std::move(open.front());
        open.pop_front();
        const auto clock_ms = static_cast<std::uint32_t>(written / 100);
        capture.write(now, connection.next(clock_ms).build());
        ++written;
        now += kBetweenPackets;
        if (!connection.over()) open.push_back(std::move(connection));
    }
    return written;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint32_t count = 0;
    const std::string_view said = argc == 3 ? argv[2] : "";
    if (std::from_chars(said.data(), said.data() + said.size(), count).ec != std::errc() || count == 0) {
        std::fprintf(stderr, "usage: bench_capture FILE CONNECTIONS\n");
        return 2;
    }
    auto capture = PcapWriter::create(argv[1]);
    if (!capture) {
        std::fprintf(stderr, "bench_capture: %s\n", capture.error().text.c_str());
        return 1;
    }
    const std::uint64_t written = write_all(*capture, count);
    if (const auto closed = capture->close(); !closed) {
        std::fprintf(stderr, "bench_capture: %s\n", closed.error().text.c_str());
        return 1;
    }
    std::printf("%llu\n", static_cast<unsigned long long>(written));
}
