// What a loaded program tells the connection log, out of its ring buffer `told`.
#pragma once

#include <bpf/libbpf.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/support/lib/packets.hpp"

namespace splice::testing {

class ToldRecords {
  public:
    // Not moved: the ring knows where its records go.
    explicit ToldRecords(int map)
        : ring_(ring_buffer__new(map, &ToldRecords::append, &records_, nullptr), &ring_buffer__free) {
        if (!ring_) throw std::runtime_error("map the ring");
    }
    ToldRecords(const ToldRecords&) = delete;
    ToldRecords& operator=(const ToldRecords&) = delete;

    // Those since the last time.
    [[nodiscard]] std::vector<PacketBytes> take() {
        ring_buffer__consume(ring_.get());
        return std::exchange(records_, {});
    }
    template <class Record>
    [[nodiscard]] std::vector<Record> take_as() {
        std::vector<Record> all;
        for (const PacketBytes& bytes : take()) {
            if (bytes.size() < sizeof(Record)) throw std::runtime_error("a record that is too short");
            std::memcpy(&all.emplace_back(), bytes.data(), sizeof(Record));
        }
        return all;
    }

  private:
    static int append(void* context, void* data, std::size_t size) {
        const auto* bytes = static_cast<const std::byte*>(data);
        static_cast<std::vector<PacketBytes>*>(context)->emplace_back(bytes, bytes + size);
        return 0;
    }

    std::vector<PacketBytes> records_;
    std::unique_ptr<ring_buffer, decltype(&ring_buffer__free)> ring_;
};

}  // namespace splice::testing
