#include "packetbridge/adopted_ends.hpp"

#include <bpf/bpf.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "adopted_ends.skel.h"

namespace splice {

SystemResult<AdoptedEnds> AdoptedEnds::attach(int sampled, int told, int asked, int counters) {
    struct stat ours{};
    if (::stat("/proc/self/ns/net", &ours) != 0) return system_error("look at /proc/self/ns/net", errno);
    const auto inode = static_cast<std::uint32_t>(ours.st_ino);
    std::size_t size = 0;
    const void* const bytes = adopted_ends::elf_bytes(&size);
    auto object = BpfObject::open("adopted_ends", {static_cast<const std::byte*>(bytes), size});
    if (!object) return std::unexpected(object.error());
    object->set_constants(".rodata.netns", std::as_bytes(std::span(&inode, 1)));
    for (const auto& [name, map] : {std::pair<const char*, int>("sampled", sampled),
                                    {"told", told},
                                    {"asked", asked},
                                    {"counters", counters}})
        if (auto reused = object->reuse_map(name, map); !reused) return std::unexpected(reused.error());
    if (auto loaded = object->load(); !loaded) return std::unexpected(loaded.error());
    Descriptor link(bpf_raw_tracepoint_open(nullptr, object->program("adopted_end")));
    if (!link) return system_error("attach the program adopted_end to inet_sock_set_state", errno);
    return AdoptedEnds(std::move(*object), std::move(link));
}

}  // namespace splice
