#include "libsplice/ops/host_facts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <ranges>
#include <utility>

#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

// More repairs of one fact within a minute than this are a fight with another program; then a repair only so
// often.
constexpr std::size_t kRepairsAMinute = 5;
constexpr Duration kMinute = 60s;
constexpr Duration kRepairInAFight = 10s;
// What stays wrong is tried and told again.
constexpr Duration kTellAgain = 60s;

}  // namespace

HostFacts::Watched* HostFacts::find(const std::string& words) noexcept {
    const auto found = std::ranges::find(
        facts_, words, [](const Watched& watched) -> const std::string& { return watched.fact.words; });
    return found == facts_.end() ? nullptr : &*found;
}

void HostFacts::undo(Watched& watched) {
    if (std::exchange(watched.made, false) && watched.fact.undo) watched.fact.undo();
}

std::expected<void, std::string> HostFacts::establish(HostFactList facts) {
    const auto before = static_cast<std::ptrdiff_t>(facts_.size());
    for (HostFact& fact : facts) {
        if (find(fact.words)) continue;
        Watched watched;
        watched.fact = std::move(fact);
        if (watched.fact.may_wait) {
            watched.made = watched.fact.observe() && watched.fact.put_right().has_value();
            facts_.push_back(std::move(watched));
            continue;
        }
        if (const auto wrong = watched.fact.observe()) {
            if (const auto done = watched.fact.put_right(); !done) {
                for (auto each = facts_.rbegin(); each != std::make_reverse_iterator(facts_.begin() + before);
                     ++each)
                    undo(*each);
                facts_.erase(facts_.begin() + before, facts_.end());
                return std::unexpected(
                    fmt::format("{} {}: {}", watched.fact.words, *wrong, done.error().text));
            }
            watched.made = true;
        }
        facts_.push_back(std::move(watched));
    }
    publish();
    return {};
}

void HostFacts::replace(HostFactList facts) {
    std::vector<Watched> next;
    for (HostFact& fact : facts) {
        Watched watched;
        if (Watched* known = find(fact.words)) watched = std::exchange(*known, Watched());
        watched.fact = std::move(fact);
        next.push_back(std::move(watched));
    }
    undo();
    facts_ = std::move(next);
    publish();
}

void HostFacts::undo() {
    for (Watched& watched : std::views::reverse(facts_)) undo(watched);
}

HostReport HostFacts::look(Instant now, bool all) {
    HostReport report;
    for (Watched& watched : facts_) {
        if (all || watched.fact.silent || watched.wrong) look_at(watched, now, report);
        if (watched.wrong && watched.fact.ground) break;
    }
    publish();
    return report;
}

void HostFacts::look_at(Watched& watched, Instant now, HostReport& report) {
    const auto wrong = watched.fact.observe();
    if (!wrong) {
        if (std::exchange(watched.wrong, std::nullopt))
            report.infos.push_back(watched.fact.words + " is as it should be again");
        return;
    }
    if (now.monotonic < watched.not_before) {
        watched.wrong = watched.fact.words + " " + *wrong;
        return;
    }
    repair(watched, *wrong, now, report);
}

void HostFacts::repair(Watched& watched, const std::string& what, Instant now, HostReport& report) {
    const std::string& words = watched.fact.words;
    const auto done = watched.fact.put_right();
    if (!done) {
        std::string reason = fmt::format("{} {}: {}", words, what, done.error().text);
        const bool told = watched.wrong && now.monotonic - watched.last_told < kTellAgain;
        if (!told) {
            watched.last_told = now.monotonic;
            report.warnings.push_back(reason);
        }
        watched.wrong = std::move(reason);
        return;
    }
    watched.wrong.reset();
    watched.made = true;
    if (watched.fact.follows) {
        report.infos.push_back(fmt::format("{} {}: put right", words, what));
        return;
    }
    {
        const std::lock_guard lock(mutex_);
        ++repairs_[watched.fact.kind];
    }
    std::erase_if(watched.repaired, [&](Duration when) { return now.monotonic - when > kMinute; });
    watched.repaired.push_back(now.monotonic);
    const bool fights = watched.repaired.size() > kRepairsAMinute;
    if (fights) watched.not_before = now.monotonic + kRepairInAFight;
    if (fights && watched.fights) return;
    watched.fights = fights;
    report.warnings.push_back(
        fights ? fmt::format(
                     "{} {} for the {}th time within a minute: another program undoes what is put right; it "
                     "is put right every {} s from now on",
                     words, what, watched.repaired.size(),
                     std::chrono::duration_cast<std::chrono::seconds>(kRepairInAFight).count())
               : fmt::format("{} {}: put right", words, what));
}

void HostFacts::publish() {
    std::vector<std::string> reasons;
    for (const Watched& watched : facts_)
        if (watched.wrong) reasons.push_back(*watched.wrong);
    const std::lock_guard lock(mutex_);
    reasons_ = std::move(reasons);
    // A counter that begins at its first repair would hide it from whoever asks for the increase.
    for (const Watched& watched : facts_) repairs_.try_emplace(watched.fact.kind, 0);
}

std::map<std::string, std::uint64_t> HostFacts::repairs() const {
    const std::lock_guard lock(mutex_);
    return repairs_;
}

std::vector<std::string> HostFacts::reasons() const {
    const std::lock_guard lock(mutex_);
    return reasons_;
}

void write_host_facts(MetricsPage& page, std::string_view program, const HostFacts& host) {
    for (const auto& [kind, count] : host.repairs()) {
        page.counter(fmt::format("splicelb_{}_host_repairs_total", program),
                     "What others changed on this host, and was put right", count, {{"fact", kind}});
    }
    page.gauge(fmt::format("splicelb_{}_ready", program),
               "1 while the host is as it must be; /readyz has the reasons why it is not",
               host.reasons().empty() ? 1 : 0);
}

void look_at_host(HostFacts& host, Instant now, bool all) {
    const HostReport report = host.look(now, all);
    for (const std::string& line : report.warnings) log_warning(line);
    for (const std::string& line : report.infos) log_info(line);
}

}  // namespace splice
