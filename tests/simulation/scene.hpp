// The simulated network itself: who is in it, what happens when, and what must hold. Each part of World is a
// file of its own.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/core/health_checks.hpp"
#include "libsplice/core/joiner.hpp"
#include "libsplice/core/splicer.hpp"
#include "tests/simulation/conversation.hpp"
#include "tests/simulation/tcp.hpp"
#include "tests/simulation/wire.hpp"
#include "tests/simulation/world.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::simulation {

inline constexpr std::size_t kBridges = 3;
inline constexpr std::size_t kClients = 3;
// No packet is on its way longer, so a port may be used again after it (RFC 9293's MSL, for this network).
inline constexpr Duration kPacketLifetime = 2s;
// Where no packet overtakes another, an ended connection's port may be used again at once.
inline constexpr Duration kSoon = 20ms;
// A client without a word from the server gives up: longer than all of a TCP's retransmissions.
inline constexpr Duration kPatience = 300s;
inline constexpr Duration kHorizon = 3h;
// After that the checks know of a bridge that it does not answer, or that it does again: three of them at
// most 2.2 s apart, and the last one's timeout.
inline constexpr Duration kKnown = 10s;
inline constexpr int kStepsMax = 400'000;

// What may happen to a packet on a link; probabilities.
struct Faults {
    double loss = 0, duplicate = 0, reorder = 0, corrupt = 0;
    Duration delay = 10us;
    Duration jitter{};
};

// A connection as its client sees it, and what became of it.
struct Session {
    Conversation conversation;
    std::string client_stream;
    std::uint16_t port = 0;
    std::uint32_t isn = 0;
    std::unique_ptr<Tcp> tcp;
    std::size_t exchange = 0;  // that is spoken or waited for
    std::size_t piece = 0;     // of its request
    Duration not_before{};     // the next piece
    bool asked = false;        // this exchange's request is written
    std::size_t received = 0;
    std::size_t expected = 0;  // of the responses up to this exchange
    std::string beginning;     // first bytes of the response
    std::size_t backend = 0;   // that answers, known by the first byte
    Duration started{}, opened{}, heard{}, ended{};
    std::optional<Duration> first_heard;  // of the server's bytes
    bool slow_reader = false;
    bool done = false;

    // What the network knows of it.
    std::optional<std::size_t> bridge;  // where its payload goes
    std::set<std::size_t> refused_by;
    bool reached_backend = false;
    Duration reached{};
    bool disturbed = false;                  // a machine that knew it was restarted
    bool moved = false;                      // its opening was stranded, and chosen anew
    std::set<std::size_t> bridges;           // where its payload went
    std::optional<std::uint32_t> first_ack;  // of its first payload: another one shows the server's bytes
    bool reloaded = false;                   // the placement changed while it lived
};

// A backend's socket.
struct Served {
    std::unique_ptr<Tcp> tcp;
    Session* session = nullptr;
    std::size_t exchange = 0;
    std::size_t received = 0;
    std::size_t written = 0;
};

struct Outbox final : Actions {
    void send(Bytes packet) noexcept override { sent.emplace_back(packet.begin(), packet.end()); }
    void send_to_hop(const Hop&, Bytes packet) noexcept override {
        bounced.emplace_back(packet.begin(), packet.end());
    }
    std::vector<PacketBytes> sent, bounced;
};

struct HostClock {
    Duration boot{};        // monotonic time at the beginning
    std::int64_t skew_s{};  // of the wall clock
    [[nodiscard]] Instant at(Duration now) const {
        return {boot + now, 1'700'000'000 + skew_s + now / 1s, static_cast<std::int32_t>(now / 1ms % 1000)};
    }
};

struct Wake {
    std::optional<Duration> at;  // the earliest that is in the queue
};

// A host's bad time: dead, it hears and says nothing; where it hangs, its kernel takes connections and
// acknowledges, and its server answers nothing.
struct Outage {
    Duration from, to;
    bool hangs = false;
    bool told = false;  // to who checks it, by a router's ICMP errors
};

struct BridgeHost {
    IpAddress address;
    Endpoint backend;
    HostClock clock;
    std::shared_ptr<JoinerSetup> setup;
    std::unique_ptr<Joiner> machine;
    Wake wake;
    std::map<std::uint16_t, Served> sockets;             // by the client's port, which names its address too
    std::vector<std::pair<Duration, Duration>> refuses;  // from, to
    std::set<std::uint64_t> bad_seen;  // segments with a wrong checksum that the machine was given
    std::vector<Outage> outages;
    std::optional<Duration> stranded;  // when its unanswered openings were last given to others
    std::optional<Duration> gone;      // when its connections were last ended
};

class World {
  public:
    World(std::uint64_t seed, bool verbose) : random_(seed), verbose_(verbose) {}
    Result run();

  private:
    // Drawing.
    void draw_network();
    void draw_machines();
    void draw_disturbances();
    void draw_sessions();
    void draw_health();

    // Time.
    void at(Duration when, std::function<void()> what) {
        queue_.push({std::max(when, now_), order_++, std::move(what)});
    }
    void run_queue();
    void wake_at(Wake& wake, std::optional<Duration> when, std::function<void()> what);

