#include "packetbridge/backend_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 1s;  // at most the shortest interval

std::string_view words_of(BackendLook look) noexcept {
    switch (look) {
        case BackendLook::full:
            return "accepts nothing: the queue of its listening socket is full, so its process hangs or is "
                   "overloaded";
        case BackendLook::refuses:
            return "refuses connections: nobody listens there";
        case BackendLook::silent:
            return "does not answer: a firewall drops what is sent to it, or its host is dead";
        case BackendLook::unreachable:
            return "cannot be reached: this host has no way to it, or a router on the way has none";
        case BackendLook::listens:
            break;
    }
    return "takes connections";
}

}  // namespace

std::string describe(const BackendState& state) {
    return fmt::format("the backend {} {}", state.backend.to_string(), words_of(state.look));
}

void BackendStates::replace(std::span<const Endpoint> backends) {
    std::vector<Backend> next;
    for (const Endpoint& backend : backends) {
        const auto known = std::ranges::find(backends_, backend, &Backend::endpoint);
        next.push_back(known == backends_.end() ? Backend{backend, {}, {}} : *known);
    }
    backends_ = std::move(next);
}

std::vector<BackendStates::Line> BackendStates::take(std::span<const BackendLook> looks) {
    std::vector<Line> lines;
    for (std::size_t i = 0; i < backends_.size() && i < looks.size(); ++i) {
        Backend& backend = backends_[i];
        const bool holds = !backend.known || backend.last == looks[i];
        backend.last = looks[i];
        if (!holds || backend.known == looks[i]) continue;
        const bool first = !backend.known;
        backend.known = looks[i];
        const bool up = looks[i] == BackendLook::listens;
        if (first && up) continue;
        lines.push_back({.warns = !up,
                         .text = describe({backend.endpoint, looks[i]}) + (up ? " again" : ""),
                         .fields = {{"backend", backend.endpoint.to_string()},
                                    {"state", std::string(to_string(looks[i]))}}});
    }
    return lines;
}

std::vector<Endpoint> BackendStates::backends() const {
    std::vector<Endpoint> all;
    for (const Backend& backend : backends_) all.push_back(backend.endpoint);
    return all;
}

std::vector<BackendState> BackendStates::states() const {
    std::vector<BackendState> all;
    for (const Backend& backend : backends_) {
        if (backend.known) all.push_back({backend.endpoint, *backend.known});
    }
    return all;
}

void BackendWatch::replace(std::vector<Endpoint> backends, std::optional<Duration> interval) {
    {
        const std::lock_guard lock(mutex_);
        // Who is not looked at is not known either.
        if (!interval) backends.clear();
        states_.replace(backends);
        interval_ = interval;
        ++generation_;
    }
    changed_.notify_all();
    if (!thread_.joinable() && interval)
        thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

std::vector<BackendState> BackendWatch::states() const {
    const std::lock_guard lock(mutex_);
    return states_.states();
}

void BackendWatch::run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        const std::uint64_t seen = generation_;
        const auto is_new = [&] { return generation_ != seen; };
        if (!interval_) {
            changed_.wait(lock, stop, is_new);
            continue;
        }
        const std::vector<Endpoint> backends = states_.backends();
        lock.unlock();
        const std::vector<BackendLook> looks = look_at_backends(backends, kPatience);
        lock.lock();
        if (is_new()) continue;
        for (const BackendStates::Line& line : states_.take(looks))
            line.warns ? log_warning(line.text, line.fields) : log_info(line.text, line.fields);
        changed_.wait_for(lock, stop, *interval_, is_new);
    }
}

}  // namespace splice
