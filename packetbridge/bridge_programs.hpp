// The bridge's kernel programs and their maps, loaded and spoken to in our own terms.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/verdict.hpp"
#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/core/bridge.hpp"
#include "libsplice/engine/bpffs.hpp"
#include "libsplice/engine/kernel_program.hpp"
#include "packetbridge/config.hpp"

namespace splice {

// The numbers of services that the flows of an earlier process bear, as names by number (VIP:port); empty
// when there was none. `folder` holds its pins.
std::vector<std::string> remembered_services(const std::string& folder);

class BridgePrograms {
  public:
    // `pins`: where flows and counters of an earlier process may stand, which are taken over when they fit.
    // `marks`: of adopted connections, for as long as the programs live.
    static SystemResult<BridgePrograms> load(Mode mode, std::size_t max_flows, std::optional<PinFolder> pins,
                                             const splice_mark_field& marks = kDefaultMarks);

    // Whether load() would find flows of an earlier process there.
    static bool are_flows_pinned(const PinFolder& pins);

    // Services by number, marks, backend ports, secret and clock. Packets in between see the old or the
    // new. Errors: more addresses of a family than the kernel's entry has room for.
    SystemResult<void> write(const BridgeRules& rules);
    // The wall clock moves: to be called every second or so.
    void renew_clock() noexcept { program_.renew_clock(); }

    [[nodiscard]] int ingress() const;
    [[nodiscard]] int egress() const;
    [[nodiscard]] int ring() const { return program_.map("asked"); }
    [[nodiscard]] int flows() const { return program_.map("flows"); }
    // Over all processors.
    [[nodiscard]] splice_bridge_counters counters() const;
    // The pins stay for a next process only if they are kept.
    void unpin() noexcept;

  private:
    [[nodiscard]] splice_bridge_settings& settings() const noexcept {
        return program_.settings<splice_bridge_settings>();
    }
    BridgePrograms(KernelProgram program, Mode mode, std::optional<PinFolder> pins) noexcept
        : program_(std::move(program)), mode_(mode), pins_(std::move(pins)) {}

    KernelProgram program_;
    Mode mode_;
    std::optional<PinFolder> pins_;
};

}  // namespace splice
