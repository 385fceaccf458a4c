// What the replay tells while it runs, to whoever prints, draws, counts or writes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/base/verdict.hpp"
#include "libsplice/core/hash_key.hpp"
#include "libsplice/datapath/flow.h"

namespace splice::replay {

enum class Place : std::uint8_t { client, balancer, bridge, backend };

struct Station {
    Place place = Place::client;
    std::string_view name;  // "client", "balancer", the bridge's own name, "backend"
};

// One packet of the capture, or one time-out, and all that follows from it.
struct Step {
    std::uint64_t number = 0;                // of the captured packet; 0: a time-out
    Duration time{};                         // since 1970
    std::uint32_t captured = 0, length = 0;  // bytes from the IP header on; fewer captured: the rest is zeros
    bool checksum_ignored = false;           // a wrong one was made right
    // From 1 in the order of their first packets; 0: of no connection to a service. `key`: the client and the
    // service.
    std::uint32_t conversation = 0;
    splice_flow_key key{};
};

// A first payload's way.
struct Choice {
    std::string kind;                  // the rule's: "uri", "hdr(x-tenant)"; "source" when the address chose
    std::string key;                   // what was hashed, for source the client's address as text
    std::optional<Fallback> fallback;  // why the address chose
    std::string_view bridge;           // "-": the service has none
};

// Packets begin at the IP header and are the replay's again when the call returns.
class Observer {
  public:
    virtual ~Observer() = default;
    virtual void begins(const Step&) {}
    // What the capture brought, with its numbers mapped to ours.
    virtual void came(const Step&, Station /*from*/, Station /*to*/, Bytes) {}
    virtual void judged(const Step&, Station, Verdict) {}
    virtual void chose(const Step&, const Choice&) {}
    // Why the replay itself did something with a packet, or nothing.
    virtual void noted(const Step&, Place /*at*/, std::string_view) {}
    virtual void left(const Step&, Station /*from*/, Station /*to*/, Bytes) {}
    virtual void ends(const Step&) {}
};

}  // namespace splice::replay
