// One end of a TCP connection, small but honest: handshake with any subset of options, retransmission with
// back-off, fast retransmission, SACK, Nagle, flow control with zero-window probes, PAWS, challenge ACKs,
// TIME-WAIT. It is strict about its peer: numbers that no peer could have sent are a `violation`, because a
// translation that is off by one must be seen where it happens and not as a connection that was slow.
//
// Streams are counted from 0 = the SYN: the first byte has offset 1, the FIN stands behind the last.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/time.hpp"
#include "tests/simulation/random.hpp"
#include "tests/simulation/wire.hpp"

namespace splice::simulation {

using namespace std::chrono_literals;

struct TcpSettings {
    Endpoint local, remote;
    std::uint32_t isn = 0;
    std::optional<std::uint16_t> mss;
    bool sack = false;
    bool timestamps = false;
    std::optional<std::uint8_t> window_scale;
    bool nagle = true;
    std::uint32_t receive_buffer = 65536;
    std::uint32_t clock = 0;  // TSval at the beginning of the simulation
    std::uint8_t leading_nops = 0;
};

class Tcp {
  public:
    enum class State : std::uint8_t { syn_sent, syn_received, established, time_wait, closed };
    enum class End : std::uint8_t { none, finished, reset, timed_out, aborted };

    explicit Tcp(const TcpSettings& settings) : settings_(settings) {}

    void connect(Duration now);
    void accept(Duration now, const Segment& syn);
    void receive(Duration now, const Segment& segment);
    void tick(Duration now);
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept { return deadline_; }

    // Without Nagle's algorithm no segment reaches over the end of a write.
    void write(Duration now, std::string_view bytes);
    void close(Duration now);
    void abort();
    // Up to `most` of the bytes that have come in order.
    std::string read(Duration now, std::size_t most);

    [[nodiscard]] State state() const noexcept { return state_; }
    [[nodiscard]] End end() const noexcept { return end_; }
    [[nodiscard]] bool established() const noexcept { return state_ == State::established; }
    [[nodiscard]] bool peer_closed() const noexcept {
        return peer_fin_ && rcv_nxt_ > *peer_fin_ && inbox_.empty();
    }
    [[nodiscard]] std::size_t unread() const noexcept { return inbox_.size(); }
    [[nodiscard]] std::uint32_t peer_isn() const noexcept { return peer_isn_; }
    [[nodiscard]] const std::string& violation() const noexcept { return violation_; }
    // Whether a SYN may take the place of this connection in TIME-WAIT (RFC 6191, RFC 9293 section 3.6.1).
    [[nodiscard]] bool yields_to(const Segment& syn) const noexcept;
    // Answers a segment that does not belong to the connection.
    void challenge(Duration now);

    std::vector<Segment> take_output() { return std::exchange(output_, {}); }

  private:
    [[nodiscard]] std::int64_t snd_end() const noexcept {
        return 1 + static_cast<std::int64_t>(stream_.size());
    }
    [[nodiscard]] std::uint32_t tsval(Duration now) const noexcept;
    [[nodiscard]] std::size_t segment_size() const noexcept;
    [[nodiscard]] std::uint16_t window();
    Segment draft(Duration now, std::uint8_t flags, std::int64_t offset);
    void emit(Duration now, std::uint8_t flags, std::int64_t offset, std::size_t size = 0);
    void send_syn(Duration now);
    void send_ack(Duration now) { emit(now, kAck, snd_nxt_); }
    void send_more(Duration now);
    bool send_next(Duration now);
    void retransmit(Duration now);
    void arm(Duration now);
    void negotiate(const Segment& peer);
    void receive_syn_sent(Duration now, const Segment& segment);
    bool acceptable(Duration now, const Segment& segment, std::int64_t offset);
    bool take_ack(Duration now, const Segment& segment);
    void take_sack(const Segment& segment);
    void take_payload(const Segment& segment, std::int64_t offset);
    void finish_if_done(Duration now);
    void stop(End end);

    TcpSettings settings_;
    State state_ = State::closed;
    End end_ = End::none;
    std::string violation_;
    std::vector<Segment> output_;

    // Negotiated.
    bool sack_ = false, timestamps_ = false, scaled_ = false;
    std::uint8_t peer_scale_ = 0;
    std::uint16_t peer_mss_ = 536;

    // What we send.
    std::string stream_;
    std::vector<std::int64_t> cuts_;  // offsets where a write ended
    std::int64_t snd_una_ = 0, snd_nxt_ = 0, snd_right_ = 0;
    std::int64_t congestion_window_ = 0;
    std::int64_t recover_ = 0;
    std::map<std::int64_t, std::int64_t> sacked_;
    bool close_requested_ = false, fin_sent_ = false, closed_first_ = false;
    int duplicate_acks_ = 0, tries_ = 0;
    std::optional<Duration> deadline_;

    // What we receive.
    std::uint32_t peer_isn_ = 0;
    std::int64_t rcv_nxt_ = 0, rcv_right_ = 0;
    std::map<std::int64_t, std::string> early_;
    std::string inbox_;
    std::optional<std::int64_t> peer_fin_;
    std::uint32_t ts_recent_ = 0;
    std::optional<std::uint32_t> first_tsval_;  // that was sent
    std::uint32_t last_tsval_ = 0;
    Duration last_challenge_{-1'000'000'000};
};

}  // namespace splice::simulation
