// A BPF ring buffer as a source of packets: copies that a kernel program asks about, while the packets
// themselves ended there.
#pragma once

#include <memory>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/packet_source.hpp"

namespace splice {

class BpfRing final : public PacketSource {
  public:
    // Reads a record: fills in everything of the packet but its bytes, and says where those stand in the
    // record.
    using Read = std::function<Bytes(Bytes record, QueuedPacket& packet)>;

    // `map`: the descriptor of a ring buffer map, which must stay open.
    static SystemResult<std::unique_ptr<BpfRing>> open(int map, Read read);
    ~BpfRing() override;

    [[nodiscard]] int descriptor() const noexcept override;
    void receive(const Handler& handler, RawSender& sender) override;
    // The program counts them.
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return 0; }

  private:
    struct Ring;
    explicit BpfRing(Read read);
    int take(Bytes record);

    Read read_;
    std::unique_ptr<Ring> ring_;
    std::vector<std::byte> bytes_;  // the ring's own pages cannot be written to
    const Handler* handler_ = nullptr;
    RawSender* sender_ = nullptr;
    int left_ = 0;
};

}  // namespace splice
