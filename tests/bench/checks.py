#!/usr/bin/env python3
"""What health checks cost the balancer: its process's CPU while it checks many bridges, all played by one stub.

usage: checks.py [--bridges N] [--interval TIME] [--seconds S] [--turns N]

Each engine by turns: without checks, then with them; the difference is the checks'. The stub is a program on another host of
the lab to which all the bridges' addresses lead: it answers each first payload with one segment, as a bridge's server would.
A veth hands a packet over in its sender's time, so what is printed is more than a wire would let the balancer pay.
"""

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import struct
import sys
import threading
import time

from rig import Rig, cpu_seconds

WORKS = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".encode()
ETH_P_IP, HEADER = 0x0800, struct.Struct("!BBHHHBBH4s4s")
TCP = struct.Struct("!HHIIBBHHH")
RST = 4


def bridge_address(number):
    return f"10.64.{number // 250}.{number % 250 + 1}"


def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Stub(threading.Thread):
    """All bridges of the file, on the host b1."""

    def __init__(self, rig, vip):
        super().__init__(daemon=True)
        self._vip = socket.inet_aton(vip)
        self._ends = threading.Event()
        self.answered = 0
        with rig.lab.inside("b1"):
            self._wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            self._out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._wire.bind(("eth1", ETH_P_IP))
        self._wire.settimeout(0.2)

    def run(self):
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                self._answer(self._wire.recv(4096))

    def _answer(self, packet):
        header = HEADER.unpack_from(packet)
        if header[6] != socket.IPPROTO_TCP or header[9][:2] != b"\x0a\x40":
            return
        at = (header[0] & 15) * 4
        source, target, seq, acknowledged, offset, flags, _, _, _ = TCP.unpack_from(packet, at)
        length = header[2] - at - (offset >> 4) * 4
        if flags & RST or length == 0:
            return
        segment = TCP.pack(target, source, acknowledged, seq + length & 0xffffffff, 5 << 4, 0x18, 65535, 0, 0) + WORKS
        pseudo = self._vip + header[8] + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(segment))
        segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
        ip = HEADER.pack(0x45, 0, HEADER.size + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0, self._vip, header[8])
        self._out.sendto(ip + segment, (socket.inet_ntoa(header[8]), 0))
        self.answered += 1

    def stop(self):
        self._ends.set()
        self.join()
        self._wire.close()
        self._out.close()


def configuration(text, engine, bridges, interval, checks):
    """The lab's file with one service of that many bridges."""
    head = re.sub(r"(?m)^engine: .*$", f"engine: {engine}", text.split("services:")[0])
    lines = ["services:", "  - name: many", f"    vip: {VIP}", "    port: 80", "    dscp: 1", "    mss: 1400"]
    if checks:
        lines.append(f"    health: {{ type: http, path: /alive, interval: {interval}, timeout: 1s }}")
    lines.append("    bridges:")
    lines += [f"      - {{ name: c{n}, address: {bridge_address(n)} }}" for n in range(bridges)]
    return head + "\n".join(lines) + "\n"


VIP = "192.168.33.100"


def states(rig):
    status = json.loads(rig.lab.on("balancer", "curl", "-sS", "http://127.0.0.1:10001/status"))
    found = status["services"][0]["bridges"]
    up = sum(1 for each in found if each["health"] and each["health"]["state"] == "up")
    return up, sum(each["health"]["checks"]["passed"] for each in found if each["health"])


def turn(rig, text, engine, options, checks):
    """CPU seconds a second of the balancer's process, and checks that passed a second."""
    path = os.path.join(rig.lab.run_dir, "balancer.yaml")
    with open(path, "w", encoding="ascii") as file:
        file.write(configuration(text, engine, options.bridges, options.interval, checks))
    rig.unfinished_checksums_to_balancer(engine != "ebpf")
    rig.lab.environment.update(ENGINE=engine)
    rig.lab.start("balancer")
    try:
        pid = rig.lab.pid("balancer")
        time.sleep(5)  # the start itself, and the first round of checks
        _, passed = states(rig) if checks else (0, 0)
        used, began = cpu_seconds(pid), time.monotonic()
        time.sleep(options.seconds)
        used, elapsed = cpu_seconds(pid) - used, time.monotonic() - began
        if not checks:
            return used / elapsed, 0
        up, passed_then = states(rig)
        if up != options.bridges:
            raise RuntimeError(f"{up} of {options.bridges} bridges are up")
        return used / elapsed, (passed_then - passed) / elapsed
    finally:
        rig.lab.stop("balancer")


def main():
    parser = argparse.ArgumentParser(description="what health checks cost the balancer")
    parser.add_argument("--bridges", type=int, default=1000, help="default 1000")
    parser.add_argument("--interval", default="2s", help="of a bridge's checks; default 2s")
    parser.add_argument("--seconds", type=float, default=15, help="of each turn; default 15")
    parser.add_argument("--turns", type=int, default=3, help="default 3")
    options = parser.parse_args()
    with Rig(f"checks-{os.getpid()}") as rig:
        with open(f"{rig.lab.run_dir}/balancer.yaml", encoding="ascii") as file:
            text = file.read()
        rig.lab.on("balancer", "ip", "route", "add", "10.64.0.0/16", "via", "192.168.33.21")
        stub = Stub(rig, VIP)
        stub.start()
        try:
            for engine in ("ebpf", "nfqueue"):
                idle, busy, rates = [], [], []
                for _ in range(options.turns):
                    idle.append(turn(rig, text, engine, options, False)[0])
                    used, rate = turn(rig, text, engine, options, True)
                    busy.append(used)
                    rates.append(rate)
                own = [100 * (b - i) for b, i in zip(busy, idle)]
                print(f"{engine}: {options.bridges} bridges every {options.interval}, {statistics.median(rates):.0f} checks/s: "
                      f"{statistics.median(own):.2f} % of a core (from {min(own):.2f} to {max(own):.2f}), "
                      f"without checks {100 * statistics.median(idle):.2f} %", flush=True)
        finally:
            stub.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
