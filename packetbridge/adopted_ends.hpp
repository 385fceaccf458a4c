// The end of adopted connections that are in the connection log's sample: a program that hears when the
// kernel closes a socket, and reads there what it carried. Connections of before it was attached are not
// known to it.
#pragma once

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

class AdoptedEnds {
  public:
    // The maps are those of the program that adopts. It hears of this process's network namespace alone.
    // Errors: the kernel has no BTF, or no tracing programs.
    static SystemResult<AdoptedEnds> attach(int sampled, int told, int asked, int counters);

  private:
    AdoptedEnds(BpfObject object, Descriptor link) noexcept
        : object_(std::move(object)), link_(std::move(link)) {}
    BpfObject object_;
    Descriptor link_;  // gone first
};

}  // namespace splice
