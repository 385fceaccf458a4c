// Where a Splicer keeps its entries: in its own memory, or in a kernel map that the XDP program works on too.
//
// The kernel's map is the one truth where there is one: the program opens flows and sees their packets, so a
// copy in user space would be stale by the next packet. A Splicer therefore reads an entry when a packet of
// it arrives, works on the copy and writes it back; it remembers only what no map can hold, the held packets
// of pending flows. That costs the portable engine a second look into its hash table for each packet, and the
// kernel engine two system calls for each packet that the kernel did not decide; both are small against what
// brought the packet there. What is written back may undo what the kernel noted in between (the second of the
// last packet, a SYN that reopens): the next packet notes it again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/flow_counts.hpp"
#include "libsplice/core/flow_table.hpp"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/limits.h"
#include "libsplice/datapath/source.h"

namespace splice {

// Some of a store's entries, next to each other in it.
struct FlowPiece {
    std::vector<std::pair<splice_flow_key, splice_flow_entry>> flows;
    std::size_t looked_at = 0;          // what reading it cost, in entries
    std::optional<std::uint64_t> next;  // the place of the next piece; nothing: it is the last
};

class FlowStore {
  public:
    using Gone = std::function<void(const splice_flow_key&)>;
    using Condition = std::function<bool(const splice_flow_key&)>;
    using Change = std::function<bool(splice_flow_entry&)>;

    virtual ~FlowStore() = default;
    [[nodiscard]] virtual std::optional<splice_flow_entry> find(const splice_flow_key& key) noexcept = 0;
    // A new entry or a changed one. SPLICE_CONTINUE, or why a new one finds no place: the store is full and
    // the living are not evicted, or it is nearly full and the client's address has its share of it.
    [[nodiscard]] virtual Verdict put(const splice_flow_key& key,
                                      const splice_flow_entry& entry) noexcept = 0;
    virtual void erase(const splice_flow_key& key) noexcept = 0;
    virtual void erase_if(const Condition& condition) = 0;
    // Looks at every entry. `change` says true when it has changed the entry; what the entry's silence means
    // (splice_flow_silence()) must stay.
    virtual void change_if(const Change& change) = 0;
    // As far as it is known without counting.
    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
    // The same, by service and bridge. as_of() says how old that is.
    [[nodiscard]] virtual const FlowCounts& counts() const noexcept = 0;

    // The piece at `place`, 0 or the `next` of the piece before: at most `most` entries, or all those of one
    // place where they are more. Entries that come and go between two calls are in a piece or not; those that
    // stay are in one, while generation() stays.
    [[nodiscard]] virtual FlowPiece piece(std::uint64_t place, std::size_t most) const = 0;
    // Another one: places of before mean nothing any more.
    [[nodiscard]] virtual std::uint64_t generation() const noexcept { return 0; }

    // From now on; what is there stays.
    virtual void set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept = 0;
    // Of the services with these numbers, at most so many entries; of all others, as many as there is room
    // for.
    struct ServiceShare {
        std::uint16_t service;
        std::uint32_t flows;
    };
    virtual void set_service_shares(std::span<const ServiceShare> shares) noexcept = 0;
    // Erases entries that were silent for longer than their limit and tells `gone` of each. The number of
    // them.
    virtual std::size_t expire(Instant now, const Gone& gone) = 0;
    // When expire() may have something to do; nothing = never.
    [[nodiscard]] virtual std::optional<Duration> next_expiry() const noexcept = 0;

  protected:
    static void set_most(splice_service_flows& services, std::span<const ServiceShare> shares) noexcept;
};

// For machines that no stranger reaches: a capture's, a test's.
inline constexpr splice_source_key kKnownSourceKey{
    {0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9}, 0x27d4eb2f165667c5};

// In memory, with a list for each time-out, so that expiry looks at nothing that stays.
class MemoryFlowStore final : public FlowStore {
  public:
    // `source_key`: places of clients' addresses are strangers' to guess, where it is not secret.
    explicit MemoryFlowStore(const splice_source_key& source_key = kKnownSourceKey);
    [[nodiscard]] std::optional<splice_flow_entry> find(const splice_flow_key& key) noexcept override;
    [[nodiscard]] Verdict put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept override;
    void erase(const splice_flow_key& key) noexcept override;
    void erase_if(const Condition& condition) override;
    void change_if(const Change& change) override;
    [[nodiscard]] std::size_t size() const noexcept override { return table_.size(); }
    // Always of now.
    [[nodiscard]] const FlowCounts& counts() const noexcept override { return counts_; }
    [[nodiscard]] FlowPiece piece(std::uint64_t place, std::size_t most) const override;
    [[nodiscard]] std::uint64_t generation() const noexcept override { return table_.buckets(); }
    void set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept override;
    void set_service_shares(std::span<const ServiceShare> shares) noexcept override;
    std::size_t expire(Instant now, const Gone& gone) override;
    [[nodiscard]] std::optional<Duration> next_expiry() const noexcept override;

  private:
    [[nodiscard]] std::uint32_t& flows_of_service(std::uint16_t number) noexcept {
        return services_->flows[number & (SPLICE_SERVICE_NUMBERS - 1)];
    }
    // By enum splice_silence.
    [[nodiscard]] std::array<std::uint32_t, SPLICE_SILENCES> limits_s() const noexcept;
    [[nodiscard]] splice_pressure pressure() const noexcept {
        return splice_pressure_of(table_.size(), capacity_);
    }
    [[nodiscard]] std::uint32_t place_of_source(const splice_flow_key& key) const noexcept {
        return splice_source_place(&sources_->key, &key.client);
    }
    using Table = FlowTable<splice_flow_entry, SPLICE_SILENCES>;

    void count_out(const Table::Entry& entry) noexcept;
    void set_share(std::uint32_t now_s) noexcept;

    Table table_;
    std::unique_ptr<splice_source_flows> sources_;
    std::uint32_t shares_until_s_ = 0;
    std::unique_ptr<splice_service_flows> services_ = std::make_unique<splice_service_flows>();
    FlowCounts counts_;
    std::size_t capacity_ = 0;
    splice_idle_timeouts timeouts_{};
};

}  // namespace splice
