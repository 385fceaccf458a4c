#include "libsplice/ops/firewall_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <fstream>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "libsplice/base/text.hpp"
#include "libsplice/engine/ruleset_stamp.hpp"
#include "libsplice/engine/subprocess.hpp"

namespace splice {
namespace {

using std::string_view;
using Words = std::vector<string_view>;

constexpr Duration kReadAtMostEvery = std::chrono::seconds(5);

std::string said_by(const char* name, const std::vector<std::string>& arguments = {}) {
    const auto path = find_program(name, "");
    if (!path) return {};
    auto said = run_program(*path, arguments, "");
    return said && said->exit_code == 0 ? std::move(said->output) + "\n" : std::string();
}

// The programs of nftables do not show what the legacy ones wrote.
std::string legacy_tables(const char* names, const char* program) {
    std::ifstream tables(names);
    std::string first;
    return tables >> first ? said_by(program) : std::string();
}

// A function of each line, until one says true; whether one did.
template <class Function>
bool any_line(string_view text, Function&& function) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (function(without_blanks(text.substr(0, end)))) return true;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return false;
}

// Between blanks; what stands in quotes is one word, and keeps the first of them.
Words words_of(string_view line) {
    Words words;
    for (line = without_blanks(line); !line.empty(); line = without_blanks(line)) {
        const char end = line.front() == '"' ? '"' : ' ';
        const std::size_t length = std::min(line.find(end, 1), line.size());
        words.push_back(line.substr(0, length));
        line.remove_prefix(std::min(length + 1, line.size()));
    }
    return words;
}

bool is_one_of(string_view word, std::span<const string_view> of) noexcept {
    return std::ranges::find(of, word) != of.end();
}

const std::string& iptables_of(const FirewallRules& rules, int family) noexcept {
    return family == 4 ? rules.ipv4 : rules.ipv6;
}

// The lines of those of nft's tables that see packets of the family.
template <class Function>
bool any_nft_line(const FirewallRules& rules, int family, Function&& function) {
    bool ours = false;
    return any_line(rules.nft, [&](string_view line) {
        if (line.starts_with("table ")) {
            const Words words = words_of(line);
            ours = words.size() > 1 && (words[1] == "inet" || words[1] == (family == 4 ? "ip" : "ip6"));
            return false;
        }
        return ours && function(line);
    });
}

// NAT and tracking

// A table of iptables-save that has a chain of a hook's: ":POSTROUTING ACCEPT [0:0]" after "*nat".
bool has_nat_table(string_view text) {
    bool nat = false;
    return any_line(text, [&](string_view line) {
        if (line.starts_with('*')) nat = line == "*nat";
        return nat && line.starts_with(':') && line.find(" - ") == string_view::npos;
    });
}

bool iptables_rule_tracks(string_view line) {
    static constexpr string_view kMatches[] = {"conntrack", "state",     "connmark", "connbytes",
                                               "connlimit", "connlabel", "helper",   "cluster"};
    static constexpr string_view kTargets[] = {"MASQUERADE",  "SNAT",    "DNAT",    "REDIRECT",
                                               "NETMAP",      "CT",      "NOTRACK", "CONNMARK",
                                               "CONNSECMARK", "SYNPROXY"};
    if (!line.starts_with("-A ")) return false;
    const Words words = words_of(line);
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        if (words[i] == "-m" && is_one_of(words[i + 1], kMatches)) return true;
        if (words[i] == "-j" && is_one_of(words[i + 1], kTargets)) return true;
    }
    return false;
}

bool nft_rule_tracks(string_view line) {
    static constexpr string_view kStatements[] = {"ct",       "masquerade", "snat",    "dnat",
                                                  "redirect", "flow",       "synproxy"};
    return std::ranges::any_of(words_of(line), [](string_view word) { return is_one_of(word, kStatements); });
}

bool has_nat_chain(const FirewallRules& rules, int family) {
    return has_nat_table(iptables_of(rules, family)) ||
           any_nft_line(rules, family, [](string_view line) { return line.starts_with("type nat hook "); });
}

bool tracks_connections(const FirewallRules& rules, int family) {
    return any_line(iptables_of(rules, family), iptables_rule_tracks) ||
           any_nft_line(rules, family, nft_rule_tracks);
}

// What a rule says of a segment's end: "80", "80,443", "8000-8010", "8000:8010"; "192.0.2.30", "192.0.2.0/24"

template <class Function>
bool any_value(string_view list, Function&& function) {
    while (!list.empty()) {
        const std::size_t end = std::min(list.find(','), list.size());
        if (function(list.substr(0, end))) return true;
        list.remove_prefix(std::min(end + 1, list.size()));
    }
    return false;
}

