// The health checks of all services: when to check whom (core/health), by probes (core/prober), and what that
// says of each bridge. One instance for the machine that it sits beside, in the same thread; no system call,
// no clock.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/health.hpp"
#include "libsplice/core/prober.hpp"
#include "libsplice/core/splicer.hpp"

namespace splice {

// One of so many checks of a bridge has a twin whose first segment is as long as the service's MSS allows.
// Where the check passes and the twin does not, the way is narrow: that is told, and ejects nobody.
inline constexpr std::uint32_t kFullSegmentEach = 16;

// A client repeats after 200 ms, and again 400 ms later. Between the two a bridge must be found out: this,
// and the quick checks' 250 ms.
inline constexpr Duration kSignsEach = 50ms;

// What a bridge's answers to checks say of its number, where balancer and service have lanes.
enum class NumberWord : std::uint8_t {
    unknown,  // nothing, so far
    agrees,   // the one that the balancer's file says
    differs,  // another one
    missing,  // that it has none
};

struct BridgeHealth {
    std::uint16_t bridge = 0;  // index into SplicerSetup::bridges
    HealthState state = HealthState::up;
    bool suspect = false;
    bool placed = true;       // as far as its health and the service's bounds say
    bool ends_flows = false;  // it is gone, and others serve
    bool strands = false;     // openings that it has not answered go elsewhere when they are repeated
    double share = 1;         // of its rows; below 1 only during a slow start
    bool narrow = false;      // full segments are lost on the way to it
    std::array<std::uint64_t, kProbeEnds> checks{};
    PassiveSigns signs;               // since it is checked
    std::optional<ProbeEnd> failure;  // of the last check that failed, since the last one that passed
    std::string words;                // of that failure, where there is more to say of it
    NumberWord number_word = NumberWord::unknown;
    std::uint32_t told_number = 0;     // where it differs
    std::uint64_t numbers_differ = 0;  // answers by which it differed or was missing
};

struct ServiceHealth {
    std::string service;
    bool panics = false;
    std::vector<BridgeHealth> bridges;  // those that are checked
};

// A bridge's state is another one now.
struct HealthChange {
    std::string service;
    std::uint16_t bridge = 0;
    HealthState was{};
    HealthState is{};
    HealthEvent::Why why{};
    std::optional<ProbeEnd> failure;  // of the last check, where it failed
    std::string words;
};

// Of the services that are checked.
using HealthReport = std::vector<ServiceHealth>;

// Null: the service is not checked.
[[nodiscard]] const ServiceHealth* health_of(const HealthReport& report, const std::string& service) noexcept;
// Of a bridge of it, by its index into SplicerSetup::bridges. Null: it is not checked, or `service` is null.
[[nodiscard]] const BridgeHealth* health_of(const ServiceHealth* service, std::uint16_t bridge) noexcept;
// Whether by both the same bridges are placed, with the same shares, and the same ones end their flows.
[[nodiscard]] bool places_alike(const HealthReport& one, const HealthReport& other);

class HealthChecks {
  public:
    // Different balancers take different seeds: their checks then come at different times.
    explicit HealthChecks(std::uint64_t seed) : prober_(seed), seed_(seed) {}

    // Services and bridges that were there before go on in the state that they are in. `setup` is kept.
    void replace_setup(Duration now, std::shared_ptr<const SplicerSetup> setup);

    // The verdict of a packet that is a check's; nothing: it is somebody else's. `packet` begins at the IP
    // header. Where nothing is checked this costs a comparison.
    std::optional<Verdict> handle(Instant now, Bytes packet, bool checksum_finished, Actions& out);
    // What was seen by the way since the last call, when it is asked for: every kSignsEach while anything is
    // checked.
    [[nodiscard]] bool wants_signs(Duration now) const noexcept {
        return !services_.empty() && now >= next_signs_;
    }
    // Of an ICMP error that came to this host, which is nobody's but a check's: whether it is about one that
    // runs. `packet` begins at the IP header; any bytes are survived.
    bool hear_error(Duration now, Bytes packet);
    void see(Duration now, std::span<const SignedBridge> seen);
    void expire(Instant now, Actions& out);
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept;

    // Whether a bridge's state has changed since the last call, or what is told of it in the log.
    [[nodiscard]] bool take_news() noexcept { return std::exchange(news_, false); }
    // Those changes since the last call, in their order.
    [[nodiscard]] std::vector<HealthChange> take_changes() noexcept { return std::exchange(changes_, {}); }
    [[nodiscard]] HealthReport report() const;
    // Of packets that handle() took. Any thread.
    [[nodiscard]] const VerdictCounters& verdicts() const noexcept { return verdicts_; }

  private:
    struct Bridge {
        std::uint16_t number = 0;
        PassiveSigns signs;
        std::array<std::uint64_t, kProbeEnds> checks{};
        std::optional<ProbeEnd> failure;
        std::string words;
        std::uint32_t begun = 0;
        bool narrow = false;
        NumberWord number_word = NumberWord::unknown;
        std::uint32_t told_number = 0;
        std::uint64_t numbers_differ = 0;
    };
    struct Service {
        std::string name;
        std::uint16_t number = 0;
        HealthRule rule;
        Health health;
        std::vector<Bridge> bridges;
    };
    // A probe that runs.
    struct Asked {
        std::string service;
        std::uint16_t bridge = 0;  // number
        Check check;
        bool full_segment = false;
    };

    [[nodiscard]] const SplicerService* running_service(const std::string& name) const noexcept;
    [[nodiscard]] Service service_of(Duration now, const SplicerService& service);
    void begin_due(Instant now, Actions& out);
    void begin(Instant now, const SplicerService& running, Service& service, const Check& check,
               bool full_segment, Actions& out);
    void take_results(Duration now);
    void take_number(Bridge& bridge, const ToldNumber& told);
    void take_events(Service& service);

    std::shared_ptr<const SplicerSetup> setup_;
    std::vector<Service> services_;
    Prober prober_;
    std::uint64_t seed_;
    std::uint64_t next_probe_ = 1;
    std::unordered_map<std::uint64_t, Asked> asked_;  // by the probe's id
    Duration next_signs_{};
    bool news_ = false;
    std::vector<HealthChange> changes_;
    VerdictCounters verdicts_;
};

}  // namespace splice
