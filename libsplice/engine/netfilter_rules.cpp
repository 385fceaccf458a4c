#include "libsplice/engine/netfilter_rules.hpp"

#include <utility>

#include "libsplice/base/text.hpp"
#include "libsplice/engine/nft_rules.hpp"

namespace splice {
namespace {

std::string table_of(const std::string& owner) {
    std::string name = "splicelb-";
    for (const char c : owner) name += to_lower(c);
    return name;
}

bool takes_nftables(NetfilterTool tool) {
    return tool == NetfilterTool::nftables ||
           (tool == NetfilterTool::automatic && nftables_can_queue().has_value());
}

}  // namespace

SystemResult<void> nftables_can_queue() {
    return try_nft_content(nft_rules({NetfilterMatch{}}));
}

SystemResult<NetfilterRules> NetfilterRules::install(const std::string& owner,
                                                     const std::vector<NetfilterMatch>& rules,
                                                     NetfilterTool tool) {
    if (takes_nftables(tool)) {
        auto table = NftTable::install(table_of(owner), nft_rules(rules));
        if (!table) return std::unexpected(table.error());
        remove_iptables_rules(owner);
        return NetfilterRules(std::move(*table), rules);
    }
    auto chains = IptablesRules::install(owner, rules);
    if (!chains) return std::unexpected(chains.error());
    remove_nft_table(table_of(owner));
    return NetfilterRules(std::move(*chains), rules);
}

SystemResult<void> NetfilterRules::replace(const std::vector<NetfilterMatch>& rules) {
    if (rules == rules_) return {};
    auto* const table = std::get_if<NftTable>(&installed_);
    auto replaced =
        table ? table->replace(nft_rules(rules)) : std::get<IptablesRules>(installed_).replace(rules);
    if (replaced) rules_ = rules;
    return replaced;
}

bool NetfilterRules::are_whole() {
    if (auto* const table = std::get_if<NftTable>(&installed_)) return table->is_whole();
    return std::get<IptablesRules>(installed_).are_whole();
}

SystemResult<void> NetfilterRules::restore() {
    if (auto* const table = std::get_if<NftTable>(&installed_)) return table->restore();
    return std::get<IptablesRules>(installed_).restore();
}

NetfilterTool NetfilterRules::tool() const noexcept {
    return std::holds_alternative<NftTable>(installed_) ? NetfilterTool::nftables : NetfilterTool::iptables;
}

}  // namespace splice
