#include "libsplice/core/prefix_set.hpp"

#include <algorithm>
#include <cstring>
#include <span>

namespace splice {
namespace {

bool before(const splice_prefix& a, const splice_prefix& b) noexcept {
    if (a.family != b.family) return a.family < b.family;
    if (a.bits != b.bits) return a.bits < b.bits;
    return std::memcmp(a.address.bytes, b.address.bytes, sizeof(a.address.bytes)) < 0;
}

bool equal(const splice_prefix& a, const splice_prefix& b) noexcept {
    return a.bits == b.bits && a.family == b.family && splice_address_equal(&a.address, &b.address);
}

void set_bits(std::span<__u64> bits, std::uint32_t first, std::uint32_t count) noexcept {
    for (std::uint32_t bit = first; bit < first + count; ++bit) bits[bit >> 6] |= 1ULL << (bit & 63);
}

}  // namespace

splice_address masked(const splice_address& address, unsigned bits) noexcept {
    splice_address head{};
    head.halves[0] = splice_source_head(address.halves[0], std::min(bits, 64U));
    head.halves[1] = splice_source_head(address.halves[1], bits > 64 ? bits - 64 : 0);
    return head;
}

PrefixSet::PrefixSet(std::vector<splice_prefix> prefixes) : prefixes_(std::move(prefixes)) {
    std::ranges::sort(prefixes_, before);
    const auto [first, last] = std::ranges::unique(prefixes_, equal);
    prefixes_.erase(first, last);
    for (std::size_t i = 0; i < prefixes_.size(); ++i) {
        const auto& [bits, family, address] = prefixes_[i];
        if (lengths_.empty() || lengths_.back().bits != bits || lengths_.back().family != family)
            lengths_.push_back({.family = family, .bits = bits, .begin = i, .end = i});
        lengths_.back().end = i + 1;
        set_heads(prefixes_[i]);
    }
}

void PrefixSet::set_heads(const splice_prefix& prefix) noexcept {
    constexpr unsigned kMapped = 96, kIpv6Long = 48, kIpv6Short = 32;
    const unsigned bits = prefix.bits - SPLICE_PREFIX_HEAD;
    if (prefix.family == 4) {
        constexpr unsigned kHead = SPLICE_DENIED_IPV4_SHIFT;
        // What is shorter than a head begins many of them.
        return set_bits(heads_->ipv4, splice_denied_head_ipv4(&prefix.address),
                        1U << (kHead - std::min(bits - kMapped, kHead)));
    }
    if (bits >= kIpv6Long) return set_bits(heads_->ipv6, splice_denied_head_ipv6(&prefix.address), 1);
    if (bits < kIpv6Short) return set_bits(heads_->ipv6_short, 0, 1U << SPLICE_DENIED_SHORT_SHIFT);
    set_bits(heads_->ipv6_short, splice_denied_head_ipv6_short(&prefix.address), 1);
}

bool PrefixSet::contains(const splice_address& address) const noexcept {
    if (!splice_denied_may_have(heads_.get(), &address)) return false;
    const unsigned family = splice_address_is_ipv4(&address) ? 4 : 6;
    return std::ranges::any_of(lengths_, [&](const Length& length) {
        if (length.family != family) return false;
        const splice_prefix wanted{length.bits, family, masked(address, length.bits - SPLICE_PREFIX_HEAD)};
        return std::binary_search(prefixes_.begin() + static_cast<std::ptrdiff_t>(length.begin),
                                  prefixes_.begin() + static_cast<std::ptrdiff_t>(length.end), wanted,
                                  before);
    });
}

bool operator==(const PrefixSet& a, const PrefixSet& b) noexcept {
    return std::ranges::equal(a.prefixes_, b.prefixes_, equal);
}

}  // namespace splice
