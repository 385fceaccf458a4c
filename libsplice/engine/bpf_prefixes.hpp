// A set of prefixes as a map of the kernel's, for longest-prefix matches.
#pragma once

#include "libsplice/base/system_error.hpp"
#include "libsplice/core/prefix_set.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// splice_prefix -> one byte, without meaning. At least one prefix. Errors: the kernel has no memory for it.
SystemResult<Descriptor> make_bpf_prefixes(const PrefixSet& prefixes);

}  // namespace splice
