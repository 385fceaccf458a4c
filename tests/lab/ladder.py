#!/usr/bin/env python3
"""Draws one connection as a ladder, with the sequence numbers that each host saw.

usage: ladder.py --client ADDRESS --client-port N --vip ADDRESS --bridge NAME --backend ADDRESS DIRECTORY
DIRECTORY holds client.pcap, balancer.pcap, NAME.pcap and NAME-backend.pcap (the last at the backend's sockets).
Ends with 1 when the numbers of the hosts do not fit together.
"""

import argparse
import sys

from capture import ACK, SYN, segments

COLUMN = 14
CLIENT, BALANCER, BRIDGE, BACKEND = range(4)


def parse_arguments():
    parser = argparse.ArgumentParser(description="draw one connection as a ladder")
    for name in ("client", "vip", "bridge", "backend"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--client-port", type=int, required=True)
    parser.add_argument("directory")
    return parser.parse_args()


def hops(arguments):
    """(segment, from column, to column) of each packet, taken where it departs, in the order of time."""

    def read(name):
        port = arguments.client_port
        return [s for s in segments(f"{arguments.directory}/{name}.pcap") if port in (s.source_port, s.target_port)]

    found = [(s, CLIENT, BALANCER) for s in read("client") if s.source == arguments.client]
    for s in read("balancer"):
        if s.source == arguments.vip:
            found.append((s, BALANCER, CLIENT))
        elif s.target != arguments.vip:
            found.append((s, BALANCER, BRIDGE))
    found += [(s, BRIDGE, CLIENT) for s in read(arguments.bridge) if s.source == arguments.vip]
    at_backend = [(s, BACKEND, BRIDGE) if s.source == arguments.backend else (s, BRIDGE, BACKEND)
                  for s in read(f"{arguments.bridge}-backend")]
    correct_times(at_backend, [s for s, start, _ in found if start == BRIDGE])
    return sorted(found + at_backend, key=lambda hop: hop[0].time)


def correct_times(at_backend, left_bridge):
    """NFLOG's times are those of the reading, some too late: nothing at the backend comes after what it caused."""
    tick = 1e-6
    later = float("inf")
    for segment, start, _ in reversed(at_backend):
        caused = [s.time for s in left_bridge if start == BACKEND and not segment.flags & SYN
                  and (s.ack, s.flags, s.length) == (segment.ack, segment.flags, segment.length)]
        segment.time = min([segment.time, later - tick] + [time - tick for time in caused[:1]])
        later = segment.time


def arrow(start, end):
    """The four hosts' lines with an arrow from one to another; a host that it passes by is crossed."""
    cells = list("|".join([""] + [" " * (COLUMN - 1)] * 3 + [""]))
    low, high = sorted((start * COLUMN, end * COLUMN))
    for at in range(low + 1, high):
        cells[at] = "-"
    if start < end:
        cells[high - 1] = ">"
    else:
        cells[low + 1] = "<"
    return "".join(cells)


def describe(segment):
    words = f"{segment.name():18} seq {segment.seq:10}"
    words += f" ack {segment.ack:10}" if segment.flags & ACK else " " * 15
    words += f" len {segment.length:4}" if segment.length else " " * 9
    return words + (f" dscp {segment.dscp}" if segment.dscp else " " * 7)


def draw(found, bridge):
    names = ("client", "balancer", bridge, f"nginx of {bridge}")
    print(" " * 73 + "".join(f"{name:{COLUMN}}" for name in names).rstrip())
    begin = found[0][0].time
    for segment, start, end in found:
        print(f"{(segment.time - begin) * 1000:8.2f} ms  {describe(segment):61} {arrow(start, end)}")


def first(found, start, end, flags):
    for segment, a, b in found:
        if (a, b) == (start, end) and segment.flags & (SYN | ACK) == flags:
            return segment
    return None


def explain(found):
    """The three initial numbers, and whether every response segment is the backend's own, moved by the shift."""
    client_syn = first(found, CLIENT, BALANCER, SYN)
    syn_ack = first(found, BALANCER, CLIENT, SYN | ACK)
    backend_syn_ack = first(found, BACKEND, BRIDGE, SYN | ACK)
    if not (client_syn and syn_ack):
        print("the captures lack the handshake")
        return False
    print(f"\n  C = {client_syn.seq:10}  the client's initial sequence number")
    print(f"  K = {syn_ack.seq:10}  the balancer's: a cookie, from which the bridge opened the connection")
    if not backend_syn_ack:
        # An adopted connection has no handshake of the backend's: it begins at K.
        shift = 0
        print("  the backend's connection begins at K itself: adopted, nothing to translate")
    else:
        shift = (syn_ack.seq - backend_syn_ack.seq) % 2**32
        print(f"  B = {backend_syn_ack.seq:10}  nginx's own, in answer to the handshake that the bridge replayed with C")
        print(f"  K - B = {shift} (mod 2^32): what the bridge adds on the way to the client and takes off on the way back")
    sent = {(s.seq + shift) % 2**32 for s, a, b in found if (a, b) == (BACKEND, BRIDGE) and s.length}
    came = [s for s, a, b in found if (a, b) == (BRIDGE, CLIENT) and s.length]
    fit = [s for s in came if s.seq in sent]
    print(f"  of {len(came)} response segments that left for the client {len(fit)} are nginx's, moved by K - B")
    return bool(came) and len(fit) == len(came)


def main():
    arguments = parse_arguments()
    found = hops(arguments)
    if not found:
        print("the captures hold nothing of this connection")
        return 1
    draw(found, arguments.bridge)
    return 0 if explain(found) else 1


if __name__ == "__main__":
    sys.exit(main())
