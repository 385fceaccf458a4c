#!/usr/bin/env python3
"""Our placement beside a real HAProxy's `balance uri whole` + `hash-type consistent`: the same keys, the same servers,
one of them lost. Usage: haproxy_hash_test.py SPLICE_HASH
"""
import collections
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TOOL = sys.argv.pop(1)
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
SERVERS = [f"s{i}" for i in range(1, 6)]
LOST = "s3"
KEYS = [f"/objects/{i}?v={i * 31 % 7}" for i in range(5000)]
PATIENCE_S = 20


def configuration(folder):
    servers = "\n".join(f"    server {name} unix@{folder}/{name}.sock" for name in SERVERS)
    answers = "\n".join(f"""frontend answer_{name}
    bind unix@{folder}/{name}.sock
    http-request return status 200 content-type text/plain string {name}""" for name in SERVERS)
    return f"""global
    stats socket unix@{folder}/admin.sock level admin
defaults
    mode http
    timeout client 30s
    timeout server 30s
    timeout connect 30s
frontend in
    bind unix@{folder}/in.sock
    default_backend fleet
backend fleet
    balance uri whole
    hash-type consistent
{servers}
{answers}
"""


def chosen_by_haproxy(folder):
    """Asks for every key over one connection, some requests ahead of their answers; the answer is the server's name."""
    chosen = {}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{folder}/in.sock")
        answers = connection.makefile("rb")
        for begin in range(0, len(KEYS), 20):
            keys = KEYS[begin:begin + 20]
            connection.sendall("".join(f"GET {key} HTTP/1.1\r\nHost: x\r\n\r\n" for key in keys).encode())
            for key in keys:
                length = 0
                while (line := answers.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                chosen[key] = answers.read(length).decode()
    return chosen


def chosen_by_us(servers):
    fleet = [word for name in servers for word in ("--bridge", f"{name}=10.0.0.{name[1:]}")]
    done = subprocess.run([TOOL, "map", *fleet, "--format", "json"], input="\n".join(KEYS).encode(),
                          capture_output=True, check=True)
    return {each["key"]: each["choices"][0] for each in json.loads(done.stdout)["keys"]}


def peak_to_mean(chosen):
    counts = collections.Counter(chosen.values())
    return max(counts.values()) / (len(chosen) / len(counts))


@unittest.skipUnless(HAPROXY, "no haproxy here")
class BesideHaproxy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        path = os.path.join(self.folder, "haproxy.cfg")
        with open(path, "w") as file:
            file.write(configuration(self.folder))
        haproxy = subprocess.Popen([HAPROXY, "-db", "-f", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(haproxy.wait)
        self.addCleanup(haproxy.kill)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(f"{self.folder}/in.sock")
                return
            except OSError:
                self.assertIsNone(haproxy.poll(), "haproxy has ended")
                self.assertLess(time.monotonic(), end, "haproxy does not listen")
                time.sleep(0.05)

    def lose(self, server):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(f"{self.folder}/admin.sock")
            admin.sendall(f"set server fleet/{server} state maint\n".encode())
            admin.shutdown(socket.SHUT_WR)
            while admin.recv(4096):
                pass

    def test_balance_and_disruption(self):
        theirs, ours = chosen_by_haproxy(self.folder), chosen_by_us(SERVERS)
        self.assertEqual(set(theirs.values()), set(SERVERS))
        self.assertLess(peak_to_mean(ours), peak_to_mean(theirs), "rendezvous spreads more evenly than HAProxy's ring")
        self.assertLess(peak_to_mean(ours), 1.05)

        self.lose(LOST)
        left = [server for server in SERVERS if server != LOST]
        theirs_then, ours_then = chosen_by_haproxy(self.folder), chosen_by_us(left)
        for before, after in ((theirs, theirs_then), (ours, ours_then)):
            moved = {key for key in KEYS if before[key] != after[key]}
            self.assertEqual(moved, {key for key in KEYS if before[key] == LOST}, "others' keys have moved")
        self.assertLess(peak_to_mean(ours_then), peak_to_mean(theirs_then))
        print(f"peak to mean of {len(KEYS)} keys: ours {peak_to_mean(ours):.3f}, without {LOST} "
              f"{peak_to_mean(ours_then):.3f}; HAProxy {peak_to_mean(theirs):.3f}, {peak_to_mean(theirs_then):.3f}")


if __name__ == "__main__":
    unittest.main()
