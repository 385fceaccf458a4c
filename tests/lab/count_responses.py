#!/usr/bin/env python3
"""Counts in a capture the packets for a VIP's port and those from it: all, and the payload bytes.

usage: count_responses.py FILE VIP PORT
prints: packets toward the VIP, payload bytes toward it, packets from it, payload bytes from it
"""

import ipaddress
import sys

from capture import segments


def main():
    vip, port = str(ipaddress.ip_address(sys.argv[2])), int(sys.argv[3])
    toward, from_it = [], []
    for segment in segments(sys.argv[1]):
        if (segment.target, segment.target_port) == (vip, port):
            toward.append(segment.length)
        elif segment.source_port == port:  # whatever its address: a response is a response
            from_it.append(segment.length)
    print(len(toward), sum(toward), len(from_it), sum(from_it))


if __name__ == "__main__":
    main()
