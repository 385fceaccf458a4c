#include "libsplice/engine/iptables_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "libsplice/engine/ruleset_stamp.hpp"
#include "libsplice/engine/subprocess.hpp"

namespace splice {
namespace {

// Seconds that iptables waits for another's lock.
constexpr const char* kLockWait = "10";

struct Hook {
    NetfilterHook hook;
    std::string_view table;
    std::string_view built_in_chain;
    std::string_view suffix;          // of our chain: a table's chains need different names
    std::string_view interface_flag;  // "-i" or "-o"
};

constexpr std::array<Hook, 5> kHooks = {{
    {NetfilterHook::prerouting, "raw", "PREROUTING", "", "-i"},
    {NetfilterHook::postrouting, "mangle", "POSTROUTING", "", "-o"},
    {NetfilterHook::forward, "mangle", "FORWARD", "-F", "-i"},
    {NetfilterHook::input, "mangle", "INPUT", "-I", "-i"},
    {NetfilterHook::output, "mangle", "OUTPUT", "-O", "-o"},
}};
constexpr std::array<std::string_view, 2> kTables = {"raw", "mangle"};

struct Family {
    int number;  // 4 or 6
    std::string_view program;
    std::string_view icmp_match;  // up to the type
};

constexpr std::array<Family, 2> kFamilies = {{
    {4, "iptables", " -p icmp -m icmp --icmp-type "},
    {6, "ip6tables", " -p ipv6-icmp -m icmp6 --icmpv6-type "},
}};

std::string chain_name(std::string_view owner, const Hook& hook) {
    return "SPLICELB-" + std::string(owner) + std::string(hook.suffix);
}

// One rule of iptables takes one value of each: an end is an address and a port.
struct RuleLine {
    const NetfilterMatch* rule;
    std::optional<Endpoint> source;
    std::optional<Endpoint> destination;
    std::optional<std::uint8_t> dscp;
};

// Each of the family's ends, or once none where any will do.
std::vector<std::optional<Endpoint>> ends_of(const std::vector<Endpoint>& ends, int family) {
    std::vector<std::optional<Endpoint>> all;
    for (const Endpoint& end : ends)
        if (end.address.family() == family) all.emplace_back(end);
    if (ends.empty()) all.emplace_back();
    return all;
}

std::vector<RuleLine> lines_of(const NetfilterMatch& rule, int family) {
    std::vector<std::optional<std::uint8_t>> dscps(rule.dscps.begin(), rule.dscps.end());
    if (dscps.empty()) dscps.emplace_back();
    std::vector<RuleLine> lines;
    for (const auto& source : ends_of(rule.sources, family))
        for (const auto& destination : ends_of(rule.destinations, family))
            for (const auto& dscp : dscps) lines.push_back({&rule, source, destination, dscp});
    return lines;
}

std::string match_addresses(const Hook& hook, const RuleLine& line) {
    std::string text;
    if (!line.rule->interface.empty())
        text += " " + std::string(hook.interface_flag) + " " + line.rule->interface;
    if (line.source) text += " -s " + line.source->address.to_string();
    if (line.destination) text += " -d " + line.destination->address.to_string();
    return text;
}

std::string match_tcp(const RuleLine& line) {
    std::string text = " -p tcp -m tcp";
    if (line.source && line.source->port != 0) text += " --sport " + std::to_string(line.source->port);
    if (line.destination && line.destination->port != 0)
        text += " --dport " + std::to_string(line.destination->port);
    return text;
}

std::string match_mark_and_jump(const RuleLine& line) {
    const NetfilterMatch& rule = *line.rule;
    std::string text;
    if (line.dscp) text += " -m dscp --dscp " + std::to_string(*line.dscp);
    if (rule.except_mark != 0) text += " -m mark ! --mark " + std::to_string(rule.except_mark);
    text += " -j NFQUEUE --queue-num " + std::to_string(rule.queue);
    if (rule.bypass) text += " --queue-bypass";
    return text;
}

// An ICMP rule is one line a type.
void append_line(std::string& script, const Family& family, const Hook& hook, const std::string& chain,
                 const RuleLine& line) {
    const std::string begin = "-A " + chain + match_addresses(hook, line);
    const std::string end = match_mark_and_jump(line) + "\n";
    switch (line.rule->kind) {
        case NetfilterMatch::Kind::tcp:
            script += begin + match_tcp(line) + end;
            break;
        case NetfilterMatch::Kind::any:
            script += begin + end;
            break;
        case NetfilterMatch::Kind::icmp_error:
            for (const int type : icmp_error_types(family.number))
                script += fmt::format("{}{}{}{}", begin, family.icmp_match, type, end);
            break;
    }
}

// The lines of one chain's rules.
std::string rules_of_chain(const Family& family, const Hook& hook, const std::string& chain,
                           const std::vector<NetfilterMatch>& rules) {
    std::string lines;
    for (const NetfilterMatch& rule : rules) {
        if (rule.hook != hook.hook || !is_of_family(rule, family.number)) continue;
        for (const RuleLine& line : lines_of(rule, family.number))
            append_line(lines, family, hook, chain, line);
    }
    return lines;
}

// What iptables-save says of one of our chains.
struct ChainState {
    bool exists = false;
    int jumps = 0;
};

ChainState chain_state(std::string_view saved, const Hook& hook, const std::string& chain) {
    const std::string declaration = ":" + chain + " ";
    const std::string jump = "-A " + std::string(hook.built_in_chain) + " -j " + chain;
    ChainState state;
    while (!saved.empty()) {
        const std::string_view line = saved.substr(0, saved.find('\n'));
        state.exists |= line.starts_with(declaration);
        state.jumps += line == jump ? 1 : 0;
        saved.remove_prefix(std::min(saved.size(), line.size() + 1));
    }
    return state;
}

void append_times(std::string& script, int times, const std::string& line) {
    for (int i = 0; i < times; i++) script += line;
}

// The lines that bring one chain from its state to the rules wanted of it; a chain without rules goes away.
// `script` begins with the table's declarations, so ours comes first and the rest goes to `body`.
void plan_chain(std::string& declarations, std::string& body, const Family& family, const Hook& hook,
                const std::string& chain, const ChainState& state, const std::vector<NetfilterMatch>& rules) {
    const std::string jump = std::string(hook.built_in_chain) + " -j " + chain + "\n";
    const std::string wanted = rules_of_chain(family, hook, chain, rules);
    if (!wanted.empty()) {
        declarations += ":" + chain + " - [0:0]\n";  // creates it, or empties it
        body += wanted;
        // At the head: a rule of somebody else that accepts must not let our packets through to the kernel's
        // TCP.
        if (state.jumps == 0) body += "-I " + jump;
        append_times(body, state.jumps - 1, "-D " + jump);
    } else if (state.exists) {
        append_times(body, state.jumps, "-D " + jump);
        body += "-F " + chain + "\n-X " + chain + "\n";
    }
}

// What we hold a family's iptables responsible for: the saved text of both tables.
using SavedTables = std::array<std::string, kTables.size()>;

std::string plan_family(const Family& family, std::string_view owner, const SavedTables& saved,
                        const std::vector<NetfilterMatch>& rules) {
    std::string script;
    for (std::size_t table = 0; table < kTables.size(); table++) {
        std::string declarations;
        std::string body;
        for (const Hook& hook : kHooks) {
            if (hook.table != kTables[table]) continue;
            const std::string chain = chain_name(owner, hook);
            plan_chain(declarations, body, family, hook, chain, chain_state(saved[table], hook, chain),
                       rules);
        }
        if (!declarations.empty() || !body.empty())
            script += fmt::format("*{}\n{}{}COMMIT\n", kTables[table], declarations, body);
    }
    return script;
}

std::string one_line(std::string text) {
    while (!text.empty() && text.back() == '\n') text.pop_back();
    std::ranges::replace(text, '\n', ' ');
    return text;
}

SystemResult<ProgramResult> run_tool(const Family& family, const char* action,
                                     const std::vector<std::string>& arguments, std::string_view input) {
    const auto path = find_program(std::string(family.program) + action, "iptables");
    if (!path) return std::unexpected(path.error());
    auto result = run_program(*path, arguments, input);
    if (!result) return std::unexpected(result.error());
    if (result->exit_code != 0) {
        return system_error(*path + ": " + one_line(result->complaints), 0,
                            "it needs root, and a kernel with the targets and matches NFQUEUE, tcp and dscp");
    }
    return result;
}

SystemResult<SavedTables> save_tables(const Family& family) {
    SavedTables saved;
    for (std::size_t table = 0; table < kTables.size(); table++) {
        auto result = run_tool(family, "-save", {"-t", std::string(kTables[table])}, {});
        if (!result) return std::unexpected(result.error());
        saved[table] = std::move(result->output);
    }
    return saved;
}

// The lines of iptables-save that are about the owner's chains, without counters.
void append_own_lines(std::vector<std::string>& lines, std::string_view saved, std::string_view owner) {
    const std::string ours = "SPLICELB-" + std::string(owner);
    while (!saved.empty()) {
        std::string_view line = saved.substr(0, saved.find('\n'));
        saved.remove_prefix(std::min(saved.size(), line.size() + 1));
        if (line.starts_with(':')) line = line.substr(0, line.find(' '));
        const std::size_t at = line.find(ours);
        if (at == std::string_view::npos) continue;
        const std::string_view rest = line.substr(at + ours.size());
        // SPLICELB-BRIDGE and SPLICELB-BRIDGE-I, but no other owner's that begins so.
        if (rest.empty() || rest[0] == ' ' || rest[0] == '-') lines.emplace_back(line);
    }
}

// A family that no rule names may be absent from this host, and then nothing of ours can be there.
bool is_wanted(const Family& family, const std::vector<NetfilterMatch>& rules) {
    return std::ranges::any_of(rules, [&](const NetfilterMatch& rule) {
        return is_of_family(rule, family.number) &&
               (!rule.sources.empty() || !rule.destinations.empty() || family.number == 4);
    });
}

SystemResult<void> apply_family(const Family& family, std::string_view owner,
                                const std::vector<NetfilterMatch>& rules) {
    const auto saved = save_tables(family);
    if (!saved) {
        if (!is_wanted(family, rules)) return {};
        return std::unexpected(saved.error());
    }
    const std::string script = plan_family(family, owner, *saved, rules);
    if (script.empty()) return {};
    const auto restored = run_tool(family, "-restore", {"--noflush", "-w", kLockWait}, script);
    if (!restored) return std::unexpected(restored.error());
    return {};
}

// How many lines own_lines() has when all rules are there: of each chain its declaration, its rules and the
// jump to it.
std::size_t own_line_count(const std::vector<NetfilterMatch>& rules) {
    std::size_t count = 0;
    for (const Family& family : kFamilies) {
        if (!is_wanted(family, rules)) continue;
        for (const Hook& hook : kHooks) {
            const std::string wanted = rules_of_chain(family, hook, "chain", rules);
            if (!wanted.empty()) count += 2 + static_cast<std::size_t>(std::ranges::count(wanted, '\n'));
        }
    }
    return count;
}

std::vector<std::string> own_lines(std::string_view owner) {
    std::vector<std::string> lines;
    for (const Family& family : kFamilies) {
        const auto saved = save_tables(family);
        if (!saved) continue;
        for (const std::string& table : *saved) append_own_lines(lines, table, owner);
    }
    return lines;
}

SystemResult<void> apply_rules(std::string_view owner, const std::vector<NetfilterMatch>& rules) {
    const std::string doing = "install the netfilter rules of SPLICELB-" + std::string(owner) + ": ";
    for (const Family& family : kFamilies) {
        auto applied = apply_family(family, owner, rules);
        if (!applied) return std::unexpected(SystemError{doing + applied.error().text, applied.error().code});
    }
    return {};
}

}  // namespace

IptablesRules::IptablesRules(std::string owner) noexcept : owner_(std::move(owner)) {}

IptablesRules::IptablesRules(IptablesRules&& other) noexcept
    : owner_(std::exchange(other.owner_, {})),
      rules_(std::move(other.rules_)),
      installed_(std::move(other.installed_)),
      stamp_(std::move(other.stamp_)) {}

IptablesRules& IptablesRules::operator=(IptablesRules&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(rules_, other.rules_);
    std::swap(installed_, other.installed_);
    std::swap(stamp_, other.stamp_);
    return *this;
}

IptablesRules::~IptablesRules() {
    // Should it fail, the next install() of this owner replaces them.
    if (!owner_.empty()) (void)apply_rules(owner_, {});
}

SystemResult<IptablesRules> IptablesRules::install(const std::string& owner,
                                                   const std::vector<NetfilterMatch>& rules) {
    IptablesRules installed(owner);  // an error below removes what a family already got
    if (auto applied = apply_rules(owner, rules); !applied) return std::unexpected(applied.error());
    installed.rules_ = rules;
    installed.remember();
    return installed;
}

SystemResult<void> IptablesRules::replace(const std::vector<NetfilterMatch>& rules) {
    if (auto applied = apply_rules(owner_, rules); !applied) {
        (void)apply_rules(owner_, rules_);
        remember();
        return applied;
    }
    rules_ = rules;
    remember();
    return {};
}

// What another program removed between the installation and this look must not be taken for what was
// installed.
void IptablesRules::remember() {
    std::string stamp = ruleset_stamp();
    std::vector<std::string> lines = own_lines(owner_);
    const bool whole = lines.size() == own_line_count(rules_);
    installed_ = whole ? std::move(lines) : std::vector<std::string>();
    stamp_ = whole ? std::move(stamp) : std::string();
}

bool IptablesRules::are_whole() {
    // Read first: what changes while iptables is asked shows at the next look.
    std::string stamp = ruleset_stamp();
    if (stamp == stamp_) return true;
    if (installed_.empty() || own_lines(owner_) != installed_) return false;
    stamp_ = std::move(stamp);
    return true;
}

SystemResult<void> IptablesRules::restore() {
    auto applied = apply_rules(owner_, rules_);
    if (applied) remember();
    return applied;
}

void remove_iptables_rules(std::string_view owner) {
    (void)apply_rules(owner, {});
}

}  // namespace splice
