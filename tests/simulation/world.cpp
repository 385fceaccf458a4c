#include "tests/simulation/world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <ranges>
#include <set>

#include "libsplice/core/bridge.hpp"
#include "libsplice/core/splicer.hpp"
#include "libsplice/wire/print_packet.hpp"
#include "tests/simulation/conversation.hpp"
#include "tests/simulation/tcp.hpp"
#include "tests/simulation/wire.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::simulation {
namespace {

constexpr std::size_t kBridges = 3;
constexpr std::size_t kClients = 3;
// No packet is on its way longer, so a port may be used again after it (RFC 9293's MSL, for this network).
constexpr Duration kPacketLifetime = 2s;
// Where no packet overtakes another, an ended connection's port may be used again at once.
constexpr Duration kSoon = 20ms;
// A client without a word from the server gives up: longer than all of a TCP's retransmissions.
constexpr Duration kPatience = 300s;
constexpr Duration kHorizon = 3h;
constexpr int kStepsMax = 400'000;

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
    bool slow_reader = false;
    bool done = false;

    // What the network knows of it.
    std::optional<std::size_t> bridge;  // where its payload goes
    std::set<std::size_t> refused_by;
    bool reached_backend = false;
    Duration reached{};
    bool disturbed = false;  // a machine that knew it was restarted
    bool reloaded = false;   // the placement changed while it lived
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
    [[nodiscard]] Instant at(Duration now) const { return {boot + now, 1'700'000'000 + skew_s + now / 1s}; }
};

struct Wake {
    std::optional<Duration> at;  // the earliest that is in the queue
};

struct BridgeHost {
    IpAddress address;
    Endpoint backend;
    HostClock clock;
    std::shared_ptr<BridgeRules> rules;
    std::unique_ptr<Bridge> machine;
    Wake wake;
    std::map<std::uint16_t, Served> sockets;             // by the client's port, which names its address too
    std::vector<std::pair<Duration, Duration>> refuses;  // from, to
    std::set<std::uint64_t> bad_seen;  // segments with a wrong checksum that the machine was given
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
    void replace_placement(std::shared_ptr<const Placement> placement);
    void to_bridge(std::size_t index, PacketBytes packet);
    void to_backend(std::size_t index, const PacketBytes& packet);
    void from_backend(std::size_t index, const Segment& segment);
    void backend_hook(std::size_t index, PacketBytes packet, bool finished);
    void client_sends(Session& session);
    void backend_sends(std::size_t index, Served& served);
    void wake_balancer();
    void wake_bridge(std::size_t index);
    void refuse_or_accept(std::size_t index, const Segment& syn);

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
    std::shared_ptr<SplicerRules> splicer_rules_;
    std::unique_ptr<Splicer> splicer_;
    Wake balancer_wake_;
    std::set<std::uint64_t> balancer_bad_seen_;
    std::array<BridgeHost, kBridges> bridges_;
    std::deque<Session> sessions_;
    std::map<std::uint16_t, std::vector<Session*>> by_port_;  // the last one lives
};

// A name for a segment that survives translation and forwarding.
std::uint64_t fingerprint(Bytes packet) {
    splice_packet parsed{};
    const std::byte* data = packet.data();
    if (splice_parse_ip(data, data + packet.size(), &parsed) != SPLICE_CONTINUE) return 0;
    return std::uint64_t{parsed.key.client_port} << 48 ^ std::uint64_t{parsed.seq} << 16 ^
           parsed.payload_length;
}

// --- Drawing
// ----------------------------------------------------------------------------------------------------

void World::draw_network() {
    family_ = random_.chance(0.5) ? 4 : 6;
    for (std::size_t i = 0; i < kClients; ++i)
        clients_[i] = *IpAddress::parse(fmt::format("{}{}", family_ == 4 ? "192.0.2." : "2001:db8::", i + 1));
    vip_ = {*IpAddress::parse(testing::topology(family_).vip), 80};
    const bool calm = random_.chance(0.2);
    orderly_ = calm && random_.chance(0.5);
    const auto some = [&](double most) {
        return calm || random_.chance(0.3) ? 0.0 : most * static_cast<double>(random_.between(1, 100)) / 100;
    };
    const auto far = [&](std::uint64_t low_us, std::uint64_t high_us) {
        Faults faults;
        faults.loss = some(0.12);
        faults.duplicate = some(0.1);
        faults.reorder = some(0.2);
        faults.corrupt = some(0.05);
        faults.delay = std::chrono::microseconds(random_.between(low_us, high_us));
        if (!orderly_) faults.jitter = std::chrono::microseconds(random_.between(0, high_us / 4));
        return faults;
    };
    up_ = far(200, 60'000);
    down_ = far(200, 60'000);
    inside_ = far(20, 2'000);
    // Half of the time the backend is a host of its own, and its network no better.
    if (random_.chance(0.5)) local_ = far(20, 500);
    unfinished_checksums_ = random_.chance(0.3);
}

void World::draw_machines() {
    const auto clock = [&] {
        HostClock drawn;
        drawn.boot = std::chrono::milliseconds(random_.between(1'000, 1'000'000));
        // Timestamps wrap during the run.
        if (random_.chance(0.2))
            drawn.boot = std::chrono::milliseconds((1ULL << 32) - random_.between(0, 60'000));
        return drawn;
    };
    balancer_clock_ = clock();
    splicer_rules_ = std::make_shared<SplicerRules>(testing::splicer_rules(family_));
    splicer_rules_->timeouts = {900, 60, 300};
    SplicerService& service = splicer_rules_->services[0];
    const auto kind = random_.between(0, 9);
    if (kind >= 6 && kind < 8) {
        service.protocol = Protocol::tls;
        service.key = *HashKeyRule::parse("sni");
    } else if (kind >= 8) {
        service.protocol = Protocol::tcp;
        service.key = *HashKeyRule::parse("source");
        server_first_ = true;
    }
    protocol_ = service.protocol;
    service.first_payload_max = random_.chance(0.2) ? 2048 : kFirstPayloadMax;
    service.first_payload_wait = std::chrono::milliseconds(random_.between(5, 200));
    splicer_ = std::make_unique<Splicer>(splicer_rules_);

    const std::int64_t skew = random_.chance(0.5) ? 0 : 30;
    for (std::size_t i = 0; i < kBridges; ++i) {
        BridgeHost& host = bridges_[i];
        host.clock = clock();
        if (skew) host.clock.skew_s = static_cast<std::int64_t>(random_.between(0, 60)) - 30;
        host.address = *IpAddress::parse(testing::topology(family_).bridges[i]);
        host.backend = {
            *IpAddress::parse(fmt::format("{}{}", family_ == 4 ? "10.0.1." : "2001:db8:3::", i + 1)), 8080};
        host.rules = std::make_shared<BridgeRules>(testing::bridge_rules(family_));
        host.rules->timeouts = {900, 60, 300};
        host.rules->addresses = {host.address};
        host.rules->services[0].backend = host.backend;
        host.machine = std::make_unique<Bridge>(host.rules);
    }
}

void World::draw_disturbances() {
    const auto moment = [&] { return std::chrono::milliseconds(random_.between(100, 40'000)); };
    if (random_.chance(0.2))
        at(moment(), [this] {
            if (verbose_) fmt::print("{:.6f} the balancer is restarted\n", seconds());
            splicer_ = std::make_unique<Splicer>(splicer_rules_);
            for (Session& session : sessions_) {
                if (session.done || !session.tcp) continue;
                session.disturbed = true;
                session.bridge.reset();
            }
        });
    if (random_.chance(0.2))
        at(moment(), [this, i = random_.between(0, kBridges - 1)] {
            if (verbose_) fmt::print("{:.6f} bridge {} is restarted\n", seconds(), i + 1);
            bridges_[i].machine = std::make_unique<Bridge>(bridges_[i].rules);
            for (Session& session : sessions_)
                if (session.tcp && !session.done) session.disturbed = true;
        });
    if (random_.chance(0.3))
        at(moment(), [this, members = random_.between(1, kBridges)] {
            if (verbose_) fmt::print("{:.6f} reload: {} bridges\n", seconds(), members);
            replace_placement(testing::placement_over(members));
        });
    else
        drain_on_refusal_ = random_.chance(0.5);
    if (random_.chance(0.3)) {
        // The new key is known everywhere before the balancer issues by it; the old one goes when no cookie
        // of it can live any more.
        const Duration first = moment();
        const splice_key fresh{random_.next(), random_.next(), {}};
        const splice_key old = testing::kSecret.keys[0];
        at(first, [this, fresh, old] {
            for (BridgeHost& host : bridges_) {
                host.rules = std::make_shared<BridgeRules>(*host.rules);
                host.rules->secret = {{old, fresh}, 2, 0};
                host.machine->replace_rules(host.rules);
            }
        });
        const auto balancer_secret = [this](splice_secret secret) {
            splicer_rules_ = std::make_shared<SplicerRules>(*splicer_rules_);
            splicer_rules_->secret = secret;
            splicer_->replace_rules(splicer_rules_);
        };
        at(first + 1s, [fresh, old, balancer_secret] { balancer_secret({{fresh, old}, 2, 0}); });
        at(first + 130s, [this, fresh, balancer_secret] {
            balancer_secret({{fresh, {}}, 1, 0});
            for (BridgeHost& host : bridges_) {
                host.rules = std::make_shared<BridgeRules>(*host.rules);
                host.rules->secret = {{fresh, {}}, 1, 0};
                host.machine->replace_rules(host.rules);
            }
        });
    }
    if (random_.chance(0.4))
        for (BridgeHost& host : bridges_)
            if (random_.chance(0.5)) {
                const Duration from = std::chrono::milliseconds(random_.between(0, 20'000));
                host.refuses.emplace_back(from,
                                          from + std::chrono::milliseconds(random_.between(100, 20'000)));
            }
}

void World::draw_sessions() {
    const std::size_t count = random_.between(4, 14);
    const bool all_at_once = random_.chance(0.3);
    for (std::size_t i = 0; i < count; ++i) {
        Session& session = sessions_.emplace_back();
        session.started = std::chrono::milliseconds(random_.between(0, all_at_once ? 100 : 40'000));
        session.conversation = draw_conversation(random_, random_.next() >> 8, protocol_, server_first_, 500);
        session.client_stream = session.conversation.client_stream();
        session.slow_reader = random_.chance(0.1);
        // Few ports: they are used again.
        session.port = static_cast<std::uint16_t>(40000 + random_.between(0, 5));
        at(session.started, [this, &session] { begin(session); });
        if (random_.chance(0.1))
            at(session.started + std::chrono::milliseconds(random_.between(0, 2000)), [this, &session] {
                // Somebody else's SYN with this client's address.
                Segment spoofed;
                spoofed.source = client_address(session.port);
                spoofed.source_port = session.port;
                spoofed.destination = vip_.address;
                spoofed.destination_port = vip_.port;
                spoofed.seq = random_.number();
                spoofed.flags = kSyn;
                spoofed.mss = 1460;
                to_balancer(encode(spoofed));
            });
    }
}

// --- Time
// -------------------------------------------------------------------------------------------------------

Result World::run() {
    draw_network();
    draw_machines();
    draw_disturbances();
    draw_sessions();
    run_queue();
    if (result_.failure.empty()) check_end();
    return result_;
}

void World::run_queue() {
    for (int steps = 0; !queue_.empty() && result_.failure.empty(); ++steps) {
        const Event event = queue_.top();
        queue_.pop();
        now_ = event.at;
        if (now_ > kHorizon || steps > kStepsMax) return fail("the hosts do not come to rest");
        event.what();
    }
}

void World::wake_at(Wake& wake, std::optional<Duration> when, std::function<void()> what) {
    if (!when || (wake.at && *wake.at <= *when && *wake.at > now_)) return;
    wake.at = std::max(*when, now_ + 1us);
    at(*wake.at, std::move(what));
}

// --- The network
// ------------------------------------------------------------------------------------------------

// Changes some bits of one 16-bit word, once on its way, which a checksum always shows: what it cannot show,
// nobody can.
void World::corrupt(PacketBytes& packet) {
    if (!decode(packet)) return;
    const std::size_t word = random_.between(0, packet.size() / 2 - 1) * 2;
    const auto was =
        std::to_integer<unsigned>(packet[word]) << 8 | std::to_integer<unsigned>(packet[word + 1]);
    const auto mask = random_.chance(0.7) ? 1U << random_.between(0, 15)
                                          : static_cast<unsigned>(random_.between(1, 0xffff));
    const unsigned is = was ^ mask;
    if ((was == 0 && is == 0xffff) || (was == 0xffff && is == 0)) return;
    packet[word] = static_cast<std::byte>(is >> 8);
    packet[word + 1] = static_cast<std::byte>(is & 0xff);
}

void World::travel(const Faults& faults, PacketBytes packet, const std::function<void(PacketBytes)>& arrive) {
    ++result_.packets;
    const int copies = random_.chance(faults.duplicate) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        if (random_.chance(faults.loss)) continue;
        PacketBytes copy = packet;
        if (random_.chance(faults.corrupt)) corrupt(copy);
        Duration delay = faults.delay;
        if (faults.jitter > 0ns)
            delay += Duration(random_.between(0, static_cast<std::uint64_t>(faults.jitter.count())));
        if (random_.chance(faults.reorder)) delay += faults.delay * random_.between(1, 4);
        at(now_ + delay, [arrive, copy = std::move(copy)]() mutable { arrive(std::move(copy)); });
    }
}

void World::from_balancer(PacketBytes packet) {
    const auto destination = destination_of(packet);
    if (!destination) return;
    for (std::size_t i = 0; i < kBridges; ++i) {
        if (*destination != bridges_[i].address) continue;
        check_bridge(i, packet);
        return travel(inside_, std::move(packet), [this, i](PacketBytes p) { to_bridge(i, std::move(p)); });
    }
    travel(down_, std::move(packet), [this](PacketBytes p) { to_client(p); });
}

void World::from_bridge(std::size_t index, PacketBytes packet) {
    const auto destination = destination_of(packet);
    if (!destination) return;
    if (*destination == bridges_[index].backend.address)
        return travel(local_, std::move(packet), [this, index](PacketBytes p) { to_backend(index, p); });
    travel(down_, std::move(packet), [this](PacketBytes p) { to_client(p); });
}

void World::log(std::string_view where, Bytes packet, std::string_view verdict) {
    if (verbose_) fmt::print("{:11.6f} {:14} {} {}\n", seconds(), where, print_packet(packet), verdict);
}

// --- The machines
// -----------------------------------------------------------------------------------------------

void World::to_balancer(PacketBytes packet, std::optional<std::size_t> refuser) {
    const bool valid = decode(packet).has_value();
    if (!valid) balancer_bad_seen_.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = splicer_->handle_packet(balancer_clock_.at(now_), packet, true, out);
    if (verbose_) fmt::print("{:11.6f} {:14} {} {}\n", seconds(), "balancer", before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("the balancer has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("balancer", valid, packet);
        if (refuser) check_moved_on(*refuser, packet);
        from_balancer(std::move(packet));
    }
    for (PacketBytes& sent : out.sent) {
        check_sent("balancer", sent, balancer_bad_seen_);
        from_balancer(std::move(sent));
    }
    wake_balancer();
}

// The bridge that refused is drained, perhaps, at the same moment. What it refused goes elsewhere or is
// answered, and does not come back to it at once: such a packet would go to and fro until its TTL ends, which
// a patient client would hide.
void World::bounce(std::size_t refuser, PacketBytes packet) {
    const auto segment = decode(packet);
    const auto before = splicer_->counters().verdicts.of(SPLICE_forward_next_choice);
    to_balancer(std::move(packet), refuser);
    if (!segment || !drain_on_refusal_ ||
        splicer_->counters().verdicts.of(SPLICE_forward_next_choice) == before)
        return;
    drain_on_refusal_ = false;
    std::vector<std::uint16_t> left;
    for (std::uint16_t i = 0; i < kBridges; ++i)
        if (i != refuser) left.push_back(i);
    if (verbose_) fmt::print("{:.6f} reload: bridge {} is drained\n", seconds(), refuser + 1);
    drained_ = refuser;
    replace_placement(testing::placement_of(left));
}

void World::replace_placement(std::shared_ptr<const Placement> placement) {
    splicer_rules_ = std::make_shared<SplicerRules>(*splicer_rules_);
    splicer_rules_->services[0].placement = std::move(placement);
    splicer_->replace_rules(splicer_rules_);
    for (Session& session : sessions_) session.reloaded = session.reloaded || !session.done;
}

void World::wake_balancer() {
    std::optional<Duration> next = splicer_->next_deadline();
    if (next) *next -= balancer_clock_.boot;
    wake_at(balancer_wake_, next, [this] {
        Outbox out;
        splicer_->expire(balancer_clock_.at(now_), out);
        for (PacketBytes& sent : out.sent) {
            log("balancer later", sent);
            check_sent("balancer", sent, balancer_bad_seen_);
            from_balancer(std::move(sent));
        }
        wake_balancer();
    });
}

void World::to_bridge(std::size_t index, PacketBytes packet) {
    BridgeHost& host = bridges_[index];
    const bool valid = decode(packet).has_value();
    if (!valid) host.bad_seen.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = host.machine->handle_from_balancer(host.clock.at(now_), packet, true, Hop{}, out);
    if (verbose_)
        fmt::print("{:11.6f} bridge {:7} {} {}\n", seconds(), index + 1, before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("a bridge has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("bridge", valid, packet);
        from_bridge(index, std::move(packet));
    }
    for (PacketBytes& sent : out.sent) {
        check_sent("bridge", sent, host.bad_seen);
        from_bridge(index, std::move(sent));
    }
    wake_bridge(index);
}

// A packet that the backend sent, where the bridge catches it.
void World::backend_hook(std::size_t index, PacketBytes packet, bool finished) {
    BridgeHost& host = bridges_[index];
    const bool valid = !finished || decode(packet).has_value();
    if (!valid) host.bad_seen.insert(fingerprint(packet));
    const std::string before = verbose_ ? print_packet(packet) : std::string();
    Outbox out;
    const Verdict verdict = host.machine->handle_from_backend(host.clock.at(now_), packet, finished, out);
    if (verbose_)
        fmt::print("{:11.6f} from backend {} {} {}\n", seconds(), index + 1, before, verdict_name(verdict));
    if (verdict >= SPLICE_VERDICT_COUNT) return fail("a bridge has no verdict");
    if (verdict_kind(verdict) == SPLICE_KIND_forward) {
        check_forwarded("bridge", valid, packet);
        from_bridge(index, std::move(packet));
    }
    for (PacketBytes& sent : out.sent) {
        check_sent("bridge", sent, host.bad_seen);
        from_bridge(index, std::move(sent));
    }
    for (PacketBytes& bounced : out.bounced) {
        log(fmt::format("bounce {}", index + 1), bounced);
        check_sent("bridge", bounced, host.bad_seen);
        if (const auto segment = decode(bounced))
            if (Session* session = session_of(*segment)) session->refused_by.insert(index);
        travel(inside_, std::move(bounced), [this, index](PacketBytes p) { bounce(index, std::move(p)); });
    }
    wake_bridge(index);
}

void World::wake_bridge(std::size_t index) {
    BridgeHost& host = bridges_[index];
    std::optional<Duration> next = host.machine->next_deadline();
    if (next) *next -= host.clock.boot;
    wake_at(host.wake, next, [this, index, &host] {
        Outbox out;
        host.machine->expire(host.clock.at(now_), out);
        for (PacketBytes& sent : out.sent) {
            log("bridge later", sent);
            check_sent("bridge", sent, host.bad_seen);
            from_bridge(index, std::move(sent));
        }
        wake_bridge(index);
    });
}

// --- Clients
// ----------------------------------------------------------------------------------------------------

void World::begin(Session& session) {
    auto& history = by_port_[session.port];
    // The port is taken, or packets of its last connection may still be on their way.
    const Duration pause = orderly_ ? Duration{} : kPacketLifetime;
    if (!history.empty() && (!history.back()->done || now_ < history.back()->ended + pause)) {
        at(now_ + (orderly_ ? kSoon : Duration(3s)), [this, &session] { begin(session); });
        return;
    }
    TcpSettings settings;
    settings.local = {client_address(session.port), session.port};
    settings.remote = vip_;
    // Some begin shortly before the wrap, some in the middle of nowhere.
    // Never the port's last one again, whose cookie it would get, too.
    do {
        settings.isn = random_.chance(0.3) ? 0U - static_cast<std::uint32_t>(random_.between(0, 2000))
                                           : random_.number();
    } while (std::ranges::any_of(history, [&](const Session* last) { return last->isn == settings.isn; }));
    history.push_back(&session);
    if (!random_.chance(0.1)) settings.mss = static_cast<std::uint16_t>(random_.between(536, 1460));
    settings.sack = random_.chance(0.7);
    settings.timestamps = random_.chance(0.7);
    settings.nagle = random_.chance(0.5);
    settings.receive_buffer = static_cast<std::uint32_t>(random_.between(4096, 200'000));
    if (random_.chance(0.7)) settings.window_scale = draw_window_scale(settings.receive_buffer);
    settings.clock =
        random_.chance(0.2) ? 0U - static_cast<std::uint32_t>(random_.between(0, 60'000)) : 1'000'000;
    settings.leading_nops = static_cast<std::uint8_t>(random_.chance(0.8) ? 2 : random_.between(0, 3));
    session.isn = settings.isn;
    session.started = session.heard = now_;
    session.tcp = std::make_unique<Tcp>(settings);
    session.tcp->connect(now_);
    client_sends(session);
    lose_patience_later(session);
}

void World::lose_patience_later(Session& session) {
    at(session.heard + kPatience, [this, &session] {
        if (session.done) return;
        if (now_ - session.heard < kPatience) return lose_patience_later(session);
        session.tcp->abort();
        client_sends(session);
    });
}

// Any scale in which the buffer can still be said with some precision.
std::uint8_t World::draw_window_scale(std::uint32_t receive_buffer) {
    std::uint64_t scale = random_.between(0, 14);
    while (receive_buffer >> scale < 16) --scale;
    return static_cast<std::uint8_t>(scale);
}

void World::client_sends(Session& session) {
    for (const Segment& segment : session.tcp->take_output()) {
        const PacketBytes packet = encode(segment);
        log("client", packet);
        travel(up_, packet, [this](PacketBytes p) { to_balancer(std::move(p)); });
    }
    if (!session.tcp->violation().empty())
        fail(fmt::format("client port {}: {}", session.port, session.tcp->violation()));
    if (const auto deadline = session.tcp->next_deadline())
        at(*deadline, [this, &session] { timer_of(session); });
    if (!session.done && session.tcp->end() != Tcp::End::none) {
        // A socket that is closed gives what it has.
        if (session.tcp->unread()) hear(session, session.tcp->read(now_, SIZE_MAX));
        end_session(session);
    }
}

void World::timer_of(Session& session) {
    const auto deadline = session.tcp->next_deadline();
    if (!deadline || *deadline > now_) return;
    session.tcp->tick(now_);
    client_sends(session);
}

void World::to_client(const PacketBytes& packet) {
    const auto segment = decode(packet);
    if (!segment) return;
    log("to client", packet);
    const auto history = by_port_.find(segment->destination_port);
    if (history == by_port_.end() || segment->source != vip_.address) return;
    Session& session = *history->second.back();
    if (segment->destination != client_address(session.port)) return;
    if (session.tcp->state() == Tcp::State::closed) {
        // A host answers what belongs to no socket of its own with RST.
        if (segment->has(kRst)) return;
        Segment reset;
        reset.source = segment->destination;
        reset.source_port = segment->destination_port;
        reset.destination = segment->source;
        reset.destination_port = segment->source_port;
        reset.flags = segment->has(kAck) ? kRst : kRst | kAck;
        reset.seq = segment->has(kAck) ? segment->ack : 0;
        reset.ack = segment->has(kAck) ? 0 : segment->seq + segment->length();
        travel(up_, encode(reset), [this](PacketBytes p) { to_balancer(std::move(p)); });
        return;
    }
    const bool was_open = session.tcp->established();
    session.tcp->receive(now_, *segment);
    if (!was_open && session.tcp->established()) {
        session.opened = now_;
        session.not_before = now_ + session.conversation.exchanges[0].think;
    }
    speak(session);
    client_sends(session);
}

void World::speak_later(Session& session, Duration when) {
    at(when, [this, &session] {
        if (session.done) return;
        speak(session);
        client_sends(session);
    });
}

// Reads what has come and says what is next.
void World::speak(Session& session) {
    Tcp& tcp = *session.tcp;
    if (session.done || (!tcp.established() && tcp.unread() == 0)) return;
    if (const std::string bytes = tcp.read(now_, session.slow_reader ? 2000 : SIZE_MAX); !bytes.empty()) {
        hear(session, bytes);
        if (tcp.unread()) speak_later(session, now_ + 10ms);
    }
    const auto& exchanges = session.conversation.exchanges;
    while (session.exchange < exchanges.size() && tcp.established()) {
        const Exchange& exchange = exchanges[session.exchange];
        if (!session.asked) {
            if (now_ < session.not_before) return speak_later(session, session.not_before);
            const std::size_t each = exchange.request.size() / exchange.pieces + 1;
            const std::size_t from = std::min(session.piece * each, exchange.request.size());
            const std::string piece = exchange.request.substr(from, each);
            if (!piece.empty()) tcp.write(now_, piece);
            if (++session.piece < exchange.pieces) {
                session.not_before = now_ + exchange.between_pieces;
                continue;
            }
            session.asked = true;
            session.expected += exchange.response;
            const bool last = session.exchange + 1 == exchanges.size();
            if (last && session.conversation.closer == Closer::client_early) tcp.close(now_);
        }
        if (session.received < session.expected) {
            if (session.received && session.conversation.closer == Closer::client_aborts) tcp.abort();
            break;
        }
        ++session.exchange;
        session.asked = false;
        session.piece = 0;
        if (session.exchange < exchanges.size())
            session.not_before = now_ + exchanges[session.exchange].think;
    }
    if (session.exchange == exchanges.size() && session.conversation.closer != Closer::server)
        tcp.close(now_);
    if (tcp.peer_closed()) tcp.close(now_);
}

void World::hear(Session& session, std::string_view bytes) {
    session.heard = now_;
    if (session.beginning.empty()) session.backend = static_cast<std::size_t>(bytes[0] - '1');
    if (session.beginning.size() < 12) session.beginning += bytes.substr(0, 12 - session.beginning.size());
    const bool refused = session.beginning.starts_with('H');
    if (!refused) {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            if (bytes[i] ==
                Conversation::response_byte(session.conversation.id, session.backend, session.received + i))
                continue;
            // After a restart a second backend may have answered the same request.
            if (!session.disturbed)
                fail(fmt::format("client port {}: byte {} of the response is not its backend's", session.port,
                                 session.received + i));
            break;
        }
    }
    session.received += bytes.size();
    if (!refused && session.received > session.conversation.response_bytes())
        fail(fmt::format("client port {}: more than the response", session.port));
}

void World::end_session(Session& session) {
    session.done = true;
    session.ended = now_;
    const Tcp::End end = session.tcp->end();
    const bool refused = session.beginning.starts_with('H');
    const auto name = fmt::format("client port {} isn {}", session.port, session.isn);
    if (session.conversation.closer == Closer::client_aborts && end == Tcp::End::aborted &&
        session.received) {
        ++result_.aborted;
        return;
    }
    const auto reason = excuse(session);
    if (end == Tcp::End::finished && !refused) {
        if (session.received == session.conversation.response_bytes()) {
            ++result_.finished;
            return;
        }
        if (!reason)
            return fail(fmt::format("{}: ended after {} of {} bytes", name, session.received,
                                    session.conversation.response_bytes()));
    }
    if (!reason) {
        static constexpr std::array kEnds{"none", "finished", "reset", "timed out", "aborted"};
        return fail(fmt::format("{}: {} without a reason, {} bytes received", name,
                                refused ? "refused" : kEnds[static_cast<std::size_t>(end)],
                                session.received));
    }
    if (verbose_) fmt::print("{:11.6f} {}: {}\n", seconds(), name, *reason);
    ++(*reason == "refused by all" ? result_.refused : result_.excused);
}

// Why a conversation may have failed; nothing: it must not.
std::optional<std::string> World::excuse(const Session& session) const {
    if (session.disturbed) return "a machine was restarted";
    const bool all_refuse = std::ranges::all_of(bridges_, [&](const BridgeHost& host) {
        const auto index = static_cast<std::size_t>(&host - bridges_.data());
        if (session.reloaded && (drained_ ? index == *drained_ : index > 0)) return true;
        return std::ranges::any_of(host.refuses, [&](const auto& window) {
            return window.first <= now_ && window.second >= session.started;
        });
    });
    if (all_refuse) return "refused by all";
    // The handshake's last ACK is the only sign of a client that waits for the server: nobody repeats it.
    if (server_first_ && !session.reached_backend) return "the server was never told";
    // A cookie lives 32 s at least, less what the clocks differ by.
    std::int64_t skew = 0;
    for (const BridgeHost& host : bridges_) skew = std::max(skew, std::abs(host.clock.skew_s));
    const Duration reached = session.reached_backend ? session.reached : now_;
    if (reached - session.opened > 32s - std::chrono::seconds(skew)) return "the cookie was too old";
    return {};
}

// --- Backends
// ---------------------------------------------------------------------------------------------------

void World::from_backend(std::size_t index, const Segment& segment) {
    PacketBytes packet = encode(segment);
    if (local_.delay > 10us)
        return travel(local_, std::move(packet),
                      [this, index](PacketBytes p) { backend_hook(index, std::move(p), true); });
    if (unfinished_checksums_) {
        const std::size_t checksum = (family_ == 4 ? 20 : 40) + 16;
        packet[checksum] = std::byte{0x12};
        packet[checksum + 1] = std::byte{0x34};
    }
    ++result_.packets;
    backend_hook(index, std::move(packet), !unfinished_checksums_);
}

void World::backend_sends(std::size_t index, Served& served) {
    const std::uint16_t port = served.session->port;
    if (!served.tcp->violation().empty())
        fail(fmt::format("backend {} of client port {}: {}", index + 1, port, served.tcp->violation()));
    for (const Segment& segment : served.tcp->take_output()) from_backend(index, segment);
    if (const auto deadline = served.tcp->next_deadline())
        at(*deadline, [this, index, port] { timer_of(index, port); });
}

void World::timer_of(std::size_t index, std::uint16_t port) {
    const auto found = bridges_[index].sockets.find(port);
    if (found == bridges_[index].sockets.end()) return;
    const auto deadline = found->second.tcp->next_deadline();
    if (!deadline || *deadline > now_) return;
    found->second.tcp->tick(now_);
    backend_sends(index, found->second);
}

void World::to_backend(std::size_t index, const PacketBytes& packet) {
    const auto segment = decode(packet);
    log(fmt::format("to backend {}", index + 1), packet, segment ? "" : "unread");
    if (!segment || segment->destination != bridges_[index].backend.address) return;
    auto& sockets = bridges_[index].sockets;
    const std::uint16_t port = segment->source_port;
    const auto found = sockets.find(port);
    const bool alive = found != sockets.end() && found->second.tcp->state() != Tcp::State::closed;
    if (segment->has(kSyn) && !segment->has(kAck)) {
        if (!alive || found->second.tcp->yields_to(*segment)) return refuse_or_accept(index, *segment);
    } else if (!alive) {
        if (segment->has(kRst)) return;
        Segment reset;
        reset.source = segment->destination;
        reset.source_port = segment->destination_port;
        reset.destination = segment->source;
        reset.destination_port = segment->source_port;
        reset.flags = kRst;
        reset.seq = segment->ack;
        return from_backend(index, reset);
    }
    found->second.tcp->receive(now_, *segment);
    serve(index, port);
}

void World::refuse_or_accept(std::size_t index, const Segment& syn) {
    BridgeHost& host = bridges_[index];
    Session* session = session_of(syn);
    if (!session) return fail("a replayed SYN has not its client's number");
    const bool refuses = std::ranges::any_of(
        host.refuses, [&](const auto& window) { return window.first <= now_ && now_ < window.second; });
    if (refuses) {
        Segment reset;
        reset.source = syn.destination;
        reset.source_port = syn.destination_port;
        reset.destination = syn.source;
        reset.destination_port = syn.source_port;
        reset.flags = kRst | kAck;
        reset.ack = syn.seq + 1;
        return from_backend(index, reset);
    }
    TcpSettings settings;
    settings.local = host.backend;
    settings.remote = {syn.source, syn.source_port};
    settings.isn =
        random_.chance(0.3) ? 0U - static_cast<std::uint32_t>(random_.between(0, 2000)) : random_.number();
    settings.mss = 1460;
    settings.sack = settings.timestamps = true;
    settings.nagle = random_.chance(0.5);
    settings.receive_buffer = static_cast<std::uint32_t>(random_.between(8192, 200'000));
    settings.window_scale = draw_window_scale(settings.receive_buffer);
    settings.clock = random_.number();
    settings.leading_nops = static_cast<std::uint8_t>(random_.chance(0.8) ? 2 : random_.between(0, 3));
    Served& served = host.sockets[syn.source_port];
    served = {std::make_unique<Tcp>(settings), session};
    if (!session->reached_backend) session->reached = now_;
    session->reached_backend = true;
    served.tcp->accept(now_, syn);
    backend_sends(index, served);
}

void World::serve(std::size_t index, std::uint16_t port) {
    const auto found = bridges_[index].sockets.find(port);
    if (found == bridges_[index].sockets.end()) return;
    Served& served = found->second;
    Tcp& tcp = *served.tcp;
    const Conversation& conversation = served.session->conversation;
    const std::string bytes = tcp.read(now_, served.session->slow_reader ? 1500 : SIZE_MAX);
    if (served.session->client_stream.compare(served.received, bytes.size(), bytes) != 0)
        fail(fmt::format("backend {}: bytes from {} on are not what client port {} sent", index + 1,
                         served.received, port));
    served.received += bytes.size();
    if (tcp.unread()) at(now_ + 10ms, [this, index, port] { serve(index, port); });

    std::size_t asked = 0;
    for (std::size_t i = 0; i < conversation.exchanges.size(); ++i) {
        asked += conversation.exchanges[i].request.size();
        if (i < served.exchange || served.received < asked || !tcp.established()) continue;
        std::string response(conversation.exchanges[i].response, '\0');
        for (char& c : response) c = Conversation::response_byte(conversation.id, index, served.written++);
        tcp.write(now_, response);
        served.exchange = i + 1;
    }
    const bool finished = served.exchange == conversation.exchanges.size();
    if (tcp.peer_closed() || (finished && conversation.closer == Closer::server)) tcp.close(now_);
    if (tcp.end() == Tcp::End::finished &&
        served.received + tcp.unread() != served.session->client_stream.size())
        fail(fmt::format("backend {}: client port {} closed after {} of {} bytes", index + 1, port,
                         served.received, served.session->client_stream.size()));
    backend_sends(index, served);
}

// --- Invariants
// -------------------------------------------------------------------------------------------------

// The session on this port whose stream a segment of the client's stands in, its bytes included: two
// sessions' numbers may overlap.
Session* World::session_of(const Segment& segment) {
    const auto history = by_port_.find(segment.source_port);
    if (history == by_port_.end() || segment.source != client_address(segment.source_port)) return nullptr;
    for (Session* session : history->second | std::views::reverse) {
        if (segment.has(kSyn) && session->isn == segment.seq) return session;
        const std::uint32_t offset = segment.seq - session->isn - 1;
        const std::string& stream = session->client_stream;
        if (segment.has(kSyn) || offset > stream.size() + 1) continue;
        // Behind the FIN stands nothing.
        if (segment.payload == std::string_view(stream).substr(std::min<std::size_t>(offset, stream.size()),
                                                               segment.payload.size()))
            return session;
    }
    return nullptr;
}

// A machine never makes a bad checksum good, nor a good one bad, in what it edits and passes on.
void World::check_forwarded(std::string_view where, bool was_valid, Bytes packet) {
    const auto segment = decode(packet);
    if (was_valid && !segment)
        return fail(
            fmt::format("{}: a packet leaves with a wrong checksum: {}", where, print_packet(packet)));
    if (!was_valid && segment)
        return fail(fmt::format("{}: a wrong checksum was made right: {}", where, print_packet(packet)));
    if (segment) check_payload(where, *segment);
}

// What it writes or held: right, unless it is what came wrong.
void World::check_sent(std::string_view where, Bytes packet, const std::set<std::uint64_t>& bad_seen) {
    const auto segment = decode(packet);
    if (!segment && !bad_seen.contains(fingerprint(packet)))
        return fail(
            fmt::format("{}: a packet leaves with a wrong checksum: {}", where, print_packet(packet)));
    if (segment) check_payload(where, *segment);
}

// The client's bytes stand at their place in each good packet on its way to a backend.
void World::check_payload(std::string_view where, const Segment& segment) {
    if (segment.payload.empty() || segment.source != client_address(segment.source_port)) return;
    if (!session_of(segment))
        fail(fmt::format("{}: payload that no client sent: {}", where, print_packet(encode(segment))));
}

// A first payload does not go back to the bridge that has just refused it. What comes after it may: it
// follows the flow, which moves with its first payload.
void World::check_moved_on(std::size_t refuser, Bytes packet) {
    const auto segment = decode(packet);
    if (!segment || segment->payload.empty() || destination_of(packet) != bridges_[refuser].address) return;
    const Session* session = session_of(*segment);
    if (session && segment->seq == session->isn + 1)
        fail(fmt::format("bridge {} gets back what it refused", refuser + 1));
}

// The first payload goes where its key says, and all that follows goes there too.
void World::check_bridge(std::size_t bridge, Bytes packet) {
    const auto segment = decode(packet);
    if (!segment) return;
    Session* session = session_of(*segment);
    // Later segments may be here before it and follow the port's last connection; its bridge keeps them back.
    if (!session || segment->seq != session->isn + 1) return;
    if (session->bridge && *session->bridge == bridge) return;
    if (session->bridge && session->refused_by.empty())
        return fail(fmt::format("client port {} moved from bridge {} to {}", session->port,
                                *session->bridge + 1, bridge + 1));
    if (!session->bridge && session->refused_by.empty()) {
        const Placement& placement = *splicer_rules_->services[0].placement;
        const splice_address& raw = segment->source.raw();
        const std::string_view source(reinterpret_cast<const char*>(raw.bytes), sizeof(raw.bytes));
        const std::string& key = session->conversation.key;
        const bool by_key = !key.empty() && placement.choose(key).bridges.choices[0] == bridge;
        const bool by_source = placement.choose(source).bridges.choices[0] == bridge;
        const bool key_decides = !key.empty() && session->conversation.whole;
        if (!by_key && (key_decides || !by_source))
            return fail(fmt::format("client port {} went to bridge {}, which is not that of \"{}\"",
                                    session->port, bridge + 1, key));
    }
    session->bridge = bridge;
}

// Nothing outlives its limit: the queue is empty, so the machines have no deadline left.
void World::check_end() {
    for (const Session& session : sessions_)
        if (!session.done)
            return fail(fmt::format("client port {} isn {}: never ended", session.port, session.isn));
    const SplicerCounters& balancer = splicer_->counters();
    if (splicer_->flows() || balancer.held_bytes || balancer.flows_pending)
        return fail(fmt::format("the balancer remembers {} flows, {} pending, {} bytes", splicer_->flows(),
                                balancer.flows_pending.load(), balancer.held_bytes.load()));
    for (const BridgeHost& host : bridges_) {
        const BridgeCounters& counters = host.machine->counters();
        if (host.machine->flows() || counters.held_bytes || counters.flows_opening)
            return fail(fmt::format("a bridge remembers {} flows, {} opening, {} bytes",
                                    host.machine->flows(), counters.flows_opening.load(),
                                    counters.held_bytes.load()));
    }
}

}  // namespace

Result simulate(std::uint64_t seed, bool verbose) {
    return World(seed, verbose).run();
}

}  // namespace splice::simulation