    // The network.
    void travel(const Faults& faults, PacketBytes packet, const std::function<void(PacketBytes)>& arrive);
    void corrupt(PacketBytes& packet);
    void from_balancer(PacketBytes packet);
    void from_bridge(std::size_t index, PacketBytes packet);

    // Hosts.
    void to_client(const PacketBytes& packet);
    void to_balancer(PacketBytes packet, std::optional<std::size_t> refuser = {});
    void bounce(std::size_t refuser, PacketBytes packet);
    void reload(std::vector<std::uint16_t> bridges);
    void place();
    void to_bridge(std::size_t index, PacketBytes packet);
    // What the bridge's machine has said.
    void send_out(std::size_t index, Outbox& out);
    void to_backend(std::size_t index, const PacketBytes& packet);
    void from_backend(std::size_t index, const Segment& segment);
    void backend_hook(std::size_t index, PacketBytes packet, bool finished);
    void client_sends(Session& session);
    void backend_sends(std::size_t index, Served& served);
    void wake_balancer();
    void wake_bridge(std::size_t index);
    void refuse_or_accept(std::size_t index, const Segment& syn);

    // Health.
    [[nodiscard]] const Outage* outage(std::size_t bridge) const;
    [[nodiscard]] bool is_dead(std::size_t bridge) const;
    void run_checks();
    void send_checks(Outbox& out);
    void follow_health();
    void answer_check(std::size_t bridge, PacketBytes packet);
    void lose_check(std::size_t bridge, const PacketBytes& packet);
    void hear_check(const PacketBytes& packet);

    // What the applications do.
    void begin(Session& session);
    std::uint8_t draw_window_scale(std::uint32_t receive_buffer);
    void lose_patience_later(Session& session);
    void speak(Session& session);
    void speak_later(Session& session, Duration when);
    void hear(Session& session, std::string_view bytes);
    void end_session(Session& session);
    void serve(std::size_t index, std::uint16_t port);
    void timer_of(Session& session);
    void timer_of(std::size_t index, std::uint16_t port);

    // Invariants.
    void fail(const std::string& what) {
        if (result_.failure.empty()) result_.failure = fmt::format("at {:.6f} s: {}", seconds(), what);
    }
    void check_forwarded(std::string_view where, bool was_valid, Bytes packet);
    void check_sent(std::string_view where, Bytes packet, const std::set<std::uint64_t>& bad_seen);
    void check_payload(std::string_view where, const Segment& segment);
    void check_moved_on(std::size_t refuser, Bytes packet);
    void check_bridge(std::size_t bridge, Bytes packet);
    void check_well(std::size_t bridge, const Session& session);
    void check_stays(std::size_t bridge, const Session& session, const Segment& segment);
    [[nodiscard]] bool was_stranded(std::size_t bridge, Duration since) const;
    [[nodiscard]] bool was_out(std::size_t bridge, const Session& session) const;
    [[nodiscard]] bool may_have_lost(std::size_t bridge, const Session& session) const;
    void check_gone(std::size_t bridge);
    void check_signs();
    [[nodiscard]] std::optional<std::string> excuse(const Session& session) const;
    void check_end();
    Session* session_of(const Segment& segment);

    [[nodiscard]] double seconds() const { return std::chrono::duration<double>(now_).count(); }
    void log(std::string_view where, Bytes packet, std::string_view verdict = {});
    [[nodiscard]] IpAddress client_address(std::uint16_t port) const { return clients_[port % kClients]; }

    struct Event {
        Duration at;
        std::uint64_t order;
        std::function<void()> what;
        friend bool operator<(const Event& a, const Event& b) {
            return a.at != b.at ? a.at > b.at : a.order > b.order;
        }
    };

    Random random_;
    bool verbose_;
    Result result_;
    Duration now_{};
    std::uint64_t order_ = 0;
    std::priority_queue<Event> queue_;

    int family_ = 4;
    bool orderly_ = false;  // nothing is lost, doubled, late or damaged
    std::array<IpAddress, kClients> clients_;
    Endpoint vip_;
    Faults up_, down_, inside_, local_;
    bool unfinished_checksums_ = false;
    bool server_first_ = false;
    bool drain_on_refusal_ = false;       // once
    std::optional<std::size_t> drained_;  // bridge
    Protocol protocol_ = Protocol::http;

    HostClock balancer_clock_;
    std::shared_ptr<SplicerSetup> splicer_rules_;
    std::unique_ptr<Splicer> splicer_;
    Wake balancer_wake_;
    std::set<std::uint64_t> balancer_bad_seen_;
    std::vector<std::uint16_t> configured_{0, 1, 2};  // bridges
    IpAddress own_;                                   // of the balancer: where its checks come from
    std::unique_ptr<HealthChecks> checks_;            // null: nothing is checked
    Wake checks_wake_;
    PassiveSigns signs_;          // all that were taken
    std::uint64_t bounces_ = 0;   // that arrived
    std::uint64_t reopened_ = 0;  // openings that were chosen anew
    std::array<BridgeHost, kBridges> bridges_;
    std::deque<Session> sessions_;
    std::map<std::uint16_t, std::vector<Session*>> by_port_;  // the last one lives
};

// A name for a segment that survives translation and forwarding.
[[nodiscard]] std::uint64_t fingerprint(Bytes packet);

}  // namespace splice::simulation
