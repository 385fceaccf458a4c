// A table of ours in nftables (family inet), by libnftables: made, replaced and removed in one transaction
// each, so that no packet passes between.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"

namespace splice {

// Installed as long as it lives, unless it is kept. A crash leaves the table; the next install() under the
// same name takes its place.
class NftTable {
  public:
    // `name` is any; `content` is what nft(8) has between a table's braces. Errors: the kernel has no
    // nftables or refuses a part of the content; then the table is as it was before, or is not there.
    static SystemResult<NftTable> install(std::string name, std::string content);
    NftTable(NftTable&&) noexcept;
    NftTable& operator=(NftTable&&) noexcept;
    ~NftTable();

    // Other content in the place of this. After an error all is as before.
    SystemResult<void> replace(std::string content);
    // Whether the table is as it was installed. Lists it only when some rule of this host may have changed
    // since it was looked at last.
    [[nodiscard]] bool is_whole();
    // Installs it again.
    SystemResult<void> restore();
    // Leaves it there at destruction.
    void keep() noexcept { installed_ = false; }

    [[nodiscard]] const std::string& name() const noexcept { return name_; }

  private:
    NftTable(std::string name, std::string content) noexcept;
    SystemResult<void> apply(const std::string& content);

    std::string name_;
    std::string content_;
    bool installed_ = false;        // to be removed
    std::string listed_;            // what the kernel listed then; empty: not known
    std::uint32_t generation_ = 0;  // of nftables when the table was found whole last
};

// Priority of our chains: before the raw table's at the same hook (nft(8)), so that nobody's rule comes
// before ours.
inline constexpr int kNftPriority = -301;

// A table's name out of an interface's, which may have characters that nft(8) takes in no name.
std::string nft_name(std::string_view text);

// Removes a table that may be there, of a process before.
void remove_nft_table(const std::string& name) noexcept;

// A test of the kernel: whether it takes this content. Nothing is installed.
SystemResult<void> try_nft_content(const std::string& content);

// Packets that a named counter of a table has counted; 0 when it is not there. Any thread.
[[nodiscard]] std::uint64_t nft_counter_packets(const std::string& table, const std::string& counter);

// The addresses of the family (4 or 6) as a set, "{ 192.0.2.1, 192.0.2.2 }", each once; empty when there are
// none.
std::string nft_addresses(const std::vector<Endpoint>& endpoints, int family);
// The same with ports, "{ 192.0.2.1 . 80 }".
std::string nft_endpoints(const std::vector<Endpoint>& endpoints, int family);

}  // namespace splice
