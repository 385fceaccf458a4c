#include "libsplice/config/secret_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "libsplice/ops/text_file.hpp"

namespace splice {
namespace {

constexpr std::size_t kMaxSecretFile = 4096;
constexpr std::size_t kKeyDigits = 32;
constexpr std::string_view kLaneWord = "lane ";

// What provision/lab-secret says: "splicelb-lab-key".
constexpr std::uint64_t kLabKey0 = 0x62'6c'65'63'69'6c'70'73;
constexpr std::uint64_t kLabKey1 = 0x79'65'6b'2d'62'61'6c'2d;

bool is_of_lab(const IpAddress& address) noexcept {
    constexpr std::array<std::uint8_t, 3> kPrefix = {192, 168, 33};
    return address.family() == 4 && std::equal(kPrefix.begin(), kPrefix.end(), address.raw().bytes + 12);
}

std::string make_one(const std::string& path) {
    return fmt::format(
        "make one with: (umask 077; openssl rand -hex 16 > {}), the same on balancers and bridges", path);
}

std::optional<unsigned> hex_digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
    return std::nullopt;
}

std::string_view trim_right(std::string_view line) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r'))
        line.remove_suffix(1);
    return line;
}

// The error never shows what stands there: it may be most of a key. `column`: what of the line is before it.
std::expected<splice_key, std::string> parse_key(std::string_view digits, const std::string& path,
                                                 std::size_t line, std::size_t column) {
    std::array<std::uint8_t, kKeyDigits / 2> bytes{};
    for (std::size_t i = 0; i < digits.size() && i < kKeyDigits; i++) {
        const auto digit = hex_digit(digits[i]);
        if (!digit)
            return std::unexpected(fmt::format("{}:{}:{}: not a hex digit; a key is {} of them", path, line,
                                               column + i + 1, kKeyDigits));
        bytes[i / 2] = static_cast<std::uint8_t>(bytes[i / 2] << 4 | *digit);
    }
    if (digits.size() != kKeyDigits)
        return std::unexpected(
            fmt::format("{}:{}:{}: {} characters; a key is {} hex digits (openssl rand -hex 16)", path, line,
                        column + std::min(digits.size(), kKeyDigits) + 1, digits.size(), kKeyDigits));
    splice_key key{};
    for (std::size_t i = 0; i < 8; i++) {
        key.k0 |= static_cast<__u64>(bytes[i]) << (8 * i);
        key.k1 |= static_cast<__u64>(bytes[i + 8]) << (8 * i);
    }
    return key;
}

}  // namespace

std::expected<splice_secret, std::string> parse_secret(std::string_view text, const std::string& path) {
    splice_secret secret{};
    bool has_lane = false;
    for (std::size_t number = 1; !text.empty(); number++) {
        const std::size_t newline = text.find('\n');
        const std::string_view line = trim_right(text.substr(0, newline));
        text = newline == std::string_view::npos ? std::string_view{} : text.substr(newline + 1);
        if (line.empty() || line.front() == '#') continue;
        if (line.starts_with(kLaneWord)) {
            if (has_lane)
                return std::unexpected(
                    fmt::format("{}:{}:1: a second lane line; expected at most one", path, number));
            auto key = parse_key(line.substr(kLaneWord.size()), path, number, kLaneWord.size());
            if (!key) return std::unexpected(key.error());
            secret.lane = splice_lane_key_from(&*key);
            has_lane = true;
            continue;
        }
        if (secret.count == std::size(secret.keys))
            return std::unexpected(fmt::format(
                "{}:{}:1: a third key; at most two: the first issues, both verify", path, number));
        auto key = parse_key(line, path, number, 0);
        if (!key) return std::unexpected(key.error());
        if (key->k0 == 0 && key->k1 == 0)
            return std::unexpected(fmt::format("{}:{}:1: a key of zeros, which anybody guesses; {}", path,
                                               number, make_one(path)));
        secret.keys[secret.count++] = *key;
    }
    if (secret.count == 0) return std::unexpected(fmt::format("{} holds no key; {}", path, make_one(path)));
    if (!has_lane) {
        secret.lane = splice_lane_key_from(&secret.keys[0]);
        secret.lane_is_derived = 1;
    }
    return secret;
}

std::expected<splice_secret, std::string> read_secret_file(const std::string& path) {
    const auto file = read_private_file(path, kMaxSecretFile, "the secret file", make_one(path));
    if (!file) return std::unexpected(file.error().text);
    return parse_secret(file->text, path);
}

std::expected<void, std::string> check_lab_key(const splice_secret& secret, const std::string& path,
                                               const std::vector<IpAddress>& vips) {
    const auto is_lab_key = [](const splice_key& key) { return key.k0 == kLabKey0 && key.k1 == kLabKey1; };
    if (std::none_of(secret.keys, secret.keys + secret.count, is_lab_key)) return {};
    const auto outside = std::ranges::find_if_not(vips, is_of_lab);
    if (outside == vips.end()) return {};
    return std::unexpected(fmt::format(
        "{} has the lab's key, which is public, and {} is no address of the lab (192.168.33.0/24); {}", path,
        outside->to_string(), make_one(path)));
}

}  // namespace splice
