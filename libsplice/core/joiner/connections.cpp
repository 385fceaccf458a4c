#include "libsplice/core/joiner/connections.hpp"

#include <chrono>
#include <utility>

namespace splice {
namespace {

constexpr std::uint8_t list_number(IdleList list) noexcept {
    return static_cast<std::uint8_t>(list);
}

std::array<std::uint32_t, kIdleLists> limits(const splice_idle_timeouts& timeouts) noexcept {
    const auto opening_s = static_cast<std::uint32_t>(std::chrono::seconds(kOpeningTimeout).count());
    return {timeouts.open_s, timeouts.closing_s, opening_s};
}

// Of an established connection that is forgotten.
splice_connection_end end_of(HeldLoss why) noexcept {
    if (why == HeldLoss::service_gone) return SPLICE_END_SERVICE_GONE;
    return why == HeldLoss::begun_anew ? SPLICE_END_REPLACED : SPLICE_END_IDLE;
}

}  // namespace

const splice_translation* KnownConnection::established() const noexcept {
    if (const AdoptedSocket* socket = std::get_if<AdoptedSocket>(&carried)) return &socket->translation;
    const splice_bridge_flow* known = flow();
    return known && known->state == SPLICE_BRIDGE_ESTABLISHED ? &known->translation : nullptr;
}

splice_bridge_known KnownConnection::known_to(const splice_packet& packet,
                                              std::uint16_t service) const noexcept {
    // The kernel program has compared the socket's numbers, and asks about a segment that they do not fit.
    if (const AdoptedSocket* socket = std::get_if<AdoptedSocket>(&carried))
        return socket->service == service ? SPLICE_KNOWN_ALIEN : SPLICE_KNOWN_IN_USE;
    return splice_bridge_known_flow(flow(), &packet, service);
}

KnownConnection BridgeConnections::find(const splice_flow_key& key) noexcept {
    KnownConnection known;
    known.entry = table_.find(key);
    if (!known.entry && carried_) known.carried = carried_->find(key);
    // An opening is only ever the machine's own: one elsewhere is a flow whose ports the kernel program has
    // given to the segment that comes now, or an earlier process left it.
    const splice_bridge_flow* elsewhere = std::get_if<splice_bridge_flow>(&known.carried);
    known.displaced = elsewhere && elsewhere->state != SPLICE_BRIDGE_ESTABLISHED;
    if (known.displaced) known.carried = {};
    return known;
}

BridgeFlowTable::Entry* BridgeConnections::begin(const splice_flow_key& key, BridgeFlow flow,
                                                 std::size_t max_flows) {
    BridgeFlowTable::Entry* entry = table_.insert(key, max_flows, flow.last_seen_s);
    if (!entry) return nullptr;
    entry->second.value = std::move(flow);
    if (carried_ && !carried_->put(key, entry->second.value)) {
        table_.erase(*entry);
        return nullptr;
    }
    table_.touch(*entry, list_number(IdleList::opening), entry->second.value.last_seen_s);
    ++openings_;
    return entry;
}

bool BridgeConnections::establish(BridgeFlowTable::Entry& entry) {
    entry.second.value.state = SPLICE_BRIDGE_ESTABLISHED;
    --openings_;
    if (!carried_ || carried_->put(entry.first, entry.second.value)) {
        if (sampled_ && (entry.second.value.flags & SPLICE_BRIDGE_SAMPLED)) sampled_->opened(entry.first);
        return true;
    }
    entry.second.value.flags &= static_cast<std::uint8_t>(~SPLICE_BRIDGE_SAMPLED);
    erase(entry, HeldLoss::expired);
    return false;
}

void BridgeConnections::settle(BridgeFlowTable::Entry& entry) {
    drop_hold(entry.second.value);
    if (carried_) table_.erase(entry);
}

void BridgeConnections::touch(BridgeFlowTable::Entry& entry, std::uint32_t now_s) {
    const bool closing = splice_bridge_is_closing(&entry.second.value) != 0;
    table_.touch(entry, list_number(closing ? IdleList::closing : IdleList::open), now_s);
}

SegmentHold::Added BridgeConnections::hold(BridgeFlow& flow, const splice_packet& packet, Bytes bytes) {
    const std::size_t before = flow.hold->memory();
    const SegmentHold::Added added = flow.hold->add(packet, bytes);
    held_bytes_ += flow.hold->memory() - before;
    return added;
}

void BridgeConnections::drop_hold(BridgeFlow& flow) noexcept {
    if (!flow.hold) return;
    held_bytes_ -= flow.hold->memory();
    flow.hold.reset();
    if (flow.state == SPLICE_BRIDGE_OPENING) --openings_;
}

void BridgeConnections::forget(BridgeFlowTable::Entry& entry, HeldLoss why) noexcept {
    BridgeFlow& flow = entry.second.value;
    tell(entry.first, flow, end_of(why));
    if (flow.hold) held_lost_.add(why, flow.hold->packets());
    drop_hold(flow);
    if (carried_) carried_->erase(entry.first);
}

void BridgeConnections::erase(BridgeFlowTable::Entry& entry, HeldLoss why) {
    forget(entry, why);
    table_.erase(entry);
}

void BridgeConnections::erase(const splice_flow_key& key, const KnownConnection& known) {
    if (known.entry) return erase(*known.entry, HeldLoss::begun_anew);
    if (!carried_) return;
    if (const splice_bridge_flow* flow = known.flow()) tell(key, *flow, SPLICE_END_REPLACED);
    carried_->erase(key);
}

void BridgeConnections::tell(const splice_flow_key& key, const splice_bridge_flow& flow,
                             splice_connection_end end) const noexcept {
    if (!sampled_ || !(flow.flags & SPLICE_BRIDGE_SAMPLED) || flow.state != SPLICE_BRIDGE_ESTABLISHED) return;
    sampled_->ended(key, flow, end);
}

void BridgeConnections::tell_end(BridgeFlowTable::Entry& entry) noexcept {
    BridgeFlow& flow = entry.second.value;
    if (!(flow.flags & SPLICE_BRIDGE_SAMPLED) || !splice_bridge_is_closing(&flow)) return;
    tell(entry.first, flow, flow.flags & SPLICE_BRIDGE_RESET ? SPLICE_END_RESET : SPLICE_END_FIN);
    flow.flags &= static_cast<std::uint8_t>(~SPLICE_BRIDGE_SAMPLED);
}

void BridgeConnections::erase_unserved(const JoinerSetup& setup) {
    table_.erase_if([&](BridgeFlowTable::Entry& entry) {
        const bool goes_on = serves(setup, entry.second.value);
        if (!goes_on) forget(entry, HeldLoss::service_gone);
        return !goes_on;
    });
}

void BridgeConnections::for_each_established(const BridgeFlows::Visit& visit) {
    const auto visit_established = [&](const splice_flow_key& key, const splice_bridge_flow& flow) {
        if (flow.state == SPLICE_BRIDGE_ESTABLISHED) visit(key, flow);
    };
    if (carried_) return carried_->for_each(visit_established);
    table_.erase_if([&](const BridgeFlowTable::Entry& entry) {
        visit_established(entry.first, entry.second.value);
        return false;
    });
}

std::size_t BridgeConnections::expire(Instant now, const splice_idle_timeouts& timeouts) {
    return table_.expire(now.seconds(), limits(timeouts),
                         [this](BridgeFlowTable::Entry& entry) { forget(entry, HeldLoss::expired); });
}

std::optional<std::uint32_t> BridgeConnections::next_expiry_s(
    const splice_idle_timeouts& timeouts) const noexcept {
    return table_.next_expiry_s(limits(timeouts));
}

}  // namespace splice
