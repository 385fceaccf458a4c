#include "libsplice/engine/bpf_object.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

namespace splice {
namespace {

// The verifier's log ends with what it refused and why.
constexpr std::size_t kLastLines = 4;
constexpr std::size_t kLogBytes = 1024UZ * 1024;

// libbpf speaks to stderr unless told otherwise; our errors say what it would say.
int say_nothing(libbpf_print_level, const char*, va_list) {
    return 0;
}

std::string last_lines(std::string_view log) {
    std::vector<std::string_view> lines;
    while (!log.empty()) {
        const std::size_t end = std::min(log.find('\n'), log.size());
        if (end > 0) lines.push_back(log.substr(0, end));
        log.remove_prefix(std::min(end + 1, log.size()));
    }
    std::string text;
    for (std::size_t i = lines.size() - std::min(lines.size(), kLastLines); i < lines.size(); ++i)
        text.append(text.empty() ? "" : " | ").append(lines[i]);
    return text;
}

std::string why_refused(int code, std::string_view log) {
    // Before Linux 6.4 a log that is too long is an error of its own, and ends in the middle.
    if (code == ENOSPC && !log.empty())
        return "the verifier refused it, in more words than are kept; try --engine nfqueue";
    if (!log.empty()) return "the verifier: " + last_lines(log);
    if (code == EPERM)
        return "it takes CAP_BPF and CAP_NET_ADMIN, and a memory lock limit on kernels before 5.11";
    return "an older kernel may lack a map or a helper; try --engine nfqueue";
}

}  // namespace

void BpfObject::Close::operator()(bpf_object* object) const noexcept {
    bpf_object__close(object);
}

SystemResult<BpfObject> BpfObject::open(const std::string& name, std::span<const std::byte> bytes) {
    libbpf_set_print(say_nothing);
    bpf_object_open_opts options{};
    options.sz = sizeof(options);
    options.object_name = name.c_str();
    BpfObject made(name);
    made.log_ = std::make_unique<std::vector<char>>(kLogBytes);
    // Filled only when the kernel refuses: libbpf then asks a second time.
    options.kernel_log_buf = made.log_->data();
    options.kernel_log_size = made.log_->size();
    made.object_.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!made.object_) return system_error("open the BPF object " + name, errno);
    return made;
}

void BpfObject::set_capacity(const char* map, std::uint32_t entries) {
    bpf_map* const found = bpf_object__find_map_by_name(object_.get(), map);
    assert(found);
    bpf_map__set_max_entries(found, entries);
}

void BpfObject::set_constants(const char* map, std::span<const std::byte> bytes) {
    bpf_map* const found = bpf_object__find_map_by_name(object_.get(), map);
    assert(found);
    [[maybe_unused]] const int error = bpf_map__set_initial_value(found, bytes.data(), bytes.size());
    assert(error == 0);
}

SystemResult<void> BpfObject::reuse_map(const char* map, int descriptor) {
    bpf_map* const found = bpf_object__find_map_by_name(object_.get(), map);
    assert(found);
    if (const int error = bpf_map__reuse_fd(found, descriptor); error != 0)
        return system_error(std::string("reuse the BPF map ") + map, -error);
    return {};
}

SystemResult<void> BpfObject::load() {
    const int error = bpf_object__load(object_.get());
    const auto log = std::exchange(log_, nullptr);
    if (error == 0) return {};
    return system_error("load the BPF object " + name_, -error, why_refused(-error, log->data()));
}

int BpfObject::map(const char* name) const {
    const int descriptor = bpf_object__find_map_fd_by_name(object_.get(), name);
    assert(descriptor >= 0);
    return descriptor;
}

int BpfObject::program(const char* name) const {
    const bpf_program* const found = bpf_object__find_program_by_name(object_.get(), name);
    assert(found);
    return bpf_program__fd(found);
}

SystemResult<MappedBpfArray> MappedBpfArray::map(int descriptor, std::size_t bytes) {
    void* const address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (address == MAP_FAILED) return system_error("map the memory of a BPF array", errno);
    MappedBpfArray mapped;
    mapped.address_ = address;
    mapped.bytes_ = bytes;
    return mapped;
}

MappedBpfArray::~MappedBpfArray() {
    if (address_) munmap(address_, bytes_);
}

std::uint32_t program_id(int program) noexcept {
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    return bpf_obj_get_info_by_fd(program, &info, &length) == 0 ? info.id : 0;
}

}  // namespace splice
