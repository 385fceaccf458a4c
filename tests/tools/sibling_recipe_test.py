#!/usr/bin/env python3
"""The nginx configuration of docs/hashing.md, run: three fronts and owners in one nginx, and an origin that logs.

Whichever front is asked, the URL's own bridge, as splice-hash tells it, answers, and the origin is asked once a URL.
Usage: sibling_recipe_test.py SPLICE_HASH PAGE
"""
import csv
import http.client
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TOOL, PAGE = sys.argv.pop(1), sys.argv.pop(1)
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HOSTS = 3
URLS = [f"/objects/{i}?v={i % 3}" for i in range(120)]
PATIENCE_S = 20


def recipe():
    with open(PAGE) as file:
        return re.search(r"```nginx\n(.*?)```", file.read(), re.DOTALL)[1]


def free_port():
    """Of all loopback addresses that the test listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        try:
            for last in (20, 21, 22, 23, 31, 32, 33):
                with socket.socket() as probe:
                    probe.bind((f"127.0.33.{last}", port))
            return port
        except OSError:
            continue


def configuration(folder, port):
    """The page's, once a host: its addresses become loopback ones, and its port 80 a free one."""
    upstream = re.search(r"upstream owners \{.*?\n\}\n", recipe(), re.DOTALL)[0]
    rest = recipe().replace(upstream, "")
    upstream = re.sub(r"server 192\.168\.33\.(\d+);", rf"server 127.0.33.\1:{port};", upstream)
    hosts = ""
    for host in range(1, HOSTS + 1):
        own = rest.replace("192.168.33.31:80;", f"127.0.33.{30 + host}:{port};")
        own = own.replace("192.168.33.21:80;", f"127.0.33.{20 + host}:{port};")
        own = own.replace("http://origin.example.com", f"http://127.0.33.20:{port}")
        own = own.replace("/var/cache/nginx/owner", f"{folder}/cache{host}").replace("=owner:", f"=owner{host}:")
        own = own.replace("proxy_cache owner;", f"proxy_cache owner{host}; add_header X-Owner b{host};")
        hosts += own
    return f"""daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    log_format uri "$request_uri";
    {upstream}
    {hosts}
    server {{ listen 127.0.33.20:{port}; access_log {folder}/origin.log uri; return 200 "of $request_uri"; }}
}}
"""


@unittest.skipUnless(NGINX, "no nginx here")
class SiblingRecipe(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.port = free_port()
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as file:
            file.write(configuration(self.folder, self.port))
        self.nginx = subprocess.Popen([NGINX, "-c", path, "-p", self.folder, "-e", f"{self.folder}/error.log"])
        self.addCleanup(self.nginx.wait)
        self.addCleanup(self.nginx.kill)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.33.20", self.port)).close()
                return
            except OSError:
                self.assertIsNone(self.nginx.poll(), "nginx has ended")
                self.assertLess(time.monotonic(), end, "nginx does not listen")
                time.sleep(0.05)

    def test_every_front_asks_the_urls_own_bridge_and_the_origin_is_asked_once(self):
        fleet = [word for i in range(1, HOSTS + 1) for word in ("--bridge", f"b{i}=127.0.33.{20 + i}:{self.port}")]
        mapped = subprocess.run([TOOL, "map", *fleet, "--algorithm", "ketama", "--format", "csv"], text=True,
                                input="\n".join(URLS), capture_output=True, check=True).stdout
        wanted = {row["key"]: row["first"] for row in csv.DictReader(io.StringIO(mapped))}
        self.assertEqual(set(wanted.values()), {"b1", "b2", "b3"})
        for host in range(1, HOSTS + 1):
            front = http.client.HTTPConnection(f"127.0.33.{30 + host}", self.port)
            for url in URLS:
                front.request("GET", url)
                answer = front.getresponse()
                self.assertEqual((answer.status, answer.read().decode()), (200, f"of {url}"))
                self.assertEqual(answer.getheader("X-Owner"), wanted[url])
            front.close()
        # nginx writes a request's line after its answer; it has written all when it has ended.
        self.nginx.send_signal(signal.SIGQUIT)
        self.nginx.wait()
        with open(f"{self.folder}/origin.log") as file:
            asked = [line.strip() for line in file]
        self.assertEqual(sorted(asked), sorted(URLS))


if __name__ == "__main__":
    unittest.main()
