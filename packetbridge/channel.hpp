// The bridge's end of the channel: answers balancers that ask who is here (docs/channel.md), in a thread of
// its own.
#pragma once

#include <atomic>
#include <expected>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "libsplice/core/channel_answers.hpp"
#include "libsplice/engine/udp_socket.hpp"
#include "packetbridge/backend_watch.hpp"
#include "packetbridge/config.hpp"
#include "packetbridge/connection_count.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

class BridgeChannel {
  public:
    // What is told of this bridge beside what is counted.
    struct Told {
        PacketbridgeConfig config;
        Mode mode = Mode::translate;
        bool leaving = false;
        splice_secret secret{};
    };

    // `dataplane`, `connections` and `backends` outlive this. Errors are one line: the port is in use.
    static std::expected<std::unique_ptr<BridgeChannel>, std::string> start(Told told,
                                                                            const BridgeDataPlane& dataplane,
                                                                            ConnectionCount& connections,
                                                                            const BackendWatch& backends);
    ~BridgeChannel();
    BridgeChannel(const BridgeChannel&) = delete;
    BridgeChannel& operator=(const BridgeChannel&) = delete;

    // An error leaves all as it is: a new address's port is in use.
    std::expected<void, std::string> replace(Told told);
    // It stops, and opens nothing any more.
    void leave();
    // By ChannelEnd. Any thread.
    [[nodiscard]] std::uint64_t count(ChannelEnd end) const noexcept {
        return counters_[static_cast<std::size_t>(end)].load(std::memory_order_relaxed);
    }

  private:
    struct Door {
        IpAddress address;
        UdpSocket socket;
    };
    using Doors = std::vector<std::shared_ptr<Door>>;

    BridgeChannel(const BridgeDataPlane& dataplane, ConnectionCount& connections,
                  const BackendWatch& backends) noexcept
        : dataplane_(dataplane), connections_(connections), backends_(backends) {}
    std::expected<Doors, std::string> open_doors(const PacketbridgeConfig& config) const;
    void run(const std::stop_token& stop);
    // Reads what waits at the door, at most `most` packets; how many there were.
    std::size_t serve(Door& door, ChannelAnswers& answers, std::size_t most);
    [[nodiscard]] ChannelPresence presence();
    void wake() noexcept;

    const BridgeDataPlane& dataplane_;
    ConnectionCount& connections_;
    const BackendWatch& backends_;
    ChannelCounters counters_{};
    Descriptor wakeup_;
    mutable std::mutex mutex_;
    Told told_;            // under mutex_
    Doors doors_;          // under mutex_
    std::jthread thread_;  // last: it ends before what it works on goes
};

}  // namespace splice