std::optional<unsigned> number_of(string_view text) noexcept {
    unsigned number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

bool covers_port(string_view list, std::uint16_t port) {
    return any_value(list, [port](string_view value) {
        const std::size_t dash = value.find_first_of("-:");
        const auto first = number_of(value.substr(0, dash));
        const auto last = dash == string_view::npos ? first : number_of(value.substr(dash + 1));
        return first && last && *first <= port && port <= *last;
    });
}

bool is_in_prefix(const IpAddress& address, const IpAddress& prefix, unsigned length) noexcept {
    if (address.family() != prefix.family()) return false;
    const auto a = std::bit_cast<std::array<std::uint8_t, 16>>(address.raw());
    const auto b = std::bit_cast<std::array<std::uint8_t, 16>>(prefix.raw());
    const unsigned first = address.family() == 4 ? 96 : 0;  // IPv4 is mapped
    for (unsigned bit = first; bit < std::min(first + length, 128U); ++bit) {
        if (((a[bit / 8] ^ b[bit / 8]) >> (7 - bit % 8)) & 1) return false;
    }
    return true;
}

bool covers_address(string_view list, const IpAddress& address) {
    return any_value(list, [&](string_view value) {
        const std::size_t slash = value.find('/');
        const auto prefix = IpAddress::parse(value.substr(0, slash));
        const auto length =
            slash == string_view::npos ? std::optional(128U) : number_of(value.substr(slash + 1));
        return prefix && length && is_in_prefix(address, *prefix, *length);
    });
}

// Rules that leave packets untracked

bool iptables_rule_leaves_untracked(string_view line, const Endpoint& backend) {
    if (!line.starts_with("-A ")) return false;
    const Words words = words_of(line);
    for (std::size_t i = 2; i + 1 < words.size(); i += 2) {
        const string_view word = words[i];
        const string_view value = words[i + 1];
        if (word == "-j")
            return value == "NOTRACK" ||
                   (value == "CT" && i + 2 < words.size() && words[i + 2] == "--notrack");
        const bool holds = word == "-d"                              ? covers_address(value, backend.address)
                           : word == "--dport" || word == "--dports" ? covers_port(value, backend.port)
                           : word == "-p"                            ? value == "tcp"
                                          : word == "-m" || word == "-i" || word == "--comment";
        if (!holds) return false;
    }
    return false;
}

// The words of an anonymous set, "{ 80, 443 }", as one list, or the one word that is no set. `at` goes behind
// it.
std::string take_value(const Words& words, std::size_t& at) {
    std::string list;
    if (at < words.size() && words[at] == "{") {
        while (++at < words.size() && words[at] != "}") list += words[at];
    } else if (at < words.size()) {
        list = words[at];
    }
    ++at;
    return list;
}

bool nft_rule_leaves_untracked(string_view line, const Endpoint& backend) {
    const Words words = words_of(line);
    const string_view family = backend.address.family() == 4 ? "ip" : "ip6";
    for (std::size_t at = 0; at < words.size();) {
        const string_view word = words[at++];
        if (word == "notrack") return true;
        if (word == "counter") {
            if (at < words.size() && words[at] == "packets") at += 4;
            continue;
        }
        if (word == "iif" || word == "iifname") {
            (void)take_value(words, at);
            continue;
        }
        if (at >= words.size()) return false;
        const string_view field = words[at++];
        const std::string value = take_value(words, at);
        const bool holds =
            word == family && field == "daddr"                    ? covers_address(value, backend.address)
            : (word == "tcp" || word == "th") && field == "dport" ? covers_port(value, backend.port)
            : field == "l4proto" || field == "protocol" || field == "nexthdr" ? value == "tcp" || value == "6"
                                                                              : false;
        if (!holds) return false;
    }
    return false;
}

}  // namespace

FirewallRules read_firewall_rules() {
    return {
        .ipv4 = said_by("iptables-save") + legacy_tables("/proc/net/ip_tables_names", "iptables-legacy-save"),
        .ipv6 =
            said_by("ip6tables-save") + legacy_tables("/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
        .nft = said_by("nft", {"-s", "-t", "list", "ruleset"})};
}

std::string first_rule(const FirewallRules& rules, bool (*matches)(const std::string&)) {
    std::string found;
    for (const std::string* text : {&rules.ipv4, &rules.ipv6, &rules.nft}) {
        if (any_line(*text, [&](string_view line) { return matches(found = line); })) return found;
    }
    return {};
}

bool nat_takes_adopted_segments(const FirewallRules& rules, int family) {
    return has_nat_chain(rules, family) && tracks_connections(rules, family);
}

bool leaves_untracked(const FirewallRules& rules, const Endpoint& backend) {
    const int family = backend.address.family();
    return any_line(iptables_of(rules, family),
                    [&](string_view line) { return iptables_rule_leaves_untracked(line, backend); }) ||
           any_nft_line(rules, family,
                        [&](string_view line) { return nft_rule_leaves_untracked(line, backend); });
}

std::vector<std::string> dropping_chains(const FirewallRules& rules, std::string_view hook) {
    std::vector<std::string> found;
    std::string builtin(hook);
    std::ranges::transform(builtin, builtin.begin(), [](char c) {
        return static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    });
    for (const auto& [text, program] : {std::pair(&rules.ipv4, "iptables'"), {&rules.ipv6, "ip6tables'"}}) {
        std::string table;
        (void)any_line(*text, [&](string_view line) {
            if (line.starts_with('*')) table = line.substr(1);
            if (line.starts_with(":" + builtin + " DROP"))
                found.push_back(fmt::format("{} of {} table {}", builtin, program, table));
            return false;
        });
    }
    // Those that the iptables programs made are told already.
    std::string table, chain;
    (void)any_line(rules.nft, [&](string_view line) {
        const Words words = words_of(line);
        if (words.size() > 2 && words[0] == "table")
            table = std::string(words[1]) + " " + std::string(words[2]);
        if (words.size() > 1 && words[0] == "chain") chain = words[1];
        const bool here = table.starts_with("inet ") || table.starts_with("ip ") || table.starts_with("ip6 ");
        if (here && line.starts_with("type filter hook " + std::string(hook) + " ") &&
            line.ends_with("policy drop;") && chain != builtin)
            found.push_back(fmt::format("chain {} of nft's table {}", chain, table));
        return false;
    });
    return found;
}

const FirewallRules& FirewallWatch::look(Duration now) {
    if (now < next_read_) return rules_;
    // Before the reading: what changes meanwhile is read the next time.
    if (std::string stamp = ruleset_stamp(); stamp != stamp_) {
        rules_ = read_firewall_rules();
        stamp_ = std::move(stamp);
        next_read_ = now + kReadAtMostEvery;
    }
    return rules_;
}

}  // namespace splice
