// The ways to the bridges, kept fresh for either engine: next hops, MTUs, and which bridges cannot be
// reached. Owned by the packet thread.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/core/splicer.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/packet_source.hpp"

namespace splice {

// What fits into the way to each bridge, by bridge number: bytes from the IP header on; 0: not known.
using RouteMtus = std::vector<std::uint32_t>;

class BridgeRoutes {
  public:
    // Errors: the kernel has no route netlink socket for us.
    static SystemResult<std::unique_ptr<BridgeRoutes>> open();

    // For the packet loop: the kernel's notices about routes and neighbours. This must outlive it.
    [[nodiscard]] std::unique_ptr<PacketSource> notices();

    // Asks the kernel, and logs which bridges became unreachable or reachable again.
    void refresh(Instant now, std::span<const SplicerBridge> bridges);
    // When to refresh again; ask_soon() makes it now.
    [[nodiscard]] Duration next_refresh() const noexcept { return next_refresh_; }
    void ask_soon() noexcept { next_refresh_ = {}; }

    // By bridge number, as of the last refresh().
    [[nodiscard]] std::span<const std::optional<NextHop>> hops() const noexcept { return hops_; }
    [[nodiscard]] RouteMtus mtus() const;
    // The same, for any thread; the same pointer for as long as they are the same. Null before refresh().
    [[nodiscard]] std::shared_ptr<const RouteMtus> known_mtus() const noexcept { return known_mtus_.load(); }
    // Bridges in use whose next hop is not known. Any thread.
    [[nodiscard]] std::uint64_t unreachable() const noexcept {
        return unreachable_.load(std::memory_order_relaxed);
    }

  private:
    // What was told of a bridge.
    struct Told {
        std::optional<Duration> missing_since;
        bool warned = false;
    };

    explicit BridgeRoutes(NextHops hops) noexcept : kernel_(std::move(hops)) {}
    void tell(Instant now, std::span<const SplicerBridge> bridges);

    NextHops kernel_;
    std::vector<std::optional<NextHop>> hops_;
    std::vector<Told> told_;
    std::atomic<std::shared_ptr<const RouteMtus>> known_mtus_;
    Duration next_refresh_{};
    std::atomic<std::uint64_t> unreachable_{};
};

}  // namespace splice
