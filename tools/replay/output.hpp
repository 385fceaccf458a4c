// Where printed lines go: to standard output, or to be compared with a file of an earlier run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/system_error.hpp"

namespace splice::replay {

class Output {
  public:
    virtual ~Output() = default;
    virtual void line(std::string_view text) = 0;
};

// Standard output, written in blocks.
class StandardOutput final : public Output {
  public:
    void line(std::string_view text) override;
    // Errors of all writes together.
    SystemResult<void> close();

  private:
    void flush();
    std::string buffer_;
    int error_ = 0;
};

// Remembers the first line that differs.
class ExpectedOutput final : public Output {
  public:
    static SystemResult<ExpectedOutput> open(const std::string& path);
    void line(std::string_view text) override;
    // After the last line: what differs, both lines in it; nothing when all is as expected.
    [[nodiscard]] std::optional<std::string> difference() const;

  private:
    std::string path_;
    std::vector<std::string> expected_;
    std::size_t at_ = 0;
    std::optional<std::string> difference_;
};

}  // namespace splice::replay
