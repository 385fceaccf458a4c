// Which bridges of one service are healthy: a machine without I/O. Who drives it begins the checks that are
// due, tells it what became of them and what the balancer has seen by the way, and asks who is to be placed.
//
// Every bridge begins up: a balancer that starts takes nobody out before a check has failed.
//
//            fall failed checks in a row, or fewer than pass allows,
//            or every quick check of a suspect
//      up  ------------------------------------------------------------>  ill  ----------------->  gone
//       ^                                                                | ^     nothing heard    |
//       +-------- rise passed checks in a row, or as many as pass -------+ +----- heard of -------+
//                                                                        (and to up as from ill)
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/base/time.hpp"

namespace splice {

using namespace std::chrono_literals;

// `pass: 3/5`: up while so many of the last checks have passed.
struct PassRule {
    std::uint32_t passed = 3;  // 1 to `of`
    std::uint32_t of = 5;      // at most 32
    friend bool operator==(const PassRule&, const PassRule&) = default;
};

struct HealthRule {
    Duration interval = 2s;  // between two checks of a bridge; each is a tenth of it earlier or later at most
    Duration timeout = 1s;   // at most the interval
    std::uint32_t rise = 2;  // not 0
    std::uint32_t fall = 3;  // not 0
    std::optional<PassRule> pass{};  // in the place of rise and fall
    // A bridge that is back has its rows again over that time, in steps of a second or more; 0: at once.
    Duration slow_start{};
    // Envoy's words. So many of the service's bridges may be out for their health, but always one.
    std::uint32_t max_ejection_percent = 100;
    // When fewer of the bridges than that are up, the ill ones are placed, too: they may be better than the
    // rest alone. Those that are gone are placed only when all are: then the fault may be on our side, until
    // clients have tried them in vain, too. 0: never.
    std::uint32_t panic_threshold_percent = 50;
    friend bool operator==(const HealthRule&, const HealthRule&) = default;
};

// Openings that a client repeats, or that are refused, one after the other without an answer between.
inline constexpr std::uint32_t kSuspectAfter = 3;
// Checks that would begin within so much of each other, or within a hundredth of the interval if that is
// less, begin together: where there are many, each wake-up serves several.
inline constexpr Duration kTogether = 10ms;
// What decides then.
inline constexpr std::uint32_t kQuickChecks = 3;
inline constexpr Duration kQuickTimeout = 250ms;
// A slow start's steps: each is a plan and a table for the whole service.
inline constexpr std::uint32_t kSlowStartSteps = 60;
inline constexpr Duration kShortestSlowStartStep = 1s;
// An ill bridge of which nothing was heard for so long, although so many checks asked it, is gone: one alone
// may be lost on its way.
inline constexpr Duration kGoneAfter = 2s;
inline constexpr std::uint32_t kGoneChecks = 2;
// Clients whose server speaks first have nothing to repeat. So many openings (kSuspectAfter) of a gone bridge
// are in vain when none was answered for so long.
inline constexpr Duration kInVainAfter = 5s;

enum class HealthState : std::uint8_t {
    up,
    ill,   // its rows move, its flows stay
    gone,  // its flows are to be ended, too
};

[[nodiscard]] std::string_view to_string(HealthState state) noexcept;

enum class CheckResult : std::uint8_t {
    passed,
    failed,  // something came at layer 4 (SYN-ACK, RST, ACK, ICMP error), but not what was to come
    silent,  // nothing came
};

struct Check {
    std::uint64_t id = 0;    // of this check alone
    std::size_t bridge = 0;  // index
    Duration timeout{};      // after that the machine takes it as silent
};

// What the balancer has seen of a bridge since it was told last.
struct PassiveSigns {
    std::uint64_t openings = 0;
    std::uint64_t answers = 0;   // openings whose client acknowledged a byte of the server
    std::uint64_t refusals = 0;  // bounces
    std::uint64_t repeats = 0;   // first payloads that a client sent again, without an answer

    void add(const PassiveSigns& more) noexcept {
        openings += more.openings;
        answers += more.answers;
        refusals += more.refusals;
        repeats += more.repeats;
    }
    friend bool operator==(const PassiveSigns&, const PassiveSigns&) = default;
};

struct HealthEvent {
    enum class Why : std::uint8_t {
        checks,        // as many as rise, fall or pass say
        quick_checks,  // of a suspect
        silence,       // ill to gone
        heard,         // gone to ill
        in_vain,       // gone as before, but now its clients have tried it in vain and it loses its place
    };
    std::size_t bridge = 0;
    HealthState was{};
    HealthState is{};
    Why why{};
};

class Health {
  public:
    // Of so many bridges. `seed`: where the times of checks begin; different balancers take different ones.
    Health(const HealthRule& rule, std::size_t bridges, std::uint64_t seed, Duration now);

    // After a change of the service: bridge i is the one that was bridge places[i] in `before`, and is in the
    // state that it was in; nothing: it is new. What was running is forgotten.
    void follow(const Health& before, std::span<const std::optional<std::size_t>> places);
    // By bridge: whether it would be placed if it is healthy. The others, which drain, are checked, too, but
    // are neither placed nor counted by the bounds. At first all are candidates.
    void set_candidates(const std::vector<bool>& candidates);

