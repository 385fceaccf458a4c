// Prefixes of addresses: who is on a deny list.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/datapath/limits.h"

namespace splice {

class PrefixSet {
  public:
    // In any order; the same one may be there twice.
    explicit PrefixSet(std::vector<splice_prefix> prefixes);

    [[nodiscard]] bool contains(const splice_address& address) const noexcept;
    // Sorted, each once.
    [[nodiscard]] const std::vector<splice_prefix>& prefixes() const noexcept { return prefixes_; }
    [[nodiscard]] std::size_t size() const noexcept { return prefixes_.size(); }
    [[nodiscard]] const splice_denied_heads& heads() const noexcept { return *heads_; }
    friend bool operator==(const PrefixSet& a, const PrefixSet& b) noexcept;

  private:
    void set_heads(const splice_prefix& prefix) noexcept;

    std::vector<splice_prefix> prefixes_;  // by family, length, address
    // Of each family and length that is there: where it begins and ends in prefixes_.
    struct Length {
        unsigned family;
        unsigned bits;  // as in prefixes
        std::size_t begin, end;
    };
    std::vector<Length> lengths_;
    std::unique_ptr<splice_denied_heads> heads_ = std::make_unique<splice_denied_heads>();
};

// The address without its bits beyond the first `bits` of 128.
[[nodiscard]] splice_address masked(const splice_address& address, unsigned bits) noexcept;

}  // namespace splice
