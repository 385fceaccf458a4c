#include "libsplice/engine/randomness.hpp"

#include <sys/random.h>

#include <cstdint>

#include "libsplice/base/address.hpp"

namespace splice {

void seed_hash_tables() noexcept {
    // Whole at once for so few bytes (getrandom(2)); without the call the tables work, unseeded.
    std::uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) == sizeof(seed)) FlowKeyHash::seed = seed;
}

}  // namespace splice
