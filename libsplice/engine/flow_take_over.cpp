#include "libsplice/engine/flow_take_over.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <system_error>

namespace splice {
namespace {

std::optional<bpf_map_info> info_of(int map) noexcept {
    bpf_map_info info{};
    std::uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(map, &info, &length) != 0) return std::nullopt;
    return info;
}

}  // namespace

std::string describe(const TakenOver& taken, int layout) {
    std::string text;
    const auto add = [&](std::size_t count, std::string_view what) {
        if (count != 0) text += fmt::format("{}{} {}", text.empty() ? "" : "; ", count, what);
    };
    add(taken.flows, fmt::format("flows of layout {} taken over", layout));
    add(taken.unserved, "flows left: no service here has their address and port");
    add(taken.refused, "flows left: max_flows is reached");
    add(taken.unread, fmt::format("flows left: this version cannot read layout {}", layout));
    return text;
}

std::size_t value_size_of_map(int map) noexcept {
    const auto info = info_of(map);
    return info ? info->value_size : 0;
}

std::size_t count_map_entries(int map) {
    const auto info = info_of(map);
    if (!info) return 0;
    std::vector<std::byte> keys(std::size_t{kBpfBatch} * info->key_size);
    std::vector<std::byte> values(std::size_t{kBpfBatch} * info->value_size);
    std::size_t entries = 0;
    BpfCursor cursor;
    do {
        entries += read_bpf_batch(map, cursor, keys.data(), values.data());
    } while (cursor);
    return entries;
}

std::vector<int> pinned_layouts(const std::string& folder, std::string_view prefix) {
    std::vector<int> layouts;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
         at.increment(error)) {
        const std::string name = at->path().filename().string();
        if (!name.starts_with(prefix)) continue;
        int layout = 0;
        const char* const last = name.data() + name.size();
        const auto parsed = std::from_chars(name.data() + prefix.size(), last, layout);
        if (parsed.ec == std::errc{} && parsed.ptr == last) layouts.push_back(layout);
    }
    std::ranges::sort(layouts);
    return layouts;
}

bool program_uses_map(std::uint32_t program_id, int map) noexcept {
    const auto about = info_of(map);
    const Descriptor program(bpf_prog_get_fd_by_id(program_id));
    if (!about || !program) return false;
    std::array<std::uint32_t, 32> ids{};
    bpf_prog_info info{};
    std::uint32_t length = sizeof(info);
    info.nr_map_ids = ids.size();
    info.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    if (bpf_obj_get_info_by_fd(program.get(), &info, &length) != 0) return false;
    const auto count = std::min<std::size_t>(info.nr_map_ids, ids.size());
    return std::find(ids.begin(), ids.begin() + count, about->id) != ids.begin() + count;
}

}  // namespace splice
