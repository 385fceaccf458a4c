// The flags of splice-hash.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <variant>
#include <vector>

#include "libsplice/core/hash_key.hpp"
#include "libsplice/core/placement/placement.hpp"
#include "tools/flags.hpp"

namespace splice::tools {

struct HashOptions {
    std::vector<PlacementMember> bridges;  // PlacementMember::bridge is the index into this vector
    Algorithm algorithm = Algorithm::rendezvous;
    HashKeyRule rule;
    std::uint32_t rows = 0;
    std::vector<std::string> without;  // names of bridges, each of them in `bridges`
    bool spread = false;
    std::vector<std::string> inputs;  // from the command line; none = from standard input
};

// The error is one line that names the flag.
[[nodiscard]] std::expected<std::variant<HashOptions, Notice>, std::string> parse_hash_options(int argc,
                                                                                               char** argv);

}  // namespace splice::tools
