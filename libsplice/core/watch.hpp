// What is looked at while a service chooses, without changing a choice: keys that get hot, and what another
// key or algorithm would do with the same traffic.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/hot_keys.hpp"
#include "libsplice/core/placement/placement.hpp"

namespace splice {

// Another way to choose.
struct ShadowRule {
    HashKeyRule key;
    std::shared_ptr<const Placement> placement;  // over the same bridges
    std::shared_ptr<const Placement> before;     // the service's, with none of its rows moved
    // Of 65536 rows so many are served by it (splice_ramp_moves()); 0: it is only watched.
    std::uint16_t ramp = 0;
    // The kernel program's table has the moved rows already, as the key is the service's own.
    bool in_table = false;
};

// Written by the machine's thread, read by any.
class ServiceWatch {
  public:
    // `bridges`: one more than the highest number of a bridge.
    explicit ServiceWatch(std::size_t bridges) : now_(bridges), then_(bridges) {}

    // An opening whose first choice is `now`, and would be `then`.
    void compare(std::uint16_t now, std::uint16_t then) noexcept;
    void show(std::vector<HotKeys::Key> keys);

    struct Shadow {
        std::uint64_t openings = 0;
        std::uint64_t moved = 0;
        std::vector<std::uint64_t> now;  // by bridge: first choices
        std::vector<std::uint64_t> then;
    };
    [[nodiscard]] Shadow shadow() const;
    [[nodiscard]] std::vector<HotKeys::Key> hot_keys() const;

  private:
    std::atomic<std::uint64_t> openings_{};
    std::atomic<std::uint64_t> moved_{};
    std::vector<std::atomic<std::uint64_t>> now_;
    std::vector<std::atomic<std::uint64_t>> then_;
    std::atomic<std::shared_ptr<const std::vector<HotKeys::Key>>> hot_;
};

}  // namespace splice
