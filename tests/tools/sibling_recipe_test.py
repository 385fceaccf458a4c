#!/usr/bin/env python3
"""The configurations of docs/hashing.md, run: three fronts and owners in one nginx, or fronts in nginx and owners in
Varnish, and an origin that logs.

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
VARNISH = shutil.which("varnishd") or shutil.which("varnishd", path="/usr/sbin")
HOSTS = 3
URLS = [f"/objects/{i}?v={i % 3}" for i in range(120)]
PATIENCE_S = 20


def recipe(language="nginx"):
    with open(PAGE) as file:
        return re.search(rf"```{language}\n(.*?)```", file.read(), re.DOTALL)[1]


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


def configuration(folder, port, owners=True):
    """The page's, once a host: its addresses become loopback ones, its port 80 a free one. Without `owners`: fronts."""
    upstream = re.search(r"upstream owners \{.*?\n\}\n", recipe(), re.DOTALL)[0]
    rest = recipe().replace(upstream, "")
    if not owners:
        rest = re.search(r"server \{ +# the front.*?\n\}\n", rest, re.DOTALL)[0]
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


class Recipe(unittest.TestCase):
    OWNERS_IN_NGINX = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.port = free_port()
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as file:
            file.write(configuration(self.folder, self.port, self.OWNERS_IN_NGINX))
        self.nginx = self.start([NGINX, "-c", path, "-p", self.folder, "-e", f"{self.folder}/error.log"])
        self.wait_for("127.0.33.20", self.nginx)

    def start(self, command):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        return process

    def wait_for(self, address, process):
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection((address, self.port)).close()
                return
            except OSError:
                self.assertIsNone(process.poll(), f"{process.args[0]} has ended")
                self.assertLess(time.monotonic(), end, f"{process.args[0]} does not listen")
                time.sleep(0.05)

    def check_owners(self):
        fleet = [word for i in range(1, HOSTS + 1) for word in ("--bridge", f"b{i}=127.0.33.{20 + i}:{self.port}")]
        mapped = subprocess.run([TOOL, "map", *fleet, "--algorithm", "ketama", "--format", "csv"], text=True,
                                input="\n".join(URLS), capture_output=True, check=True).stdout
        wanted = {row["key"]: row["first"] for row in csv.DictReader(io.StringIO(mapped))}
        self.assertEqual(set(wanted.values()), {"b1", "b2", "b3"})
        for host in range(1, HOSTS + 1):
            front = http.client.HTTPConnection(f"127.0.33.{30 + host}", self.port)
            for url in URLS:
                front.request("GET", url, headers={"Host": "cdn.example"})
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


@unittest.skipUnless(NGINX, "no nginx here")
class SiblingRecipe(Recipe):
    def test_every_front_asks_the_urls_own_bridge_and_the_origin_is_asked_once(self):
        self.check_owners()


@unittest.skipUnless(NGINX and VARNISH, "no nginx or no varnishd here")
class VarnishRecipe(Recipe):
    OWNERS_IN_NGINX = False

    def setUp(self):
        super().setUp()
        vcl = recipe("vcl").replace("origin.example.com", "127.0.33.20").replace('"80"', f'"{self.port}"')
        path = os.path.join(self.folder, "owner.vcl")
        with open(path, "w") as file:
            file.write(vcl)
        os.chmod(self.folder, 0o755)
        for host in range(1, HOSTS + 1):
            address = f"127.0.33.{20 + host}"
            varnish = self.start([VARNISH, "-F", "-j", "none", "-n", f"{self.folder}/v{host}", "-i", f"b{host}",
                                  "-a", f"{address}:{self.port}", "-T", "none", "-f", path, "-s", "malloc,16m",
                                  "-p", "vsl_space=1M"])
            self.wait_for(address, varnish)

    def test_owners_in_varnish_answer_alike(self):
        self.check_owners()


del Recipe  # it is no test by itself


if __name__ == "__main__":
    unittest.main()
