// What happens to each packet: from a seed, and by targets. No system call: the same packets in the same
// order with the same rules meet the same faults.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <unordered_map>

#include "libsplice/base/address.hpp"
#include "libsplice/base/bytes.hpp"
#include "libsplice/datapath/packet.h"

namespace splice::faults {

// Packets that --drop-first can aim at; the server is the side with the watched port.
enum class Target : std::uint8_t {
    syn,       // to the server
    synack,    // from the server
    ack,       // to the server: no payload and no other flag, the handshake's third packet first
    payload,   // to the server
    response,  // payload from the server
    fin,       // from either side
};
inline constexpr std::size_t kTargetCount = 6;
inline constexpr std::array<std::string_view, kTargetCount> kTargetNames = {"syn",     "synack",   "ack",
                                                                            "payload", "response", "fin"};

// Flows whose first packets are remembered; later ones are not aimed at.
inline constexpr std::size_t kMaxFlows = 1'000'000;

struct FaultRules {
    std::uint64_t seed = 1;
    double loss = 0;  // probabilities, each drawn for every packet
    double duplicate = 0;
    double reorder = 0;
    double corrupt = 0;
    std::uint32_t drop_every = 0;                 // each Nth packet; 0 = none
    std::array<bool, kTargetCount> drop_first{};  // the first packet of this kind of each flow
    std::uint16_t port = 80;                      // the server's
};

// At most one fault a packet, the first that applies.
enum class Fault : std::uint8_t { none, lose, corrupt, hold, duplicate };

struct FaultCounts {
    std::uint64_t seen = 0;
    std::uint64_t lost = 0;  // by probability
    std::uint64_t lost_every = 0;
    std::array<std::uint64_t, kTargetCount> lost_first{};
    std::uint64_t corrupted = 0;
    std::uint64_t reordered = 0;
    std::uint64_t duplicated = 0;

    // "seen=9 lost=1 ...", for a test to read.
    [[nodiscard]] std::string to_string() const;
};

class FaultPlan {
  public:
    explicit FaultPlan(const FaultRules& rules);

    // `packet` begins at the IP header. Its fault, which is counted.
    Fault decide(Bytes packet);
    // Flips one bit behind the IP header, so that the checksum is wrong.
    void corrupt(MutableBytes packet);

    [[nodiscard]] const FaultCounts& counts() const noexcept { return counts_; }

  private:
    // A flow's number of the client's SYN, and what of it was dropped already.
    struct Flow {
        std::uint32_t client_isn = 0;
        std::array<bool, kTargetCount> dropped{};
    };

    bool draw(double probability);
    bool is_first_of_its_kind(Bytes packet);
    [[nodiscard]] bool is_target(Target target, const splice_packet& packet, bool to_server) const noexcept;

    FaultRules rules_;
    bool targeted_;
    std::mt19937_64 random_;
    std::unordered_map<splice_flow_key, Flow, FlowKeyHash, FlowKeyEqual> flows_;
    FaultCounts counts_;
};

}  // namespace splice::faults
