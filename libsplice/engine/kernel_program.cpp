#include "libsplice/engine/kernel_program.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "libsplice/engine/clock.hpp"

namespace splice {

void turn_slot(std::uint32_t& number, std::uint32_t to) noexcept {
    std::atomic_ref(number).store(to, std::memory_order_release);
}

Bytes read_asked(Bytes record, QueuedPacket& packet) {
    splice_asked head{};
    std::memcpy(&head, record.data(), sizeof(head));
    packet.id = head.door;
    packet.hop.interface = head.interface;
    packet.hop.address_length = sizeof(head.hop);
    std::copy_n(head.hop, sizeof(head.hop), packet.hop.address);
    return record.subspan(sizeof(head), head.length);
}

std::uint32_t capacity_of_map(int map) noexcept {
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    return bpf_obj_get_info_by_fd(map, &info, &length) == 0 ? info.max_entries : 0;
}

std::vector<std::uint64_t> read_processors(int map, std::uint32_t key, std::size_t value_bytes) {
    static const auto processors = static_cast<std::size_t>(std::max(libbpf_num_possible_cpus(), 1));
    std::vector<std::uint64_t> words(processors * (value_bytes / sizeof(std::uint64_t)));
    if (bpf_map_lookup_elem(map, &key, words.data()) != 0) std::ranges::fill(words, 0);
    return words;
}

SystemResult<KernelProgram> KernelProgram::open(const std::string& name, std::span<const std::byte> elf) {
    auto object = BpfObject::open(name, elf);
    if (!object) return std::unexpected(object.error());
    return KernelProgram(std::move(*object));
}

SystemResult<void> KernelProgram::load(std::size_t settings_bytes) {
    if (auto loaded = object_.load(); !loaded) return loaded;
    auto memory = MappedBpfArray::map(object_.map(".bss"), settings_bytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    renew_clock();
    return {};
}

void KernelProgram::write_secret(const splice_secret& secret) noexcept {
    const std::uint32_t other = common().secret ^ 1U;
    common().secrets[other] = splice_secret_prepared(&secret);
    turn_slot(common().secret, other);
}

void KernelProgram::restore_secret() noexcept {
    turn_slot(common().secret, common().secret ^ 1U);
}

void KernelProgram::renew_clock() noexcept {
    const Instant now = read_clock();
    const auto monotonic_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.monotonic).count();
    std::atomic_ref(common().unix_minus_monotonic_s)
        .store(now.unix_s - static_cast<std::int64_t>(now.seconds()), std::memory_order_relaxed);
    std::atomic_ref(common().unix_minus_monotonic_ms)
        .store(now.unix_s * 1000 + now.unix_part_ms - monotonic_ms, std::memory_order_relaxed);
}

}  // namespace splice
