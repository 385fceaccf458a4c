// The connections that a bridge knows: those that the machine keeps itself (openings, and established ones
// where nothing else carries them), and those that are carried elsewhere.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "libsplice/base/time.hpp"
#include "libsplice/core/actions.hpp"
#include "libsplice/core/bridge_flows.hpp"
#include "libsplice/core/flow_table.hpp"
#include "libsplice/core/held_loss.hpp"
#include "libsplice/core/joiner/setup.hpp"
#include "libsplice/core/sampled_flows.hpp"
#include "libsplice/core/segment_hold.hpp"
#include "libsplice/datapath/bridge_rules.h"

namespace splice {

enum class IdleList : std::uint8_t { open, closing, opening };
inline constexpr std::size_t kIdleLists = 3;

// A spliced connection, or one whose handshake is being replayed.
struct BridgeFlow : splice_bridge_flow {
    splice_negotiated negotiated{};
    Hop hop;
    std::unique_ptr<SegmentHold> hold;  // while opening
};
using BridgeFlowTable = FlowTable<BridgeFlow, kIdleLists>;

// What is known of a connection: the machine's own entry, or what something else carries. Good until the next
// call that changes a connection.
struct KnownConnection {
    BridgeFlowTable::Entry* entry = nullptr;
    CarriedFlow carried;
    bool displaced = false;  // carried elsewhere once, and given up there for a connection that begins

    [[nodiscard]] bool exists() const noexcept {
        return entry || !std::holds_alternative<std::monostate>(carried);
    }
    // The flow whose numbers are known, or null.
    [[nodiscard]] const splice_bridge_flow* flow() const noexcept {
        return entry ? &entry->second.value : std::get_if<splice_bridge_flow>(&carried);
    }
    // How segments of an established connection are translated, or null.
    [[nodiscard]] const splice_translation* established() const noexcept;
    // What it is to a segment of the client's of the service that is marked with `dscp`.
    [[nodiscard]] splice_bridge_known known_to(const splice_packet& packet,
                                               std::uint16_t service) const noexcept;
};

class BridgeConnections {
  public:
    // `carried` may be null, and outlives this.
    BridgeConnections(BridgeFlows* carried, HeldLossCounters& held_lost) noexcept
        : carried_(carried), held_lost_(held_lost) {}

    // Hears of those of the sample from now on; outlives this.
    void tell_sampled(SampledFlows& sampled) noexcept { sampled_ = &sampled; }

    [[nodiscard]] KnownConnection find(const splice_flow_key& key) noexcept;
    // A new opening, or null when `max_flows` are there or what carries connections has no room.
    [[nodiscard]] BridgeFlowTable::Entry* begin(const splice_flow_key& key, BridgeFlow flow,
                                                std::size_t max_flows);
    // The opening is established as its flow says. False: what carries connections has no room, and the entry
    // is gone. On true the caller calls settle() once it has used the entry for the last time.
    [[nodiscard]] bool establish(BridgeFlowTable::Entry& entry);
    // An established connection that is carried elsewhere leaves the table.
    void settle(BridgeFlowTable::Entry& entry);
    // Its idle time-out begins anew, and is that of what its packets have said.
    void touch(BridgeFlowTable::Entry& entry, std::uint32_t now_s);
    // Tells of an end; of connections that are not in the sample, nothing.
    void tell(const splice_flow_key& key, const splice_bridge_flow& flow,
              splice_connection_end end) const noexcept;
    // Tells of the end where the packet that the entry has learnt of was it.
    void tell_end(BridgeFlowTable::Entry& entry) noexcept;
    void erase(BridgeFlowTable::Entry& entry, HeldLoss why);
    void erase(const splice_flow_key& key, const KnownConnection& known);
    // What the opening holds has left.
    void drop_hold(BridgeFlow& flow) noexcept;
    // Keeps the packet until the backend has answered.
    SegmentHold::Added hold(BridgeFlow& flow, const splice_packet& packet, Bytes bytes);

    void erase_unserved(const JoinerSetup& setup);
    // Each connection that is established, the machine's own and those that are carried.
    void for_each_established(const BridgeFlows::Visit& visit);
    // How many were idle for too long, and are gone.
    std::size_t expire(Instant now, const splice_idle_timeouts& timeouts);
    [[nodiscard]] std::optional<std::uint32_t> next_expiry_s(
        const splice_idle_timeouts& timeouts) const noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return table_.size(); }
    [[nodiscard]] std::size_t openings() const noexcept { return openings_; }
    [[nodiscard]] std::size_t held_bytes() const noexcept { return held_bytes_; }

  private:
    void forget(BridgeFlowTable::Entry& entry, HeldLoss why) noexcept;

    BridgeFlows* carried_;
    HeldLossCounters& held_lost_;
    SampledFlows* sampled_ = nullptr;
    BridgeFlowTable table_;
    std::size_t held_bytes_ = 0;
    std::size_t openings_ = 0;
};

}  // namespace splice
