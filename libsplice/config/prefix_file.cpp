#include "libsplice/config/prefix_file.hpp"

#include <fmt/format.h>

#include <optional>

#include "libsplice/base/address.hpp"
#include "libsplice/base/quoted.hpp"
#include "libsplice/config/values.hpp"
#include "libsplice/ops/text_file.hpp"

namespace splice {
namespace {

constexpr std::size_t kMaxPrefixFile = 64UZ << 20;  // bytes
constexpr std::string_view kBlank = " \t\r";

std::string_view trim(std::string_view text) {
    const std::size_t first = text.find_first_not_of(kBlank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

// Nothing: no prefix, or one with bits beyond its length.
std::optional<splice_prefix> parse_prefix(std::string_view text) {
    constexpr unsigned kMapped = 96;
    const std::size_t slash = text.find('/');
    const auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return std::nullopt;
    const bool ipv4 = address->family() == 4;
    std::uint64_t bits = ipv4 ? 32 : 128;
    if (slash != std::string_view::npos) {
        const auto number = parse_number(text.substr(slash + 1), 0, bits);
        if (!number) return std::nullopt;
        bits = *number;
    }
    const auto length = static_cast<__u32>(bits + (ipv4 ? kMapped : 0));
    const splice_address head = masked(address->raw(), length);
    if (!splice_address_equal(&head, &address->raw())) return std::nullopt;
    return splice_prefix_of(&head, length);
}

}  // namespace

std::expected<void, std::string> parse_prefixes(std::string_view text, const std::string& path,
                                                std::vector<splice_prefix>& prefixes) {
    for (std::size_t number = 1; !text.empty(); ++number) {
        const std::size_t newline = text.find('\n');
        const std::string_view whole = text.substr(0, newline);
        text = newline == std::string_view::npos ? std::string_view{} : text.substr(newline + 1);
        const std::string_view line = trim(whole.substr(0, whole.find('#')));
        if (line.empty()) continue;
        const auto prefix = parse_prefix(line);
        if (!prefix)
            return std::unexpected(
                fmt::format("{}:{}: {}: expected an address or a prefix such as 198.51.100.0/24 or "
                            "2001:db8::/32, without bits "
                            "beyond its length",
                            path, number, quoted(line)));
        if (prefixes.size() == kMaxPrefixes)
            return std::unexpected(
                fmt::format("{}:{}: expected at most {} prefixes in all files", path, number, kMaxPrefixes));
        prefixes.push_back(*prefix);
    }
    return {};
}

std::expected<PrefixSet, std::string> read_prefix_files(const std::vector<std::string>& paths) {
    std::vector<splice_prefix> prefixes;
    for (const std::string& path : paths) {
        const auto file = read_text_file(path, kMaxPrefixFile, "read the deny list", "");
        if (!file) return std::unexpected(file.error().text);
        if (auto parsed = parse_prefixes(file->text, path, prefixes); !parsed)
            return std::unexpected(parsed.error());
    }
    return PrefixSet(std::move(prefixes));
}

}  // namespace splice
