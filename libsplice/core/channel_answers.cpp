#include "libsplice/core/channel_answers.hpp"

#include <algorithm>

namespace splice {
namespace {

constexpr std::array<std::string_view, kChannelEnds> kNames = {
    "taken", "other_clock", "malformed", "no_secret", "unexpected", "over_budget", "not_sent"};

// An IPv4 address, or the /64 that one host of IPv6 may have all addresses of.
std::uint64_t source_key(const IpAddress& source) noexcept {
    const splice_address& raw = source.raw();
    return source.family() == 4 ? raw.words[3] : raw.halves[0];
}

// Whether they are farther apart than a question may be. Clocks may say anything.
bool is_other_time(std::int64_t a, std::int64_t b) noexcept {
    const auto apart = a > b ? static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b)
                             : static_cast<std::uint64_t>(b) - static_cast<std::uint64_t>(a);
    return apart > static_cast<std::uint64_t>(std::chrono::milliseconds(kChannelClockMost).count());
}

}  // namespace

std::string_view to_string(ChannelEnd end) noexcept {
    return kNames[static_cast<std::size_t>(end)];
}

ChannelAnswers::Result ChannelAnswers::handle(Instant now, const IpAddress& source, Bytes question,
                                              const std::function<ChannelPresence()>& presence,
                                              MutableBytes to) {
    const auto header = read_channel_header(question);
    if (!header) return {ChannelEnd::malformed, {}};
    if (header->kind != ChannelKind::who) return {ChannelEnd::unexpected, {}};
    const auto keys = std::span(secret_.keys).first(secret_.fingerprints.count);
    const auto key = std::ranges::find_if(
        keys, [&](const splice_key& each) { return is_channel_mac_right(question, each); });
    if (key == keys.end()) return {ChannelEnd::no_secret, {}};
    if (!take_budget(now.monotonic, source)) return {ChannelEnd::over_budget, {}};
    const std::int64_t unix_ms = unix_ms_of(now);
    if (is_other_time(header->unix_ms, unix_ms))
        return {ChannelEnd::other_clock, write_channel_clock(to, header->nonce, unix_ms, *key)};
    ChannelPresence told = presence();
    told.secret = secret_.fingerprints;
    return {ChannelEnd::taken, write_channel_presence(to, header->nonce, unix_ms, told, *key)};
}

bool ChannelAnswers::take_budget(Duration now, const IpAddress& source) {
    const std::uint64_t key = source_key(source);
    auto found = budgets_.find(key);
    if (found == budgets_.end()) {
        // Those that have their whole budget again are as if they were not known. Where all are busy, nobody
        // new is answered.
        if (budgets_.size() >= kChannelSources) {
            std::erase_if(budgets_, [&](const auto& each) {
                return now - each.second.since >
                       std::chrono::seconds(kChannelAnswersAtOnce / kChannelAnswersPerSecond);
            });
            if (budgets_.size() >= kChannelSources) return false;
        }
        found = budgets_.emplace(key, Budget{.since = now}).first;
    }
    Budget& budget = found->second;
    const double seconds = std::chrono::duration<double>(now - budget.since).count();
    budget.since = now;
    budget.left = std::min<double>(kChannelAnswersAtOnce, budget.left + seconds * kChannelAnswersPerSecond);
    if (budget.left < 1) return false;
    budget.left -= 1;
    return true;
}

}  // namespace splice
