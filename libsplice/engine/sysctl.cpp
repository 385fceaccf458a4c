#include "libsplice/engine/fcntl.hpp"  // first: see there

#include "libsplice/engine/sysctl.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <utility>

#include "libsplice/engine/descriptor.hpp"

namespace splice {
namespace {

std::string file_of(const std::string& path) {
    return "/proc/sys/" + path;
}

}  // namespace

std::optional<int> read_sysctl(const std::string& path) {
    std::ifstream file(file_of(path));
    int value = 0;
    if (!(file >> value)) return std::nullopt;
    return value;
}

int interface_sysctl(const std::string& interface, const std::string& name) {
    const auto value = [&](const std::string& of) {
        return read_sysctl("net/ipv4/conf/" + of + "/" + name).value_or(0);
    };
    return std::max(value("all"), value(interface));
}

SystemResult<void> write_sysctl(const std::string& path, int value) {
    const std::string what = "write " + std::to_string(value) + " to " + file_of(path);
    const Descriptor file(::open(file_of(path).c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return system_error(what, errno);
    const std::string text = std::to_string(value);
    if (::write(file.get(), text.data(), text.size()) < 0) return system_error(what, errno);
    return {};
}

SystemResult<SysctlSetting> SysctlSetting::set(const std::string& path, int value) {
    const int before = read_sysctl(path).value_or(value);
    if (before == value) return SysctlSetting({}, before, value);
    if (auto written = write_sysctl(path, value); !written) return std::unexpected(written.error());
    return SysctlSetting(path, before, value);
}

SysctlSetting::SysctlSetting(SysctlSetting&& other) noexcept
    : path_(std::exchange(other.path_, {})), before_(other.before_), value_(other.value_) {}

SysctlSetting& SysctlSetting::operator=(SysctlSetting&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(before_, other.before_);
    std::swap(value_, other.value_);
    return *this;
}

SysctlSetting::~SysctlSetting() {
    if (!path_.empty() && read_sysctl(path_) == value_) (void)write_sysctl(path_, before_);
}

HostFact sysctl_fact(const std::string& path, int value) {
    std::string name = path;
    std::ranges::replace(name, '/', '.');
    return {.kind = "sysctl",
            .words = "the sysctl " + name + ", which must be " + std::to_string(value) + ",",
            .observe = [path, value]() -> std::optional<std::string> {
                const std::optional<int> now = read_sysctl(path);
                if (now == value) return std::nullopt;
                return now ? "is " + std::to_string(*now) : std::string("cannot be read");
            },
            .put_right = [path, value] { return write_sysctl(path, value); },
            .silent = true};
}

}  // namespace splice
