// The user-space half of what both executables' kernel programs have in common (bpf/common_maps.h): their
// settings in shared memory, secrets in two slots, the wall clock, the sums of their counters, their ring.
#pragma once

#include <bpf/bpf.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "libsplice/bpf/common_maps.h"
#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/bpf_ring.hpp"

namespace splice {

// Writes a number that says which of two slots is in use. Whoever sees the new one sees what it names.
void turn_slot(std::uint32_t& number, std::uint32_t to) noexcept;

// Reads a record of the ring `asked`: where its packet stands; the packet's number is the door that it came
// by.
[[nodiscard]] Bytes read_asked(Bytes record, QueuedPacket& packet);

// The entries that a map has room for; 0 when `map` is none.
[[nodiscard]] std::uint32_t capacity_of_map(int map) noexcept;

// The values of all processors at a key of a per-processor map, side by side, as words of 64 bits;
// `value_bytes` is a multiple of 8, to which the kernel rounds values up. Zeros when `map` cannot be read.
[[nodiscard]] std::vector<std::uint64_t> read_processors(int map, std::uint32_t key, std::size_t value_bytes);

// The values of an array, from key 0 on, as far as it can be read; none when `map` is none.
template <class Value>
[[nodiscard]] std::vector<Value> read_bpf_array(int map) {
    std::vector<Value> values(capacity_of_map(map));
    std::uint32_t key = 0;
    while (key < values.size() && bpf_map_lookup_elem(map, &key, &values[key]) == 0) ++key;
    values.resize(key);
    return values;
}

class KernelProgram {
  public:
    static SystemResult<KernelProgram> open(const std::string& name, std::span<const std::byte> elf);

    // To set capacities and constants, and to reuse maps, before load().
    [[nodiscard]] BpfObject& object() noexcept { return object_; }
    // The program is verified, its maps are there, and its global `settings`, which is all of its .bss and
    // begins with a splice_common_settings, is in our memory. The wall clock is written. Errors: the kernel
    // refuses the program.
    SystemResult<void> load(std::size_t settings_bytes);

    // After load(), while this lives.
    template <class Settings>
    [[nodiscard]] Settings& settings() const noexcept {
        return *static_cast<Settings*>(memory_.data());
    }
    [[nodiscard]] int program(const char* name) const { return object_.program(name); }
    [[nodiscard]] int map(const char* name) const { return object_.map(name); }

    // Packets see the old or the new, each whole.
    void write_secret(const splice_secret& secret) noexcept;
    // Back to the secret before the last write_secret(): it is in the other slot still.
    void restore_secret() noexcept;
    // Again now and then, for the wall clock may be set.
    void renew_clock() noexcept;

    // Of all processors together: the first `words` of each value of the map `counters`, whose type Counters
    // is.
    template <class Counters>
    [[nodiscard]] Counters counters(std::size_t summed_bytes) const {
        static_assert(sizeof(Counters) % sizeof(std::uint64_t) == 0,
                      "values of per-processor maps are rounded up to 8");
        Counters sum{};
        auto* const sums = reinterpret_cast<std::uint64_t*>(&sum);
        const std::vector<std::uint64_t> each = read_processors(map("counters"), 0, sizeof(Counters));
        constexpr std::size_t kStride = sizeof(Counters) / sizeof(std::uint64_t);
        for (std::size_t at = 0; at < each.size(); at += kStride)
            for (std::size_t word = 0; word < summed_bytes / sizeof(std::uint64_t); ++word)
                sums[word] += each[at + word];
        return sum;
    }

  private:
    explicit KernelProgram(BpfObject object) noexcept : object_(std::move(object)) {}
    [[nodiscard]] splice_common_settings& common() const noexcept {
        return settings<splice_common_settings>();
    }

    BpfObject object_;
    MappedBpfArray memory_;
};

}  // namespace splice
