// One simulated network in virtual time, drawn from a seed: clients, a balancer, three bridges and their
// backends, and everything that may go wrong between them.
#pragma once

#include <cstdint>
#include <string>

namespace splice::simulation {

struct Result {
    std::string failure;  // empty: every invariant held
    std::uint64_t packets = 0;
    // Conversations, by how they ended at the client.
    std::uint64_t finished = 0;
    std::uint64_t refused = 0;  // by every backend: a 503 or a RST
    std::uint64_t aborted = 0;  // by the client, on purpose
    std::uint64_t excused = 0;  // broken off for a reason that the simulation knows (world.cpp, excuse())
};

// `verbose`: every packet is printed as a line, with its verdict.
[[nodiscard]] Result simulate(std::uint64_t seed, bool verbose);

}  // namespace splice::simulation
