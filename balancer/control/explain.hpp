// Why a URL goes where it goes: what GET /explain tells.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "balancer/control/shown.hpp"
#include "libsplice/ops/api_routes.hpp"

namespace splice {

class Explainer {
  public:
    // Parameters: service, url, source, and header any number of times.
    [[nodiscard]] ApiReply explain(const Snapshot& snapshot, const ApiRequest& request);

  private:
    // The service's placement were all its bridges ready and well. Built when it is first asked for.
    std::shared_ptr<const Placement> whole(const std::shared_ptr<const Shown>& shown,
                                           const ServiceConfig& service);

    std::mutex mutex_;
    std::shared_ptr<const Shown> of_;                                               // under mutex_
    std::unordered_map<std::string, std::shared_ptr<const Placement>> placements_;  // of its services
};

}  // namespace splice
