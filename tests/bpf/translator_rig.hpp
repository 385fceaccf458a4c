// The translating bridge's two engines side by side, as balancer_rig.hpp has the balancer's: the portable
// Joiner, and the loaded programs with a Joiner behind their ring that works on the kernel's flows.
#pragma once

#include <memory>
#include <optional>

#include "packetbridge/bridge_programs.hpp"
#include "packetbridge/kernel_flows.hpp"
#include "tests/bpf/balancer_rig.hpp"

namespace splice::testing {

class KernelTranslator {
  public:
    explicit KernelTranslator(const std::shared_ptr<const JoinerSetup>& setup);

    Outcome handle(Instant now, Bytes packet, bool from_backend);
    Outcome expire(Instant now);
    // The programs' wall clock shows that moment, for half a second.
    void stop_clock(Instant now);
    [[nodiscard]] bool decided_in_kernel() const noexcept { return in_kernel_; }

  private:
    BridgePrograms programs_;
    KernelFlows flows_;
    Joiner joiner_;
    MappedBpfArray settings_;
    AskedPackets asked_;
    bool in_kernel_ = false;
};

// A Joiner in the same words.
class PortableTranslator {
  public:
    explicit PortableTranslator(const std::shared_ptr<const JoinerSetup>& setup) : joiner_(setup) {}
    Outcome handle(Instant now, Bytes packet, bool from_backend);
    Outcome expire(Instant now);
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept { return joiner_.next_deadline(); }

  private:
    Joiner joiner_;
};

}  // namespace splice::testing
