// Translated connections that are in the sample of the connection log: who writes it hears of their beginning
// and of their end, each once.
#pragma once

#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/datapath/flow.h"
#include "libsplice/datapath/sample.h"

namespace splice {

// Called in the machine's thread. Keys name the client and the backend.
class SampledFlows {
  public:
    virtual ~SampledFlows() = default;
    // The backend has taken it.
    virtual void opened(const splice_flow_key& key) noexcept = 0;
    virtual void ended(const splice_flow_key& key, const splice_bridge_flow& flow,
                       splice_connection_end end) noexcept = 0;
};

}  // namespace splice
