// The ebpf engine: the kernel decides the common case from end to end, one thread the rest.
#pragma once

#include <memory>

#include "balancer/dataplane.hpp"

namespace splice {

std::unique_ptr<DataPlane> make_ebpf_dataplane(std::shared_ptr<const SplicerSetup> setup,
                                               const EngineSettings& settings);

}  // namespace splice
