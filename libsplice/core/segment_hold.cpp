#include "libsplice/core/segment_hold.hpp"

#include <algorithm>

namespace splice {

SegmentHold::Added SegmentHold::add(const splice_packet& packet, Bytes bytes) {
    const std::int32_t ahead = Seq(packet.seq) - first_;
    if (ahead < 0) return Added::outside;
    const auto offset = static_cast<std::uint32_t>(ahead);
    const bool fin = (packet.tcp_flags & SPLICE_FIN) != 0;
    const bool ends_something = (packet.tcp_flags & (SPLICE_FIN | SPLICE_RST)) != 0;
    if (offset > limits_.stream_bytes || (offset == limits_.stream_bytes && packet.payload_length != 0))
        return Added::outside;
    if (packet.payload_length == 0 && !ends_something && !packets_.empty()) return Added::duplicate;
    if ((packet.tcp_flags & SPLICE_RST) == 0 && covers(offset, packet.payload_length, fin))
        return Added::duplicate;
    if (packets_.size() >= limits_.packets) return Added::full;

    const auto place = std::upper_bound(packets_.begin(), packets_.end(), offset,
                                        [](std::uint32_t at, const Held& held) { return at < held.offset; });
    packets_.insert(place, Held{offset, packet.payload_length, packet.payload_offset, fin,
                                std::vector<std::byte>(bytes.begin(), bytes.end())});
    memory_ += bytes.size() + sizeof(Held);
    extend_stream();
    return Added::stored;
}

// Whether held packets carry all of [offset, offset + length), and the FIN behind it.
bool SegmentHold::covers(std::uint32_t offset, std::uint32_t length, bool fin) const noexcept {
    if (packets_.empty()) return false;
    std::uint32_t covered = offset;
    bool fin_held = !fin;
    for (const Held& held : packets_) {
        const std::uint32_t end = held.offset + held.payload_length;
        if (held.offset <= covered && end > covered) covered = end;
        if (held.fin && end == offset + length) fin_held = true;
    }
    return covered >= offset + length && fin_held;
}

void SegmentHold::extend_stream() {
    const std::size_t before = stream_.size();
    for (const Held& held : packets_) {
        if (held.offset > stream_.size()) break;
        const std::size_t end = held.offset + held.payload_length;
        if (end > stream_.size()) {
            const std::size_t known = stream_.size() - held.offset;
            const std::size_t room = limits_.stream_bytes - stream_.size();
            const auto fresh =
                Bytes(held.bytes)
                    .subspan(held.payload_offset + known, std::min(held.payload_length - known, room));
            stream_.insert(stream_.end(), fresh.begin(), fresh.end());
        }
        if (held.fin && stream_.size() == end) ended_ = true;
    }
    memory_ += stream_.size() - before;
}

}  // namespace splice
