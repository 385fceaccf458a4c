// The bytes of a log: a file or standard input, unpacked when they are gzip or zstd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>

#include "libsplice/engine/descriptor.hpp"

namespace splice::hash {

// What "-" names.
inline constexpr const char* kStandardInput = "-";

class ByteSource {
  public:
    ByteSource(const ByteSource&) = delete;
    ByteSource& operator=(const ByteSource&) = delete;
    virtual ~ByteSource() = default;

    // Fills the front of `into`, which is not empty; 0 at the end. The error is one line that names the file.
    [[nodiscard]] virtual std::expected<std::size_t, std::string> read(std::span<char> into) = 0;
    // How much of the file has been read, as it is on the disk.
    [[nodiscard]] virtual std::uint64_t consumed() const noexcept = 0;

    // The format is told by the first bytes, not by the name.
    static std::expected<std::unique_ptr<ByteSource>, std::string> open(const std::string& path);

  protected:
    ByteSource() = default;
};

[[nodiscard]] std::expected<std::uint64_t, std::string> size_of_log(const std::string& path);

}  // namespace splice::hash
