#include "libsplice/core/health.hpp"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

namespace splice {
namespace {

// Of the interval, either way; what begins together with another check is a hundredth earlier at most.
constexpr double kJitter = 0.09;

Duration times(Duration duration, double factor) noexcept {
    return Duration(static_cast<Duration::rep>(static_cast<double>(duration.count()) * factor));
}

// As far as it is asked for.
std::uint32_t add_up(std::uint32_t count, std::uint64_t more) noexcept {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(count + more, kSuspectAfter));
}

}  // namespace

std::string_view to_string(HealthState state) noexcept {
    switch (state) {
        case HealthState::ill:
            return "ill";
        case HealthState::gone:
            return "gone";
        case HealthState::up:
            break;
    }
    return "up";
}

Health::Health(const HealthRule& rule, std::size_t bridges, std::uint64_t seed, Duration now)
    : rule_(rule), random_(seed), bridges_(bridges) {
    // Spread over the interval, so that a start does not ask all of them at once.
    for (Bridge& bridge : bridges_) {
        bridge.since = now;
        bridge.heard = now;
        bridge.next_check = now + times(rule_.interval, random());
    }
    schedule_all();
}

Duration Health::gone_from(const Bridge& bridge) noexcept {
    if (bridge.state != HealthState::ill || !bridge.unheard || bridge.silent < kGoneChecks)
        return Duration::max();
    return *bridge.unheard + kGoneAfter;
}

Duration Health::deadline_of(const Bridge& bridge) noexcept {
    if (bridge.suspect) return Duration::min();
    Duration next = std::min(bridge.next_check, in_vain_from(bridge));
    if (!bridge.running.empty()) next = std::min(next, bridge.running.front().deadline);
    next = std::min(next, gone_from(bridge));
    return bridge.step != 0 ? std::min(next, bridge.next_step) : next;
}

void Health::schedule(std::size_t bridge) {
    Bridge& one = bridges_[bridge];
    const Duration next = deadline_of(one);
    if (next == one.deadline) return;
    deadlines_.erase({one.deadline, bridge});
    one.deadline = next;
    if (next != Duration::max()) deadlines_.insert({next, bridge});
}

void Health::schedule_all() {
    for (std::size_t i = 0; i < bridges_.size(); ++i) schedule(i);
}

void Health::follow(const Health& before, std::span<const std::optional<std::size_t>> places) {
    next_id_ = before.next_id_;
    for (std::size_t i = 0; i < bridges_.size(); ++i) {
        if (i >= places.size() || !places[i]) continue;
        Bridge& bridge = bridges_[i];
        const Duration next_check = bridge.next_check, deadline = bridge.deadline;
        bridge = before.bridges_[*places[i]];
        bridge.deadline = deadline;
        bridge.next_check = std::min(bridge.next_check, next_check);
        bridge.running.clear();
        bridge.quick_left = 0;
    }
    schedule_all();
}

void Health::set_candidates(const std::vector<bool>& candidates) {
    for (std::size_t i = 0; i < bridges_.size() && i < candidates.size(); ++i)
        bridges_[i].candidate = candidates[i];
    end_needless_slow_starts();
}

// SplitMix64 (Steele, Lea and Flood 2014).
double Health::random() noexcept {
    random_ += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = random_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
    return static_cast<double>(mixed >> 11) * 0x1p-53;
}

std::vector<Check> Health::due(Duration now) {
    advance(now);
    std::vector<Check> checks;
    // Nothing before it is due, and then what is due soon goes along.
    if (next_deadline() > now) return checks;
    const Duration soon = now + std::min(kTogether, rule_.interval / 100);
    std::vector<std::size_t> those;
    for (const auto& [deadline, bridge] : deadlines_) {
        if (deadline > soon) break;
        those.push_back(bridge);
    }
    for (const std::size_t i : those) {
        Bridge& bridge = bridges_[i];
        if (std::exchange(bridge.suspect, false)) {
            bridge.quick_left = kQuickChecks;
            bridge.quick_passed = false;
            for (std::uint32_t n = 0; n < kQuickChecks; ++n) begin(now, i, true, checks);
        }
        if (bridge.next_check <= soon) {
            bridge.next_check = now + times(rule_.interval, 1 - kJitter + 2 * kJitter * random());
            begin(now, i, false, checks);
        }
        schedule(i);
    }
    return checks;
}

void Health::begin(Duration now, std::size_t bridge, bool quick, std::vector<Check>& out) {
    const Duration timeout = quick ? std::min(kQuickTimeout, rule_.timeout) : rule_.timeout;
    const Running running{.id = next_id_++, .quick = quick, .began = now, .deadline = now + timeout};
    auto& all = bridges_[bridge].running;
    all.insert(std::ranges::upper_bound(all, running.deadline, {}, &Running::deadline), running);
    out.push_back({.id = running.id, .bridge = bridge, .timeout = timeout});
}

