#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/corpus/ anew: from the test captures, and from requests, hellos and configurations
that stand here. What a fuzzer has found is kept beside them, in files named found-*, which this does not touch.

usage: make_seeds.py
"""

import pathlib
import re
import struct

FUZZ = pathlib.Path(__file__).resolve().parent
ROOT = FUZZ.parents[1]
CAPTURES = ROOT / "tests/replay/captures"
CORPUS = FUZZ / "corpus"


def put(fuzzer, name, data):
    folder = CORPUS / fuzzer
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def packets(capture):
    """IP packets of a pcap file of ours (raw IP, little-endian)."""
    data = (CAPTURES / f"{capture}.pcap").read_bytes()
    at = 24
    while at < len(data):
        size = struct.unpack_from("<IIII", data, at)[2]
        yield data[at + 16:at + 16 + size]
        at += 16 + size


def ip(version, protocol, body, options=b"", extensions=b"", first_next=None):
    """An IP packet whose checksum the fuzzer makes right."""
    if version == 4:
        header = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, 0x04, 20 + len(options) + len(body), 1, 0x4000, 64,
                             protocol, 0, bytes([192, 0, 2, 1]), bytes([198, 51, 100, 10]))
        return header + options + body
    header = struct.pack("!IHBB16s16s", 0x60400000, len(extensions) + len(body),
                         protocol if first_next is None else first_next, 64,
                         bytes.fromhex("20010db8000000000000000000000001"), bytes.fromhex("20010db800010000000000000000000a"))
    return header + extensions + body


def tcp(options=b"", payload=b"", flags=0x18):
    assert len(options) % 4 == 0
    return struct.pack("!HHIIBBHHH", 40000, 80, 0xfffffff0, 0x01020304, (5 + len(options) // 4) << 4, flags, 500, 0,
                       0) + options + payload


TIMESTAMPS = b"\x08\x0a" + struct.pack("!II", 0xfffffffe, 7)
SACK = b"\x05\x12" + struct.pack("!IIII", 0xfffffff0, 0x10, 0x20, 0x30)
OPTIONS = {
    "syn-of-linux": b"\x02\x04\x05\xb4\x04\x02" + TIMESTAMPS + b"\x01\x03\x03\x07",
    "timestamps-at-odd-offset": b"\x01" + TIMESTAMPS + b"\x01",
    "sack-at-odd-offset": b"\x01" + SACK + b"\x01",
    "sack-and-timestamps": TIMESTAMPS + b"\x01\x01" + SACK + b"\x01\x01",
    "four-sack-blocks": b"\x01\x01\x05\x22" + bytes(range(32)),
    "twice-and-malformed": b"\x03\x03\x0f\x02\x03\x05\x03\x03\x02\x04\x02\x02\x04\x01\x00\x08\x0b\x00\x00\x00",
}


def icmp(version, about, kind=None):
    kind = kind or (b"\x03\x04" if version == 4 else b"\x02\x00")
    body = kind + b"\x00\x00" + struct.pack("!I", 1300) + about
    return ip(version, 1 if version == 4 else 58, body)


def extension(next_header, size):
    return bytes([next_header, size // 8 - 1]) + b"\x01\x04" + bytes(4) + bytes(size - 8)


def packet_list():
    """Of each kind one: name, bytes from the IP header on."""
    for version in (4, 6):
        whole = ip(version, 6, tcp(payload=b"GET / HTTP/1.1\r\n\r\n"))
        yield f"ipv{version}", whole
        for name, options in OPTIONS.items():
            yield f"ipv{version}-{name}", ip(version, 6, tcp(options, b"x" * 5, 0x02 if "syn" in name else 0x10))
        yield f"icmp{version}-quotes-eight-bytes", icmp(version, whole[:(20 if version == 4 else 40) + 8])
        yield f"icmp{version}-quotes-a-header", icmp(version, whole[:(20 if version == 4 else 40) + 24])
    yield "ipv4-options", ip(4, 6, tcp(), options=b"\x07\x07\x04\x01\x02\x03\x04\x00")
    yield "ipv4-source-route", ip(4, 6, tcp(), options=b"\x01\x83\x07\x04\x01\x02\x03\x04")
    yield "ipv6-extensions", ip(6, 6, tcp(TIMESTAMPS + b"\x01\x01"), extensions=extension(60, 8) + extension(6, 16), first_next=0)
    far = extension(60, 256) * 3 + extension(6, 256)
    deep = ip(6, 6, tcp(), extensions=far, first_next=60)
    body = b"\x02\x00\x00\x00" + struct.pack("!I", 1300) + deep
    yield "icmp6-quotes-beyond-the-kernel", ip(6, 58, body, extensions=far[:-256] + extension(58, 256), first_next=60)
    yield "ipv6-fragment", ip(6, 6, tcp(), extensions=b"\x06\x00\x00\x01\x00\x00\x00\x01", first_next=44)
    yield "ipv6-atomic-fragment", ip(6, 6, tcp(), extensions=b"\x06\x00\x00\x00\x00\x00\x00\x01", first_next=44)
    yield "ipv6-routing", ip(6, 6, tcp(), extensions=extension(6, 8), first_next=43)
    yield "ipv6-five-extensions", ip(6, 6, tcp(), extensions=extension(60, 8) * 4 + extension(6, 8), first_next=60)


def seeds_of_packets():
    for name, data in packet_list():
        put("packet", name, b"\x02" + data)
    for tags, name in ((b"", "untagged"), (b"\x81\x00\x00\x64", "vlan"), (b"\x88\xa8\x00\x64\x81\x00\x00\x65", "qinq")):
        put("packet", f"ethernet-{name}", b"\x03" + bytes(12) + tags + b"\x08\x00" + ip(4, 6, tcp(TIMESTAMPS + b"\x01\x01")))
    for version in (4, 6):
        quote = ip(version, 6, tcp())[:(20 if version == 4 else 40) + 7]
        put("packet", f"icmp{version}-quote-goes-on-in-the-padding", b"\x42" + icmp(version, quote) + b"\x00" * 4)
    put("packet", "captured-syn-ack", b"\x00" + list(packets("one-request"))[1])


def seeds_of_translation():
    numbers = struct.pack("!BIIBBHHII", 1, 0xfedcba98, 0x89abcdef, 10, 7, 80, 8080, 0xc633640a, 0x0a000101)
    for name, data in packet_list():
        if name in ("ipv4-source-route", "ipv6-fragment", "ipv6-routing", "ipv6-five-extensions"):
            continue
        ways = (2, 3) if name.startswith("icmp") else (0, 1, 4)
        for way in ways:
            put("translate", f"{name}-way-{way}", bytes([way]) + numbers + data)
    small = ip(4, 6, tcp().replace(struct.pack("!H", 500), struct.pack("!H", 1)))
    put("translate", "window-of-one", bytes([0]) + numbers.replace(b"\x0a\x07", b"\x00\x0e") + small)
    for way in (2, 3):
        put("translate", f"wrong-icmp-checksum-way-{way}", bytes([0x80 | way]) + numbers + icmp(4, ip(4, 6, tcp())))
    put("translate", "wrong-checksum", bytes([0x80]) + numbers + ip(4, 6, tcp(OPTIONS["sack-and-timestamps"])))


REQUESTS = {
    "curl": b"GET /a/b?id=7&x HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n",
    "tenant": b"POST /a HTTP/1.0\r\nHost: A.example.:8080\r\nX-Tenant: \tblue \r\nContent-Length: 2\r\n\r\nhi",
    "absolute": b"GET http://u:p@Example.ORG:80?id=1 HTTP/1.1\r\nHost: other\r\n\r\n",
    "https-ipv6": b"GET https://[2001:db8::1]:443/x//y HTTP/1.1\r\n\r\n",
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "asterisk": b"\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nX-Tenant: one\r\n\ttwo\r\nhost:\r\n\r\n",
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "utf8": "GET /ä?a=é&id= HTTP/1.1\r\nhOST: h.\r\n\r\n".encode(),
    "bare-newline": b"GET /x HTTP/1.1\nHost: h\n\n",
    "rtsp": b"SETUP rtsp://h/x RTSP/1.0\r\n\r\n",
    "long-method": b"UPDATEREDIRECTREF /x HTTP/1.1\r\n\r\n",
    "deep": b"PROPFIND /1/2/3/4/5/6/7/8?/9/10 HTTP/1.1\r\n\r\n",
}


def seeds_of_requests():
    for number, (name, request) in enumerate(REQUESTS.items()):
        put("http_key", name, bytes([number % 5, number % 4, 0, 0, number % 3]) + request)
        put("request_line", name, bytes([1 + number % 2, number % 4, 0, 0, number % 3]) + request)
    forms = b"GET /a/./b/../%7ec%2F?x=1&id=%41&a=2&&id HTTP/1.1\r\nX-Tenant: t\r\nHost: H.:80\r\n\r\n"
    for key in range(5, 13):
        for name in range(3):
            put("http_key", f"form-{key}-{name}", bytes([key, 0, 0, 0, name]) + forms)
    for form in (4, 8, 16, 32, 60):
        put("request_line", f"form-{form}", bytes([1 + form, 0, 0, 0, 0]) + forms)
        put("request_line", f"form-{form}-plain", bytes([1 + form, 0, 0, 0, 0]) + b"GET /a/b.c HTTP/1.1\r\n")
    for length in (32, 33):
        put("http_key", f"method-of-{length}-bytes", bytes(5) + b"M" * length + b" /x HTTP/1.1\r\n\r\n")
    put("http_key", "host", bytes([2, 2, 0, 9, 0]) + REQUESTS["curl"])
    put("http_key", "parameter", bytes([3, 0, 0, 0, 2]) + REQUESTS["curl"])
    put("http_key", "header", bytes([4, 0, 0, 0, 1]) + REQUESTS["tenant"])
    for name, size in (("longest-key", 1408), ("too-long-a-key", 1409), ("longest-target", 1471), ("too-long-a-target", 1472)):
        line = b"GET /" + b"k" * (size - 1) + b" HTTP/1.1\r\n\r\n"
        put("request_line", name, bytes([1, 0, 0, 64 if "target" in name else 0, 0]) + line)
    put("request_line", "slashes-behind-the-query", b"\x02\x02\x00\x00\x00GET /a/b?/c/d/e HTTP/1.1\r\n\r\n")
    put("request_line", "fragment", b"\x01\x00\x00\x00\x00GET /a#b HTTP/1.1\r\n\r\n")
    put("request_line", "padded", bytes([1, 0, 0, 0, 8]) + REQUESTS["curl"] + bytes(8))


def sized(length_bytes, data):
    return len(data).to_bytes(length_bytes, "big") + data


def server_name(*names, kind=0):
    return sized(2, b"".join(bytes([kind]) + sized(2, name) for name in names))


def hello(extensions, session=bytes(32)):
    body = b"\x03\x03" + bytes(32) + sized(1, session) + sized(2, b"\x1a\x1a\x13\x01") + sized(1, b"\x00")
    return body if extensions is None else body + sized(2, b"".join(t.to_bytes(2, "big") + sized(2, e) for t, e in extensions))


HELLOS = {
    "named": hello([(0x2a2a, b""), (0, server_name(b"www.Example.org.")), (43, b"\x02\x03\x04")]),
    "key-share-of-kyber": hello([(51, bytes(1260)), (0, server_name(b"a"))]),
    "without-extensions": hello(None, b""),
    "without-name": hello([(16, b"\x00\x03\x02h2")]),
    "two-names": hello([(0, server_name(b"a", b"b"))]),
    "another-kind-of-name": hello([(0, server_name(b"\x00\xff", kind=1))]),
    "two-extensions": hello([(0, server_name(b"a")), (0, server_name(b"b"))]),
    "name-of-255-bytes": hello([(0, server_name(b"n" * 255))]),
    "name-of-256-bytes": hello([(0, server_name(b"n" * 256))]),
    "dot": hello([(0, server_name(b"."))]),
    "trailing": hello([(0, server_name(b"a"))]) + b"\x00",
}


def seeds_of_hellos():
    for name, body in HELLOS.items():
        put("client_hello", f"{name}-in-records", b"\x03" + struct.pack("!HHH", 0, 40, 300) + body)
    message = b"\x01" + sized(3, HELLOS["named"])
    put("client_hello", "raw", b"\x00\x16\x03\x01" + sized(2, message) + b"\x14\x03\x03\x00\x01\x01")
    put("client_hello", "raw-with-an-alert-inside", b"\x00\x16\x03\x01" + sized(2, message[:60]) + b"\x15\x03\x01\x00\x02\x02\x28")
    put("client_hello", "raw-sslv2", b"\x00\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10")
    for packet in packets("tls-hello"):
        header = (packet[0] & 15) * 4
        payload = packet[header + (packet[header + 12] >> 4) * 4:]
        if payload[:1] == b"\x16" and payload[5:6] == b"\x01":
            put("client_hello", "raw-captured", b"\x00" + payload)
            break


PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES4 = bytes([192, 0, 2, 1, 198, 51, 100, 10]) + struct.pack("!HH", 56324, 80)
PROXY_HEADERS = {
    "v1-ipv4": b"PROXY TCP4 192.0.2.1 198.51.100.10 56324 80\r\n",
    "v1-ipv6": b"PROXY TCP6 2001:db8::1 2001:db8:1::10 56324 80\r\n",
    "v1-ipv6-longest": b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
    "v1-mapped": b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::10 1 80\r\n",
    "v1-unknown": b"PROXY UNKNOWN\r\n",
    "v1-unknown-with-addresses": b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n",
    "v1-leading-zero": b"PROXY TCP4 192.0.2.01 198.51.100.10 1 80\r\n",
    "v1-without-end": b"PROXY UNKNOWN " + b"x" * 120,
    "v2-ipv4": PROXY_V2 + b"\x21\x11" + sized(2, ADDRESSES4),
    "v2-ipv4-tlvs": PROXY_V2 + b"\x21\x11" + sized(2, ADDRESSES4 + b"\x02" + sized(2, b"a.example") + b"\x04\0\1\0"),
    "v2-ipv6": PROXY_V2 + b"\x21\x21" + sized(2, bytes.fromhex("20010db8000000000000000000000001") * 2 + b"\1\2\0\x50"),
    "v2-local": PROXY_V2 + b"\x20\0\0\0",
    "v2-unspecified": PROXY_V2 + b"\x21\0\0\0",
    "v2-unix": PROXY_V2 + b"\x21\x31" + sized(2, b"/".ljust(216, b"\0")),
    "v2-too-short": PROXY_V2 + b"\x21\x21" + sized(2, ADDRESSES4),
    "v2-command-2": PROXY_V2 + b"\x22\x11" + sized(2, ADDRESSES4),
}


def seeds_of_check_answers():
    answers = {
        "status": (0, b"HTTP/1.1 204 No Content\r\n\r\n"),
        "status-not-expected": (0, b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
        "no-status": (0, b"HTTP/1.1  20 \r\n"),
        "not-http": (0, b"220 mail.example.com\r\n\xff"),
        "body": (4, b"HTTP/1.0 200 OK\r\nX: ok\r\n\r\nall is ok"),
        "body-that-lacks-it": (12, b"HTTP/1.1 200 OK\r\n\r\nno"),
        "closed": (8, b""),
        "server-hello": (1, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"),
        "alert": (9, b"\x15\x03\x03\x00\x02\x02\x28"),
        "not-tls": (1, b"HTTP/1.1 400 Bad Request\r\n"),
        "acknowledged": (2, b"220 hello"),
    }
    for name, (choice, stream) in answers.items():
        for cut in (0, 6):
            put("check_answer", f"{name}-by-{cut + 1}", bytes([choice, cut]) + stream)


def seeds_of_lanes():
    for name, clock in {"wraps": 0xfffffff0, "half": 0x80000000, "now": 0xcfe5687b}.items():
        for number, age in ((0, 65536), (1017, 1 << 20), (6, (1 << 20) + 1), (499, 65535)):
            flow = struct.pack(">IIIH", 0x03020100, 0xc0000201, 0, 40000)
            put("lane", f"{name}-{number}-{age}", flow + struct.pack(">IHHI", clock, number, 0x1d08, age))


def seeds_of_proxy_headers():
    for number, (name, header) in enumerate(PROXY_HEADERS.items()):
        put("proxy_header", name, bytes([number % 4, 0]) + header + REQUESTS["curl"])
    for number, (name, text) in enumerate({"an-address": b"::1", "no-address": b"1:2.:3.4.5", "a-gap-of-none": b"1:2:3:4:5:6:7::8",
                                           "octets": b"1.2.3.4.5"}.items()):
        put("proxy_header", f"in-a-line-{name}", bytes([number, 3]) + text)


def seeds_of_first_payloads():
    def order(*cuts):
        return bytes([len(cuts)]) + b"".join(struct.pack("!HB", offset, size - 1) for offset, size in cuts)

    for number, name in enumerate(("curl", "deep", "curl", "tenant", "curl", "folded", "bare-newline")):
        size = len(REQUESTS[name])
        put("first_payload", f"in-one-piece-{number}-{name}", bytes([number]) + order((0, 256)) + REQUESTS[name])
        halves = order((size // 2, 256), (0, size // 2))
        put("first_payload", f"second-half-first-{number}-{name}", bytes([number]) + halves + REQUESTS[name])
        overlapping = order((20, 30), (5, 20), (0, 8), (5, 40), (0, 1))
        put("first_payload", f"overlapping-{number}-{name}", bytes([number]) + overlapping + REQUESTS[name])
    message = b"\x01" + sized(3, HELLOS["named"])
    for kind, name in (6, "v1-ipv4"), (6, "v2-local"), (7, "v2-ipv6"), (7, "v1-unknown"), (6, "v1-leading-zero"):
        stream = PROXY_HEADERS[name] + REQUESTS["curl"]
        put("first_payload", f"behind-a-header-{kind}-{name}", bytes([kind]) + order((10, 60), (0, 10)) + stream)
    put("first_payload", "hello", b"\x05" + order((30, 40), (0, 30)) + b"\x16\x03\x01" + sized(2, message))


def seeds_of_captures():
    for name in ("one-request", "one-request-ipv6"):
        put("capture", f"{name}.pcap", (CAPTURES / f"{name}.pcap").read_bytes())
    packet = ip(4, 6, tcp(payload=b"GET / HTTP/1.1\r\n\r\n"))
    ethernet = bytes(12)
    links = {
        "ethernet": (1, ethernet + b"\x08\x00"), "vlan": (1, ethernet + b"\x81\x00\x00\x64\x81\x00\x00\x65\x08\x00"),
        "four-tags": (1, ethernet + b"\x81\x00\x00\x64" * 4 + b"\x08\x00"),
        "five-tags": (1, ethernet + b"\x81\x00\x00\x64" * 5 + b"\x08\x00"),
        "null": (0, b"\x02\x00\x00\x00"), "loop": (108, b"\x00\x00\x00\x02"), "sll": (113, bytes(14) + b"\x08\x00"),
        "sll2": (276, b"\x08\x00" + bytes(18)), "wifi": (105, bytes(24)),
    }
    for name, (link, lead) in links.items():
        frame = lead + packet
        for order in "<>":
            header = struct.pack(order + "IHHIIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, link)
            record = struct.pack(order + "IIII", 1700000000, 999999, len(frame), len(frame) + 100) + frame
            put("capture", f"{name}-{'little' if order == '<' else 'big'}.pcap", header + record * 2)

    def block(kind, body, order="<"):
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", 12 + len(body))
        return struct.pack(order + "I", kind) + size + body + size

    def section_in(order):
        return block(0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1), order)

    section = section_in("<")
    for name, resolution in (("nanoseconds", 9), ("seconds", 0), ("halves", 0x81)):
        option = struct.pack("<HHBxxxHH", 9, 1, resolution, 0, 0)
        interface = block(1, struct.pack("<HHI", 101, 0, 262144) + option)
        enhanced = block(6, struct.pack("<IIIII", 0, 0, 1700000000, len(packet), len(packet)) + packet)
        put("capture", f"{name}.pcapng", section + interface + enhanced + block(3, struct.pack("<I", len(packet)) + packet))
    for order, name in ("<", "little"), (">", "big"):
        options = struct.pack(order + "HHBxxxHHqHH", 9, 1, 9, 14, 8, 3600, 0, 0)
        two = (block(1, struct.pack(order + "HHI", 1, 0, 65535) + struct.pack(order + "HH4sHH", 2, 4, b"eth0", 0, 0), order)
               + block(1, struct.pack(order + "HHI", 101, 0, 96) + options, order))
        ethernet_frame = ethernet + b"\x08\x00" + packet
        put("capture", f"two-interfaces-{name}.pcapng", section_in(order) + two + block(5, bytes(12), order)
            + block(6, struct.pack(order + "IIIII", 0, 1, 7, len(ethernet_frame), len(ethernet_frame)) + ethernet_frame, order)
            + block(6, struct.pack(order + "IIIII", 1, 400000000, 7, len(packet), len(packet) + 9) + packet, order)
            + block(2, struct.pack(order + "HHIIII", 1, 0, 0, 7, len(packet), len(packet)) + packet, order))


EXAMPLE = """secret_file: /etc/splicelb/secret
interface: eth1
engine: auto
api: { listen: "127.0.0.1:10001" }
services:
  - name: cdn
    vip: 192.168.33.10
    port: 80
    dscp: 1
    protocol: http
    hash: { key: uri, algorithm: rendezvous }
    bridges:
      - { name: b1, address: 192.168.33.20, weight: 1 }
    health: { type: http, path: /, interval: 2s, timeout: 1s, rise: 2, fall: 3 }
