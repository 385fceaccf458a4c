"""A TCP client of our own, segment by segment, for what a kernel's client never sends.

The client host's kernel knows nothing of its ports (PORTS): a rule hides what comes for them, so it sends no RST.
"""

import ipaddress
import random
import select
import socket
import struct
import time

PORTS = (60000, 64999)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_ETH_P_ALL = 3

_next_port = PORTS[0]


def hide_from_kernel(lab):
    for iptables in ("iptables", "ip6tables"):
        lab.on("client", iptables, "-w", "-A", "INPUT", "-p", "tcp", "--dport", f"{PORTS[0]}:{PORTS[1]}", "-j", "DROP")


def _fresh_port():
    global _next_port
    _next_port += 1
    assert _next_port <= PORTS[1]
    return _next_port


def _sum16(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, target, source_port, target_port, seq, ack, flags, payload=b"", options=b"", dscp=0, window=65535,
           atomic_fragment=False):
    """One IP packet with finished checksums. atomic_fragment: an IPv6 packet behind a fragment header that says that it is
    whole (RFC 8200 section 4.5)."""
    source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
    options += b"\1" * (-len(options) % 4)
    offset = (20 + len(options)) // 4
    tcp = struct.pack("!HHIIBBHHH", source_port, target_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset << 4, flags,
                      window, 0, 0) + options + payload
    pseudo = source.packed + target.packed + struct.pack("!IHBB", len(tcp), 0, 0, socket.IPPROTO_TCP)
    tcp = tcp[:16] + struct.pack("!H", _sum16(pseudo + tcp)) + tcp[18:]
    if source.version == 6:
        first, rest = socket.IPPROTO_TCP, tcp
        if atomic_fragment:
            first, rest = socket.IPPROTO_FRAGMENT, struct.pack("!BBHI", socket.IPPROTO_TCP, 0, 0, random.getrandbits(32)) + tcp
        return struct.pack("!IHBB", 6 << 28 | dscp << 22, len(rest), first, 64) + source.packed + target.packed + rest
    ip = struct.pack("!BBHHHBBH", 0x45, dscp << 2, 20 + len(tcp), random.getrandbits(16), 0x4000, 64,
                     socket.IPPROTO_TCP, 0) + source.packed + target.packed
    return ip[:10] + struct.pack("!H", _sum16(ip)) + ip[12:] + tcp


class Sender:
    """A raw socket of the client host that takes whole packets."""

    def __init__(self, world):
        with world.lab.inside("client"):
            self._socket = socket.socket(world.af, socket.SOCK_RAW, socket.IPPROTO_RAW)
        if world.family == 4:
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        world.clean_up.callback(self._socket.close)

    def send(self, data, target):
        self._socket.sendto(data, (target, 0))


class Segment:
    """A received TCP segment, from its IP packet."""

    def __init__(self, data):
        if data[0] >> 4 == 4:
            header, total = (data[0] & 15) * 4, struct.unpack_from("!H", data, 2)[0]
            self.source, self.protocol = data[12:16], data[9]
        else:
            header, total = 40, 40 + struct.unpack_from("!H", data, 4)[0]
            self.source, self.protocol = data[8:24], data[6]
        if self.protocol != socket.IPPROTO_TCP:
            return
        tcp = data[header:total]
        self.source_port, self.target_port, self.seq, self.ack, offset, self.flags, self.window = struct.unpack_from("!HHIIBBH", tcp)
        self.options = tcp[20:(offset >> 4) * 4]
        self.payload = tcp[(offset >> 4) * 4:]

    def option(self, wanted):
        """The body of one option, or None."""
        rest = self.options
        while rest and rest[0] != 0:
            if rest[0] == 1:
                rest = rest[1:]
                continue
            if rest[0] == wanted:
                return rest[2:rest[1]]
            rest = rest[rest[1]:]
        return None


