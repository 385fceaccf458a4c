// One opening to each backend, through this bridge's own hooks: the only way to learn that something on this
// host (a firewall) swallows what the bridge delivers, for no program can see another's drop.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libsplice/core/joiner.hpp"

namespace splice {

// What is tried: as a client at the bridge's own address, which says an empty line and leaves.
struct SelfTestOpening {
    JoinerService service;
    IpAddress bridge;  // this host's, of the service's family
};

// Openings to each backend of this host at which somebody listens, once each. `local_clients`: whether IPv4
// lets clients on this host in.
[[nodiscard]] std::vector<SelfTestOpening> self_test_openings(const JoinerSetup& setup, bool local_clients);

// Of an opening without an answer: the words for the log.
[[nodiscard]] std::string swallowed(const SelfTestOpening& opening, std::string_view mode);

// Runs in a thread of its own, which ends with it. Logs a warning for each opening that nothing answers, and in
// the end a line that says how many were answered.
class SelfTest {
  public:
    // `mark`: of the packets that it sends, by which the ebpf engine has them come in by the uplink.
    SelfTest(std::vector<SelfTestOpening> openings, const splice_secret& secret, std::uint32_t mark,
             std::string mode);

  private:
    std::jthread thread_;
};

}  // namespace splice
