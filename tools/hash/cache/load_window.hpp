// How many openings each bridge had lately: an exponentially decaying count.
#pragma once

#include <cstdint>
#include <vector>

#include "libsplice/base/time.hpp"

namespace splice::cache {

// An opening counts 1 when it comes and e^-1 after `window`. Instead of all counts decaying, new openings
// weigh more: comparisons stay the same, and an opening costs one addition.
class LoadWindow {
  public:
    LoadWindow(std::size_t bridges, Duration window);
    // Times never go back.
    void advance(Duration now);
    void open(std::uint16_t bridge) noexcept;
    // A bridge that is lost carries nothing.
    void clear(std::uint16_t bridge) noexcept;
    // In openings of now.
    [[nodiscard]] double load(std::uint16_t bridge) const noexcept { return loads_[bridge] / weight_; }
    [[nodiscard]] double total() const noexcept { return total_ / weight_; }

  private:
    std::vector<double> loads_;
    double total_ = 0;
    double weight_ = 1;
    double window_s_;
    Duration weighed_{};
};

}  // namespace splice::cache