"""
EVERY_KEY = """interface: bond0.7
bpffs: /sys/fs/bpf/other
keep: true
channel: off
engine: ebpf
xdp_mode: generic
stop_resets: false
api: "off"
log: { level: trace, format: json }
idle_timeout: 1h
max_flows: 5000
first_payload_wait: 20ms
first_payload_max: 64KiB
mss: 1400
window_scale: 0
table_rows: 251
services:
  - { name: web, vip: "2001:db8::10", port: 443, dscp: 62, protocol: tls, hash: sni, mss: 1220,
      bridges: [{ name: a, address: "2001:db8::20", weight: 0, number: 1018 }, { name: b, address: "2001:db8::21", weight: 256, state: drain }],
      health: { type: tcp, send: "PING\\r\\n", interval: 100ms, timeout: 100ms, pass: 3/5, max_ejection_percent: 50, panic_threshold_percent: 0 } }
  - { name: j, vip: 198.51.100.1, port: 80, dscp: 2, hash: { key: host+uri, depth: 2, len: 64, algorithm: jump },
      bridges: &two [{ name: a, address: 10.0.0.1 }, { name: b, address: 10.0.0.2 }] }
  - { name: k, vip: 198.51.100.1, port: 81, dscp: 3, hash: "hdr(x-tenant)", idle_timeout: 1s, bridges: *two }
  - { name: p, vip: 198.51.100.1, port: 82, dscp: 4, proxy_protocol: accept, hash: { key: source, algorithm: ketama },
      bridges: [{ name: a, address: 10.0.0.1, server: "10.0.1.1:8080" }, { name: b, address: 10.0.0.2, server: "[::1]" }] }
