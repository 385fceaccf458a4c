#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "libsplice/engine/interface.hpp"

namespace splice {
namespace {

constexpr std::uint64_t bit(unsigned capability) noexcept {
    return std::uint64_t{1} << capability;
}

// The effective set; the system call itself, because libcap is one more library for one number.
SystemResult<std::uint64_t> effective_capabilities() {
    __user_cap_header_struct header{};
    header.version = _LINUX_CAPABILITY_VERSION_3;
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    if (syscall(SYS_capget, &header, data) < 0)
        return system_error("read this process's capabilities", errno);
    return (std::uint64_t{data[1].effective} << 32) | data[0].effective;
}

}  // namespace

SystemResult<void> check_privileges() {
    const auto held = effective_capabilities();
    if (!held) return std::unexpected(held.error());
    std::string missing;
    if ((*held & bit(CAP_NET_ADMIN)) == 0) missing = "CAP_NET_ADMIN";
    if ((*held & bit(CAP_NET_RAW)) == 0) missing += missing.empty() ? "CAP_NET_RAW" : " and CAP_NET_RAW";
    if (missing.empty()) return {};
    return system_error("take and send packets: this process lacks " + missing, EPERM,
                        "run it as root, or give it CAP_NET_ADMIN and CAP_NET_RAW");
}

SystemResult<std::string> missing_for_kernel_programs() {
    const auto held = effective_capabilities();
    if (!held) return std::unexpected(held.error());
    std::string missing;
    if ((*held & bit(CAP_SYS_ADMIN)) != 0) return missing;
    if ((*held & bit(CAP_BPF)) == 0) missing = "CAP_BPF";
    if ((*held & bit(CAP_PERFMON)) == 0) missing += missing.empty() ? "CAP_PERFMON" : " and CAP_PERFMON";
    return missing;
}

}  // namespace splice
