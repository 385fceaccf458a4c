#include "libsplice/engine/bpf_prefixes.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <span>
#include <vector>

#include "libsplice/engine/bpf_batches.hpp"

namespace splice {

SystemResult<Descriptor> make_bpf_prefixes(const PrefixSet& prefixes) {
    bpf_map_create_opts options{};
    options.sz = sizeof(options);
    options.map_flags = BPF_F_NO_PREALLOC;
    Descriptor map(bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "denied", sizeof(splice_prefix),
                                  sizeof(std::uint8_t), static_cast<std::uint32_t>(prefixes.size()),
                                  &options));
    if (!map) return system_error(fmt::format("make a map of {} prefixes", prefixes.size()), errno);
    const std::vector<std::uint8_t> values(kBpfBatch, 1);
    const std::span<const splice_prefix> all = prefixes.prefixes();
    for (std::size_t i = 0; i < all.size(); i += kBpfBatch) {
        auto count = static_cast<std::uint32_t>(std::min<std::size_t>(kBpfBatch, all.size() - i));
        if (bpf_map_update_batch(map.get(), &all[i], values.data(), &count, nullptr) != 0)
            return system_error(fmt::format("fill a map of {} prefixes", prefixes.size()), errno);
    }
    return map;
}

}  // namespace splice