"""
BRIDGE = """secret_file: /etc/splicelb/secret
interface: eth1
address: 192.168.33.20
engine: auto
mode: auto
api: { listen: "127.0.0.1:10002" }
services:
  - { dscp: 1, vip: 192.168.33.10, port: 80, backend: "192.168.33.30:80" }
"""
BRIDGE_EVERY_KEY = """address: [192.0.2.20, "2001:db8::20"]
number: 7
mode: translate
engine: nfqueue
window_scale: 10
services:
  - { dscp: 1, vip: 192.0.2.10, port: 80, backend: "192.0.2.30:8080", window_scale: 14 }
  - { dscp: 2, vip: "2001:db8::10", port: 80, backend: "[2001:db8::30]:80" }
"""


def seeds_of_configurations():
    texts = {"balancer": EXAMPLE, "balancer-every-key": EVERY_KEY, "packetbridge": BRIDGE,
             "packetbridge-every-key": BRIDGE_EVERY_KEY,
             "hash-of-several-words": EXAMPLE.replace("{ key: uri, algorithm: rendezvous }", "uri depth 3 len 100"),
             "hash-of-one-byte": EXAMPLE.replace("{ key: uri, algorithm: rendezvous }", "path depth 1 len 1"),
             "unknown-key": EXAMPLE.replace("hash:", "hsah:"), "twice": EXAMPLE + "interface: eth2\n",
             "tag-and-anchor": "--- !x &a\n? *a\n: [ ]\n", "block": EXAMPLE.replace("uri,", "|\n      uri\n"), "deep": "[" * 300}
    beyond = {"dscp: 1": "dscp: 63", "weight: 1": "weight: 257", "port: 80": "port: 65536", "timeout: 1s": "timeout: 3s",
              "key: uri": "key: uri, depth: 256", "fall: 3": "fall: 101", "192.168.33.20": "192.168.33.10"}
    settings = ("idle_timeout: 169h", "idle_timeout: 999ms", "max_flows: 0", "first_payload_wait: 10001ms", "mss: 535",
                "first_payload_max: 65537", "window_scale: 15", "table_rows: 16777217")
    for number, text in enumerate([EXAMPLE.replace(*change) for change in beyond.items()] +
                                  [f"{setting}\n{EXAMPLE}" for setting in settings]):
        texts[f"beyond-a-bound-{number}"] = text
    second = ", weight: 1 }\n      - { name: b2, address: 192.168.33.20 }"
    texts["one-address-twice"] = EXAMPLE.replace(", weight: 1 }", second)
    for name, text in texts.items():
        put("yaml", f"{name}.yaml", text.encode())


def seeds_of_channel():
    """A byte of what is done to the packet (1: a frame is put around it; twice the kind), four of its nonce, the rest."""
    def frame(kind, body):
        return struct.pack(">IBBHQq", 0x53704368, 1, kind, 24 + len(body) + 8, 5, 1_700_000_000_000) + body + bytes(8)

    def service(dscp, flags, port, address):
        return struct.pack(">BBHI", dscp, flags, port, 7) + address

    v4 = service(1, 0x7a, 80, bytes([192, 0, 2, 10]))
    v6 = service(2, 0x71, 443, bytes.fromhex("20010db8000000000000000000000010"))

    def here(number, keys, version, services, in_all):
        return (struct.pack(">HBBIIIII", number, 0, len(keys), *(keys + [0])[:2], 3, 10, 1) + version.ljust(16, b"\0") +
                struct.pack(">HH", in_all, len(services)) + b"".join(services))

    bodies = {"two-services": here(7, [1, 2], b"0.1.0", [v4, v6], 2), "no-service": here(0, [1], b"1", [], 0),
              "not-all-services": here(1018, [1], b"0123456789abcdef", [v6] * 46, 62),
              "number-too-high": here(1019, [1], b"1", [], 0), "more-than-there-are": here(1, [1], b"1", [v4], 0),
              "ipv4-in-the-long-form": here(1, [1], b"1", [service(1, 0x71, 80, bytes(10) + b"\xff\xff" + bytes(4))], 1)}
    for name, body in bodies.items():
        put("channel", f"framed-{name}", bytes([1 | 2 << 1]) + bytes(4) + body)
        put("channel", f"whole-{name}", bytes(5) + frame(2, body))
    put("channel", "question", bytes(5) + frame(1, bytes(1200 - 32)))
    put("channel", "short-question", bytes(5) + frame(1, bytes(100)))
    put("channel", "clock", bytes(5) + frame(3, b""))


def seeds_of_logs():
    """The first byte is the format's place in the fuzzer's list."""
    request = '192.0.2.1 - - [17/May/2015:10:05:03 +0200] "GET /a?id=1 HTTP/1.1" 200 10'
    lines = {"plain": "/a?id=1\nhttp://h:80/a\n", "common": request,
             "combined": f'www.example.com:80 {request} "-" "a \\"b\\" \\x16"',
             "json": '{"uri":"/a","bytes":5,"time":1.5,"host":"h","http_a":"v","ttl":3,"deep":{"uri":[1]}}',
             "w3c": "#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-bytes cs(a)\n"
                    "2015-05-17 10:05:03.25 192.0.2.1 GET /a id=1 5 v",
             "trace": "time,object,bytes\n0.5,17,10\n1,/a,b,7",
             "keys": "192.0.2.1\t1\t192.0.2.10\t80\turi\t/a\\x20b\tb1\n1.2.3.4\t1\t1.2.3.5\t80\turl_param(id)\t7\tb1"}
    for number, (name, text) in enumerate(lines.items()):
        put("log_line", name, bytes([number]) + text.encode())


def dictionaries():
    """Words for the mutations; libFuzzer's format."""
    def write(name, words):
        lines = ['"' + "".join(f"\\x{b:02x}" if b < 0x20 or b > 0x7e or b in b'"\\' else chr(b) for b in word) + '"' for word in words]
        (CORPUS / f"{name}.dict").write_text("\n".join(lines) + "\n", encoding="ascii")

    http = [b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"OPTIONS ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"\r\n", b"\r\n\r\n",
            b"Host: ", b"X-Tenant: ", b"Content-Length: ", b"Transfer-Encoding: chunked", b"http://", b"https://", b"?id=",
            b"&a=", b"//", b"PRI * HTTP/2.0", b"\r\n\t", b"]:443", b"@", b".:80"]
    write("http_key", http)
    write("request_line", http)
    write("first_payload", http)
    words = sorted(set(re.findall(r"[a-z_]{3,}", EVERY_KEY + BRIDGE + EXAMPLE)))
    values = ["source", "path", "host+uri", "url_param(id)", "hdr(a)", "sni", "maglev", "ketama", "jump", "tls", "tcp", "warning",
              "adopt", "nfqueue", "native", "depth 2", "len 64", "1MiB", "1ms", "168h", "{", "}", "[", "]", ": ", "- ", "&a", "*a",
              "\n  ", "\"", "|", ">", "!!str ", "---\n", "? ", "#", "2001:db8::1", "192.0.2.1", "[::1]:80"]
    write("proxy_header", http[:8] + [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN", b"192.0.2.1", b"2001:db8::1", b"::ffff:",
                                      b"::", b" 80\r\n", b"65535", PROXY_V2, b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x20\x00"])
    write("yaml", [word.encode() for word in words + values])
    write("log_line", [b" [17/May/2015:10:05:03 +0000] \"GET /", b" HTTP/1.1\" 200 5", b"#Fields: ", b"cs-uri-stem", b"sc-bytes",
                       b"{\"uri\":\"", b"\",\"bytes\":", b"\"ttl\":", b"\"time\":\"", b"2015-05-17T10:05:03Z", b"\\x", b"\t",
                       b"url_param(", b"hdr(a)", b"host+uri", b"\"-\""])
    write("client_hello", [b"\x16\x03\x01", b"\x16\x03\x03", b"\x01\x00", b"\x03\x03", b"\x00\x00", b"\x00\x05\x00\x03\x00\x00\x01a",
                           b"\x13\x01", b"\x00\x10", b"\x00\x33"])


def main():
    for file in CORPUS.glob("*/*"):
        if not file.name.startswith("found-"):
            file.unlink()
    seeds_of_packets()
    seeds_of_translation()
    seeds_of_requests()
    seeds_of_hellos()
    seeds_of_check_answers()
    seeds_of_lanes()
    seeds_of_channel()
    seeds_of_proxy_headers()
    seeds_of_first_payloads()
    seeds_of_captures()
    seeds_of_configurations()
    seeds_of_logs()
    dictionaries()


if __name__ == "__main__":
    main()
