// A KeyAnswer as one word or one string, so that a failed check shows what came.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "libsplice/core/hash_key.hpp"

namespace splice::test {

// "key:/a", "no_host" or "need_more".
inline std::string to_text(const KeyAnswer& answer) {
    if (const auto* key = std::get_if<Key>(&answer)) return "key:" + std::string(key->bytes);
    if (const auto* no_key = std::get_if<NoKey>(&answer)) return std::string(fallback_name(no_key->why));
    return "need_more";
}

// The bytes on a heap block of exactly their size, so that AddressSanitizer sees a read behind them.
class ExactCopy {
  public:
    explicit ExactCopy(std::string_view text) : size_(text.size()), bytes_(new char[text.size()]) {
        text.copy(bytes_.get(), size_);
    }
    [[nodiscard]] Bytes bytes() const { return as_bytes({bytes_.get(), size_}); }

  private:
    std::size_t size_;
    std::unique_ptr<char[]> bytes_;
};

}  // namespace splice::test
