#include "libsplice/core/channel_asks.hpp"

#include <algorithm>
#include <utility>

namespace splice {

void ChannelAsks::replace(Duration now, std::span<const ChannelPeer> peers, const ChannelSecret& secret) {
    // What was asked by another secret is answered by it, or not at all.
    const bool same_secret = secret_.fingerprints == secret.fingerprints;
    secret_ = secret;
    auto before = std::exchange(peers_, {});
    for (const ChannelPeer& each : peers) {
        if (const auto known = before.find(each.address); known != before.end()) {
            known->second.often = false;
            peers_.emplace(each.address, std::move(known->second));
            before.erase(known);
        }
        const auto [found, is_new] = peers_.try_emplace(each.address);
        if (is_new) found->second.next = now;
        found->second.often |= each.often;
    }
    if (same_secret) return;
    for (auto& [address, peer] : peers_) {
        peer.awaited.reset();
        peer.state.presence.reset();
        peer.next = now;
    }
}

void ChannelAsks::ask_all(Duration now) noexcept {
    for (auto& [address, peer] : peers_) {
        peer.next = now;
        peer.awaited.reset();
        peer.missed_since = 0;
    }
}

Bytes ChannelAsks::question_for(Instant now, Peer& peer) noexcept {
    const std::uint64_t nonce = splice_siphash_48(&seed_, ++asked_, 0, 0, 0, 0, 0);
    const std::uint32_t count = std::max(secret_.fingerprints.count, 1U);
    peer.key = peer.state.missed % count;
    peer.awaited = nonce;
    peer.sent = now.monotonic;
    peer.sent_unix_ms = unix_ms_of(now);
    ++peer.state.asked;
    // Earlier by up to a tenth, so that balancers and bridges which began together do not stay together.
    const Duration interval = peer.often ? Duration(kChannelShortInterval) : Duration(kChannelInterval);
    peer.next = now.monotonic + interval - interval / 10 * static_cast<std::int64_t>(nonce % 1024) / 1024;
    return write_channel_question(question_, nonce, peer.sent_unix_ms, secret_.keys[peer.key]);
}

void ChannelAsks::forget_late(Duration now) noexcept {
    for (auto& [address, peer] : peers_) {
        if (!peer.awaited || now < peer.sent + kChannelAnswerTime) continue;
        peer.awaited.reset();
        ++peer.state.missed;
        ++peer.missed_since;
        // Whether it is silent, or a packet was lost, shall soon be known; who is silent is not hurried.
        if (peer.state.missed < kChannelMisses || peer.missed_since < kChannelMisses) peer.next = now;
    }
}

std::optional<Duration> ChannelAsks::next_due() const noexcept {
    std::optional<Duration> due;
    for (const auto& [address, peer] : peers_) {
        Duration next = std::max(peer.next, next_burst_);
        if (peer.awaited) next = std::min(next, peer.sent + kChannelAnswerTime);
        due = due ? std::min(*due, next) : next;
    }
    return due;
}

ChannelEnd ChannelAsks::handle(Instant now, const IpAddress& source, Bytes answer) {
    const auto header = read_channel_header(answer);
    if (!header) return ChannelEnd::malformed;
    const auto found = peers_.find(source);
    if (header->kind == ChannelKind::who || found == peers_.end() || found->second.awaited != header->nonce)
        return ChannelEnd::unexpected;
    Peer& peer = found->second;
    if (!is_channel_mac_right(answer, secret_.keys[peer.key])) return ChannelEnd::no_secret;
    std::optional<ChannelPresence> presence;
    if (header->kind == ChannelKind::here) {
        presence = read_channel_presence(answer);
        if (!presence) return ChannelEnd::malformed;
    }
    peer.awaited.reset();
    ChannelState& state = peer.state;
    state.missed = 0;
    state.answered = now.monotonic;
    state.round_trip = now.monotonic - peer.sent;
    // The bridge wrote its clock on the way, half of it on average.
    const auto half_way_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(state.round_trip / 2).count();
    state.clock_ahead_ms =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(header->unix_ms) -
                                  static_cast<std::uint64_t>(peer.sent_unix_ms + half_way_ms));
    if (!presence) return ChannelEnd::other_clock;
    state.presence = std::move(presence);
    state.presence_at = now.monotonic;
    return ChannelEnd::taken;
}

const ChannelState* ChannelAsks::state(const IpAddress& address) const noexcept {
    const auto found = peers_.find(address);
    return found == peers_.end() ? nullptr : &found->second.state;
}

bool ChannelAsks::is_asked_often(const IpAddress& address) const noexcept {
    const auto found = peers_.find(address);
    return found != peers_.end() && found->second.often;
}

ChannelReport ChannelAsks::report() const {
    ChannelReport all;
    all.reserve(peers_.size());
    for (const auto& [address, peer] : peers_) all.emplace(address, peer.state);
    return all;
}

bool ChannelAsks::all_told_since(Duration then) const noexcept {
    return std::ranges::all_of(peers_, [&](const auto& each) {
        const Peer& peer = each.second;
        return (peer.state.answered && *peer.state.answered >= then) || peer.missed_since >= kChannelMisses;
    });
}

}  // namespace splice
