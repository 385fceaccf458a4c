// One direction's bytes in their order, out of segments that come in any order and more than once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libsplice/base/bytes.hpp"
#include "libsplice/base/seq.hpp"

namespace splice::replay {

// What is ahead of a gap waits for it up to here; then the capture lacks the gap's bytes, and they are told
// as lost.
inline constexpr std::size_t kMaxAheadSegments = 256;

// Who gets the bytes.
class StreamReader {
  public:
    virtual ~StreamReader() = default;
    virtual void take(Bytes bytes) = 0;
    // That many bytes are in the stream, but nobody captured them.
    virtual void lost(std::uint32_t bytes) = 0;
};

class StreamOrder {
  public:
    // `first`: the number of the stream's first byte. Only the first call counts.
    void begin(Seq first);
    // Segments of a stream that has not begun are passed over.
    void add(Seq seq, Bytes payload, StreamReader& reader);
    // No more will come: what waits for a gap is told without it.
    void finish(StreamReader& reader);
    // The number of the byte that is told next; nothing before begin().
    [[nodiscard]] std::optional<Seq> next() const noexcept { return next_; }

  private:
    struct Ahead {
        Seq seq;
        std::vector<std::byte> bytes;
    };
    void tell(Seq seq, Bytes payload, StreamReader& reader);
    void tell_what_follows(StreamReader& reader);
    void pass_gap(StreamReader& reader);

    std::optional<Seq> next_;
    std::vector<Ahead> ahead_;  // by their numbers
};

}  // namespace splice::replay
