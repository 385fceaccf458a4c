// A captured packet, made whole again where capturing broke it, and judged.
#pragma once

#include <cstdint>
#include <vector>

#include "libsplice/base/verdict.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/engine/pcap_file.hpp"

namespace splice::replay {

struct Arrival {
    MutableBytes bytes;  // from the IP header to the packet's end, without a link's padding
    splice_packet packet{};
    Verdict verdict = SPLICE_CONTINUE;  // why it is not TCP or ICMP in good order
    bool checksum_ignored = false;      // one was wrong, and was made right
};

// What becomes of a checksum that is simply wrong.
enum class Checksums : std::uint8_t { judged, ignored };

// Repairs what is the recording's doing and not the network's: checksums that the network card was to finish
// or left behind, super-packets whose length stands nowhere, and payload that a capture of headers cut off,
// which becomes zeros. A checksum that is simply wrong stays wrong, unless
// checksums are ignored.
class Mender {
  public:
    explicit Mender(Checksums checksums = Checksums::judged) noexcept : checksums_(checksums) {}
    // The result's bytes live in here until the next call.
    Arrival mend(const CapturedPacket& captured);

  private:
    void finish_transport(Arrival& arrival, bool incomplete) const;

    Checksums checksums_;
    std::vector<std::byte> buffer_;
};

}  // namespace splice::replay
