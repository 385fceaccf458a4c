// Network interfaces by rtnetlink: what an address or a start needs to know, and the VIPs that we add.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/host_fact.hpp"

namespace splice {

struct InterfaceInfo {
    std::string name;
    std::uint32_t index = 0;
    std::uint32_t mtu = 0;
    bool up = false;
    bool ethernet = false;  // its packets have an Ethernet header, as loopback's have
    bool port = false;      // of a bridge, bond or team, by which alone this host sends there
};

// Of this network namespace.
SystemResult<std::vector<InterfaceInfo>> list_interfaces();
// Errors: no such interface (the text lists those that exist), no privilege.
SystemResult<InterfaceInfo> find_interface(const std::string& name);
// The index of the interface of that name; 0: there is none.
[[nodiscard]] std::uint32_t interface_index(const std::string& name) noexcept;
// That the interface is there and up.
HostFact interface_fact(const std::string& name);
// Of several uplinks, that one at least is. One name: as above.
HostFact uplinks_fact(const std::vector<std::string>& names);
// Whether any interface of this host has the address as its own. One that AddedAddress added does not count,
// be it of this process or left by a killed one: adding it is still our business.
SystemResult<bool> host_has_address(const IpAddress& address);

// Whether any interface of this host has the address, whoever added it.
SystemResult<bool> is_address_assigned(const IpAddress& address);

// One place where this host has an address.
struct AddressPlace {
    std::uint32_t interface = 0;
    bool loopback = false;  // the interface is loopback, where no link sees it
    bool ours = false;      // AddedAddress added it
    bool in_use = true;     // duplicate address detection (RFC 4862) is over, and found no twin
};
SystemResult<std::vector<AddressPlace>> places_of(const IpAddress& address);
// Addresses of a family (4 or 6) that this host has on other interfaces than this one.
SystemResult<std::vector<IpAddress>> addresses_elsewhere(std::uint32_t interface, int family);
// The name of an interface of this host; empty: there is none of that index.
[[nodiscard]] std::string interface_name(std::uint32_t interface);
// Whether the address is of the subnet of one of the interface's addresses; those that AddedAddress added
// are of none.
SystemResult<bool> is_in_subnet(std::uint32_t interface, const IpAddress& address);

// The interface's own address of a family (4 or 6), that others can answer to: global, permanent, in use, and
// none that AddedAddress added or that is one of `but`. Nothing: it has none. Of several, the one that the
// kernel lists first.
SystemResult<std::optional<IpAddress>> interface_address(std::uint32_t interface, int family,
                                                         const std::vector<IpAddress>& but = {});

// An address that we added, on an interface, as /32 or /128 without duplicate address detection; removed at
// destruction. It carries our tag (IFA_PROTO, Linux 5.18; for IPv4 also the label "<interface>:slb"), so that
// the next start after a crash recognises it and takes it over. One object an address: two would remove it
// twice.
class AddedAddress {
  public:
    // Errors: no such interface; the address is there already and is not ours; no privilege.
    static SystemResult<AddedAddress> add(const std::string& interface, const IpAddress& address);
    // On loopback, where it is this host's, and no link need know: beside other places that are not ours, and
    // (IPv6) never the source of what this host sends by itself.
    static SystemResult<AddedAddress> add_to_loopback(const IpAddress& address);
    AddedAddress(AddedAddress&&) noexcept;
    AddedAddress& operator=(AddedAddress&&) noexcept;
    ~AddedAddress();
    // Leaves it there: the next start takes it over.
    void keep() noexcept { interface_ = 0; }

  private:
    static SystemResult<AddedAddress> add_at(const std::string& interface, const IpAddress& address,
                                             bool loopback);
    AddedAddress(std::uint32_t interface, const IpAddress& address) noexcept;
    std::uint32_t interface_ = 0;
    IpAddress address_;
};

// Errors unless this process may do what both executables need (CAP_NET_ADMIN and CAP_NET_RAW).
SystemResult<void> check_privileges();
// Of what kernel programs need beside these (CAP_BPF, CAP_PERFMON; CAP_SYS_ADMIN is either), what this
// process lacks: "CAP_BPF and CAP_PERFMON". Empty: nothing. Errors: the system does not say.
SystemResult<std::string> missing_for_kernel_programs();

}  // namespace splice
