// The balancer's two engines side by side: the portable Splicer with its own table, and the loaded kernel
// program with a Splicer behind its ring that works on the kernel's map. The same packets go to both; what
// comes out must be the same, byte for byte.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/kernel_maps.hpp"
#include "libsplice/engine/bpf_flow_store.hpp"
#include "tests/bpf/asked_packets.hpp"
#include "tests/support/lib/machines.hpp"

namespace splice::testing {

// Ethernet addresses of the lab that is none.
inline constexpr EthernetAddress kOwnMac{0x02, 0, 0, 0, 0, 1};
inline constexpr EthernetAddress kRouterMac{0x02, 0, 0, 0, 0, 2};
inline constexpr EthernetAddress kBridgeMac{0x02, 0, 0, 0, 0, 3};

// What a packet led to.
struct Outcome {
    Verdict verdict = SPLICE_CONTINUE;
    std::vector<PacketBytes> sent;  // from the IP header; the packet itself too when it was forwarded
    friend bool operator==(const Outcome&, const Outcome&) = default;
};
[[nodiscard]] std::string describe(const Outcome& outcome);

class KernelBalancer {
  public:
    // By a program that an earlier KernelBalancer of as many flows has left, with all of its maps as after a
    // load, or by one that is loaded now: the verifier takes half a second for it.
    explicit KernelBalancer(std::shared_ptr<const SplicerSetup> setup);
    ~KernelBalancer();
    KernelBalancer(const KernelBalancer&) = delete;
    KernelBalancer& operator=(const KernelBalancer&) = delete;

    Outcome handle(Instant now, Bytes packet, std::size_t vlan_tags = 0);
    // Pending flows whose wait is over.
    Outcome expire(Instant now);
    void replace_setup(std::shared_ptr<const SplicerSetup> setup);
    // The way to every bridge takes packets of at most `mtu` bytes from here on.
    void narrow(const SplicerSetup& setup, std::uint32_t mtu);
    // A tick of the loads, as the data plane does it.
    void tick(Instant now);
    [[nodiscard]] Splicer& splicer() noexcept { return splicer_; }
    // The program's clock stands at that moment from here on, to the millisecond.
    void stop_clock(Instant now);

    [[nodiscard]] KernelMaps& maps() noexcept { return maps_; }
    // Whether the last packet was decided in the kernel.
    [[nodiscard]] bool decided_in_kernel() const noexcept { return in_kernel_; }
    // The action of the last run, XDP_.
    [[nodiscard]] std::uint32_t action() const noexcept { return action_; }
    [[nodiscard]] const PacketBytes& frame() const noexcept { return frame_; }

  private:
    [[nodiscard]] std::optional<Verdict> counted(const splice_balancer_counters& before) const;

    std::size_t max_flows_;
    KernelMaps maps_;
    BpfFlowStore flows_;
    Splicer splicer_;
    AskedPackets asked_;
    MappedBpfArray settings_;
    std::uint64_t jiffies_ = 0;  // at the beginning
    PacketBytes frame_;
    std::uint32_t action_ = 0;
    bool in_kernel_ = false;
};

// A Splicer in the same words.
class PortableBalancer {
  public:
    explicit PortableBalancer(std::shared_ptr<const SplicerSetup> setup) : splicer_(std::move(setup)) {}
    Outcome handle(Instant now, Bytes packet);
    Outcome expire(Instant now);
    void replace_setup(std::shared_ptr<const SplicerSetup> setup) {
        splicer_.replace_setup(std::move(setup));
    }
    [[nodiscard]] std::optional<Duration> next_deadline() const noexcept { return splicer_.next_deadline(); }
    [[nodiscard]] Splicer& splicer() noexcept { return splicer_; }

  private:
    Splicer splicer_;
};

// An Ethernet frame around a packet, from the router to us.
[[nodiscard]] PacketBytes frame_around(Bytes packet, std::size_t vlan_tags = 0);

// The map of a loaded program whose name ends so.
[[nodiscard]] Descriptor map_of(int program, std::string_view name);

// Takes every entry out of the maps of a loaded program, and what waits in its ring. Its .bss stays.
void empty_maps(int program);

// Whether programs may be loaded here.
[[nodiscard]] bool may_load_programs();

}  // namespace splice::testing
