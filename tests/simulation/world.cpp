#include "tests/simulation/world.hpp"

#include "tests/simulation/scene.hpp"

namespace splice::simulation {

Result World::run() {
    draw_network();
    draw_machines();
    draw_disturbances();
    draw_sessions();
    draw_health();
    run_queue();
    if (result_.failure.empty()) check_end();
    return result_;
}

void World::run_queue() {
    for (int steps = 0; !queue_.empty() && result_.failure.empty(); ++steps) {
        const Event event = queue_.top();
        queue_.pop();
        now_ = event.at;
        if (now_ > kHorizon || steps > kStepsMax) return fail("the hosts do not come to rest");
        event.what();
    }
}

void World::wake_at(Wake& wake, std::optional<Duration> when, std::function<void()> what) {
    if (!when || (wake.at && *wake.at <= *when && *wake.at > now_)) return;
    wake.at = std::max(*when, now_ + 1us);
    at(*wake.at, std::move(what));
}

Result simulate(std::uint64_t seed, bool verbose) {
    return World(seed, verbose).run();
}

}  // namespace splice::simulation
