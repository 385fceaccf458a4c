// Network interfaces by rtnetlink: what an address or a start needs to know, and the VIPs that we add.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/engine/error.hpp"

namespace splice {

struct InterfaceInfo {
    std::string name;
    std::uint32_t index = 0;
    std::uint32_t mtu = 0;
    bool up = false;
};

// Errors: no such interface (the text lists those that exist), no privilege.
SystemResult<InterfaceInfo> find_interface(const std::string& name);
// Whether any interface of this host has the address.
SystemResult<bool> host_has_address(const IpAddress& address);

// An address that we added, on an interface, as /32 or /128 without duplicate address detection; removed at
// destruction. Added with a lifetime protocol tag or a label so that the next start after a crash recognises it.
class AddedAddress {
 public:
    static SystemResult<AddedAddress> add(const std::string& interface, const IpAddress& address);
    AddedAddress(AddedAddress&&) noexcept;
    AddedAddress& operator=(AddedAddress&&) noexcept;
    ~AddedAddress();

 private:
    AddedAddress(std::uint32_t interface, const IpAddress& address) noexcept;
    std::uint32_t interface_ = 0;
    IpAddress address_;
};

// Errors unless this process may do what both executables need (CAP_NET_ADMIN and CAP_NET_RAW).
SystemResult<void> check_privileges();

}  // namespace splice
