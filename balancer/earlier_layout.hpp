// Flow entries as earlier versions pinned them, and what they are now. Whoever changes a layout
// (SPLICE_BALANCER_LAYOUT) adds the one that ends here, its structs frozen.
#pragma once

#include "libsplice/core/splicer.hpp"
#include "libsplice/datapath/flow.h"
#include "libsplice/engine/flow_take_over.hpp"

namespace splice {

// Whether flows of that layout can be gone on with, and what their bridges' numbers name.
[[nodiscard]] bool is_readable_layout(int layout) noexcept;

// How flows of a readable layout become ours, by services that have the numbers of `setup`.
FlowTakeOver<splice_flow_entry>::Conversion conversion_from(int layout, const SplicerSetup& setup);

}  // namespace splice
