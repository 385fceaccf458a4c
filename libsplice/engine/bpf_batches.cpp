#include "libsplice/engine/bpf_batches.hpp"

#include <bpf/bpf.h>

#include <cerrno>

namespace splice {

std::uint32_t read_bpf_batch(int map, BpfCursor& cursor, void* keys, void* values,
                             std::uint32_t most) noexcept {
    std::uint64_t next = 0;
    std::uint32_t count = most;
    const int error =
        bpf_map_lookup_batch(map, cursor ? &*cursor : nullptr, &next, keys, values, &count, nullptr);
    if (error == 0) {
        cursor = next;
        return count;
    }
    // ENOENT: the end, with what was left. Anything else gives nothing; the next walk begins anew.
    const bool ended = errno == ENOENT;
    cursor.reset();
    return ended ? count : 0;
}

void delete_bpf_batch(int map, const void* keys, std::size_t count, std::size_t key_size) noexcept {
    const auto* const first = static_cast<const std::byte*>(keys);
    std::size_t done = 0;
    while (done < count) {
        auto some = static_cast<std::uint32_t>(count - done);
        const int error = bpf_map_delete_batch(map, first + done * key_size, &some, nullptr);
        // It stops at an entry that is gone already: that one is skipped.
        done += some + (error != 0 ? 1 : 0);
    }
}

}  // namespace splice
