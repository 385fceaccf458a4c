// The bridge's lines of the connection log: what a connection carried, and how it ended.
#pragma once

#include <memory>
#include <string_view>
#include <unordered_map>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/core/joiner/setup.hpp"
#include "libsplice/core/sampled_flows.hpp"
#include "libsplice/ops/connection_log.hpp"

namespace splice {

// The name of an end in a line.
[[nodiscard]] std::string_view to_string(splice_connection_end end) noexcept;

// Of one data path. In the packets' thread.
class ConnectionEnds final : public SampledFlows {
  public:
    // `mode`: a literal. `log` must outlive this.
    ConnectionEnds(ConnectionLog& log, std::string_view mode, std::shared_ptr<const JoinerSetup> setup)
        : log_(log), mode_(mode), setup_(std::move(setup)) {}

    void replace_setup(std::shared_ptr<const JoinerSetup> setup) noexcept { setup_ = std::move(setup); }
    void opened(const splice_flow_key& key) noexcept override;
    void ended(const splice_flow_key& key, const splice_bridge_flow& flow,
               splice_connection_end end) noexcept override;
    // A record of the kernel program's ring `told`.
    void told(Bytes record) noexcept;

  private:
    // `lasted`: nothing where its beginning is not known.
    void write(const splice_told_end& end, std::optional<Duration> lasted);

    ConnectionLog& log_;
    std::string_view mode_;
    std::shared_ptr<const JoinerSetup> setup_;
    // When translated ones began.
    std::unordered_map<splice_flow_key, Duration, FlowKeyHash, FlowKeyEqual> began_;
};

}  // namespace splice
