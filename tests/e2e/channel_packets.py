"""The channel's packets (docs/channel.md), written once more in Python: a balancer or a bridge that says what a case wants."""

import struct
import time

PORT = 20531
MAGIC = 0x53704368
WHO, HERE, CLOCK = 1, 2, 3
MOST = 1200
_ALL = (1 << 64) - 1


def _left(value, bits):
    return (value << bits | value >> (64 - bits)) & _ALL


def siphash(key, message):
    """SipHash-2-4 (Aumasson and Bernstein, 2012); the key is two numbers."""
    v0, v1 = key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d
    v2, v3 = key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573

    def rounds(count):
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _ALL
            v1 = _left(v1, 13) ^ v0
            v0 = _left(v0, 32)
            v2 = (v2 + v3) & _ALL
            v3 = _left(v3, 16) ^ v2
            v0 = (v0 + v3) & _ALL
            v3 = _left(v3, 21) ^ v0
            v2 = (v2 + v1) & _ALL
            v1 = _left(v1, 17) ^ v2
            v2 = _left(v2, 32)

    padded = message + bytes(-(len(message) + 1) % 8) + bytes([len(message) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xff
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3


class Secret:
    def __init__(self, hex_key):
        key = struct.unpack("<QQ", bytes.fromhex(hex_key))
        self.key = tuple(siphash(key, struct.pack("<6Q", _ALL, what, 0, 0, 0, 0)) for what in (0x100, 0x101))

    @staticmethod
    def of_file(path):
        """By its first key."""
        with open(path, encoding="ascii") as file:
            return Secret(file.readline().strip())

    def packet(self, kind, nonce, body=b"", ahead_s=0.0):
        size = 24 + len(body) + 8
        packet = struct.pack(">IBBHQq", MAGIC, 1, kind, size, nonce, int((time.time() + ahead_s) * 1000)) + body
        return packet + struct.pack(">Q", siphash(self.key, packet))

    def question(self, nonce, ahead_s=0.0):
        return self.packet(WHO, nonce, bytes(MOST - 32), ahead_s)

    def is_right(self, packet):
        return struct.unpack(">Q", packet[-8:])[0] == siphash(self.key, packet[:-8])


def header(packet):
    """Kind, size, nonce and Unix time in seconds."""
    magic, form, kind, size, nonce, unix_ms = struct.unpack(">IBBHQq", packet[:24])
    assert (magic, form) == (MAGIC, 1)
    return kind, size, nonce, unix_ms / 1000
