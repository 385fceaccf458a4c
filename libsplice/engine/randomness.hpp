// The kernel's random numbers.
#pragma once

#include <cstdint>

#include "libsplice/datapath/siphash.h"
#include "libsplice/datapath/source.h"

namespace splice {

// For what need not be secret, but shall differ from host to host.
std::uint64_t random_seed() noexcept;

// For this process's own numbers that nobody shall guess; not prepared.
splice_key random_key() noexcept;

// For this process's own limits.
splice_source_key random_source_key() noexcept;

// Seeds the hash tables whose keys strangers choose. Once, before any of them exists.
void seed_hash_tables() noexcept;

}  // namespace splice