    // The checks to begin now. Each is running from here on.
    std::vector<Check> due(Duration now);
    // What became of a running check. One that is not running any more, by its timeout, only tells that its
    // bridge was heard of.
    void end(Duration now, const Check& check, CheckResult result);
    // A check that could not be made: it tells nothing.
    void forget(const Check& check);
    void see(Duration now, std::size_t bridge, const PassiveSigns& signs);
    // Time passes: running checks reach their timeout, silent bridges are gone. due() does it, too.
    void advance(Duration now);
    // When due() or advance() has something to do next.
    [[nodiscard]] Duration next_deadline() const noexcept {
        return deadlines_.empty() ? Duration::max() : deadlines_.begin()->first;
    }

    [[nodiscard]] HealthState state(std::size_t bridge) const noexcept { return bridges_[bridge].state; }
    [[nodiscard]] bool is_suspect(std::size_t bridge) const noexcept {
        return bridges_[bridge].suspect || bridges_[bridge].quick_left != 0;
    }
    // Whether the service ignores health because too few bridges are up.
    [[nodiscard]] bool panics() const noexcept;
    // By bridge: whether it is to be placed, by the bounds over all of them. Where some must stay for
    // max_ejection_percent, the gone ones are out first, and of the others those that are ill for longest. A
    // gone bridge that clients have tried in vain is out whatever the bounds say: they guard against checks
    // that are wrong, and here the clients' own packets agree with them.
    [[nodiscard]] std::vector<bool> placed() const;
    // Whether its flows are to be ended: it is gone and not placed, and another one is up. Where none is, the
    // fault may be on our side.
    [[nodiscard]] bool ends_flows(std::size_t bridge) const;
    // Whether openings that it has not answered are to go elsewhere when their clients repeat them: it is not
    // placed, nothing was heard of it since the last check that heard nothing, and another one is up, or
    // clients have tried it in vain.
    [[nodiscard]] bool strands_openings(std::size_t bridge) const;
    // Of its rows, above 0: less than 1 only during a slow start. It never sinks while the bridge is up.
    [[nodiscard]] double share(std::size_t bridge) const noexcept;
    // Whether a share has grown since the last call.
    [[nodiscard]] bool take_growth() noexcept { return std::exchange(grew_, false); }

    [[nodiscard]] bool has_events() const noexcept { return !events_.empty(); }
    // Changes of states since the last call, in their order.
    [[nodiscard]] std::vector<HealthEvent> take_events();

  private:
    struct Running {
        std::uint64_t id = 0;
        bool quick = false;
        Duration began{};
        Duration deadline{};
    };
    struct Bridge {
        Duration deadline = Duration::max();  // in deadlines_
        HealthState state = HealthState::up;
        bool candidate = true;
        Duration since{};  // in this state
        // Of its slow start's steps, those that it has; 0: it is in none.
        std::uint32_t step = 0;
        Duration next_step{};
        Duration next_check{};
        std::vector<Running> running;     // by deadline
        std::uint32_t against = 0;        // results in a row that speak against the state
        std::uint32_t history = ~0U;      // a bit a check, the last one lowest; 1: passed
        std::uint32_t unanswered = 0;     // signs in a row
        bool suspect = false;             // quick checks are to begin
        std::uint32_t quick_left = 0;     // of them, those that are running
        bool quick_passed = false;        // one of them has
        Duration trusted_until{};         // not suspect before that
        Duration heard{};                 // last
        std::optional<Duration> unheard;  // the beginning of the first check since then that heard nothing
        std::uint32_t silent = 0;         // of these checks; no more than kGoneChecks are counted
        // What clients have tried since it was heard of.
        std::uint32_t openings = 0;     // at most kSuspectAfter are counted
        std::uint32_t repeats = 0;      // the same
        std::optional<Duration> tried;  // the first of the openings
        bool lost = false;              // gone, and they have tried in vain
    };

    // When it is gone if nothing is heard of it; Duration::max(): it is not ill, or not asked enough.
    [[nodiscard]] static Duration gone_from(const Bridge& bridge) noexcept;
    // When there is something to do of it.
    [[nodiscard]] static Duration deadline_of(const Bridge& bridge) noexcept;
    // After whatever may have changed that.
    void schedule(std::size_t bridge);
    void schedule_all();
    void advance(Duration now, std::size_t bridge);
    void finish(Duration now, std::size_t bridge, const Running& check, CheckResult result);
    void judge(Duration now, std::size_t bridge, bool passed);
    void judge_quick(Duration now, std::size_t bridge, bool passed);
    void suspect(Duration now, std::size_t bridge, const PassiveSigns& signs) noexcept;
    void hear(Duration now, std::size_t bridge);
    // Of a gone bridge, or not for how long it is tried already; Duration::max(): it is not.
    [[nodiscard]] static Duration in_vain_from(const Bridge& bridge) noexcept;
    void give_up_in_vain(Duration now, std::size_t bridge);
    void change(Duration now, std::size_t bridge, HealthState to, HealthEvent::Why why);
    void begin(Duration now, std::size_t bridge, bool quick, std::vector<Check>& out);
    // At least 1.
    [[nodiscard]] std::uint32_t slow_start_steps() const noexcept;
    void advance_slow_start(Duration now, Bridge& bridge) noexcept;
    void end_needless_slow_starts();
    // From 0 to less than 1.
    [[nodiscard]] double random() noexcept;
    // Of the candidates.
    [[nodiscard]] std::size_t count() const noexcept;
    [[nodiscard]] std::size_t count(HealthState state) const noexcept;

    HealthRule rule_;
    std::uint64_t random_;
    std::uint64_t next_id_ = 1;
    std::vector<Bridge> bridges_;
    std::set<std::pair<Duration, std::size_t>> deadlines_;  // of each bridge that has one
    std::vector<HealthEvent> events_;
    bool grew_ = false;
};

}  // namespace splice
