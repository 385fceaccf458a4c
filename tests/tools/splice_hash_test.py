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
        self.assertIn("one is read at a time", run("compare", *THREE, "--keys", "hdr(a);hdr(b)", text=lines, code=2))

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
        self.assertEqual(ask("map", *THREE, text=joined)["malformed_lines"], 1)

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