void Health::end(Duration now, const Check& check, CheckResult result) {
    auto& running = bridges_[check.bridge].running;
    const auto found = std::ranges::find(running, check.id, &Running::id);
    if (found == running.end()) {
        if (result != CheckResult::silent) hear(now, check.bridge);
        return schedule(check.bridge);
    }
    const Running ended = *found;
    running.erase(found);
    finish(now, check.bridge, ended, result);
    schedule(check.bridge);
}

void Health::forget(const Check& check) {
    Bridge& bridge = bridges_[check.bridge];
    const auto found = std::ranges::find(bridge.running, check.id, &Running::id);
    if (found == bridge.running.end()) return;
    if (found->quick) --bridge.quick_left;
    bridge.running.erase(found);
    schedule(check.bridge);
}

void Health::finish(Duration now, std::size_t bridge, const Running& check, CheckResult result) {
    Bridge& one = bridges_[bridge];
    if (result != CheckResult::silent) {
        hear(now, bridge);
    } else if (check.began >= one.heard) {
        one.unheard = std::min(one.unheard.value_or(check.began), check.began);
        one.silent = std::min(one.silent + 1, kGoneChecks);
    }
    const bool passed = result == CheckResult::passed;
    check.quick ? judge_quick(now, bridge, passed) : judge(now, bridge, passed);
}

void Health::judge(Duration now, std::size_t bridge, bool passed) {
    Bridge& one = bridges_[bridge];
    one.history = one.history << 1 | static_cast<std::uint32_t>(passed);
    const bool is_up = one.state == HealthState::up;
    one.against = passed == is_up ? 0 : one.against + 1;
    bool turns = one.against >= (is_up ? rule_.fall : rule_.rise);
    if (rule_.pass) {
        const std::uint32_t last = ~0U >> (32 - rule_.pass->of);
        const auto count = static_cast<std::uint32_t>(std::popcount(one.history & last));
        turns = (count >= rule_.pass->passed) != is_up;
    }
    if (turns) change(now, bridge, is_up ? HealthState::ill : HealthState::up, HealthEvent::Why::checks);
}

void Health::judge_quick(Duration now, std::size_t bridge, bool passed) {
    Bridge& one = bridges_[bridge];
    one.quick_passed |= passed;
    if (--one.quick_left != 0) return;
    one.unanswered = 0;
    // A service that drops some requests of its own accord is not asked thrice for each.
    one.trusted_until = now + rule_.interval;
    if (one.quick_passed || one.state != HealthState::up) return;
    // It has to pass as many checks as after any other fall.
    one.history = 0;
    change(now, bridge, HealthState::ill, HealthEvent::Why::quick_checks);
}

void Health::see(Duration now, std::size_t bridge, const PassiveSigns& signs) {
    Bridge& one = bridges_[bridge];
    if (signs.answers != 0 || signs.refusals != 0) {
        hear(now, bridge);
    } else {
        if (signs.openings != 0 && !one.tried) one.tried = now;
        one.openings = add_up(one.openings, signs.openings);
        one.repeats = add_up(one.repeats, signs.repeats);
        give_up_in_vain(now, bridge);
    }
    suspect(now, bridge, signs);
    schedule(bridge);
}

void Health::suspect(Duration now, std::size_t bridge, const PassiveSigns& signs) noexcept {
    Bridge& one = bridges_[bridge];
    // In which order they came is not known: an answer speaks for all of them.
    if (signs.answers != 0) one.unanswered = 0;
    if (signs.answers != 0 || one.state != HealthState::up || now < one.trusted_until) return;
    const std::uint64_t more = signs.repeats + signs.refusals;
    one.unanswered += static_cast<std::uint32_t>(std::min<std::uint64_t>(more, kSuspectAfter));
    if (one.unanswered < kSuspectAfter || is_suspect(bridge)) return;
    one.suspect = true;
}

void Health::hear(Duration now, std::size_t bridge) {
    Bridge& one = bridges_[bridge];
    one.heard = now;
    one.unheard.reset();
    one.silent = 0;
    one.openings = one.repeats = 0;
    one.tried.reset();
    one.lost = false;
    if (one.state == HealthState::gone) change(now, bridge, HealthState::ill, HealthEvent::Why::heard);
}

Duration Health::in_vain_from(const Bridge& bridge) noexcept {
    if (bridge.state != HealthState::gone || bridge.lost) return Duration::max();
    if (bridge.repeats >= kSuspectAfter) return Duration::min();
    return bridge.openings >= kSuspectAfter ? *bridge.tried + kInVainAfter : Duration::max();
}

void Health::give_up_in_vain(Duration now, std::size_t bridge) {
    Bridge& one = bridges_[bridge];
    if (in_vain_from(one) > now) return;
    const bool had_place = placed()[bridge];
    one.lost = true;
    if (!had_place) return;
    events_.push_back(
        {.bridge = bridge, .was = one.state, .is = one.state, .why = HealthEvent::Why::in_vain});
}

