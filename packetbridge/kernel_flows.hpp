// Translated connections in the kernel's map: the machine makes and removes them, the kernel program carries
// their packets and notes when it saw the last one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "libsplice/base/time.hpp"
#include "libsplice/core/bridge_flows.hpp"
#include "libsplice/core/sampled_flows.hpp"
#include "libsplice/engine/bpf_batches.hpp"

namespace splice {

class KernelFlows final : public BridgeFlows {
  public:
    // `map`: descriptor of the map `flows`, which must stay open.
    explicit KernelFlows(int map);
    // Hears of flows of the sample that a sweep removes; outlives this.
    void tell_sampled(SampledFlows& sampled) noexcept { sampled_ = &sampled; }

    bool put(const splice_flow_key& key, const splice_bridge_flow& flow) noexcept override;
    [[nodiscard]] CarriedFlow find(const splice_flow_key& key) const noexcept override;
    void erase(const splice_flow_key& key) noexcept override;
    void for_each(const Visit& visit) const override;

    // Looks at a bounded part of the map and goes on there the next time; removes what was idle too long and
    // what `unwanted` says. The number of those that were idle.
    using Unwanted = std::function<bool(const splice_bridge_flow&)>;
    std::size_t sweep(std::uint32_t now_s, const splice_idle_timeouts& timeouts, const Unwanted& unwanted);
    // The whole map.
    std::size_t sweep_all(std::uint32_t now_s, const splice_idle_timeouts& timeouts,
                          const Unwanted& unwanted);

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

  private:
    int map_;
    std::size_t size_ = 0;
    SampledFlows* sampled_ = nullptr;
    BpfWalk<splice_flow_key, splice_bridge_flow> walk_;
};

}  // namespace splice
