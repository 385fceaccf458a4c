// Which keys are asked so often that one bridge should not have them alone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/core/heavy_keys.hpp"
#include "libsplice/datapath/hot_keys.h"

namespace splice {

// Of one service. Keys are counted by Space-Saving in constant memory; all counts are halved every
// kLoadWindow / 2, so that what was hot an hour ago is forgotten. Every kHotTick a key becomes hot when it is
// among the first `top` with at least kHotLeast openings that are surely its own. It stays hot while it is
// among the first 2 * top with half of that (hysteresis): a key at the border does not go back and forth,
// which would let its second bridge fetch it for nothing.
class HotKeys {
  public:
    explicit HotKeys(std::size_t top);

    // One opening of the key; `hash` is hash_key_bytes()'s.
    void count(std::uint64_t hash, std::string_view key);
    [[nodiscard]] bool has(std::uint64_t hash) const { return hot_.contains(hash); }
    // Judges anew when a tick is due. Times never go back. True: which keys are hot has changed.
    bool advance(Duration now);

    struct Key {
        std::uint64_t hash = 0;
        std::string key;
        double share = 0;  // of the openings lately
    };
    [[nodiscard]] std::size_t top() const noexcept { return top_; }
    // Whether keys() was renewed since the last call.
    [[nodiscard]] bool take_news() noexcept { return std::exchange(news_, false); }
    // The hot keys, most openings first, as of the last tick.
    [[nodiscard]] const std::vector<Key>& keys() const noexcept { return keys_; }

  private:
    std::size_t top_;
    HeavyKeys counts_;
    std::uint64_t counted_ = 0;  // lately: halved as the counts are
    std::unordered_set<std::uint64_t> hot_;
    std::vector<Key> keys_;
    bool news_ = false;
    std::optional<Duration> ticked_;
    std::optional<Duration> halved_;
};

// The hot keys of all services, as splice_is_hot() finds them. About 70 kB.
class HotTable {
  public:
    // In place of those that the service had. Where more keys meet in one bucket than it holds, the last ones
    // are not found: 512 keys fill one of 4 in a thousand.
    void replace(std::uint8_t service, const std::vector<HotKeys::Key>& keys);
    [[nodiscard]] const splice_hot_keys& table() const noexcept { return *table_; }

  private:
    std::unique_ptr<splice_hot_keys> table_ = std::make_unique<splice_hot_keys>();
    std::array<std::vector<std::uint64_t>, 64> hashes_;  // by the services' marks (datapath/carriage.h)
};

}  // namespace splice
