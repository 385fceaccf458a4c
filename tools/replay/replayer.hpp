// Drives balancers and bridges with the client's side of a capture, in the capture's own time, and plays the
// backend by the server's side. Deterministic: what it does depends on the packets and the fleets alone.
//
//   captured client --map--> balancer --> bridge --> backend = captured server
//                                 ^                     |
//   (what left toward the client) +------- bridge <-----+
//
// The captured server's numbers are the backend's. Toward the balancer the client's acknowledgements, SACK
// edges and TSecr are mapped to the cookie and our clock, as they would be had it talked to us.
#pragma once

#include <memory>
#include <vector>

#include "tools/replay/arrival.hpp"
#include "tools/replay/fleet.hpp"
#include "tools/replay/observer.hpp"

namespace splice::replay {

// Packets of one captured server that wait for the backend's connection.
inline constexpr std::size_t kMaxWaiting = 256;
// How long the machines' timers run on behind the last packet.
inline constexpr auto kAfterLast = 1s;

class Replayer {
  public:
    // Fleets and observers outlive it.
    Replayer(Fleets& fleets, std::vector<Observer*> observers, Checksums checksums = Checksums::judged);
    ~Replayer();
    Replayer(const Replayer&) = delete;
    Replayer& operator=(const Replayer&) = delete;

    // The capture's packets in their order. Time that goes back stands still.
    void take(const CapturedPacket& captured);
    // The capture has ended: what still waits is decided.
    void finish();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace splice::replay
