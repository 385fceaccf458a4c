// A packet as one line, for logs, ladders and failing tests (the first is broken in two here):
//
//   192.0.2.1:4000 > 192.0.2.10:80 SA seq=7 ack=9 win=65535 <mss 1460,sackOK,ts 1 2,nop,ws 7> len=0 dscp=1
//     ttl=63
//   192.0.2.254 > 192.0.2.10 icmp time exceeded (code 0) {192.0.2.10:80 > 192.0.2.1:4000 seq=7} dscp=0 ttl=64
//   192.0.2.1 > 192.0.2.10 drop_fragment, 60 bytes: 45 00 00 3c ...
//
// Flags: S SYN, F FIN, R RST, P PSH, A ACK, U URG, E ECE, W CWR. Numbers as they stand: seq and ack absolute,
// win not scaled. `ack` is there with its flag, `ecn` when it is not zero, `checksum=wrong` when TCP's is (a
// packet that the kernel hands over unfinished looks like that).
#pragma once

#include <string>

#include "libsplice/base/bytes.hpp"

namespace splice {

// Any bytes at all; `packet` is to begin at the IP header.
[[nodiscard]] std::string print_packet(Bytes packet);
// The same, behind what stands in `line`.
void append_packet(std::string& line, Bytes packet);
// The same for what begins at an Ethernet header, which is not printed itself.
[[nodiscard]] std::string print_frame(Bytes frame);

}  // namespace splice
