#include "tools/hash/progress_bar.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace splice::hash {

void ProgressBar::show(std::uint64_t done, std::uint64_t all, std::uint64_t records) {
    using namespace std::chrono_literals;
    const auto now = std::chrono::steady_clock::now();
    if (now - drawn_at_ < 100ms) return;
    drawn_at_ = now;
    drawn_ = true;
    if (all == 0) {
        fmt::print(stderr, "\r\x1b[K{} requests", records);
        return;
    }
    constexpr std::uint64_t kWidth = 40;
    const std::uint64_t filled = std::min(done * kWidth / all, kWidth);
    fmt::print(stderr, "\r\x1b[K[{:#<{}}{:.<{}}] {:3} % {} requests", "", filled, "", kWidth - filled,
               std::min<std::uint64_t>(done * 100 / all, 100), records);
}

void ProgressBar::wipe() {
    if (drawn_) fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
}

}  // namespace splice::hash
