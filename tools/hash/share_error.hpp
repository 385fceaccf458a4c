// How far a bridge's share may be from what a longer log of the same kind would show: the log is cut into
// parts of equal length, and the parts are compared (batch means). Unlike the formula for independent
// requests this sees that requests for one key come together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tools/hash/limits.hpp"

namespace splice::hash {

// One quantity (requests, or bytes) of all bridges.
class ShareError {
  public:
    explicit ShareError(std::size_t bridges) : bridges_(bridges), batches_(kBatches * bridges) {}

    // Call next() once a request, before or after its amounts.
    void add(std::size_t bridge, std::uint64_t amount) noexcept {
        batches_[batch_ * bridges_ + bridge] += amount;
    }
    void next() {
        if (++in_batch_ < batch_requests_) return;
        in_batch_ = 0;
        if (++batch_ == kBatches) halve();
    }

    // Half the width of the 95 % interval of the bridge's share; nothing when the log is too short to tell.
    [[nodiscard]] double half_width(std::size_t bridge) const {
        std::vector<double> shares;
        for (std::size_t batch = 0; batch < batch_; ++batch) {
            double all = 0;
            for (std::size_t each = 0; each < bridges_; ++each)
                all += static_cast<double>(batches_[batch * bridges_ + each]);
            if (all > 0) shares.push_back(static_cast<double>(batches_[batch * bridges_ + bridge]) / all);
        }
        if (shares.size() < kFewest) return std::nan("");
        double mean = 0;
        for (const double share : shares) mean += share / static_cast<double>(shares.size());
        double square = 0;
        for (const double share : shares) square += (share - mean) * (share - mean);
        const auto count = static_cast<double>(shares.size());
        constexpr double kStudent = 2.05;  // Student's t for 95 % with 31 degrees of freedom, about
        return kStudent * std::sqrt(square / (count - 1) / count);
    }

  private:
    static constexpr std::size_t kFewest = 16;

    void halve() {
        for (std::size_t batch = 0; batch < kBatches / 2; ++batch) {
            for (std::size_t bridge = 0; bridge < bridges_; ++bridge) {
                batches_[batch * bridges_ + bridge] =
                    batches_[2 * batch * bridges_ + bridge] + batches_[(2 * batch + 1) * bridges_ + bridge];
            }
        }
        std::fill(batches_.begin() + static_cast<std::ptrdiff_t>(kBatches / 2 * bridges_), batches_.end(), 0);
        batch_ = kBatches / 2;
        batch_requests_ *= 2;
    }

    std::size_t bridges_;
    std::vector<std::uint64_t> batches_;
    std::size_t batch_ = 0;
    std::uint64_t in_batch_ = 0;
    std::uint64_t batch_requests_ = 16;
};

}  // namespace splice::hash
