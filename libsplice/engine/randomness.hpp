// The kernel's random numbers.
#pragma once

namespace splice {

// Seeds the hash tables whose keys strangers choose. Once, before any of them exists.
void seed_hash_tables() noexcept;

}  // namespace splice
