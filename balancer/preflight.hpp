// --check --host: the real host of a balancer, looked at before it serves. Nothing is changed.
#pragma once

#include "balancer/config.hpp"
#include "libsplice/ops/preflight.hpp"

namespace splice {

[[nodiscard]] Preflight look_at_balancer_host(const BalancerConfig& config);

}  // namespace splice
