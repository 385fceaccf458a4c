// Drops what reaches this host's own TCP for ports that are not its own: what slipped past the program or the
// queue that serves them. The host knows none of those connections, and its RST would end a living one.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/engine/host_fact.hpp"
#include "libsplice/engine/nft_table.hpp"

namespace splice {

// Installed as long as it lives, unless it is kept: a table of nftables with one chain at the input hook.
// Exempt are packets with a mark of `marks`, which a bridge on this host hands to a backend that listens on
// the VIP, and what this host sends to itself: its own clients are better refused than left waiting.
class PortGuard {
  public:
    // In the place of one that was kept or is left of a killed process. Errors: the kernel has no nftables,
    // no privilege.
    static SystemResult<PortGuard> install(const std::string& table, const std::vector<Endpoint>& ports,
                                           const splice_mark_field& marks);
    PortGuard(PortGuard&&) noexcept;
    PortGuard& operator=(PortGuard&&) = delete;

    // Other ports in the place of these. After an error all is as before.
    SystemResult<void> replace(const std::vector<Endpoint>& ports);
    // Leaves it there at destruction.
    void keep() noexcept { table_.keep(); }
    // That it is there. It refers to this.
    [[nodiscard]] HostFact fact();

    // Packets that it has dropped, those of processes before which kept it included. Any thread.
    [[nodiscard]] std::uint64_t dropped() const;

  private:
    PortGuard(NftTable table, std::vector<Endpoint> ports, const splice_mark_field& marks,
              std::uint64_t dropped) noexcept;
    SystemResult<void> write(const std::vector<Endpoint>& ports);

    NftTable table_;
    std::vector<Endpoint> ports_;
    splice_mark_field marks_;
    mutable std::atomic<std::uint64_t> dropped_;  // when it was read last
};

}  // namespace splice
