// Numbers under /proc/sys, of this process's network namespace where they belong to one.
#pragma once

#include <optional>
#include <string>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/host_fact.hpp"

namespace splice {

// "net/ipv4/tcp_sack"; nothing when there is none or it is no number.
[[nodiscard]] std::optional<int> read_sysctl(const std::string& path);
// Of net.ipv4.conf: the interface's own value, or that of `all` where it is larger (ip-sysctl.rst: rp_filter,
// accept_local, arp_ignore and others hold by the larger of both). 0 where it cannot be read.
[[nodiscard]] int interface_sysctl(const std::string& interface, const std::string& name);
SystemResult<void> write_sysctl(const std::string& path, int value);

// A value that is set for as long as it lives; what was there comes back at destruction, unless somebody else
// has changed it meanwhile.
class SysctlSetting {
  public:
    static SystemResult<SysctlSetting> set(const std::string& path, int value);
    SysctlSetting(SysctlSetting&& other) noexcept;
    SysctlSetting& operator=(SysctlSetting&& other) noexcept;
    ~SysctlSetting();
    // Stays as it is.
    void keep() noexcept { path_.clear(); }

  private:
    SysctlSetting(std::string path, int before, int value) noexcept
        : path_(std::move(path)), before_(before), value_(value) {}
    std::string path_;  // empty: nothing to undo
    int before_ = 0;
    int value_ = 0;
};

// That a sysctl has the value which is needed of it.
HostFact sysctl_fact(const std::string& path, int value);

}  // namespace splice
