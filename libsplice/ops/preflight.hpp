// What a host lacks, or will disappoint in, as one list: --check --host.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

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

// What both executables need: capabilities, the uplinks, a clock that is kept.
void look_at_common_host(const std::vector<std::string>& uplinks, Preflight& found);

}  // namespace splice
