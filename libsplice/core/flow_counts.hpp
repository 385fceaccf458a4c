// How many connections each bridge has, by service, out of the balancer's flow entries.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "libsplice/base/time.hpp"
#include "libsplice/datapath/flow.h"

namespace splice {

// The balancer sees the client's packets alone. A connection that its server has reset, or whose client has
// gone without a word, is open to it until `idle_timeout`.
struct FlowCount {
    std::uint64_t open = 0;
    // The client has sent FIN and has said nothing more. Most of these have ended; a few still wait for their
    // answer.
    std::uint64_t half_closed = 0;
    friend bool operator==(const FlowCount&, const FlowCount&) = default;
};

// One number for a service's number and a bridge's in flow entries.
[[nodiscard]] constexpr std::uint32_t service_bridge_key(std::uint16_t service,
                                                         std::uint16_t bridge) noexcept {
    return static_cast<std::uint32_t>(service) << 16 | bridge;
}

class FlowCounts {
  public:
    // `bridge` is the number in flow entries, `service` the service's own.
    [[nodiscard]] FlowCount of(std::uint16_t service, std::uint16_t bridge) const noexcept {
        const auto found = counts_.find(service_bridge_key(service, bridge));
        return found == counts_.end() ? FlowCount{} : found->second;
    }
    // The monotonic moment up to which every change of an entry is in the counts.
    [[nodiscard]] Duration as_of() const noexcept { return as_of_; }

    void add(const splice_flow_entry& entry) { change(entry, 1); }
    // An entry that was added before, as it was then.
    void remove(const splice_flow_entry& entry) { change(entry, -1); }
    // An entry that was added before has changed.
    void replace(const splice_flow_entry& before, const splice_flow_entry& after) {
        // Nearly always: nothing to look up.
        if (kind_of(before) == kind_of(after) && before.bridge == after.bridge &&
            before.service == after.service)
            return;
        remove(before);
        add(after);
    }
    void set_as_of(Duration moment) noexcept { as_of_ = moment; }

  private:
    enum class Kind : std::uint8_t { none, open, half_closed };

    static Kind kind_of(const splice_flow_entry& entry) noexcept {
        if (!splice_flow_is_open(&entry)) return Kind::none;
        switch (splice_flow_silence(&entry)) {
            case SPLICE_SILENCE_OPEN:
            case SPLICE_SILENCE_LANED:
            case SPLICE_SILENCE_UNANSWERED:
                return Kind::open;
            case SPLICE_SILENCE_HALF_CLOSED:
                return Kind::half_closed;
            default:
                return Kind::none;
        }
    }
    void change(const splice_flow_entry& entry, int by) {
        const Kind kind = kind_of(entry);
        if (kind == Kind::none) return;
        FlowCount& count = counts_[service_bridge_key(entry.service, entry.bridge)];
        (kind == Kind::open ? count.open : count.half_closed) += static_cast<std::uint64_t>(by);
    }

    std::unordered_map<std::uint32_t, FlowCount> counts_;
    Duration as_of_{};
};

}  // namespace splice
