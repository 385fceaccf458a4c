// What the packet bridge's API says. GET / lists it.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "libsplice/ops/api_server.hpp"
#include "libsplice/ops/host_facts.hpp"
#include "libsplice/ops/reloads.hpp"
#include "packetbridge/backend_watch.hpp"
#include "packetbridge/channel.hpp"
#include "packetbridge/config.hpp"
#include "packetbridge/connection_count.hpp"
#include "packetbridge/dataplane.hpp"

namespace splice {

// What runs, for the API's thread: swapped whole at a reload.
struct PacketbridgeState {
    PacketbridgeConfig config;
    std::string engine;
    std::string engine_reason;
    Mode mode = Mode::translate;
};

class PacketbridgeApi {
  public:
    // `dataplane`, `host`, `reloads`, `backends`, `connections` and `channel`, which may be null, must
    // outlive the API.
    PacketbridgeApi(PacketbridgeState state, const BridgeDataPlane& dataplane, const HostFacts& host,
                    const Reloads& reloads, const BackendWatch& backends, ConnectionCount& connections,
                    const BridgeChannel* channel);

    void replace(PacketbridgeState state);
    // Bound to this object.
    [[nodiscard]] ApiRoutes routes();

  private:
    [[nodiscard]] std::vector<std::string> not_ready() const;
    [[nodiscard]] std::string metrics() const;
    [[nodiscard]] std::string status() const;

    const BridgeDataPlane& dataplane_;
    const HostFacts& host_;
    const Reloads& reloads_;
    const BackendWatch& backends_;
    ConnectionCount& connections_;
    const BridgeChannel* channel_;
    mutable std::mutex mutex_;
    PacketbridgeState state_;  // under mutex_
};

}  // namespace splice