class Connection:
    """One connection to the VIP. Offsets count the stream's bytes: 0 is the first after the SYN."""

    def __init__(self, world, timestamps=False, sack=False, window_scale=None, mss=1460, atomic_fragments=False):
        self.world = world
        self.port = _fresh_port()
        self.isn = random.getrandbits(32)
        self.timestamps, self.sack, self.window_scale, self.mss = timestamps, sack, window_scale, mss
        self.atomic_fragments = atomic_fragments
        self.server_isn = None
        self.last_tsval = 0
        self.stream = b""
        self.finished = self.reset = False
        self._early = {}
        self._sender = Sender(world)
        with world.lab.inside("client"):
            self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            self._tap.bind(("eth0", _ETH_P_ALL))
        world.clean_up.callback(self._tap.close)

    def _timestamp_option(self):
        if not self.timestamps:
            return b""
        return b"\1\1" + struct.pack("!BBII", 8, 10, int(time.monotonic() * 1000) & 0xFFFFFFFF, self.last_tsval)

    def _syn_options(self):
        options = struct.pack("!BBH", 2, 4, self.mss)
        if self.sack:
            options += b"\4\2"
        if self.window_scale is not None:
            options += struct.pack("!BBB", 3, 3, self.window_scale)
        return options + self._timestamp_option()

    def send(self, flags, offset=0, payload=b"", seq=None, ack=None, options=None):
        seq = self.isn + 1 + offset if seq is None else seq
        if ack is None:
            ack = self.server_isn + 1 + len(self.stream) + self.finished if flags & ACK else 0
        options = self._timestamp_option() if options is None else options
        self._sender.send(packet(self.world.client, self.world.vip, self.port, 80, seq, ack, flags, payload, options,
                                 atomic_fragment=self.atomic_fragments), self.world.vip)

    def receive(self, seconds):
        """The next segment of this connection, or None."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._tap], [], [], left)[0]:
                return None
            data, address = self._tap.recvfrom(1 << 17)
            if address[2] == socket.PACKET_OUTGOING or len(data) < 40 or data[0] >> 4 not in (4, 6):
                continue
            segment = Segment(data)
            if segment.protocol != socket.IPPROTO_TCP or (segment.source_port, segment.target_port) != (80, self.port):
                continue
            if stamp := segment.option(8):
                self.last_tsval = struct.unpack_from("!I", stamp)[0]
            return segment
        return None

    def handshake(self, syn_payload=b"", final_ack=True):
        """SYN, SYN-ACK and, unless told otherwise, the last ACK. The SYN-ACK."""
        for _ in range(3):
            self.send(SYN, seq=self.isn, payload=syn_payload, options=self._syn_options())
            answer = self.receive(1.0)
            if answer:
                break
        else:
            raise AssertionError("no SYN-ACK")
        if answer.flags & (SYN | ACK | RST) != SYN | ACK:
            raise AssertionError(f"the SYN was answered with flags {answer.flags:#x}")
        if answer.ack != (self.isn + 1) & 0xFFFFFFFF:
            raise AssertionError(f"the SYN-ACK acknowledges ISN + {(answer.ack - self.isn) & 0xFFFFFFFF}")
        self.server_isn = answer.seq
        if final_ack:
            self.send(ACK)
        return answer

    def take(self, segment, sent):
        """One segment's bytes into the stream, acknowledged; sent is what we have sent so far."""
        if segment.flags & RST:
            self.reset = True
            return
        offset = (segment.seq - self.server_isn - 1) & 0xFFFFFFFF
        if segment.payload or segment.flags & FIN:
            self._early[offset] = (segment.payload, segment.flags & FIN)
        for start in sorted(self._early):
            payload, fin = self._early[start]
            if start <= len(self.stream) <= start + len(payload) and not self.finished:
                self.stream += payload[len(self.stream) - start:]
                self.finished = bool(fin)
        if segment.payload or segment.flags & FIN:
            self.send(ACK, offset=sent)

    def read_until(self, done, sent, seconds=5.0, resend=None):
        """Reads until done(self); `resend` is called when nothing came for 300 ms, as a retransmission timer would."""
        end = time.monotonic() + seconds
        while not done(self):
            if time.monotonic() > end:
                raise AssertionError(f"not answered within {seconds:g} s; so far {self.stream[:100]!r}, reset {self.reset}")
            segment = self.receive(0.3)
            if segment:
                self.take(segment, sent)
            elif resend:
                resend()

    def close(self, sent):
        self.send(RST | ACK, offset=sent)
