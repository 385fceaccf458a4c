#include "tools/replay/stream_order.hpp"

#include <algorithm>

namespace splice::replay {

void StreamOrder::begin(Seq first) {
    if (!next_) next_ = first;
}

void StreamOrder::add(Seq seq, Bytes payload, StreamReader& reader) {
    if (!next_ || payload.empty()) return;
    if (at_or_before(seq, *next_)) {
        tell(seq, payload, reader);
        tell_what_follows(reader);
        return;
    }
    const auto place =
        std::ranges::find_if(ahead_, [&](const Ahead& each) { return !at_or_before(each.seq, seq); });
    ahead_.insert(place, {seq, {payload.begin(), payload.end()}});
    if (ahead_.size() > kMaxAheadSegments) pass_gap(reader);
}

void StreamOrder::finish(StreamReader& reader) {
    while (!ahead_.empty()) pass_gap(reader);
}

// The part that has not been told.
void StreamOrder::tell(Seq seq, Bytes payload, StreamReader& reader) {
    const auto known = static_cast<std::size_t>(*next_ - seq);
    if (known >= payload.size()) return;
    next_ = seq + static_cast<std::uint32_t>(payload.size());
    reader.take(payload.subspan(known));
}

void StreamOrder::tell_what_follows(StreamReader& reader) {
    while (!ahead_.empty() && at_or_before(ahead_.front().seq, *next_)) {
        tell(ahead_.front().seq, ahead_.front().bytes, reader);
        ahead_.erase(ahead_.begin());
    }
}

void StreamOrder::pass_gap(StreamReader& reader) {
    const Seq seq = ahead_.front().seq;
    reader.lost(static_cast<std::uint32_t>(seq - *next_));
    next_ = seq;
    tell_what_follows(reader);
}

}  // namespace splice::replay
