#!/usr/bin/env python3
"""splice-hash's answers: cases small enough to count by hand, log formats, and the choices of second, independent
implementations of every algorithm.

Usage: splice_hash_test.py SPLICE_HASH [SPLICE_REPLAY CAPTURES]. What needs the public corpora (SPLICELB_CORPORA) is
skipped without them.
"""
import collections
import csv
import gzip
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import zlib

TOOL = sys.argv.pop(1)
REPLAY, CAPTURES = (sys.argv.pop(1), sys.argv.pop(1)) if len(sys.argv) > 2 else (None, None)
CORPORA = os.environ.get("SPLICELB_CORPORA")
THREE = ["--bridge", "b1=192.168.33.20", "--bridge", "b2=192.168.33.21", "--bridge", "b3=192.168.33.22"]
MASK = (1 << 64) - 1


def run(*arguments, text=None, code=0):
    done = subprocess.run([TOOL, *arguments], input=text.encode() if isinstance(text, str) else text,
                          capture_output=True, stdin=None if text is not None else subprocess.DEVNULL)
    if done.returncode != code:
        raise AssertionError(f"{arguments}: exit code {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode() if code == 0 else done.stderr.decode()


def ask(question, *arguments, text=None):
    return json.loads(run(question, *arguments, "--format", "json", text=text))


def of_bridge(report, name):
    return next(bridge for bridge in report["bridges"] if bridge["name"] == name)


# --- second implementations, from the papers and the other programs' documentation ---

def rotate(value, bits):
    return ((value << bits) | (value >> (64 - bits))) & MASK


def xxh64(data, seed=0):
    p1, p2, p3, p4, p5 = (11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579,
                          2870177450012600261)

    def one_round(lane, word):
        return rotate((lane + word * p2) & MASK, 31) * p1 & MASK

    at = 0
    if len(data) >= 32:
        lanes = [(seed + p1 + p2) & MASK, (seed + p2) & MASK, seed, (seed - p1) & MASK]
        while at + 32 <= len(data):
            for i in range(4):
                lanes[i] = one_round(lanes[i], int.from_bytes(data[at:at + 8], "little"))
                at += 8
        hashed = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & MASK
        for lane in lanes:
            hashed = ((hashed ^ one_round(0, lane)) * p1 + p4) & MASK
    else:
        hashed = (seed + p5) & MASK
    hashed = (hashed + len(data)) & MASK
    while at + 8 <= len(data):
        hashed = (rotate(hashed ^ one_round(0, int.from_bytes(data[at:at + 8], "little")), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= len(data):
        hashed = (rotate(hashed ^ int.from_bytes(data[at:at + 4], "little") * p1 & MASK, 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        hashed = rotate(hashed ^ byte * p5 & MASK, 11) * p1 & MASK
    hashed = (hashed ^ hashed >> 33) * p2 & MASK
    hashed = (hashed ^ hashed >> 29) * p3 & MASK
    return hashed ^ hashed >> 32


def splitmix(value):
    value = (value + 0x9e3779b97f4a7c15) & MASK
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9 & MASK
    value = (value ^ value >> 27) * 0x94d049bb133111eb & MASK
    return value ^ value >> 31


def rendezvous(names, weights, row):
    """Thaler and Ravishankar's rule with weights: the least -log(u) / weight wins."""
    def score(name):
        mixed = (xxh64(name.encode()) ^ splitmix(row)) * 0xff51afd7ed558ccd & MASK
        draw = (mixed ^ mixed >> 32) * 0xc4ceb9fe1a85ec53 & MASK
        return -math.log((draw + 1) / 2**64) / weights[name]
    return sorted(names, key=score)[:3]


def maglev(names, rows):
    """The paper's listing: all members have one weight."""
    names = sorted(names)
    permutation = {}
    for name in names:
        offset = xxh64(name.encode(), 0) % rows
        skip = xxh64(name.encode(), 1) % (rows - 1) + 1
        while math.gcd(skip, rows) != 1:
            skip += 1
        permutation[name] = [(offset + i * skip) % rows for i in range(rows)]
    table = [None] * rows
    following = dict.fromkeys(names, 0)
    filled = 0
    while filled < rows:
        for name in names:
            while table[permutation[name][following[name]]] is not None:
                following[name] += 1
            table[permutation[name][following[name]]] = name
            filled += 1
            if filled == rows:
                break
    return table


def jump(key, buckets):
    """The paper's code, with its floating point."""
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & MASK
        following = int((bucket + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return bucket


def ketama(servers, key):
    """nginx's ngx_http_upstream_hash_module: the points of each server, then the first at or after the key's."""
    ring = {}
    for server, weight in servers:
        host, _, port = server.partition(":")
        base = host.encode() + b"\0" + port.encode()
        previous = b"\0\0\0\0"
        for _ in range(160 * weight):
            point = zlib.crc32(base + previous)
            previous = point.to_bytes(4, "little")
            ring.setdefault(point, server)
    points = sorted(ring)
    hashed = zlib.crc32(key.encode())
    return ring[next((point for point in points if point >= hashed), points[0])]


KEYS = [f"/img/{i}?size={i * 7919 % 101}" for i in range(400)]


class SecondImplementations(unittest.TestCase):
    def mapped(self, *arguments):
        lines = run("map", *arguments, "--format", "csv", text="\n".join(KEYS) + "\n")
        rows = list(csv.DictReader(io.StringIO(lines)))
        self.assertEqual([row["key"] for row in rows], KEYS)
        return rows

    def test_keys_are_hashed_by_xxh64_and_rows_are_its_upper_bits(self):
        for row in self.mapped(*THREE):
            hashed = xxh64(row["key"].encode())
            self.assertEqual(row["hash"], f"{hashed:016x}")
            self.assertEqual(int(row["row"]), hashed >> 48)

    def test_rendezvous(self):
        names = ["b1", "b2", "b3"]
        for row in self.mapped(*THREE):
            self.assertEqual([row["first"], row["second"], row["third"]],
                             rendezvous(names, dict.fromkeys(names, 1), int(row["row"])))

    def test_weighted_rendezvous(self):
        weights = {"b1": 1, "b2": 3, "b3": 7}
        fleet = [word for name, weight in weights.items()
                 for word in ("--bridge", f"{name}=10.0.0.{weight},weight={weight}")]
        differing = 0
        for row in self.mapped(*fleet):
            wanted = rendezvous(list(weights), weights, int(row["row"]))
            differing += [row["first"], row["second"], row["third"]] != wanted
        # The table's logarithms are straight lines between points, right to 0.03 %.
        self.assertLessEqual(differing, 2)

    def test_maglev(self):
        for rows in (1009, 4096):
            table = maglev(["b1", "b2", "b3"], rows)
            for row in self.mapped(*THREE, "--algorithm", "maglev", "--rows", str(rows)):
                self.assertEqual(row["first"], table[int(row["row"])])

    def test_jump(self):
        for row in self.mapped(*THREE, "--algorithm", "jump"):
            self.assertEqual(row["first"], f"b{jump(splitmix(int(row['row'])), 3) + 1}")

    def test_ketama(self):
        servers = [("10.0.0.1:8080", 1), ("10.0.0.2", 2), ("10.0.0.3:81", 1)]
        fleet = [word for i, (server, weight) in enumerate(servers)
                 for word in ("--bridge", f"s{i}={server},weight={weight}")]
        for row in self.mapped(*fleet, "--algorithm", "ketama"):
            self.assertEqual(servers[int(row["first"][1:])][0], ketama(servers, row["key"]))


class ByHand(unittest.TestCase):
    # Of /a the first choices of THREE are b2, b1, b3; /img goes to b1.
    LOG = "0,/a,10\n1,/a,10\n2,/img,5\n3,/a,10\n"

    def test_balance(self):
        report = ask("balance", *THREE, text=self.LOG)
        self.assertEqual((report["requests"], report["bytes"]), (4, 35))
        self.assertEqual((report["distinct_objects"], report["distinct_is_exact"]), (2, True))
        self.assertEqual([(b["requests"], b["bytes"], b["objects"]) for b in report["bridges"]],
                         [(1, 5, 1), (3, 30, 1), (0, 0, 0)])
        self.assertAlmostEqual(report["peak_to_mean_requests"], 2.25)
        self.assertAlmostEqual(report["peak_to_mean_bytes"], 30 / 35 * 3)
        self.assertAlmostEqual(report["effective_keys_by_requests"], 16 / 10)
        self.assertAlmostEqual(report["gini_of_keys"], 0.25)
        hot = report["hot_keys"][0]
        self.assertEqual((hot["key"], hot["bridge"], hot["requests"], hot["at_most"], hot["bytes"]),
                         ("/a", "b2", 3, 3, 30))

    def test_disrupt(self):
        report = ask("disrupt", *THREE, "--without", "b2", text=self.LOG)
        self.assertEqual([report[f"moved_{what}"] for what in ("keys", "requests", "bytes")], [1, 3, 30])
        self.assertEqual([report[f"least_{what}"] for what in ("keys", "requests", "bytes")], [1, 3, 30])
        self.assertEqual(of_bridge(report, "b1")["requests_then"], 4)
        self.assertNotIn("warning", report)

    def test_a_weight_and_a_newcomer_move_no_more_than_they_must(self):
        for change in (["--weight", "b3=3"], ["--add", "b4=192.168.33.23"]):
            report = ask("disrupt", *THREE, *change, text="\n".join(KEYS))
            self.assertGreater(report["moved_keys"], 0)
            self.assertEqual(report["moved_keys"], report["least_keys"])

    def test_jump_is_unfit_when_a_bridge_in_the_middle_leaves(self):
        report = ask("disrupt", *THREE, "--algorithm", "jump", "--without", "b1", text="\n".join(KEYS))
        self.assertIn("jump is unfit", report["warning"])
        report = ask("disrupt", *THREE, "--algorithm", "jump", "--without", "b3", text="\n".join(KEYS))
        self.assertNotIn("warning", report)

    def test_compare_takes_each_key_once(self):
        report = ask("compare", *THREE, "--algorithms", "rendezvous,jump", "--keys", "uri;path", "--table-rows",
                     "1024,65536", text="\n".join(KEYS))
        self.assertEqual(len(report["variants"]), 8)
        for variant in report["variants"]:
            self.assertEqual(variant["requests"], len(KEYS))
            self.assertEqual(sum(bridge["requests"] for bridge in variant["bridges"]), len(KEYS))

    def test_a_cache_of_two_objects(self):
        log = "0,a,10\n1,b,10\n2,a,10\n3,c,10\n4,a,10\n5,b,10\n"
        report = ask("cache", *THREE[:2], "--sizes", "20", "--policies", "lru,fifo", text=log)
        # LRU: a b (hit a) c drops b (hit a) b. FIFO: a b (hit a) c drops a, a drops b, b drops c.
        self.assertEqual([(run["policy"], run["misses"], run["missed_bytes"]) for run in report["runs"]],
                         [("lru", 4, 40), ("fifo", 5, 50)])
        self.assertEqual(report["runs"][0]["bridges"][0]["misses"], 4)

    def test_a_lost_bridge_costs_its_cache(self):
        log = "".join(f"{second},{second % 3},1\n" for second in range(60))
        report = ask("cache", *THREE[:4], "--sizes", "100", "--lose", "b1@20s-40s", "--interval", "10s", text=log)
        quiet, changed = report["runs"]
        self.assertEqual((quiet["routing"], quiet["misses"]), ("hash", 3))
        moved = of_bridge(quiet, "b1")["misses"]
        self.assertEqual(changed["misses"], 3 + 2 * moved)
        self.assertEqual(changed["extra_misses"], 2 * moved)

    def test_what_may_not_be_stored_is_fetched_each_time(self):
        lines = ['{"uri":"/a","bytes":5,"status":200,"ttl":0}', '{"uri":"/b","bytes":5,"status":200,"ttl":10,"time":0}',
                 '{"uri":"/c","bytes":5,"status":500}']
        report = ask("cache", *THREE[:2], "--sizes", "1MiB", text="\n".join(lines * 3) + "\n")
        self.assertEqual((report["runs"][0]["misses"], report["runs"][0]["uncacheable"]), (7, 6))

    def test_a_stale_copy_is_a_miss(self):
        log = "".join(f'{{"uri":"/a","bytes":5,"ttl":10,"time":{second}}}\n' for second in (0, 5, 20))
        report = ask("cache", *THREE[:2], "--sizes", "1MiB", text=log)
        self.assertEqual((report["runs"][0]["misses"], report["runs"][0]["expired"]), (2, 1))

    def test_a_304_does_not_tell_the_size(self):
        log = ('1.2.3.4 - - [17/May/2015:10:00:00 +0000] "GET /a HTTP/1.1" 200 600\n'
               '1.2.3.4 - - [17/May/2015:10:00:01 +0000] "GET /b HTTP/1.1" 200 600\n'
               '1.2.3.4 - - [17/May/2015:10:00:02 +0000] "GET /a HTTP/1.1" 304 0\n'
               '1.2.3.4 - - [17/May/2015:10:00:03 +0000] "GET /b HTTP/1.1" 200 600\n')
        report = ask("cache", *THREE[:2], "--sizes", "1000", text=log)
        # The 304 brings /a back with all of its 600 bytes, so that /b leaves.
        self.assertEqual((report["runs"][0]["misses"], report["runs"][0]["origin_bytes"]), (4, 2400))

    def test_parts_of_objects_are_fetched_as_the_caches_do(self):
        # Of an object of 5,000 bytes 100 at 1,000, the same again, and 100 at 3,000.
        log = "".join(json.dumps({"uri": "/v", "status": 206, "bytes": 100, "time": second,
                                  "http_range": f"bytes={at}-{at + 99}",
                                  "sent_http_content_range": f"bytes {at}-{at + 99}/5000"}) + "\n"
                      for second, at in enumerate((1000, 1000, 3000)))
        # Slices of 1 KiB: the first part lies in the slices 0 and 1, the last in 2 and 3.
        for ranges, wanted in (("whole", (1, 100, 1, 5000)), ("slices", (2, 200, 4, 4096)), ("pass", (3, 300, 3, 300))):
            with self.subTest(ranges):
                one = ask("cache", *THREE[:2], "--sizes", "1MiB", "--ranges", ranges, "--slice", "1KiB", text=log)["runs"][0]
                self.assertEqual((one["requests"], one["bytes"]), (3, 300))
                self.assertEqual((one["misses"], one["missed_bytes"], one["origin_requests"], one["origin_bytes"]), wanted)

    def test_cache_control_tells_how_long_an_answer_lives(self):
        def misses(header, *seconds):
            log = "".join(json.dumps({"uri": "/a", "bytes": 5, "status": 200, "time": second,
                                      "sent_http_cache_control": header}) + "\n" for second in seconds)
            return ask("cache", *THREE[:2], "--sizes", "1MiB", text=log)["runs"][0]["misses"]
        self.assertEqual(misses("public, max-age=60, s-maxage=10", 0, 5, 20), 2)
        self.assertEqual(misses("max-age=60", 0, 5, 20), 1)
        self.assertEqual(misses("private", 0, 5, 20), 3)

    def test_kept_alive_requests_follow_their_connection(self):
        lines = [f'{{"uri":"/{i}","connection":"{i // 10}","time":{i},"bytes":1}}' for i in range(100)]
        report = ask("cache", *THREE, "--sizes", "1MiB", "--routing", "hash,keep-alive", text="\n".join(lines))
        kept = next(each for each in report["routing"] if each["routing"] == "keep-alive")
        self.assertEqual(kept["connections"], 10)
        self.assertLess(kept["own_bridge_share"], 0.7)
        self.assertGreaterEqual(kept["own_bridge_share"], 0.1)

    def test_a_clients_port_tells_connections(self):
        def connections(lines, *arguments):
            report = ask("cache", *THREE, "--sizes", "1MiB", "--routing", "keep-alive", *arguments,
                         text="\n".join(lines))
            return report["routing"][0]["connections"]
        # 100 requests of two clients, 5 ports each.
        ends = [("192.0.2.1" if i % 2 else "2001:db8::1", 5000 + i % 10 // 2) for i in range(100)]
        for line in ('{{"uri":"/","client":"{0}","client_port":{1}}}', '{{"uri":"/","client":"{2}:{1}"}}',
                     '{{"uri":"/","remote_addr":"{0}","remote_port":"{1}"}}'):
            with self.subTest(line):
                lines = [line.format(address, port, f"[{address}]" if ":" in address else address)
                         for address, port in ends]
                self.assertEqual(connections(lines), 10)
        self.assertEqual(connections(["#Fields: c-ip c-port cs-uri-stem"] +
                                     [f"{address} {port} /" for address, port in ends]), 10)
        self.assertEqual(connections([f'{{"uri":"/","client":"{address}","p":{port}}}' for address, port in ends],
                                     "--fields", "port=p"), 10)
        self.assertEqual(connections([f'{{"uri":"/","client":"{address}"}}' for address, _ in ends]), 2)

    def test_a_source_with_a_port_is_the_address(self):
        for source in ("192.0.2.1", "192.0.2.1:5000", "2001:db8::1", "[2001:db8::1]:5000", "[2001:db8::1]"):
            with self.subTest(source):
                report = ask("map", *THREE, "--hash-key", "source", text=json.dumps({"client": source}))
                address = "2001:db8::1" if "2001" in source else "192.0.2.1"
                self.assertEqual(report["keys"][0]["key"], address)


REQUESTS = [("192.0.2.1", "GET", "/a?x=1", 200, 10), ("192.0.2.2", "GET", "/img/1", 404, 20),
            ("2001:db8::1", "POST", "/a?x=1", 200, 30)]


def common(request, rest=""):
    source, method, target, status, size = request
    return f'{source} - - [17/May/2015:10:05:03 +0000] "{method} {target} HTTP/1.1" {status} {size}{rest}\n'


SERVICE = """secret_file: /etc/splicelb/secret
interface: eth1
services:
  - name: cdn
    vip: 192.168.33.10
    port: 80
    dscp: 1
    protocol: {protocol}
    hash: {{ key: {key} }}
    bridges:
      - {{ name: b1, address: 192.168.33.20 }}
      - {{ name: b2, address: 192.168.33.21 }}
      - {{ name: b3, address: 192.168.33.22 }}
{more}"""


class Services(unittest.TestCase):
    """What a service's configuration says beside key and algorithm is what the tool does."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "balancer.yaml")

    def configured(self, more="", key="uri", protocol="http"):
        with open(self.path, "w") as file:
            file.write(SERVICE.format(key=key, protocol=protocol, more=more))
        return ["--config", self.path]

    @staticmethod
    def firsts(*arguments, text):
        return {each["key"]: each["choices"][0] for each in ask("map", *arguments, text=text)["keys"]}

    # One hot key, 10 requests a second, among as many others.
    TRAFFIC = "".join(f"{i / 20},{'/hot' if i % 2 else f'/{i}'},1\n" for i in range(4000))

    def test_bounded_load_hot_keys_and_warmup_are_simulated_in_balance_and_cache(self):
        def shares(report):
            return [bridge["requests"] for bridge in report["bridges"]]
        plain = ask("balance", *self.configured(), text=self.TRAFFIC)
        self.assertGreater(max(shares(plain)), 2500)
        self.assertNotIn("choices", plain)
        for more, flags, count in (
                ("    bounded_load: 1.1\n", ["--bounded-load", "1.1"], "over_bound"),
                ("    hot_keys: { top: 4, spread: 2 }\n", ["--spread", "2", "--hot-keys", "4"], "spread_requests"),
                ("    warmup: 10 %\n", ["--warmup", "10%"], "warmups")):
            with self.subTest(count):
                told = ask("balance", *self.configured(more), text=self.TRAFFIC)
                self.assertGreater(told["choices"][0][count], 300)
                self.assertEqual(sum(shares(told)), 4000)
                self.assertLess(max(shares(told)), max(shares(plain)) - 200)
                # The same by flags, and in the caches' simulation.
                self.assertEqual(shares(told), shares(ask("balance", *self.configured(), *flags, text=self.TRAFFIC)))
                cache = ask("cache", *self.configured(more), "--sizes", "1MiB", text=self.TRAFFIC)
                self.assertEqual([each["routing"] for each in cache["runs"]], ["hash", "changed"])
                self.assertEqual(shares(cache["runs"][0]), shares(plain))
                self.assertEqual(shares(cache["runs"][1]), shares(told))
                # A flag takes it back.
                off = ask("balance", *self.configured(more), flags[0], "off", text=self.TRAFFIC)
                self.assertEqual(shares(off), shares(plain))

    def test_hot_keys_are_keys_and_not_objects(self):
        # 2,000 objects of one path: one hot key.
        text = "".join(f"{i / 20},{f'/hot?{i}' if i % 2 else f'/{i}'},1\n" for i in range(4000))
        report = ask("cache", *THREE, "--hash-key", "path", "--spread", "2", "--sizes", "1MiB", text=text)
        self.assertGreater(report["routing"][1]["spread_requests"], 1500)

    def test_a_ramp_moves_its_rows_to_the_shadow_in_every_answer(self):
        text = "".join(f"/img/{i}?v={i % 7}\n" for i in range(3000))
        uri = self.firsts(*self.configured(), text=text)
        path = {target: bridge for target, bridge in zip(
            uri, (each["choices"][0] for each in ask("map", *self.configured(key="path"), text=text)["keys"]))}
        ramped = self.configured("    shadow: { key: path }\n    ramp: 25 %\n")
        now = self.firsts(*ramped, text=text)
        on_shadow = [target for target in uri if now[target] != uri[target]]
        self.assertTrue(all(now[target] == path[target] for target in on_shadow))
        differing = sum(uri[target] != path[target] for target in uri)
        self.assertAlmostEqual(len(on_shadow) / differing, 0.25, delta=0.05)
        counted = collections.Counter(now.values())
        for question in (["balance"], ["cache", "--sizes", "1MiB"]):
            report = ask(*question, *ramped, text=text)
            bridges = report["runs"][0]["bridges"] if "runs" in report else report["bridges"]
            self.assertEqual({each["name"]: each["requests"] for each in bridges}, counted)
        # What the ramp moves is what disrupt says of it; without a ramp, all.
        self.assertEqual(ask("disrupt", *ramped, text=text)["moved_requests"], len(on_shadow))
        steps = ask("explain", *ramped, "--url", on_shadow[0])["explained"][0]
        self.assertIn("the shadow serves this row: by path", steps["ramp"])
        self.assertEqual(steps["first"].split()[0], now[on_shadow[0]])
        watched = self.configured("    shadow: { key: path }\n")
        self.assertEqual(ask("disrupt", *watched, text=text)["moved_requests"], differing)
        self.assertEqual(ask("disrupt", *self.configured(), "--shadow-key", "path", "--ramp", "25%",
                             text=text)["moved_requests"], len(on_shadow))

    def test_a_shadow_of_the_same_key_moves_to_the_other_algorithms_choices(self):
        text = "\n".join(KEYS)
        maglev = self.firsts(*self.configured(), "--algorithm", "maglev", text=text)
        plain = self.firsts(*self.configured(), text=text)
        report = ask("disrupt", *self.configured(), "--shadow-algorithm", "maglev", text=text)
        self.assertEqual(report["moved_keys"], sum(plain[key] != maglev[key] for key in KEYS))
        self.assertEqual((report["key_then"], report["algorithm_then"], report["ramp_share"]), ("uri", "maglev", 1))

    def test_a_subset_spreads_a_name_in_every_answer(self):
        lines = "".join(json.dumps({"host": "www.example", "client": f"192.0.2.{i}", "uri": f"/{i}", "bytes": 1}) + "\n"
                        for i in range(250))
        fleet = self.configured("    subset: 2\n", key="sni", protocol="tls")
        counted = collections.Counter(each["choices"][0] for each in ask("map", *fleet, text=lines)["keys"])
        self.assertEqual(len(counted), 2)
        for question in (["balance"], ["cache", "--sizes", "1MiB"], ["disrupt", "--without", "b1"]):
            report = ask(*question, *fleet, text=lines)
            bridges = report["runs"][0]["bridges"] if "runs" in report else report["bridges"]
            self.assertEqual({each["name"]: each["requests"] for each in bridges if each["requests"]}, counted)

    def test_a_bridge_that_is_not_ready_takes_nothing(self):
        fleet = self.configured()
        with open(self.path) as file:
            text = file.read()
        with open(self.path, "w") as file:
            file.write(text.replace("192.168.33.21 }", "192.168.33.21, state: drain }"))
        firsts = self.firsts(*fleet, text="\n".join(KEYS))
        self.assertEqual(set(firsts.values()), {"b1", "b3"})
        self.assertEqual(of_bridge(ask("balance", *fleet, text="\n".join(KEYS)), "b2")["due_share"], 0)


class Refusals(unittest.TestCase):
    """Each names the flag, file or line, and what was expected."""

    FLEET = THREE
    CACHE = ["cache", *THREE, "--sizes", "1MiB"]
    TABLE = [
        # arguments, what is named, the expected form
        (["balance", *FLEET, "--hash-key", "uri query(order)"], "--hash-key", "query(...) takes sort, include=NAME"),
        (["balance", *FLEET, "--hash-key", "uri depth 0"], "--hash-key", "1 to 255"),
        (["balance", *FLEET, "--hash-key", "sni+uri"], "--hash-key", "can not be joined"),
        (["balance", *FLEET, "--hash-key", "hdr()"], "--hash-key", "as in hdr(id)"),
        (["balance", *FLEET, "--hash-key", "hdr(a)+hdr(b)+hdr(c)+hdr(d)+hdr(e)"], "--hash-key", "at most 4 headers"),
        (["balance", *FLEET, "--algorithm", "modulo"], "--algorithm", "rendezvous, maglev, ketama or jump"),
        (["balance", *FLEET, "--rows", "many"], "--rows", "a number from 1 to"),
        (["balance", *FLEET, "--subset", "3"], "--subset", "--hash-key sni"),
        (["balance", *FLEET, "--subset", "4", "--hash-key", "sni"], "--subset", "2 to 3"),
        (["balance", *FLEET, "--bounded-load", "1"], "--bounded-load", "1.01 to 100"),
        (["balance", *FLEET, "--warmup", "110%"], "--warmup", "at most 100 %"),
        (["balance", *FLEET, "--spread", "4"], "--spread", "2 to 3"),
        (["balance", *FLEET, "--hot-keys", "8"], "--hot-keys", "--spread"),
        (["balance", *FLEET, "--hot-keys", "0", "--spread", "2"], "--hot-keys", "a number from 1 to"),
        (["balance", *FLEET, "--top", "-1"], "--top", "a number from 0 to"),
        (["balance", *FLEET, "--fields", "hdr(x)=y"], "--fields", "MEANING=FIELD"),
        (["balance", *FLEET, "--fields", "uri"], "--fields", "MEANING=FIELD"),
        (["balance", *FLEET, "--format", "yaml"], "--format", "table, json or csv"),
        (["balance", *FLEET, "--log-format", "xml"], "--log-format", "plain, common, combined, json"),
        (["balance", "--bridge", "b1"], "--bridge b1", "NAME=ADDRESS[,weight=N]"),
        (["balance", "--bridge", "b1=10.0.0.1,weight=0"], "--bridge", "1 to"),
        (["balance", "--bridge", "b1=10.0.0.1,colour=red"], "--bridge", "weight=N"),
        (["balance", "--bridge", "b1=10.0.0.1", "--bridge", "b1=10.0.0.2"], "--bridge b1=10.0.0.2", "two bridges are named b1"),
        (["balance", "--bridge", "b1=here"], "--bridge b1=here", "address"),
        (["balance", *FLEET, "--service", "cdn"], "--service", "--config"),
        (["balance", *FLEET, "nosuch.log"], "nosuch.log", "expected a log"),
        (["disrupt", *FLEET, "--weight", "b1"], "--weight", "NAME=N"),
        (["disrupt", *FLEET, "--add", "b4"], "--add", "NAME=ADDRESS"),
        (["disrupt", *FLEET, "--add", "b3=10.0.0.9"], "--add", "two bridges are named b3"),
        (["disrupt", *FLEET, "--ramp", "10%"], "--ramp", "--shadow-key"),
        (["disrupt", *FLEET, "--shadow-key", "path", "--ramp", "0"], "--ramp", "more than nothing"),
        (["disrupt", *FLEET, "--shadow-key", "body"], "--shadow-key", "expected uri, path"),
        (["disrupt", *FLEET, "--shadow-key", "sni"], "--shadow-key", "the same traffic"),
        (["disrupt", *FLEET, "--shadow-algorithm", "modulo"], "--shadow-algorithm", "rendezvous, maglev"),
        (["disrupt", *FLEET], "--without", "say what changes"),
        (["compare", *FLEET, "--algorithms", "rendezvous,modulo"], "--algorithms modulo", "rendezvous, maglev"),
        (["compare", *FLEET, "--keys", "uri;body"], "--keys body", "expected uri, path"),
        (["compare", *FLEET, "--keys", ";".join(f"hdr(a{i})" for i in range(9))], "--keys", "at most 8 headers"),
        (["compare", *FLEET, "--table-rows", "0"], "--table-rows", "a number from 1"),
        (["cache", *FLEET], "--sizes", "as in --sizes 1GiB"),
        (["cache", *FLEET, "--sizes", "128MB"], "--sizes 128MB", "such as 128MiB"),
        ([*CACHE, "--policies", "LRU"], "--policies LRU", "expected lru, fifo"),
        ([*CACHE, "--routing", "hash,luck"], "--routing luck", "expected hash, random"),
        ([*CACHE, "--ttl", "soon"], "--ttl", "such as"),
        ([*CACHE, "--lose", "b1"], "--lose", "NAME@TIME[-TIME]"),
        ([*CACHE, "--interval", "0s"], "--interval", "more than nothing"),
        ([*CACHE, "--ranges", "half"], "--ranges half", "whole, slices or pass"),
        ([*CACHE, "--slice", "0"], "--slice 0", "such as 1MiB"),
        (["generate", "--zipf", "-1"], "--zipf", "a number from 0 to 10"),
        (["generate", "--as", "json"], "--as", "trace, plain or combined"),
        (["generate", "some.log"], "LOG", "standard output"),
    ]

    def test_the_table(self):
        for arguments, named, form in self.TABLE:
            with self.subTest(" ".join(arguments)):
                said = run(*arguments, text="/a\n", code=2)
                self.assertEqual(said.count("\n"), 1, said)
                self.assertIn(named, said)
                self.assertIn(form, said)

    def test_a_configuration_is_refused_with_file_line_and_column(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "balancer.yaml")
            for wrong, line, form in (("    bounded_lod: 1.1\n", 14, "bounded_load"), ("    warmup: lots\n", 14, "2 %"),
                                      ("    ramp: 10 %\n", None, "shadow: { key, algorithm }")):
                with open(path, "w") as file:
                    file.write(SERVICE.format(key="uri", protocol="http", more=wrong))
                said = run("balance", "--config", path, text="/a\n", code=2)
                self.assertIn(f"{path}:{line}:" if line else path, said)
                self.assertIn(form, said)
            self.assertIn("nosuch.yaml", run("balance", "--config", "nosuch.yaml", text="/a\n", code=1))

    def test_a_log_without_a_request_is_an_error(self):
        said = run("balance", *THREE, "--log-format", "trace", text="no trace\nneither\n", code=1)
        self.assertIn("no line is a request; of 2 the first is standard input, line 1: not time,object,bytes", said)
        self.assertIn("standard input, line 1", run("balance", *THREE, text=bytes(range(256)) * 40, code=1))
        self.assertEqual(ask("balance", *THREE, text="")["requests"], 0)  # an empty log has an answer

    def test_what_cannot_be_written_is_an_error(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([TOOL, "balance", *THREE, "--url", "/a"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("write to standard output", done.stderr)


class Interrupts(unittest.TestCase):
    def test_the_first_interrupt_ends_the_reading_and_the_answer_comes(self):
        with subprocess.Popen([TOOL, "balance", *THREE, "--format", "json"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            # More than a pipe holds: once it is written, the tool has begun to read, and waits for more.
            process.stdin.write(b"/a\n" * 100_000)
            process.stdin.flush()
            process.send_signal(signal.SIGINT)
            out, said = process.stdout.read(), process.stderr.read()
            process.stdin.close()
        self.assertEqual(process.returncode, 130)
        self.assertIn(b"interrupted", said)
        report = json.loads(out)
        self.assertGreater(report["requests"], 0)
        self.assertIn("interrupted", report)


class Formats(unittest.TestCase):
    def judge(self, text, *arguments, hosts=()):
        report = ask("balance", *THREE, *arguments, text=text)
        self.assertEqual(report["malformed_lines"], 0, report)
        self.assertEqual((report["requests"], report["bytes"], report["distinct_objects"]), (3, 60, 2))
        plain = ask("balance", *THREE, text="".join(request[2] + "\n" for request in REQUESTS))
        self.assertEqual([b["requests"] for b in report["bridges"]], [b["requests"] for b in plain["bridges"]])

    def test_common(self):
        self.judge("".join(map(common, REQUESTS)))

    def test_combined(self):
        self.judge("".join(common(request, ' "-" "Mozilla \\"x\\""') for request in REQUESTS))

    def test_combined_with_the_virtual_host_in_front(self):
        self.judge("".join("www.example.com:80 " + common(request, ' "-" "x"') for request in REQUESTS))

    def test_json_with_the_usual_names(self):
        self.judge("".join(json.dumps({"remote_addr": source, "request_method": method, "request_uri": target,
                                       "status": status, "body_bytes_sent": size, "other": {"uri": "/no"}}) + "\n"
                           for source, method, target, status, size in REQUESTS))

    def test_json_with_chosen_names(self):
        self.judge("".join(json.dumps({"what": target, "much": size, "uri": "/not/this"}) + "\n"
                           for _, _, target, _, size in REQUESTS), "--fields", "uri=what,bytes=much")

    def test_w3c(self):
        lines = ["#Version: 1.0", "#Fields: date time c-ip cs-method cs-uri-stem cs-uri-query sc-status sc-bytes"]
        for source, method, target, status, size in REQUESTS:
            path, _, query = target.partition("?")
            lines.append(f"2015-05-17 10:05:03 {source} {method} {path} {query or '-'} {status} {size}")
        self.judge("\n".join(lines) + "\n")
        self.judge("\n".join(lines).replace(" ", "\t").replace("#Fields:\t", "#Fields: ") + "\r\n")

    def test_trace(self):
        self.judge("seconds,object,bytes\n" +
                   "".join(f"{i}.5,{request[2]},{request[4]}\n" for i, request in enumerate(REQUESTS)))

    def test_packed_files_several_files_and_standard_input(self):
        lines = [common(request).encode() for request in REQUESTS]
        with tempfile.TemporaryDirectory() as folder:
            packed = os.path.join(folder, "log.1")
            with open(packed, "wb") as file:  # two members, as after `cat a.gz b.gz`
                file.write(gzip.compress(lines[0]) + gzip.compress(lines[1]))
            report = ask("balance", *THREE, packed, "-", text=lines[2])
            self.assertEqual((report["requests"], report["bytes"]), (3, 60))
            with open(packed, "wb") as file:
                file.write(gzip.compress(b"".join(lines))[:-12])
            self.assertIn("gzip data are damaged", run("balance", *THREE, packed, code=1))
            if not shutil.which("zstd"):
                self.skipTest("no zstd here")
            stored = subprocess.run(["zstd", "-q", "-c"], input=b"".join(lines), capture_output=True, check=True).stdout
            report = ask("balance", *THREE, text=stored)
            self.assertEqual((report["requests"], report["bytes"]), (3, 60))

    def test_malformed_lines_are_counted_and_the_first_are_shown(self):
        text = common(REQUESTS[0]) + "nonsense\n" * 7 + common(REQUESTS[1])
        report = ask("balance", *THREE, text=text)
        self.assertEqual((report["requests"], report["malformed_lines"]), (2, 7))
        self.assertEqual([shown["line"] for shown in report["first_malformed"]], [2, 3, 4, 5, 6])
        self.assertIn("nonsense", report["first_malformed"][0]["text"])

    def test_the_first_line_of_a_known_format_tells_it(self):
        text = "Nov 27 something else\n" + common(REQUESTS[0]) + common(REQUESTS[1])
        report = ask("balance", *THREE, text=text)
        self.assertEqual((report["requests"], report["malformed_lines"]), (2, 1))
        self.assertEqual(report["first_malformed"][0]["line"], 1)

    def test_a_line_without_end_is_malformed_and_reading_goes_on(self):
        report = ask("balance", *THREE, text="/a\n" + "/" + "x" * 3_000_000 + "\n/b\n")
        self.assertEqual((report["requests"], report["malformed_lines"]), (2, 1))

    def test_a_request_that_is_not_http_is_chosen_for_by_its_source(self):
        text = '192.0.2.1 - - [17/May/2015:10:05:03 +0000] "\\x16\\x03\\x01" 400 0\n'
        report = ask("map", *THREE, "--log-format", "common", text=text)
        self.assertEqual(report["chosen_by_source"][0]["why"], "not_http")
        by_source = ask("map", *THREE, "--hash-key", "source", "--url", "192.0.2.1")
        self.assertEqual(report["keys"][0]["choices"], by_source["keys"][0]["choices"])

    def test_hosts_and_headers_are_keys(self):
        line = json.dumps({"uri": "/a", "host": "WWW.example.com:80", "http_x_tenant": "t1"}) + "\n"
        self.assertEqual(ask("map", *THREE, "--hash-key", "host+uri", text=line)["keys"][0]["key"], "www.example.com/a")
        self.assertEqual(ask("map", *THREE, "--hash-key", "hdr(X-Tenant)", text=line)["keys"][0]["key"], "t1")

    def test_keys_are_written_as_their_options_say(self):
        for rule, target, key in (
                ("uri query(sort,include=id,exclude=utm_*)", "/a?utm_id=1&x=2&id=3", "/a?id=3"),
                ("uri  query( sort )", "/a?b&a", "/a?a&b"),
                ("host+uri normalise", "http://H.example:80/%7ea/../b", "h.example/b"),
                ("path decode", "/a%2Fb?c", "/a/b"),
                ("url_param(id)+path", "/a?id=7", "7/a")):
            with self.subTest(rule):
                report = ask("map", *THREE, "--hash-key", rule, "--url", target)
                self.assertEqual(report["keys"][0]["key"], key)
                steps = ask("explain", *THREE, "--hash-key", rule, "--url", target)["explained"][0]
                self.assertEqual(steps["key"], key)
        line = json.dumps({"uri": "/a", "http_x_tenant": "t1"}) + "\n"
        self.assertEqual(ask("map", *THREE, "--hash-key", "hdr(X-Tenant)+path", text=line)["keys"][0]["key"], "t1/a")
        rules = "uri;uri query(sort);uri query(exclude=utm_*)"
        variants = ask("compare", *THREE, "--keys", rules, "--algorithms", "rendezvous",
                       text="/a?x=1&utm_s=2\n/a?utm_s=2&x=1\n/a?x=1\n")["variants"]
        self.assertEqual([variant["distinct_keys"] for variant in variants], [3, 2, 1])

    def test_a_header_can_be_compared_with_other_keys(self):
        lines = "".join(json.dumps({"uri": f"/{i}", "http_x_tenant": f"t{i % 3}"}) + "\n" for i in range(30))
        variants = ask("compare", *THREE, "--keys", "uri;hdr(x-tenant);hdr(x-tenant)+path", "--algorithms", "rendezvous",
                       text=lines)["variants"]
        self.assertEqual([(each["distinct_keys"], each["by_source_requests"]) for each in variants],
                         [(30, 0), (3, 0), (30, 0)])

    def test_several_headers_are_read_from_one_log(self):
        rule = "hdr(x-tenant)+hdr(x-device)+path"
        line = json.dumps({"uri": "/a?b", "http_x_tenant": "t1", "X-Device": "phone"}) + "\n"
        self.assertEqual(ask("map", *THREE, "--hash-key", rule, text=line)["keys"][0]["key"], "t1phone/a")
        lines = "#Fields: cs-uri-stem cs(X-Device) cs(X-Tenant)\n/a phone t1\n/b - t2\n"
        self.assertEqual([each["key"] for each in ask("map", *THREE, "--hash-key", rule, text=lines)["keys"]],
                         ["t1phone/a", "t2/b"])
        chosen = json.dumps({"uri": "/a", "who": "t1", "what": 7}) + "\n"
        self.assertEqual(ask("map", *THREE, "--hash-key", rule, "--fields", "hdr(X-Tenant)=who,hdr(x-device)=what",
                             text=chosen)["keys"][0]["key"], "t17/a")
        variants = ask("compare", *THREE, "--keys", f"hdr(x-tenant);hdr(x-device);{rule}", "--algorithms", "rendezvous",
                       text=line + json.dumps({"uri": "/a", "http_x_tenant": "t2"}) + "\n")["variants"]
        self.assertEqual([(each["distinct_keys"], each["requests"]) for each in variants], [(2, 2), (1, 1), (2, 2)])
        for question in (["balance"], ["disrupt", "--without", "b1"], ["cache", "--sizes", "1MiB"]):
            report = ask(*question, *THREE, "--hash-key", rule, text=line)
            self.assertEqual((report["requests"], report["unplaced_requests"]), (1, 0))

    def test_the_balancers_configuration_is_read(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "balancer.yaml")
            with open(path, "w") as file:
                file.write("secret_file: /etc/splicelb/secret\ninterface: eth1\nservices:\n"
                           "  - name: cdn\n    vip: 192.168.33.10\n    port: 80\n    dscp: 1\n"
                           "    hash: { key: path, algorithm: maglev }\n    bridges:\n"
                           "      - { name: b1, address: 192.168.33.20 }\n"
                           "      - { name: b2, address: 192.168.33.21, weight: 0 }\n"
                           "      - { name: b3, address: 192.168.33.22, weight: 2 }\n")
            report = ask("balance", "--config", path, text="\n".join(KEYS))
            self.assertEqual((report["key"], report["algorithm"]), ("path", "maglev"))
            self.assertEqual(of_bridge(report, "b2")["requests"], 0)
            self.assertEqual(sum(b["requests"] for b in report["bridges"]), len(KEYS))

    @unittest.skipUnless(REPLAY, "no splice-replay given")
    def test_the_keys_of_a_replayed_capture_are_an_input(self):
        capture = os.path.join(CAPTURES, "one-request.pcap")
        keys = subprocess.run([REPLAY, "--any-vip", "--keys", capture], capture_output=True, text=True, check=True)
        report = ask("map", *THREE, "--hash-key", "path", text=keys.stdout)
        self.assertEqual(report["malformed_lines"], 0)
        self.assertEqual(report["requests"], 1)
        self.assertEqual(report["keys"][0]["key"], keys.stdout.split("\t")[5].partition("?")[0])

    def test_each_kind_of_a_replayed_key_is_the_same_key_again(self):
        for rule, kind, key in (("uri", "uri", "/a?b"), ("path", "path", "/a"),
                                ("host+uri", "host+uri", "h.example/a?b"), ("host", "host", "h.example"),
                                ("host+path", "host+path", "h.example/a"),
                                ("hdr(x-a+b)", "hdr(x-a+b)", "v\\x20w"), ("url_param(id)", "url_param(id)", "7"),
                                ("sni", "sni", "h.example"), ("source", "source", "192.0.2.1"),
                                ("uri", "source", "192.0.2.1")):
            with self.subTest(rule=rule, kind=kind):
                line = f"192.0.2.1\t5000\t198.51.100.1\t80\t{kind}\t{key}\tb1\n"
                report = ask("map", *THREE, "--hash-key", rule, text=line)
                self.assertEqual(report["malformed_lines"], 0)
                self.assertEqual(report["keys"][0]["key"], key)
        joined = "192.0.2.1\t5000\t198.51.100.1\t80\thdr(x)+path\tv/a\tb1\n"
        self.assertEqual(ask("map", *THREE, text=line + joined)["malformed_lines"], 1)

    def test_a_json_log_may_tell_keys_as_a_log_of_connections_does(self):
        lines = [{"time": 1.5, "client": "192.0.2.1", "client_port": 5000, "service": "cdn", "kind": kind, "key": key,
                  "hash": "0", "bridge": "b1", "rank": 0, "mode": "adopt", "bytes": 70, "duration": 2, "end": "fin"}
                 for kind, key in (("uri", "/a?b"), ("host+uri", "h.example/a?b"), ("source", "192.0.2.1"))]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        report = ask("map", *THREE, text=text)
        self.assertEqual([each["key"] for each in report["keys"]], ["/a?b", "/a?b", "192.0.2.1"])
        self.assertEqual((report["bytes"], report["malformed_lines"]), (210, 0))
        self.assertEqual(ask("map", *THREE, "--hash-key", "path", text=text)["keys"][0]["key"], "/a")
        joined = json.dumps({"kind": "hdr(x)+path", "key": "v/a"}) + "\n"
        self.assertEqual(ask("balance", *THREE, text=text + joined)["malformed_lines"], 1)
        # A request goes before a key.
        both = json.dumps({"uri": "/b", "kind": "path", "key": "/a"}) + "\n"
        self.assertEqual(ask("map", *THREE, text=both)["keys"][0]["key"], "/b")

    def test_each_line_of_replayed_keys_is_a_connection(self):
        # The second of these ends' connections has the port again.
        lines = [f"192.0.2.1\t{port}\t198.51.100.1\t80\turi\t/{i}\tb1"
                 for i, port in enumerate((5000, 5001, 5000))]
        report = ask("cache", *THREE, "--sizes", "1MiB", "--routing", "keep-alive", text="\n".join(lines))
        self.assertEqual(report["routing"][0]["connections"], 3)
        self.assertEqual(report["routing"][0]["own_bridge_share"], 1)

    @unittest.skipUnless(REPLAY, "no splice-replay given")
    def test_the_requests_of_a_replayed_capture_are_an_input(self):
        capture = os.path.join(CAPTURES, "keep-alive.pcap")
        requests = subprocess.run([REPLAY, "--any-vip", "--requests", capture], capture_output=True, check=True).stdout
        report = ask("cache", *THREE, "--sizes", "1MiB", "--routing", "hash,keep-alive", text=requests)
        self.assertEqual((report["requests"], report["malformed_lines"]), (3, 0))
        self.assertEqual(report["bytes"], sum(json.loads(line)["bytes"] for line in requests.splitlines()))
        kept = next(each for each in report["routing"] if each["routing"] == "keep-alive")
        self.assertEqual(kept["connections"], 1)
        # The bridge of another key: that of the first request's host.
        report = ask("map", *THREE, "--hash-key", "host+uri", text=requests)
        self.assertEqual([each["key"] for each in report["keys"]],
                         ["cdn.example/one", "cdn.example/two", "cdn.example/three"])


class Generated(unittest.TestCase):
    def test_a_seed_gives_the_same_traffic_and_another_does_not(self):
        arguments = ["generate", "--requests", "1000", "--objects", "50"]
        self.assertEqual(run(*arguments), run(*arguments))
        self.assertNotEqual(run(*arguments), run(*arguments, "--seed", "2"))

    def test_ranks_follow_zipf(self):
        counts = collections.Counter(line.split(",")[1] for line in
                                     run("generate", "--requests", "200000", "--objects", "1000", "--zipf",
                                         "1").splitlines())
        harmonic = sum(1 / rank for rank in range(1, 1001))
        for rank in (1, 2, 10, 100):
            wanted = 200000 / rank / harmonic
            self.assertLess(abs(counts[str(rank)] - wanted), 5 * math.sqrt(wanted))

    def test_the_hottest_keys_are_counted_exactly_while_all_keys_are_remembered(self):
        # 64 times as many keys as hot keys' counters.
        traffic = run("generate", "--requests", "300000", "--objects", "65536", "--zipf", "1.1")
        counts = collections.Counter(line.split(",")[1] for line in traffic.splitlines())
        hot = ask("balance", *THREE, "--top", "10", text=traffic)["hot_keys"]
        self.assertEqual([each["requests"] for each in hot], [count for _, count in counts.most_common(10)])

    def test_popularity_drifts(self):
        steady = run("generate", "--requests", "20000", "--objects", "100")
        drifting = run("generate", "--requests", "20000", "--objects", "100", "--lifetime", "1s")

        def objects(text):
            return len({line.split(",")[1] for line in text.splitlines()})
        self.assertLessEqual(objects(steady), 100)
        self.assertGreater(objects(drifting), 500)


@unittest.skipUnless(CORPORA, "no SPLICELB_CORPORA")
class PublicData(unittest.TestCase):
    def test_nginx_chooses_the_same_server_by_ketama(self):
        fleet = [word for i in range(1, 10) for word in ("--bridge", f"s{i}=10.0.0.{i}:443,weight=100")]
        with open(os.path.join(CORPORA, "hash/nginx-ketama-uri-to-server.csv")) as file:
            wanted = [line.strip().rsplit(",", 1) for line in file if line.strip()]
        rows = csv.DictReader(io.StringIO(run("map", *fleet, "--algorithm", "ketama", "--format", "csv",
                                              text="".join(uri + "\n" for uri, _ in wanted))))
        self.assertEqual([f"10.0.0.{row['first'][1:]}:443" for row in rows], [server for _, server in wanted])

    def test_lru_and_fifo_miss_as_libcachesim_counts(self):
        with open(os.path.join(CORPORA, "hash/storage-trace-misses.csv")) as file:
            wanted = {(row["policy"].lower(), int(row["cache_mib"])): (int(row["misses"]), int(row["missed_bytes"]))
                      for row in csv.DictReader(file)}
        sizes = ",".join(f"{size}MiB" for size in sorted({size for _, size in wanted}))
        report = ask("cache", *THREE[:2], "--sizes", sizes, "--policies", "lru,fifo",
                     os.path.join(CORPORA, "hash/storage-trace.csv.gz"))
        self.assertEqual({(each["policy"], each["size"] >> 20): (each["misses"], each["missed_bytes"])
                          for each in report["runs"]}, wanted)

    def test_a_real_log(self):
        path = os.path.join(CORPORA, "logs/apache-combined-10k.log.gz")
        report = ask("balance", *THREE, path)
        self.assertEqual((report["requests"], report["malformed_lines"]), (10000, 0))
        with gzip.open(path, "rt", errors="surrogateescape") as file:
            self.assertEqual(report["bytes"], sum(int(size) for size in
                                                  (line.split('" ', 1)[1].split()[1] for line in file) if size != "-"))


if __name__ == "__main__":
    unittest.main()
