// The client of health checks: it asks a bridge as a user would, by the way that users' packets take. It
// makes the cookie itself, so its first packet is already the first payload, addressed to the service,
// carried to one bridge; what comes back comes from the service's own address. No system call, no clock.
//
//   prober                                 bridge
//     first payload, cookie acknowledged -->        repeated after 200, 400, 800 ms ... as a client does
//   <-- ACK, then the answer
//     ACK of each segment in order       -->
//     RST, once the answer is judged     -->        also to whatever comes after that
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/base/seq.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/probe_rule.hpp"
#include "libsplice/datapath/carriage.h"
#include "libsplice/datapath/cookie.h"
#include "libsplice/datapath/lane.h"
#include "libsplice/datapath/probe.h"

namespace splice {

// What became of a probe.
enum class ProbeEnd : std::uint8_t {
    passed,
    silent,       // nothing came
    bounced,      // the bridge sent the opening back: its backend does not listen
    reset,        // RST
    late,         // the opening was acknowledged, but the answer was not whole in time
    wrong,        // the answer is another than the rule expects
    secret,       // the bridge sent the opening back, sealed with another secret than ours
    clock,        // it took the opening for none of a connection of now, although the secrets agree
    unreachable,  // an ICMP error: nobody gets there
    too_big,      // an ICMP error: the opening is larger than the way
};
inline constexpr std::size_t kProbeEnds = 10;
[[nodiscard]] std::string_view to_string(ProbeEnd end) noexcept;

// What to ask of whom, and as whom.
struct ProbeOrder {
    std::uint64_t id = 0;  // the caller's
    std::shared_ptr<const ProbeRule> rule;
    Endpoint vip;
    IpAddress own;  // of the VIP's family
    IpAddress bridge;
    splice_carriage carriage{};
    bool proxy_header = false;
    std::uint16_t mss = 1460;   // the service's: no segment carries more
    bool full_segment = false;  // padded, so that the first segment is as long as mss allows
    bool keyed_clock = false;   // the service's: SYN-ACKs' clock carries the cookie's proof (datapath/lane.h)
    Duration timeout{};
};

// What the timestamps of a bridge's answer say of its number, where the service's clock is keyed.
struct ToldNumber {
    bool timestamps = false;              // there were some
    std::uint32_t lane = SPLICE_NO_LANE;  // splice_lane_of() them
};

struct ProbeResult {
    std::uint64_t id = 0;
    ProbeEnd end{};
    std::string words;            // of an answer that is wrong, and of an ICMP error
    bool from_elsewhere = false;  // not the bridge has said so, but a router, or this host
    std::optional<ToldNumber>
        number{};  // of the first answer; nothing: there was none, or the clock is not keyed
};

class Prober {
  public:
    explicit Prober(std::uint64_t seed) noexcept : random_(seed) {}

    // Sends the opening. A port is used again when all others were: nothing happens, and the result is false,
    // while SPLICE_PROBE_PORTS probes run.
    bool begin(Instant now, const splice_secret& secret, ProbeOrder order, Actions& out);

    // Whether the packet answers a probe, or comes late after one; `bytes` begin at its IP header. Any bytes
    // are survived.
    bool handle(Instant now, const splice_packet& packet, Bytes bytes, Actions& out);
    // Whether the packet is a probe's opening that a bridge has sent back; `bytes` as above.
    bool handle_bounced(const splice_packet& packet, Bytes bytes, const splice_secret& secret);
    // Whether an ICMP error (splice_is_icmp_error()) is about a probe that runs, by the quoted addresses,
    // ports and sequence number; `bytes` as above. One whose server has been heard goes on.
    bool handle_icmp(const splice_packet& packet, Bytes bytes);

    // Repeats openings and ends what is late. Call it at next_deadline() at the latest.
    void expire(Instant now, Actions& out);
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept;

    // Of the probes that have ended since the last call.
    [[nodiscard]] std::vector<ProbeResult> take_results() noexcept { return std::exchange(results_, {}); }
    [[nodiscard]] std::size_t running() const noexcept { return deadlines_.size(); }

  private:
    struct Probe {
        ProbeOrder order;
        bool runs = false;
        std::string stream;  // what is sent
        bool ends_stream = false;
        Seq first;    // of the stream
        Seq next;     // after all of it
        Seq awaited;  // of the server's
        std::uint32_t echo = 0;
        std::uint32_t lane_hash = 0;  // of the flow, where the clock is keyed
        std::uint32_t sent = 0;       // how often the opening was
        std::optional<ToldNumber> number;
        bool heard = false;
        bool acknowledged = false;
        bool ended = false;    // by the server
        std::string received;  // in order
        Duration deadline{};
        Duration repeat{};
        Duration gap{};
    };

    [[nodiscard]] Probe* find(const Endpoint& vip, std::uint16_t own_port,
                              const splice_address& own) noexcept;
    [[nodiscard]] std::uint16_t free_port() noexcept;
    std::uint64_t random() noexcept;
    void send_stream(Instant now, std::uint16_t port, Probe& probe, Actions& out);
    static void send(Instant now, std::uint16_t port, const Probe& probe, std::uint8_t flags, Seq seq,
                     std::string_view payload, Actions& out);
    void take(Instant now, std::uint16_t port, Probe& probe, const splice_packet& packet, Bytes bytes,
              Actions& out);
    static void receive(Probe& probe, const splice_packet& packet, Bytes bytes) noexcept;
    static void note_number(Instant now, Probe& probe, const splice_packet& packet, Bytes bytes) noexcept;
    void finish(std::uint16_t port, Probe& probe, ProbeEnd end, std::string words = {},
                bool from_elsewhere = false);
    void schedule(std::uint16_t port, const Probe& probe);
    void unschedule(std::uint16_t port, const Probe& probe) noexcept;

    std::uint64_t random_;
    std::uint16_t last_ = 0;  // place of the port that was given out last
    // By port less SPLICE_PROBE_PORT_FIRST. One that has ended stays until its port is given out again.
    std::array<std::unique_ptr<Probe>, SPLICE_PROBE_PORTS> probes_;
    std::set<std::pair<Duration, std::uint16_t>> deadlines_;  // one of each that runs: to repeat, or to end
    std::vector<ProbeResult> results_;
};

}  // namespace splice
