#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "libsplice/core/placement/builders.hpp"
#include "tools/hash/ask.hpp"
#include "tools/hash/zipf.hpp"

namespace splice::hash {
namespace {

constexpr std::size_t kWriteBytes = 64UZ * 1024;

// splitmix64 (Steele et al. 2014): the same numbers on every machine.
class Fractions {
  public:
    explicit Fractions(std::uint64_t seed) : state_(placement::mix64(seed)) {}
    double operator()() noexcept {
        state_ += 0x9e3779b97f4a7c15U;
        return static_cast<double>(placement::mix64(state_) >> 11) * 0x1p-53;
    }

  private:
    std::uint64_t state_;
};

// An object's size follows from its number, so that nothing must be remembered: lognormal, by Box and Muller.
class Sizes {
  public:
    explicit Sizes(const GenerateOptions& options)
        : seed_(placement::mix64(options.seed + 1)),
          sigma_(options.sigma),
          median_(static_cast<double>(options.mean_bytes) / std::exp(options.sigma * options.sigma / 2)) {}
    [[nodiscard]] std::uint64_t of(std::uint64_t object) const {
        Fractions fractions(seed_ ^ object);
        const double radius = std::sqrt(-2 * std::log(1 - fractions()));
        const double normal = radius * std::cos(2 * std::numbers::pi * fractions());
        return 1 + static_cast<std::uint64_t>(median_ * std::exp(sigma_ * normal));
    }

  private:
    std::uint64_t seed_;
    double sigma_;
    double median_;
};

// Which object has a rank now. Each rank changes hands after a lifetime, and each at a time of its own.
std::uint64_t object_at(const GenerateOptions& options, std::uint64_t rank, double now_s) {
    if (options.lifetime == Duration{}) return rank;
    const double lifetime_s = std::chrono::duration<double>(options.lifetime).count();
    const double phase = static_cast<double>(placement::mix64(rank ^ options.seed) >> 11) * 0x1p-53;
    const auto generation = static_cast<std::uint64_t>(now_s / lifetime_s + phase);
    return rank + generation * options.objects;
}

void append_line(std::string& text, GenerateOptions::As as, double now_s, std::uint64_t object,
                 std::uint64_t bytes) {
    auto out = std::back_inserter(text);
    if (as == GenerateOptions::As::trace) {
        fmt::format_to(out, "{:.3f},{},{}\n", now_s, object, bytes);
    } else if (as == GenerateOptions::As::plain) {
        fmt::format_to(out, "/objects/{:x}\n", object);
    } else {
        const auto seconds = static_cast<unsigned>(now_s) % 86400;
        fmt::format_to(
            out,
            "192.0.2.{} - - [01/Jan/2024:{:02}:{:02}:{:02} +0000] \"GET /objects/{:x} HTTP/1.1\" 200 {} "
            "\"-\" \"generated\"\n",
            object % 254 + 1, seconds / 3600, seconds / 60 % 60, seconds % 60, object, bytes);
    }
}

}  // namespace

Answered generate(const GenerateOptions& options, const Write& write) {
    const Zipf zipf(options.objects, options.zipf);
    const Sizes sizes(options);
    Fractions fractions(options.seed);
    std::string text;
    double now_s = 0;
    for (std::uint64_t i = 0; i < options.requests; ++i) {
        // Requests come independently of each other: gaps are exponential.
        now_s -= std::log(1 - fractions()) / options.requests_per_second;
        const std::uint64_t object = object_at(options, zipf.draw(fractions), now_s);
        append_line(text, options.as, now_s, object, sizes.of(object));
        if (text.size() < kWriteBytes) continue;
        if (!write(text)) return {};
        text.clear();
    }
    write(text);
    return {};
}

}  // namespace splice::hash
