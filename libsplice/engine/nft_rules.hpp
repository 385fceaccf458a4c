// Rules of ours as the content of a table of nftables. Whatever a match has several of is a set, so a packet
// costs a look-up for each field and not a rule for each service.
#pragma once

#include <string>
#include <vector>

#include "libsplice/engine/netfilter_match.hpp"

namespace splice {

// A chain for each hook that has rules, and in it for each match one rule a family. For NftTable.
std::string nft_rules(const std::vector<NetfilterMatch>& rules);

}  // namespace splice
