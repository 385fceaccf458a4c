// What a loaded program asks user space about, out of its ring buffer.
#pragma once

#include <bpf/libbpf.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "libsplice/bpf/common_maps.h"
#include "tests/support/lib/packets.hpp"

namespace splice::testing {

class AskedPackets {
  public:
    // Not moved: the ring knows where its packets go. `copies`: the door of what is only to be looked at.
    explicit AskedPackets(int map, int copies = -1)
        : taken_{copies, {}, {}},
          ring_(ring_buffer__new(map, &AskedPackets::append, &taken_, nullptr), &ring_buffer__free) {
        if (!ring_) throw std::runtime_error("map the ring");
    }

    AskedPackets(const AskedPackets&) = delete;
    AskedPackets& operator=(const AskedPackets&) = delete;

    // Those since the last time, less the copies that are only to be looked at.
    [[nodiscard]] std::vector<PacketBytes> take() {
        ring_buffer__consume(ring_.get());
        return std::exchange(taken_.packets, {});
    }
    // The copies, up to the last take().
    [[nodiscard]] std::vector<PacketBytes> take_copies() { return std::exchange(taken_.copies, {}); }

  private:
    struct Taken {
        int door;
        std::vector<PacketBytes> packets, copies;
    };
    static int append(void* context, void* data, std::size_t) {
        splice_asked head{};
        std::memcpy(&head, data, sizeof(head));
        const auto* bytes = static_cast<const std::byte*>(data) + sizeof(head);
        auto& taken = *static_cast<Taken*>(context);
        (head.door == taken.door ? taken.copies : taken.packets).emplace_back(bytes, bytes + head.length);
        return 0;
    }

    Taken taken_;
    std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring_;
};

}  // namespace splice::testing
