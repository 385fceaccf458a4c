// Connections that something else than the machine carries: a kernel map's, or the kernel's own sockets.
#pragma once

#include <cstdint>
#include <functional>
#include <variant>

#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/flow.h"

namespace splice {

// An adopted connection is a socket of the kernel's. Its numbers are the client's own, and are not known
// here: only the addresses and ports of its segments are translated.
struct AdoptedSocket {
    splice_translation translation{};  // shifts of 0
    std::uint16_t service{};           // the service's number
};

// Nothing, a translated flow, or an adopted socket.
using CarriedFlow = std::variant<std::monostate, splice_bridge_flow, AdoptedSocket>;

// The machine opens connections and hands them over; it asks here for those that it does not know. Called in
// the machine's thread. Keys name the client and the backend.
class BridgeFlows {
  public:
    virtual ~BridgeFlows() = default;
    // Opening or established, new or in the place of what was there. False: full, or openings are not for us.
    virtual bool put(const splice_flow_key& key, const splice_bridge_flow& flow) noexcept = 0;
    [[nodiscard]] virtual CarriedFlow find(const splice_flow_key& key) const noexcept = 0;
    virtual void erase(const splice_flow_key& key) noexcept = 0;
    // Each translated flow, in no order. `visit` changes nothing here.
    using Visit = std::function<void(const splice_flow_key&, const splice_bridge_flow&)>;
    virtual void for_each(const Visit& visit) const = 0;
};

}  // namespace splice
