#include "libsplice/engine/bpf_ring.hpp"

#include <bpf/libbpf.h>

#include <cerrno>

namespace splice {
namespace {

constexpr int kBatch = 64;

}  // namespace

struct BpfRing::Ring {
    ~Ring() { ring_buffer__free(buffer); }
    ring_buffer* buffer = nullptr;
};

BpfRing::BpfRing(Read read) : read_(std::move(read)), ring_(std::make_unique<Ring>()) {}
BpfRing::~BpfRing() = default;

SystemResult<std::unique_ptr<BpfRing>> BpfRing::open(int map, Read read) {
    std::unique_ptr<BpfRing> source(new BpfRing(std::move(read)));
    const auto sample = [](void* self, void* data, std::size_t size) {
        return static_cast<BpfRing*>(self)->take({static_cast<const std::byte*>(data), size});
    };
    source->ring_->buffer = ring_buffer__new(map, sample, source.get(), nullptr);
    if (!source->ring_->buffer) return system_error("map the ring of a kernel program", errno);
    return source;
}

int BpfRing::descriptor() const noexcept {
    return ring_buffer__epoll_fd(ring_->buffer);
}

void BpfRing::receive(const Handler& handler, RawSender& sender) {
    handler_ = &handler;
    sender_ = &sender;
    left_ = kBatch;
    (void)ring_buffer__consume(ring_->buffer);
}

// A negative answer ends the batch; what is left keeps the descriptor readable.
int BpfRing::take(Bytes record) {
    QueuedPacket packet;
    const Bytes bytes = read_(record, packet);
    bytes_.assign(bytes.begin(), bytes.end());
    packet.bytes = bytes_;
    if ((*handler_)(packet) != Disposition::drop) sender_->send(packet.bytes);
    return --left_ > 0 ? 0 : -EAGAIN;
}

}  // namespace splice
