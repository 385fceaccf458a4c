// The calls that change what runs, under the names and forms of steel-load-balancer: a service is a load
// balancer, a bridge one of its backends. What they take and give is in openapi.json.
#pragma once

#include <expected>
#include <functional>
#include <string>

#include "balancer/control/desired.hpp"
#include "balancer/control/shown.hpp"
#include "libsplice/ops/api_routes.hpp"

namespace splice {

// What an edit is made of: what runs, and what the file says.
struct EditBase {
    const BalancerConfig& running;
    const BalancerConfig& file;
};

// What an edit has come to: what is shown of it in the reply, when it runs.
struct Edited {
    unsigned status = 200;        // of the reply
    std::string service{};        // empty: nothing is shown
    std::string bridge{};         // empty: the service is shown
    unsigned status_unfit = 422;  // of the refusal, when what comes out cannot run
};

// One change as the API was asked for it. Called in the main thread; the error is the reply.
using ApiEdit = std::function<std::expected<Edited, ApiReply>(Desired&, const EditBase&)>;

// Carries an edit out, elsewhere and soon, and answers.
using MakeChange = std::function<void(ApiEdit, ApiAnswer)>;

void add_loadbalancer_routes(ApiRoutes& routes, const std::function<Snapshot()>& snapshot,
                             const MakeChange& change);

// The reply to an edit that runs.
ApiReply reply_of(const Edited& edited, const Snapshot& snapshot);

}  // namespace splice
