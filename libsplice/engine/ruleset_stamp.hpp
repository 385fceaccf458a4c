// Whether the kernel's netfilter rules may have changed, without reading them.
#pragma once

#include <cstdint>
#include <string>

namespace splice {

// Equal to an earlier one: no rule has changed since. It holds the generation of nftables' rules, and sizes
// and counts of the legacy tables that are loaded. Legacy rules that one rule of the same size replaces are
// not told apart.
[[nodiscard]] std::string ruleset_stamp();

// Of nftables' rules alone: it counts up with each transaction. 0: the kernel has no nftables.
[[nodiscard]] std::uint32_t nftables_generation();

}  // namespace splice