void Health::change(Duration now, std::size_t bridge, HealthState to, HealthEvent::Why why) {
    Bridge& one = bridges_[bridge];
    events_.push_back({.bridge = bridge, .was = one.state, .is = to, .why = why});
    // Ill and gone are one absence: its checks and its place in the order of ejection go on.
    const bool between = one.state != HealthState::up && to != HealthState::up;
    one.state = to;
    if (between) return;
    one.since = now;
    one.against = 0;
    one.unanswered = 0;
    one.suspect = false;
    one.step = 0;
    if (to == HealthState::up && rule_.slow_start > Duration{}) {
        one.step = 1;
        one.next_step = now + rule_.slow_start / slow_start_steps();
    }
    end_needless_slow_starts();
}

std::uint32_t Health::slow_start_steps() const noexcept {
    return static_cast<std::uint32_t>(
        std::clamp<Duration::rep>(rule_.slow_start / kShortestSlowStartStep, 1, kSlowStartSteps));
}

void Health::advance_slow_start(Duration now, Bridge& bridge) noexcept {
    while (bridge.step != 0 && bridge.next_step <= now) {
        bridge.step = bridge.step >= slow_start_steps() ? 0 : bridge.step + 1;
        bridge.next_step += rule_.slow_start / slow_start_steps();
        grew_ = true;
    }
}

// Where no bridge is up that has all its rows, those that come back serve instead of nobody, or of ill ones.
// They keep the rows that they get by it: a row that went back and came again would move twice.
void Health::end_needless_slow_starts() {
    const auto has_all = [](const Bridge& bridge) {
        return bridge.candidate && bridge.state == HealthState::up && bridge.step == 0;
    };
    if (!panics() && std::ranges::any_of(bridges_, has_all)) return;
    for (std::size_t i = 0; i < bridges_.size(); ++i) {
        if (bridges_[i].step == 0) continue;
        bridges_[i].step = 0;
        grew_ = true;
        schedule(i);
    }
}

void Health::advance(Duration now) {
    std::vector<std::size_t> those;
    for (const auto& [deadline, bridge] : deadlines_) {
        if (deadline > now) break;
        those.push_back(bridge);
    }
    for (const std::size_t i : those) {
        advance(now, i);
        schedule(i);
    }
}

void Health::advance(Duration now, std::size_t i) {
    Bridge& bridge = bridges_[i];
    while (!bridge.running.empty() && bridge.running.front().deadline <= now) {
        const Running late = bridge.running.front();
        bridge.running.erase(bridge.running.begin());
        finish(now, i, late, CheckResult::silent);
    }
    if (gone_from(bridge) <= now) change(now, i, HealthState::gone, HealthEvent::Why::silence);
    give_up_in_vain(now, i);
    advance_slow_start(now, bridge);
}

std::size_t Health::count() const noexcept {
    return static_cast<std::size_t>(std::ranges::count(bridges_, true, &Bridge::candidate));
}

std::size_t Health::count(HealthState state) const noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(
        bridges_, [&](const Bridge& bridge) { return bridge.candidate && bridge.state == state; }));
}

bool Health::panics() const noexcept {
    return 100 * count(HealthState::up) < rule_.panic_threshold_percent * count();
}

std::vector<bool> Health::placed() const {
    const bool panic = panics();
    const bool all_gone = count(HealthState::gone) == count();
    std::vector<bool> placed(bridges_.size());
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < bridges_.size(); ++i) {
        if (!bridges_[i].candidate) continue;
        placed[i] = true;
        const HealthState state = bridges_[i].state;
        const bool in_panic = state == HealthState::ill || (all_gone && !bridges_[i].lost);
        const bool stays = state == HealthState::up || (panic && in_panic);
        if (!stays) out.push_back(i);
    }
    std::ranges::sort(out, {}, [&](std::size_t i) {
        const Bridge& bridge = bridges_[i];
        return std::tuple(!bridge.lost, bridge.state != HealthState::gone, bridge.since, i);
    });
    const auto lost =
        static_cast<std::size_t>(std::ranges::count_if(out, [&](std::size_t i) { return bridges_[i].lost; }));
    const std::size_t most = std::max({count() * rule_.max_ejection_percent / 100, std::size_t{1}, lost});
    out.resize(std::min(out.size(), most));
    for (const std::size_t i : out) placed[i] = false;
    return placed;
}

bool Health::ends_flows(std::size_t bridge) const {
    return bridges_[bridge].state == HealthState::gone && count(HealthState::up) != 0 && !placed()[bridge];
}

bool Health::strands_openings(std::size_t bridge) const {
    const Bridge& one = bridges_[bridge];
    if (one.state == HealthState::up || !one.unheard) return false;
    return (one.lost || count(HealthState::up) != 0) && !placed()[bridge];
}

double Health::share(std::size_t bridge) const noexcept {
    const std::uint32_t step = bridges_[bridge].step;
    return step == 0 ? 1 : std::min(1.0, static_cast<double>(step) / (slow_start_steps() + 1));
}

std::vector<HealthEvent> Health::take_events() {
    return std::exchange(events_, {});
}

}  // namespace splice
