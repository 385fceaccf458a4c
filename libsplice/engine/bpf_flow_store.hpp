// The Splicer's entries in the kernel map that the XDP program works on. It sweeps the map for idle entries
// with the kernel's batch calls, a piece at a time.
#pragma once

#include <vector>

#include "libsplice/core/flow_store.hpp"
#include "libsplice/datapath/source.h"
#include "libsplice/engine/bpf_batches.hpp"

namespace splice {

class BpfFlowStore final : public FlowStore {
  public:
    // `map`: a hash of splice_flow_key -> splice_flow_entry; must stay open as long as the store. Its
    // capacity is its own: set_limits() changes the time-outs only. `sources` and `services`: what the
    // program takes a source's and a service's share from, begun anew here and written at the end of each
    // sweep; they live as long.
    BpfFlowStore(int map, splice_source_flows& sources, splice_service_flows& services);

    [[nodiscard]] std::optional<splice_flow_entry> find(const splice_flow_key& key) noexcept override;
    [[nodiscard]] Verdict put(const splice_flow_key& key, const splice_flow_entry& entry) noexcept override;
    void erase(const splice_flow_key& key) noexcept override;
    void erase_if(const Condition& condition) override;
    void change_if(const Change& change) override;
    // As the last whole sweep counted them.
    [[nodiscard]] std::size_t size() const noexcept override { return size_; }
    // As the last whole sweep counted them; as of its beginning.
    [[nodiscard]] const FlowCounts& counts() const noexcept override { return counts_; }
    // Any thread.
    [[nodiscard]] FlowPiece piece(std::uint64_t place, std::size_t most) const override;
    void set_limits(std::size_t capacity, const splice_idle_timeouts& timeouts) noexcept override;
    void set_service_shares(std::span<const ServiceShare> shares) noexcept override;
    std::size_t expire(Instant now, const Gone& gone) override;
    [[nodiscard]] std::optional<Duration> next_expiry() const noexcept override { return next_piece_; }
    // So many flows were begun since this was told last: a flood fills the table between two sweeps.
    void note_begun(std::uint64_t flows) noexcept;

  private:
    [[nodiscard]] bool idle(const splice_flow_entry& entry, std::uint32_t now_s) const noexcept;

    [[nodiscard]] splice_pressure pressure() const noexcept {
        return splice_pressure_of(size_ + begun_, capacity_);
    }
    void end_sweep(Instant now);

    int map_;
    splice_source_flows& sources_;
    splice_service_flows& services_;
    splice_idle_timeouts timeouts_{};
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    FlowCounts counts_;
    // The sweep under way.
    BpfWalk<splice_flow_key, splice_flow_entry> walk_;
    std::size_t counted_ = 0;
    std::uint64_t begun_ = 0;         // flows that the last whole sweep has not seen
    std::uint64_t begun_before_ = 0;  // of them, those that this one sees
    std::vector<std::uint32_t> of_sources_ = std::vector<std::uint32_t>(SPLICE_SOURCE_PLACES);
    std::vector<std::uint32_t> of_services_ = std::vector<std::uint32_t>(SPLICE_SERVICE_NUMBERS);
    splice_pressure swept_for_ = SPLICE_PRESSURE_NONE;
    Duration shares_until_{};
    FlowCounts counting_;
    Duration cost_{};
    Duration next_piece_{};
};

}  // namespace splice
