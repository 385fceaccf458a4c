"""The lab as the bench uses it: one network, and one variant at a time that serves it."""

import contextlib
import os
import re
import subprocess
import sys
import time

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
sys.path.insert(0, os.path.join(SOURCE, "tests/e2e"))
from world import Lab  # noqa: E402  (the end-to-end suite's)

PROGRAMS = os.path.join(SOURCE, "build/cmake/bench")
BACKENDS = {"b1": "192.168.33.31", "b2": "192.168.33.32", "b3": "192.168.33.33"}
BALANCER, VIP = "192.168.33.10", "192.168.33.100"
UPLOAD_DIR = "/dev/shm"  # a disk is not what is measured


class Refused(Exception):
    """A variant that this machine or these executables do not offer; says why."""


class Rig:
    def __init__(self, lab_id):
        self.lab = Lab(lab_id, "nfqueue", "translate")
        self.scratch = os.path.join(UPLOAD_DIR, f"splicelb-bench-{lab_id}")

    def __enter__(self):
        try:
            self.lab.command("network")
            self._tune_backends()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        subprocess.run(["rm", "-rf", self.scratch], check=False)
        with contextlib.suppress(RuntimeError):
            self.lab.command("down")

    def _tune_backends(self):
        """The lab's nginx, without an access log and with uploads in memory."""
        for i in "123":
            program, body = f"nginx{i}", f"{self.scratch}/b{i}"
            os.makedirs(f"{body}/upload")
            path = f"{self.lab.run_dir}/b{i}/nginx.conf"
            with open(path, encoding="utf-8") as file:
                conf = file.read()
            conf = re.sub(r"access_log \S+ seen;", "access_log off;", conf)
            conf = conf.replace("keepalive_requests 100000;", "keepalive_requests 1000000000;")
            conf = re.sub(r"client_body_temp_path \S+;", f"client_body_temp_path {body}/body;", conf)
            conf = re.sub(r"location /upload/ { root \S+;", f"location /upload/ {{ root {body};", conf)
            self.lab.stop(program)
            with open(path, "w", encoding="utf-8") as file:
                file.write(conf)
            self.lab.start(program)

    def pids(self, host):
        listed = subprocess.run(["ip", "netns", "pids", self.lab.namespace(host)], stdout=subprocess.PIPE, text=True,
                                check=True)
        return [int(pid) for pid in listed.stdout.split()]

    def client(self, *words, timeout=60):
        return self.lab.on("client", *words, timeout=timeout)

    def unfinished_checksums_to_balancer(self, allowed):
        """XDP cannot finish checksums, so the lab's segment finishes them; others need not pay for that."""
        self.lab.on("segment", "ethtool", "-K", "to-balancer", "tx", "on" if allowed else "off")


def cpu_seconds(pid):
    """Processor time of a process's threads, in user space and in its system calls."""
    total = 0.0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0]) / 1e9
    return total


