#!/usr/bin/env python3
"""Algorithm ketama beside a real nginx's `hash $request_uri consistent`: the same server for the same URI, whether nginx's
list names its servers with a port or without. Usage: ketama_nginx_test.py SPLICE_HASH
"""
import csv
import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TOOL = sys.argv.pop(1)
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
URIS = [f"/objects/{i}?v={i * 31 % 7}" for i in range(400)]
PATIENCE_S = 20

# nginx's `server` words, and what the balancer's configuration says of each bridge: address, weight, server. Nobody
# listens at these addresses; nginx tells which it has chosen all the same.
IPV4 = [f"127.0.33.{20 + number}" for number in range(1, 6)]
IPV6 = [f"fd00:33::2{number}" for number in range(1, 6)]
LISTS = {
    "without a port": [(address, address, 1, None) for address in IPV4],
    "with port 80": [(f"{address}:80", address, 1, f"{address}:80") for address in IPV4],
    "with another port than the service's": [(f"{address}:8080", address, 1, f"{address}:8080") for address in IPV4],
    "with a port, without one, and weights": [
        (IPV4[0], IPV4[0], 1, None), (f"{IPV4[1]}:80 weight=3", IPV4[1], 3, f"{IPV4[1]}:80"), (f"{IPV4[2]} weight=2", IPV4[2], 2, None),
        (f"{IPV4[3]}:81", IPV4[3], 1, f"{IPV4[3]}:81")],
    "at another address than the bridge's": [(f"127.0.34.{number}:80", address, 1, f"127.0.34.{number}:80")
                                             for number, address in enumerate(IPV4, 1)],
    "IPv6 without a port": [(f"[{address}]", address, 1, None) for address in IPV6],
    "IPv6 with port 80": [(f"[{address}]:80", address, 1, f"[{address}]:80") for address in IPV6],
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx_configuration(folder, port):
    upstreams = locations = ""
    for number, servers in enumerate(LISTS.values()):
        lines = "".join(f"        server {words} max_fails=0;\n" for words, *_ in servers)
        upstreams += f"    upstream list{number} {{\n        hash $request_uri consistent;\n{lines}    }}\n"
        locations += (f"    server {{\n        listen 127.0.0.1:{port};\n        server_name list{number};\n"
                      f"        location / {{ proxy_pass http://list{number}; }}\n    }}\n")
    temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    return f"""daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
{temporary}    proxy_next_upstream off;
    proxy_connect_timeout 5ms;
    add_header X-Chosen $upstream_addr always;
{upstreams}{locations}}}
"""


def address_in(words):
    host = words.split()[0]
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def chosen_by_us(folder, servers, named):
    """The index of the server for each URI."""
    v6 = ":" in servers[0][1]
    path = f"{folder}/balancer.yaml"
    with open(path, "w", encoding="ascii") as file:
        vip = "2001:db8::10" if v6 else "192.0.2.10"
        file.write(f"services:\n  - name: web\n    vip: \"{vip}\"\n    port: 80\n    dscp: 1\n"
                   "    hash: { key: uri, algorithm: ketama }\n    bridges:\n")
        for number, (_, address, weight, server) in enumerate(servers):
            # A bridge is no loopback address; what the ring is made of is.
            real = address if v6 else f"10.0.33.{number + 1}"
            name = server if named and server else None if v6 else address
            words = f', server: "{name}"' if name else ""
            file.write(f"      - {{ name: b{number}, address: \"{real}\", weight: {weight}{words} }}\n")
    done = subprocess.run([TOOL, "map", "--config", path, "--format", "csv"], text=True, check=True, capture_output=True,
                          input="".join(uri + "\n" for uri in URIS))
    return [int(row["first"][1:]) for row in csv.DictReader(io.StringIO(done.stdout))]


@unittest.skipUnless(NGINX, "there is no nginx")
class BesideNginx(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="ketama-nginx-")
        cls.port = free_port()
        path = f"{cls.folder}/nginx.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(nginx_configuration(cls.folder, cls.port))
        cls.nginx = subprocess.Popen([NGINX, "-p", cls.folder, "-c", path, "-e", f"{cls.folder}/start.log"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", cls.port)).close()
                return
            except OSError:
                if time.monotonic() > end or cls.nginx.poll() is not None:
                    raise
                time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        os.killpg(cls.nginx.pid, signal.SIGTERM)
        cls.nginx.wait()
        shutil.rmtree(cls.folder)

    def chosen_by_nginx(self, number, servers):
        addresses = [address_in(words) for words, *_ in servers]
        chosen = []
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        for uri in URIS:
            connection.request("GET", uri, headers={"Host": f"list{number}"})
            answer = connection.getresponse()
            answer.read()
            chosen.append(addresses.index(address_in(answer.headers["X-Chosen"])))
        connection.close()
        return chosen

    def test_the_same_server_for_the_same_uri(self):
        for number, (name, servers) in enumerate(LISTS.items()):
            with self.subTest(name):
                theirs = self.chosen_by_nginx(number, servers)
                self.assertEqual(set(theirs), set(range(len(servers))))
                self.assertEqual(chosen_by_us(self.folder, servers, named=True), theirs)

    def test_a_port_that_is_not_said_makes_another_ring(self):
        number, servers = list(LISTS).index("with port 80"), LISTS["with port 80"]
        theirs = self.chosen_by_nginx(number, servers)
        ours = chosen_by_us(self.folder, servers, named=False)
        self.assertLess(sum(mine == yours for mine, yours in zip(ours, theirs)), len(URIS) / 2)


if __name__ == "__main__":
    unittest.main()
