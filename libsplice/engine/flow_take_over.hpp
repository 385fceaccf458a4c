// Flows of an earlier process, out of a pinned map that this one cannot go on with: it is of another capacity
// or of another layout. The earlier kernel program works on that map until ours has its place, so flows are
// copied twice: once before, and then what has changed meanwhile.
#pragma once

#include <bpf/bpf.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "libsplice/datapath/flow.h"
#include "libsplice/engine/bpf_batches.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// What became of an earlier map's flows.
struct TakenOver {
    std::size_t flows = 0;     // that go on here
    std::size_t unserved = 0;  // left: no service of ours is theirs
    std::size_t refused = 0;   // left: our map is full
    std::size_t unread = 0;    // left: of a layout that this version cannot read
};

// "took over 12 flows of layout 3; 2 flows are left: no service has them"; nothing where there were none.
[[nodiscard]] std::string describe(const TakenOver& taken, int layout);

// The bytes of a value of the map; 0 when `map` is none.
[[nodiscard]] std::size_t value_size_of_map(int map) noexcept;
// How many entries the hash map has, whatever its keys and values are.
[[nodiscard]] std::size_t count_map_entries(int map);
// The numbers N of the entries `prefix`N of a folder, ascending; prefix "flows-" finds flows-2 and flows-3.
[[nodiscard]] std::vector<int> pinned_layouts(const std::string& folder, std::string_view prefix);
// Whether the program of that id (bpftool prog show id ID) works on the map.
[[nodiscard]] bool program_uses_map(std::uint32_t program_id, int map) noexcept;

// Value is our flow, without padding: it is compared as it is.
template <class Value>
class FlowTakeOver {
  public:
    struct Conversion {
        // The flow of an earlier value; nothing: no service of ours has it.
        std::function<std::optional<Value>(const splice_flow_key& key, const std::byte* earlier)> convert;
        // The flow less what every packet of it changes.
        Value (*lasting)(Value flow);
        // Both programs have had packets of the flow since it was copied: ours, with what the earlier one
        // saw.
        Value (*merge)(const Value& earlier, const Value& ours);
    };

    // `map`: splice_flow_key -> a value that `conversion.convert` reads.
    FlowTakeOver(Descriptor map, Conversion conversion)
        : map_(std::move(map)),
          value_size_(value_size_of_map(map_.get())),
          conversion_(std::move(conversion)) {}

    // Before our program has its place.
    TakenOver copy(int to) {
        TakenOver taken;
        for_each([&](const splice_flow_key& key, const std::byte* value) {
            const auto flow = conversion_.convert(key, value);
            if (!flow) {
                ++taken.unserved;
            } else if (bpf_map_update_elem(to, &key, &*flow, BPF_NOEXIST) == 0 || errno == EEXIST) {
                ++taken.flows;
                copied_[digest(key)] = {digest(*flow), digest(conversion_.lasting(*flow))};
            } else {
                ++taken.refused;
            }
        });
        return taken;
    }

    // Once the earlier program runs no more. The number of flows that it had begun or changed meanwhile.
    std::size_t copy_changes(int to) {
        std::size_t changed = 0;
        for_each([&](const splice_flow_key& key, const std::byte* value) {
            const auto flow = conversion_.convert(key, value);
            if (flow) changed += take_change(to, key, *flow);
        });
        copied_.clear();
        return changed;
    }

  private:
    struct Copied {
        std::size_t whole = 0;
        std::size_t lasting = 0;
    };

    template <class T>
    [[nodiscard]] static std::size_t digest(const T& bytes) noexcept {
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&bytes), sizeof(bytes)});
    }

    std::size_t take_change(int to, const splice_flow_key& key, const Value& earlier) {
        const auto copied = copied_.find(digest(key));
        if (copied == copied_.end()) return bpf_map_update_elem(to, &key, &earlier, BPF_NOEXIST) == 0;
        const Copied& then = copied->second;
        if (digest(earlier) == then.whole) return 0;
        Value ours{};
        if (bpf_map_lookup_elem(to, &key, &ours) != 0) return 0;
        const bool ours_is_as_copied = digest(ours) == then.whole;
        const bool only_earlier_is_another = digest(conversion_.lasting(earlier)) != then.lasting &&
                                             digest(conversion_.lasting(ours)) == then.lasting;
        const Value now =
            ours_is_as_copied || only_earlier_is_another ? earlier : conversion_.merge(earlier, ours);
        return bpf_map_update_elem(to, &key, &now, BPF_EXIST) == 0;
    }

    template <class Visit>
    void for_each(Visit visit) {
        std::vector<splice_flow_key> keys(kBpfBatch);
        std::vector<std::byte> values(kBpfBatch * value_size_);
        BpfCursor cursor;
        do {
            const std::uint32_t count = read_bpf_batch(map_.get(), cursor, keys.data(), values.data());
            for (std::uint32_t i = 0; i < count; ++i) visit(keys[i], values.data() + i * value_size_);
        } while (cursor);
    }

    Descriptor map_;
    std::size_t value_size_;
    Conversion conversion_;
    std::unordered_map<std::size_t, Copied> copied_;  // by the key's digest
};

}  // namespace splice
