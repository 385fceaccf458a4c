#include "libsplice/engine/nft_table.hpp"

#include <fmt/format.h>
// Before the kernel's own headers, which then leave out what it defines.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "libsplice/engine/netlink.hpp"
#include "libsplice/engine/ruleset_stamp.hpp"

namespace splice {
namespace {

using Context = std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)>;

// The complaint's first line: what follows it points into the commands.
std::string first_line(std::string_view text) {
    text = text.substr(0, text.find('\n'));
    constexpr std::string_view kPrefix = "Error: ";
    if (text.starts_with(kPrefix)) text.remove_prefix(kPrefix.size());
    return std::string(text);
}

// Runs commands of nft(8): what they print.
SystemResult<std::string> run_nft(const std::string& commands, bool dry_run = false) {
    const Context context(nft_ctx_new(NFT_CTX_DEFAULT), nft_ctx_free);
    if (!context || nft_ctx_buffer_output(context.get()) != 0 || nft_ctx_buffer_error(context.get()) != 0)
        return system_error("nft: no memory", 0);
    nft_ctx_set_dry_run(context.get(), dry_run);
    nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL);
    if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) != 0)
        return system_error("nft: " + first_line(nft_ctx_get_error_buffer(context.get())), 0,
                            "it needs root, and a kernel with nftables");
    return std::string(nft_ctx_get_output_buffer(context.get()));
}

std::string deletion_of(const std::string& name) {
    // A table that is not there cannot be deleted.
    return fmt::format("add table inet {0}\ndelete table inet {0}\n", name);
}

std::string creation_of(const std::string& name, const std::string& content) {
    return deletion_of(name) + fmt::format("table inet {} {{\n{}}}\n", name, content);
}

// Empty when it is not there.
std::string list_table(const std::string& name) {
    return run_nft(fmt::format("list table inet {}\n", name)).value_or(std::string());
}

// What put_text() makes of the endpoints of the family, in a set.
template <class PutText>
std::string set_of(const std::vector<Endpoint>& endpoints, int family, PutText put_text) {
    std::vector<std::string> texts;
    for (const Endpoint& endpoint : endpoints) {
        if (endpoint.address.family() != family) continue;
        std::string text = put_text(endpoint);
        if (std::ranges::find(texts, text) == texts.end()) texts.push_back(std::move(text));
    }
    return texts.empty() ? std::string() : fmt::format("{{ {} }}", fmt::join(texts, ", "));
}

}  // namespace

NftTable::NftTable(std::string name, std::string content) noexcept
    : name_(std::move(name)), content_(std::move(content)) {}

NftTable::NftTable(NftTable&& other) noexcept
    : name_(std::move(other.name_)),
      content_(std::move(other.content_)),
      installed_(std::exchange(other.installed_, false)),
      listed_(std::move(other.listed_)),
      generation_(other.generation_) {}

NftTable& NftTable::operator=(NftTable&& other) noexcept {
    std::swap(name_, other.name_);
    std::swap(content_, other.content_);
    std::swap(installed_, other.installed_);
    std::swap(listed_, other.listed_);
    std::swap(generation_, other.generation_);
    return *this;
}

NftTable::~NftTable() {
    if (installed_) remove_nft_table(name_);
}

SystemResult<NftTable> NftTable::install(std::string name, std::string content) {
    NftTable table(std::move(name), std::move(content));
    if (auto applied = table.apply(table.content_); !applied) return std::unexpected(applied.error());
    table.installed_ = true;
    return table;
}

// What another program changed between the installation and the listing must not be taken for what was
// installed: then the table counts as not whole.
SystemResult<void> NftTable::apply(const std::string& content) {
    const std::uint32_t before = nftables_generation();
    const auto done = run_nft(creation_of(name_, content));
    if (!done)
        return std::unexpected(
            SystemError{fmt::format("install the nftables table inet {}: {}", name_, done.error().text),
                        done.error().code});
    listed_ = list_table(name_);
    generation_ = nftables_generation();
    if (generation_ != before + 1) listed_.clear();
    return {};
}

SystemResult<void> NftTable::replace(std::string content) {
    if (auto applied = apply(content); !applied) return applied;
    content_ = std::move(content);
    return {};
}

bool NftTable::is_whole() {
    if (listed_.empty()) return false;
    // Read first: what changes while the table is listed shows at the next look.
    const std::uint32_t generation = nftables_generation();
    if (generation == generation_) return true;
    if (list_table(name_) != listed_) return false;
    generation_ = generation;
    return true;
}

SystemResult<void> NftTable::restore() {
    return apply(content_);
}

std::string nft_name(std::string_view text) {
    std::string name;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '-' || c == '.';
        name += plain ? std::string(1, c) : fmt::format("_{:02x}", static_cast<unsigned char>(c));
    }
    return name;
}

void remove_nft_table(const std::string& name) noexcept {
    (void)run_nft(deletion_of(name));
}

SystemResult<void> try_nft_content(const std::string& content) {
    const auto taken = run_nft(creation_of("splicelb-try", content), true);
    if (!taken) return std::unexpected(taken.error());
    return {};
}

std::uint64_t nft_counter_packets(const std::string& table, const std::string& counter) {
    auto socket = NetlinkSocket::open(NETLINK_NETFILTER, "read a counter of nftables");
    if (!socket) return 0;
    NetlinkMessage request(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ, 0);
    request.put_extra_header<nfgenmsg>()->nfgen_family = NFPROTO_INET;
    mnl_attr_put_strz(request.header(), NFTA_OBJ_TABLE, table.c_str());
    mnl_attr_put_strz(request.header(), NFTA_OBJ_NAME, counter.c_str());
    mnl_attr_put_u32(request.header(), NFTA_OBJ_TYPE, htonl(NFT_OBJECT_COUNTER));
    std::uint64_t packets = 0;
    (void)socket->ask(request, [&](const nlmsghdr* message) {
        for_each_attribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) != NFTA_OBJ_DATA) return;
            for_each_nested(attribute, [&](const nlattr* part) {
                if (mnl_attr_get_type(part) == NFTA_COUNTER_PACKETS)
                    packets = be64toh(mnl_attr_get_u64(part));
            });
        });
    });
    return packets;
}

std::string nft_addresses(const std::vector<Endpoint>& endpoints, int family) {
    return set_of(endpoints, family, [](const Endpoint& each) { return each.address.to_string(); });
}

std::string nft_endpoints(const std::vector<Endpoint>& endpoints, int family) {
    return set_of(endpoints, family, [](const Endpoint& each) {
        return fmt::format("{} . {}", each.address.to_string(), each.port);
    });
}

}  // namespace splice
