#include "tools/hash/cache/load_window.hpp"

#include <algorithm>
#include <cmath>

namespace splice::cache {
namespace {

double seconds(Duration duration) noexcept {
    return std::chrono::duration<double>(duration).count();
}

// Far from the largest double, with room for the sums.
constexpr double kMostWeight = 1e100;

}  // namespace

LoadWindow::LoadWindow(std::size_t bridges, Duration window) : loads_(bridges), window_s_(seconds(window)) {}

void LoadWindow::advance(Duration now) {
    if (now <= weighed_) return;
    weight_ *= std::exp(std::min(seconds(now - weighed_) / window_s_, 300.0));
    weighed_ = now;
    if (weight_ < kMostWeight) return;
    for (double& load : loads_) load /= weight_;
    total_ /= weight_;
    weight_ = 1;
}

void LoadWindow::open(std::uint16_t bridge) noexcept {
    loads_[bridge] += weight_;
    total_ += weight_;
}

void LoadWindow::clear(std::uint16_t bridge) noexcept {
    total_ = std::max(0.0, total_ - loads_[bridge]);
    loads_[bridge] = 0;
}

}  // namespace splice::cache
