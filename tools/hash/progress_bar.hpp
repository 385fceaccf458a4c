// How far the reading is, on a terminal.
#pragma once

#include <chrono>

#include "tools/hash/log_reader.hpp"

namespace splice::hash {

// Draws on standard error, at most ten times a second, and wipes what it has drawn.
class ProgressBar final : public Progress {
  public:
    ProgressBar() = default;
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;
    ~ProgressBar() override { wipe(); }

    void show(std::uint64_t done, std::uint64_t all, std::uint64_t records) override;
    void wipe();

  private:
    std::chrono::steady_clock::time_point drawn_at_{};
    bool drawn_ = false;
};

}  // namespace splice::hash
