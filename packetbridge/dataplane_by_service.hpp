// The ebpf engine in both modes at once: each service is adopted where its backend allows it, and translated
// where it does not.
#pragma once

#include <memory>

#include "packetbridge/dataplane_ebpf.hpp"

namespace splice {

// `settings` with mode adopt and by_service. Which services translate is decided at the start, at each change
// of the setup, and when the host changes so that a service can no longer be adopted. One that translates is
// adopted again when there is no translated connection left, which the change would end.
std::unique_ptr<BridgeDataPlane> make_bridge_by_service(const EbpfBridgeSettings& settings,
                                                        std::shared_ptr<const JoinerSetup> setup);

}  // namespace splice
