// What the PROXY header of a first payload has told, between two of its segments.
#pragma once

#include <cstdint>
#include <optional>

#include "libsplice/datapath/flow.h"

namespace splice {

// It begins as {}, and is a caller's to keep between calls.
struct ProxyScan {
    std::uint32_t length = 0;              // of the header, once it is whole; 0 before
    std::optional<splice_address> source;  // the client that it names
};

}  // namespace splice
