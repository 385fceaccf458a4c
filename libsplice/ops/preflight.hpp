// What a host lacks, or will disappoint in, as one list: --check --host.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libsplice/base/xdp_mode.hpp"

namespace splice {

class Preflight {
  public:
    void good(std::string text) { findings_.push_back({Kind::good, std::move(text)}); }
    void warn(std::string text) { findings_.push_back({Kind::warning, std::move(text)}); }
    void missing(std::string text) { findings_.push_back({Kind::missing, std::move(text)}); }

    // Prints a line for each, what is missing last: "ok", "warning" or "missing". The exit code: 1 when
    // something is missing.
    [[nodiscard]] int print() const;

  private:
    enum class Kind : std::uint8_t { good, warning, missing };
    struct Finding {
        Kind kind;
        std::string text;
    };
    std::vector<Finding> findings_;
};

// What the configured engine makes of kernel programs.
struct KernelPrograms {
    bool tried = true;   // it takes them where they load
    bool needed = true;  // and nothing else
};

// What both executables need: capabilities, the uplinks, a clock that is kept.
void look_at_common_host(const std::vector<std::string>& uplinks, const KernelPrograms& programs,
                         Preflight& found);
// The mode in which XDP would run on an interface that is there; `wanted` is what the configuration says.
void look_at_xdp_of(const std::string& interface, XdpMode wanted, Preflight& found);
// Chains of the firewall at "input" or "output" that drop what nothing accepts. `needs`: what is to be
// accepted there, to follow a comma.
void look_at_policies(std::string_view hook, std::string_view needs, Preflight& found);

}  // namespace splice
