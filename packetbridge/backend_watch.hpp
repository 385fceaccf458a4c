// Whether the bridge's own backends take connections. Balancers learn it by refusals and checks; here it is
// for who runs this host: the log, /readyz, /status and the metrics.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/time.hpp"
#include "libsplice/engine/backend_look.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {

struct BackendState {
    Endpoint backend;
    BackendLook look{};
    friend bool operator==(const BackendState&, const BackendState&) = default;
};

// "the backend 192.0.2.30:80 refuses connections: ...", for the log and /readyz.
[[nodiscard]] std::string describe(const BackendState& state);

// What is known of backends, from one look to the next: pure.
class BackendStates {
  public:
    struct Line {
        bool warns = false;
        std::string text;
        LogFields fields{};
    };
    // What is known of those that stay is kept.
    void replace(std::span<const Endpoint> backends);
    // The answers of a look, in the backends' order. The first one counts at once. After that a backend's
    // state is another one when two looks in a row have found the same. The lines to log: what has changed,
    // and whoever is not up at first.
    std::vector<Line> take(std::span<const BackendLook> looks);
    [[nodiscard]] std::vector<Endpoint> backends() const;
    // Of those that were looked at.
    [[nodiscard]] std::vector<BackendState> states() const;

  private:
    struct Backend {
        Endpoint endpoint;
        std::optional<BackendLook> known;
        std::optional<BackendLook> last;
    };
    std::vector<Backend> backends_;
};

// Looks in a thread of its own, from the first replace() on, which ends with it.
class BackendWatch {
  public:
    // `interval`: between two looks; nothing: none is made, and nothing is known.
    void replace(std::vector<Endpoint> backends, std::optional<Duration> interval);
    // Any thread.
    [[nodiscard]] std::vector<BackendState> states() const;

  private:
    void run(const std::stop_token& stop);

    mutable std::mutex mutex_;
    std::condition_variable_any changed_;
    BackendStates states_;              // under mutex_
    std::optional<Duration> interval_;  // under mutex_
    std::uint64_t generation_ = 0;      // under mutex_: of the backends
    std::jthread thread_;               // last: it ends before what it works on goes
};

}  // namespace splice
