// Translated flows as earlier versions pinned them, and what they are now. Whoever changes a layout
// (SPLICE_BRIDGE_LAYOUT) adds the one that ends here, its structs frozen.
#pragma once

#include "libsplice/core/joiner.hpp"
#include "libsplice/datapath/bridge_flow.h"
#include "libsplice/engine/flow_take_over.hpp"

namespace splice {

// Whether flows of that layout can be gone on with.
[[nodiscard]] bool is_readable_bridge_layout(int layout) noexcept;

// How flows of a readable layout become ours, by services that have the numbers of `setup`.
FlowTakeOver<splice_bridge_flow>::Conversion conversion_from(int layout, const JoinerSetup& setup);

}  // namespace splice
