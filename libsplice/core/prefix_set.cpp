#include "libsplice/core/prefix_set.hpp"

#include <algorithm>
#include <cstring>

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

void set_bits(__u64 (&bits)[1024], std::uint32_t first, std::uint32_t count) noexcept {
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
    constexpr unsigned kMapped = 96, kIpv4Head = 16, kIpv6Head = 32;
    constexpr std::uint32_t kHeads = 1U << 16;
    const unsigned length = prefix.bits - SPLICE_PREFIX_HEAD;
    if (prefix.family == 4) {
        const std::uint32_t head = splice_ntohs(static_cast<__u16>(prefix.address.words[3]));
        const unsigned bits = std::min(length - kMapped, kIpv4Head);
        return set_bits(heads_.ipv4, head, 1U << (kIpv4Head - bits));
    }
    // What is shorter than a head begins many of them.
    if (length < kIpv6Head) return set_bits(heads_.ipv6, 0, kHeads);
    set_bits(heads_.ipv6, splice_denied_head_of_ipv6(prefix.address.words[0]), 1);
}

bool PrefixSet::contains(const splice_address& address) const noexcept {
    if (!splice_denied_may_have(&heads_, &address)) return false;
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