class Variant:
    """Something that serves the lab's URLs. `address` and `port` are where the client asks."""

    name = title = ""
    address, port = VIP, 80

    def __init__(self, rig):
        self.rig = rig

    def start(self):
        """Raises Refused."""

    def stop(self):
        pass

    def middle_pids(self):
        """The processes between client and backend on the balancer's host."""
        return self.rig.pids("balancer")

    def bridge_pids(self, _host):
        """The processes between balancer and backend on a backend's host."""
        return []

    def wait_until_it_serves(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.rig.client("curl", "-sS", "-f", "--max-time", "2", "-o", "/dev/null", self.url("/"))
            except RuntimeError as error:
                if time.monotonic() > deadline:
                    raise Refused(f"it does not serve: {error}") from error
                time.sleep(0.05)

    def url(self, path):
        return f"http://{self.address}:{self.port}{path}"


class Direct(Variant):
    name, title = "direct", "direct: client to nginx"
    address = BACKENDS["b1"]

    def middle_pids(self):
        return []


class Limit(Variant):
    """An XDP program on the balancer's host that only exchanges two Ethernet addresses: no balancer that touches every
    packet of a client costs less. One backend's nginx listens on the VIP, which is on its lo."""

    name, title = "limit", "limit of the path: two MAC addresses exchanged"

    def start(self):
        self.rig.unfinished_checksums_to_balancer(False)
        lab, self._undo = self.rig.lab, contextlib.ExitStack()
        try:
            lab.on("balancer", "ip", "address", "add", f"{VIP}/32", "dev", "eth1")
            self._undo.callback(lab.on, "balancer", "ip", "address", "del", f"{VIP}/32", "dev", "eth1")
            self._listen_on_vip()
            link = lab.on("b1", "cat", "/sys/class/net/eth1/address").strip()
            # pylint: disable-next=consider-using-with
            process = subprocess.Popen(["ip", "netns", "exec", lab.namespace("balancer"), f"{PROGRAMS}/bench_limit", "eth1",
                                        VIP, link], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True)
            self._undo.callback(lambda: (process.terminate(), process.wait(10)))
            said = process.stdout.readline().strip()
            if said != "ready":
                raise Refused(said)
            self.wait_until_it_serves()
        except (Refused, RuntimeError) as error:
            self.stop()
            raise Refused(str(error)) from error

    def stop(self):
        self._undo.close()

    def middle_pids(self):
        return []

    def _listen_on_vip(self):
        lab = self.rig.lab
        for setting, value in (("arp_ignore", 1), ("arp_announce", 2)):
            lab.on("b1", "sysctl", "-q", "-w", f"net.ipv4.conf.eth1.{setting}={value}")
            self._undo.callback(lab.on, "b1", "sysctl", "-q", "-w", f"net.ipv4.conf.eth1.{setting}=0")
        lab.on("b1", "ip", "address", "add", f"{VIP}/32", "dev", "lo")
        self._undo.callback(lab.on, "b1", "ip", "address", "del", f"{VIP}/32", "dev", "lo")
        path = f"{lab.run_dir}/b1/nginx.conf"
        with open(path, encoding="utf-8") as file:
            before = file.read()
        listen = f"listen {BACKENDS['b1']}:80 backlog=8192;"
        if listen not in before:
            raise Refused(f"{path} has no line {listen}")
        self._undo.callback(self._restart_nginx, path, before)
        self._restart_nginx(path, before.replace(listen, f"{listen}\n        listen {VIP}:80 backlog=8192;"))

    def _restart_nginx(self, path, text):
        self.rig.lab.stop("nginx1")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.rig.lab.start("nginx1")


class Proxy(Variant):
    """A proxy on the balancer's host, in the foreground."""

    address = BALANCER

    def start(self):
        self.rig.unfinished_checksums_to_balancer(True)
        path = os.path.join(self.rig.lab.run_dir, f"{self.name}.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.configuration())
        log_path = os.path.join(self.rig.lab.run_dir, f"log/{self.name}.log")
        with open(log_path, "wb") as log:
            # pylint: disable-next=consider-using-with
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", self.rig.lab.namespace("balancer"), *self.command(path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.wait_until_it_serves()
        except Refused as reason:
            self.stop()
            with open(log_path, encoding="utf-8") as log:
                raise Refused((log.read().splitlines() or [str(reason)])[-1]) from reason

    def stop(self):
        self._process.terminate()
        self._process.wait(10)

    def configuration(self):
        raise NotImplementedError

    def command(self, path):
        raise NotImplementedError


class Haproxy(Proxy):
    name, title, port = "haproxy", "HAProxy, balance uri whole", 8081

    def configuration(self):
        servers = "\n".join(f"    server {name} {address}:80" for name, address in BACKENDS.items())
        return f"""global
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option splice-auto
frontend cdn
    bind {BALANCER}:{self.port} backlog 8192
    default_backend caches
backend caches
    balance uri whole
    hash-type consistent
    http-reuse always
{servers}
"""

    def command(self, path):
        return ["haproxy", "-db", "-f", path]


class Nginx(Proxy):
    name, title, port = "nginx", "nginx, hash $request_uri consistent", 8082

    def configuration(self):
        servers = "\n".join(f"        server {address}:80;" for address in BACKENDS.values())
        run = f"{self.rig.lab.run_dir}/b1"  # its temporary files
        return f"""daemon off;
user root;
worker_processes 2;
worker_rlimit_nofile 16384;
pid {self.rig.lab.run_dir}/proxy.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    client_body_temp_path {run}/proxy-body;
    proxy_temp_path {run}/proxy-proxy;
    fastcgi_temp_path {run}/proxy-fastcgi;
    uwsgi_temp_path {run}/proxy-uwsgi;
    scgi_temp_path {run}/proxy-scgi;
    upstream caches {{
        hash $request_uri consistent;
{servers}
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {BALANCER}:{self.port} backlog=8192 reuseport;
        location / {{
            proxy_pass http://caches;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""

    def command(self, path):
        return ["nginx", "-p", self.rig.lab.run_dir, "-c", path, "-e", f"{self.rig.lab.run_dir}/log/proxy-error.log"]


class Splice(Variant):
    def __init__(self, rig, engine, mode, xdp_mode="auto"):
        super().__init__(rig)
        self.engine, self.mode, self.xdp_mode = engine, mode, xdp_mode
        self.name, self.title = f"{engine}-{mode}", f"SpliceLB {engine}, {mode}"
        if xdp_mode != "auto":
            self.name, self.title = f"{self.name}-{xdp_mode}", f"{self.title}, {xdp_mode} XDP"

    def start(self):
        self.rig.lab.environment.update(ENGINE=self.engine, MODE=self.mode)
        self.rig.unfinished_checksums_to_balancer(self.engine != "ebpf")
        self._configure()
        try:
            for program in ("b1", "b2", "b3", "balancer"):
                self.rig.lab.start(program)
        except RuntimeError as error:
            self.stop()
            raise Refused(str(error).splitlines()[-1]) from error
        self.wait_until_it_serves()

    def stop(self):
        for program in ("balancer", "b1", "b2", "b3"):
            if self.rig.lab.pid(program):
                self.rig.lab.stop(program)

    def bridge_pids(self, host):
        return [self.rig.lab.pid(host)]

    def _configure(self):
        """The lab wrote its files for the first variant."""
        for name in ("balancer", "b1", "b2", "b3"):
            path = f"{self.rig.lab.run_dir}/{name}.yaml"
            if not os.path.exists(path):
                continue
            with open(path, encoding="utf-8") as file:
                text = file.read()
            text = re.sub(r"^engine: .*$", f"engine: {self.engine}", text, flags=re.MULTILINE)
            text = re.sub(r"^mode: .*$", f"mode: {self.mode}", text, flags=re.MULTILINE)
            if name == "balancer":
                text = re.sub(r"^xdp_mode: .*\n", "", text, flags=re.MULTILINE) + f"xdp_mode: {self.xdp_mode}\n"
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
