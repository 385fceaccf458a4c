#!/usr/bin/python3
"""splice-hash-plot, by rendering: each kind as SVG and PNG from answers of the tool, and what it refuses.

Usage: splice_hash_plot_test.py SPLICE_HASH SPLICE_HASH_PLOT
"""
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

HASH, PLOT = sys.argv.pop(1), sys.argv.pop(1)
FLEET = ["--bridge", "b1=192.168.33.20", "--bridge", "b2=192.168.33.21", "--bridge", "b3=192.168.33.22,weight=2"]
SVG = "{http://www.w3.org/2000/svg}"


@unittest.skipUnless(importlib.util.find_spec("matplotlib"), "no matplotlib here")
class Rendering(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.traffic = subprocess.run([HASH, "generate", "--requests", "20000", "--objects", "500", "--rate", "100"],
                                     capture_output=True, check=True).stdout

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def plot(self, answer, *arguments):
        return subprocess.run([PLOT, *arguments], input=answer, capture_output=True)

    def answer(self, question, *arguments):
        return subprocess.run([HASH, question, *FLEET, "--format", "json", *arguments], input=self.traffic,
                              capture_output=True, check=True).stdout

    def render(self, answer, *arguments):
        svg, png = (os.path.join(self.folder, name) for name in ("picture.svg", "picture.png"))
        done = self.plot(answer, *arguments, "-o", svg, "-o", png)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        with open(png, "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        with open(svg, "rb") as file:
            first = file.read()
        self.assertEqual(self.plot(answer, *arguments, "-o", svg).returncode, 0)
        with open(svg, "rb") as file:
            self.assertEqual(file.read(), first, "the same answer gives another picture")
        root = xml.etree.ElementTree.fromstring(first)
        self.assertEqual(root.tag, SVG + "svg")
        return [group.get("id", "") for group in root.iter(SVG + "g")]

    def test_bars_of_bridges(self):
        ids = self.render(self.answer("balance"))
        # A bar is a patch: three bridges times requests, bytes and objects, beside the frame's own.
        self.assertGreaterEqual(sum(name.startswith("patch_") for name in ids), 9)

    def test_lorenz(self):
        self.assertIn("line2d_1", self.render(self.answer("balance"), "--kind", "lorenz"))

    def test_bars_of_a_change(self):
        self.render(self.answer("disrupt", "--without", "b2"))

    def test_bars_of_variants(self):
        self.render(self.answer("compare", "--algorithms", "rendezvous,maglev,ketama"))

    def test_bars_of_a_map(self):
        self.render(self.answer("map"))

    def test_hit_ratio_over_sizes(self):
        self.render(self.answer("cache", "--sizes", "1MiB,4MiB,16MiB", "--policies", "lru,sieve", "--routing",
                                "hash,random"))

    def test_hit_ratio_through_a_failure(self):
        self.render(self.answer("cache", "--sizes", "4MiB", "--lose", "b3@1m-2m", "--interval", "10s"), "--kind",
                    "time")

    def test_what_cannot_be_drawn_is_one_line_and_exit_code_2(self):
        out = os.path.join(self.folder, "picture.svg")
        for answer, arguments in ((b"no json", []), (b"[]", []), (b"{}", []),
                                  (self.answer("balance"), ["--kind", "time"]),
                                  (self.answer("disrupt", "--without", "b1"), ["--kind", "lorenz"])):
            done = self.plot(answer, *arguments, "-o", out)
            self.assertEqual(done.returncode, 2, (answer[:20], arguments))
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
            self.assertFalse(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
