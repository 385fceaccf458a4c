#include "libsplice/engine/arp_silence.hpp"

#include <fmt/format.h>

#include <optional>

#include "libsplice/engine/sysctl.hpp"

namespace splice {

HostFact ArpSilence::fact(const std::string& interface, const std::string& name, int least,
                          const std::function<bool()>& needed) {
    const std::string path = fmt::format("net/ipv4/conf/{}/{}", interface, name);
    return {
        .kind = "sysctl",
        .words = fmt::format("the sysctl net.ipv4.conf.{}.{}, which must be {} so that this host is silent "
                             "about VIPs of other interfaces,",
                             interface, name, least),
        .observe = [=]() -> std::optional<std::string> {
            const int value = interface_sysctl(interface, name);
            if (value >= least || !read_sysctl(path) || !needed()) return std::nullopt;
            return fmt::format("is {}", value);
        },
        .put_right = [=, this]() -> SystemResult<void> {
            if (const auto was = read_sysctl(path)) before_.try_emplace(path, *was);
            return write_sysctl(path, least);
        },
        .undo =
            [=, this] {
                const auto was = before_.extract(path);
                if (was && read_sysctl(path) == least) (void)write_sysctl(path, was.mapped());
            },
        .silent = true};
}

HostFactList ArpSilence::facts(const std::string& interface, const std::function<bool()>& needed) {
    return {fact(interface, "arp_ignore", 1, needed), fact(interface, "arp_announce", 2, needed)};
}

}  // namespace splice
