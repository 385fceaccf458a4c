// Ranks by Zipf's law in constant memory: rejection-inversion (W. Hörmann and G. Derflinger, ACM Transactions
// on Modeling and Computer Simulation 6(3), 1996).
#pragma once

#include <cmath>
#include <cstdint>

namespace splice::hash {

class Zipf {
  public:
    // Rank r of 1 to `ranks` is drawn as often as r^-exponent; `exponent` >= 0.
    Zipf(std::uint64_t ranks, double exponent)
        : ranks_(static_cast<double>(ranks)),
          exponent_(exponent),
          area_before_first_(area(1.5) - 1),
          area_of_all_(area(ranks_ + 0.5)),
          sure_(2 - inverse_area(area(2.5) - weight(2))) {}

    // `next` gives independent fractions from 0 to below 1.
    template <class Fractions>
    [[nodiscard]] std::uint64_t draw(Fractions&& next) const {
        for (;;) {
            const double u = area_of_all_ + next() * (area_before_first_ - area_of_all_);
            const double x = inverse_area(u);
            double rank = std::floor(x + 0.5);
            if (rank < 1) rank = 1;
            if (rank > ranks_) rank = ranks_;
            if (rank - x <= sure_ || u >= area(rank + 0.5) - weight(rank))
                return static_cast<std::uint64_t>(rank);
        }
    }

  private:
    [[nodiscard]] double weight(double x) const { return std::exp(-exponent_ * std::log(x)); }
    // The integral of x^-exponent, but for a constant.
    [[nodiscard]] double area(double x) const {
        const double log_x = std::log(x);
        return growth((1 - exponent_) * log_x) * log_x;
    }
    [[nodiscard]] double inverse_area(double x) const {
        double t = x * (1 - exponent_);
        if (t < -1) t = -1;
        return std::exp(shrinkage(t) * x);
    }
    // (e^x - 1) / x and log(1 + x) / x, also near 0.
    static double growth(double x) {
        return std::abs(x) > 1e-8 ? std::expm1(x) / x : 1 + x / 2 * (1 + x / 3 * (1 + x / 4));
    }
    static double shrinkage(double x) {
        return std::abs(x) > 1e-8 ? std::log1p(x) / x : 1 - x * (0.5 - x * (1.0 / 3 - x / 4));
    }

    double ranks_;
    double exponent_;
    double area_before_first_;
    double area_of_all_;
    double sure_;
};

}  // namespace splice::hash
