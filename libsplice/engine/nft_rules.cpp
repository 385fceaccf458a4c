#include "libsplice/engine/nft_rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <string_view>

#include "libsplice/engine/nft_table.hpp"

namespace splice {
namespace {

struct Hook {
    NetfilterHook hook;
    std::string_view name;
    std::string_view interface;
};

constexpr std::array<Hook, 5> kHooks = {{
    {NetfilterHook::prerouting, "prerouting", "iifname"},
    {NetfilterHook::postrouting, "postrouting", "oifname"},
    {NetfilterHook::forward, "forward", "iifname"},
    {NetfilterHook::input, "input", "iifname"},
    {NetfilterHook::output, "output", "oifname"},
}};

struct Family {
    int number;
    std::string_view ip;
    std::string_view icmp;
};

constexpr std::array<Family, 2> kFamilies = {{{4, "ip", "icmp"}, {6, "ip6", "icmpv6"}}};

bool have_ports(const NetfilterMatch& rule, const std::vector<Endpoint>& ends) noexcept {
    return rule.kind == NetfilterMatch::Kind::tcp && !ends.empty() && ends.front().port != 0;
}

// `side`: "saddr" and "sport", or "daddr" and "dport".
std::string match_ends(const NetfilterMatch& rule, const Family& family, const std::vector<Endpoint>& ends,
                       char side) {
    if (ends.empty()) return {};
    if (have_ports(rule, ends))
        return fmt::format("{} {}addr . tcp {}port {} ", family.ip, side, side,
                           nft_endpoints(ends, family.number));
    return fmt::format("{} {}addr {} ", family.ip, side, nft_addresses(ends, family.number));
}

std::string match_kind(const NetfilterMatch& rule, const Family& family) {
    switch (rule.kind) {
        case NetfilterMatch::Kind::tcp:
            return "meta l4proto tcp ";
        case NetfilterMatch::Kind::icmp_error:
            return fmt::format("{} type {{ {} }} ", family.icmp,
                               fmt::join(icmp_error_types(family.number), ", "));
        case NetfilterMatch::Kind::any:
            break;
    }
    return {};
}

std::string rule_of(const Hook& hook, const Family& family, const NetfilterMatch& rule) {
    std::string text = fmt::format("meta nfproto ipv{} ", family.number);
    if (!rule.interface.empty()) text += fmt::format("{} \"{}\" ", hook.interface, rule.interface);
    text += match_kind(rule, family);
    text += match_ends(rule, family, rule.sources, 's');
    text += match_ends(rule, family, rule.destinations, 'd');
    if (!rule.dscps.empty()) text += fmt::format("{} dscp {{ {} }} ", family.ip, fmt::join(rule.dscps, ", "));
    if (rule.except_mark != 0) text += fmt::format("meta mark != {:#x} ", rule.except_mark);
    return text + fmt::format("queue num {}{}\n", rule.queue, rule.bypass ? " bypass" : "");
}

std::string rules_of(const Hook& hook, const std::vector<NetfilterMatch>& rules) {
    std::string text;
    for (const NetfilterMatch& rule : rules) {
        for (const Family& family : kFamilies)
            if (rule.hook == hook.hook && is_of_family(rule, family.number))
                text += rule_of(hook, family, rule);
    }
    return text;
}

}  // namespace

std::string nft_rules(const std::vector<NetfilterMatch>& rules) {
    std::string content;
    for (const Hook& hook : kHooks) {
        const std::string text = rules_of(hook, rules);
        if (text.empty()) continue;
        content += fmt::format("chain {0} {{\ntype filter hook {0} priority {1}; policy accept;\n{2}}}\n",
                               hook.name, kNftPriority, text);
    }
    return content;
}

}  // namespace splice
