#include "libsplice/engine/randomness.hpp"

#include <sys/random.h>

#include "libsplice/base/address.hpp"

namespace splice {

// Whole at once for so few bytes (getrandom(2)); without the call it is 0, with which everything works.
std::uint64_t random_seed() noexcept {
    std::uint64_t seed = 0;
    return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : 0;
}

splice_key random_key() noexcept {
    return {.k0 = random_seed(), .k1 = random_seed(), .after_zero = {}};
}

splice_source_key random_source_key() noexcept {
    splice_source_key key{};
    key.addend = random_seed();
    for (auto& multiplier : key.multipliers) multiplier = random_seed();
    return key;
}

void seed_hash_tables() noexcept {
    FlowKeyHash::seed = random_seed();
}

}  // namespace splice
