"""Reads captures (pcap; Ethernet, or NFLOG as netfilter hands packets to tcpdump) as TCP segments."""

import dataclasses
import ipaddress
import struct

_ETHERNET, _NFLOG = 1, 239
_NFULA_PAYLOAD = 9
_TCP = 6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


@dataclasses.dataclass
class Segment:
    time: float  # seconds since 1970
    source: str
    source_port: int
    target: str
    target_port: int
    seq: int
    ack: int
    flags: int
    dscp: int
    length: int  # of the payload on the wire, whatever was captured of it
    payload: bytes

    def name(self):
        words = [word for bit, word in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (ACK, "ACK")) if self.flags & bit]
        if self.flags & SYN or len(words) > 1:
            return "-".join(word for word in words if word != "ACK" or self.flags & SYN)
        if self.length:
            return self.payload.split(b"\r\n")[0][:18].decode("latin-1")
        return words[0] if words else "-"


def _packets(path):
    """(time, IP packet) of each record."""
    with open(path, "rb") as file:
        data = file.read()
    magic, link = struct.unpack_from("<I16xI", data)
    assert magic in (0xA1B2C3D4, 0xA1B23C4D), f"{path} is no little-endian pcap"
    fraction = 1e-6 if magic == 0xA1B2C3D4 else 1e-9
    at = 24
    while at + 16 <= len(data):
        seconds, part, captured = struct.unpack_from("<III", data, at)
        record = data[at + 16:at + 16 + captured]
        at += 16 + captured
        packet = record[14:] if link == _ETHERNET else _nflog_payload(record)
        if packet and packet[0] >> 4 in (4, 6):
            yield seconds + part * fraction, packet


def _nflog_payload(record):
    at = 4
    while at + 4 <= len(record):
        length, kind = struct.unpack_from("<HH", record, at)
        if kind == _NFULA_PAYLOAD:
            return record[at + 4:at + length]
        at += max(4, (length + 3) & ~3)
    return b""


def segments(path):
    """Every TCP segment of a capture, in its order; IPv6 extension headers and fragments are not looked into."""
    for time, packet in _packets(path):
        if packet[0] >> 4 == 4:
            start, total, protocol, traffic_class = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0], packet[9], packet[1]
            source, target = packet[12:16], packet[16:20]
        else:
            start, total, protocol = 40, 40 + struct.unpack_from("!H", packet, 4)[0], packet[6]
            traffic_class = struct.unpack_from("!I", packet)[0] >> 20 & 0xFF
            source, target = packet[8:24], packet[24:40]
        if protocol != _TCP or len(packet) < start + 20:
            continue
        source_port, target_port, seq, ack, offset, flags = struct.unpack_from("!HHIIBB", packet, start)
        header = start + (offset >> 4) * 4
        yield Segment(time, str(ipaddress.ip_address(source)), source_port, str(ipaddress.ip_address(target)), target_port,
                      seq, ack, flags, traffic_class >> 2, total - header, packet[header:total])
