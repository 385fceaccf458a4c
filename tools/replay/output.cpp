#include "tools/replay/output.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

namespace splice::replay {
namespace {

constexpr std::size_t kBlock = 64UZ * 1024;

}  // namespace

void StandardOutput::line(std::string_view text) {
    buffer_ += text;
    buffer_ += '\n';
    if (buffer_.size() >= kBlock) flush();
}

void StandardOutput::flush() {
    if (std::fwrite(buffer_.data(), 1, buffer_.size(), stdout) != buffer_.size()) error_ = errno;
    buffer_.clear();
}

SystemResult<void> StandardOutput::close() {
    flush();
    if (std::fflush(stdout) != 0) error_ = errno;
    if (error_ != 0) return system_error("write to standard output", error_);
    return {};
}

SystemResult<ExpectedOutput> ExpectedOutput::open(const std::string& path) {
    std::ifstream file(path);
    if (!file) return system_error("read the expectation " + path, errno);
    ExpectedOutput output;
    output.path_ = path;
    for (std::string text; std::getline(file, text);) output.expected_.push_back(std::move(text));
    return output;
}

void ExpectedOutput::line(std::string_view text) {
    const std::size_t at = at_++;
    if (difference_) return;
    if (at >= expected_.size()) {
        difference_ =
            fmt::format("{}: ends after line {}\n  expected: nothing\n  got:      {}", path_, at, text);
    } else if (expected_[at] != text) {
        difference_ =
            fmt::format("{}:{}: differs\n  expected: {}\n  got:      {}", path_, at + 1, expected_[at], text);
    }
}

std::optional<std::string> ExpectedOutput::difference() const {
    if (difference_ || at_ >= expected_.size()) return difference_;
    return fmt::format("{}:{}: more was expected\n  expected: {}\n  got:      nothing", path_, at_ + 1,
                       expected_[at_]);
}

}  // namespace splice::replay
