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
    // Not moved: the ring knows where its packets go.
    explicit AskedPackets(int map)
        : ring_(ring_buffer__new(map, &AskedPackets::append, &packets_, nullptr), &ring_buffer__free) {
        if (!ring_) throw std::runtime_error("map the ring");
    }

    AskedPackets(const AskedPackets&) = delete;
    AskedPackets& operator=(const AskedPackets&) = delete;

    // Those since the last time.
    [[nodiscard]] std::vector<PacketBytes> take() {
        ring_buffer__consume(ring_.get());
        return std::exchange(packets_, {});
    }

  private:
    static int append(void* packets, void* data, std::size_t) {
        splice_asked head{};
        std::memcpy(&head, data, sizeof(head));
        const auto* bytes = static_cast<const std::byte*>(data) + sizeof(head);
        static_cast<std::vector<PacketBytes>*>(packets)->emplace_back(bytes, bytes + head.length);
        return 0;
    }

    std::vector<PacketBytes> packets_;
    std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring_;
};

}  // namespace splice::testing
