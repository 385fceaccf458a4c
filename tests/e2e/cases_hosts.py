"""Hosts as they are: more than one way out, clients on the cache's own host, balancer and cache on one host."""

import contextlib
import hashlib
import os
import re
import socket
import subprocess
import time

from cases_health import check_services, is_in
from cases_kernel import restart
from harness import Skip, case, equal, eventually, true
from http_client import ask, ask_in_two, parse, request
from world import BRIDGES, BUILD

PATHS = [f"/hosts/{n}" for n in range(24)]
LARGE = 20_000_000


def paths_of(world, bridge):
    """Some paths that the bridge serves."""
    found = [path for path in PATHS if world.bridge_of(path) == bridge]
    true(len(found) >= 3, f"some of the paths are {bridge}'s: {found}")
    return found


def fetch(world, sock, path, size=None):
    """The body of a response, or its first `size` bytes."""
    headers = [f"Range: bytes=0-{size - 1}"] if size else []
    sock.sendall(request(path, *headers))
    stream = bytearray()
    while not (whole := parse(bytes(stream)) if len(stream) < 4096 or len(stream) >= (size or 0) else None):
        block = sock.recv(1 << 18)
        true(block, f"the connection goes on after {len(stream)} bytes of {path}")
        stream += block
    return whole[0]


def large_beginning(world):
    with open(world.fastpath_file(), "rb") as file:
        return hashlib.sha256(file.read(LARGE)).hexdigest()


def bridge_of_large(world, number=""):
    """The bridge that serves /file/100m.bin?number, and its path."""
    path = f"/file/100m.bin?{number}"
    return ask(world.connect(timeout=4), path, "Range: bytes=0-9").bridge, path


def check_large(world, bridge, make=None):
    """A large response of that bridge comes whole."""
    path = next(path for found, path in (bridge_of_large(world, number) for number in range(60)) if found == bridge)
    got = fetch(world, (make or world.connect)(timeout=20), path, LARGE)
    equal((got.bridge, hashlib.sha256(got.body).hexdigest()), (bridge, large_beginning(world)), "a large response")


def all_served_by(world, bridge, paths):
    """Each path on a connection of its own."""
    for path in paths:
        sock = world.connect(timeout=4)
        response = ask(sock, path)
        equal((response.status, response.bridge), (200, bridge), f"status and bridge of {path}")
        sock.close()


def connect_from(world, host):
    """A function that makes connections from that host to the web service."""

    def make(timeout):
        with world.lab.inside(host):
            sock = socket.socket(world.af, socket.SOCK_STREAM)
        world.clean_up.callback(sock.close)
        sock.settimeout(timeout)
        sock.connect((world.vip, 80))
        return sock

    return make


@contextlib.contextmanager
def second_uplink(world, bridge):
    """The host's default route leaves by an interface of its own, eth2, that comes while the bridge runs."""
    lab = world.lab
    lab.on("router", "ip", "link", "add", "eth2", "type", "veth", "peer", "name", "eth2", "netns", lab.namespace(bridge))
    try:
        for host, last in (("router", 1), (bridge, 2)):
            lab.on(host, "ip", "link", "set", "eth2", "up")
            lab.on(host, "ip", "address", "add", f"192.168.34.{last}/24", "dev", "eth2")
            lab.on(host, "ip", "-6", "address", "add", f"fd34::{last}/64", "dev", "eth2", "nodad")
        lab.on(bridge, "ip", "route", "replace", "default", "via", "192.168.34.1", "dev", "eth2")
        lab.on(bridge, "ip", "-6", "route", "replace", "default", "via", "fd34::1", "dev", "eth2")
        yield
    finally:
        lab.on("router", "ip", "link", "del", "eth2")
        lab.on(bridge, "ip", "route", "replace", "default", "via", "192.168.33.1", "dev", "eth1")
        lab.on(bridge, "ip", "-6", "route", "replace", "default", "via", "fd33::1", "dev", "eth1")


def sent_by(world, host, interface):
    return int(world.lab.on(host, "cat", f"/sys/class/net/{interface}/statistics/tx_bytes"))


@case("answers leave by another interface than requests come in by, one that came while the bridge ran: all are served")
def _(world):
    paths = paths_of(world, "b2")
    with second_uplink(world, "b2"):
        before = sent_by(world, "b2", "eth2")
        all_served_by(world, "b2", paths)
        world.clean_up.callback(restart, world, "b2")
        restart(world, "b2")
        all_served_by(world, "b2", paths)
        check_large(world, "b2")
        true(sent_by(world, "b2", "eth2") > before + 500 * len(paths), "the answers left by eth2")


def only_ipv4(world):
    return None if world.family == 4 else "IPv6 has no reverse path filter of its own"


@case("a strict reverse path filter on a bridge's uplink is named, at the start, by --check and by /readyz", requires=only_ipv4)
def _(world):
    bridge = "b2"
    words = "drops every client that this host reaches by eth2"
    for interface in ("all", "eth1"):
        world.sysctl(bridge, f"net.ipv4.conf.{interface}.rp_filter", 1)
    check = [os.path.join(BUILD, "packetbridge"), "--config", f"{world.lab.run_dir}/{bridge}.yaml", "--check"]
    equal(world.api(bridge, "/readyz")[0], 200, "with one way out it does no harm")
    with second_uplink(world, bridge):
        world.not_ready(bridge, words, 15)
        done = subprocess.run(["ip", "netns", "exec", world.lab.namespace(bridge), *check], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL)
        true(words in done.stderr and "rp_filter=2" in done.stderr, f"--check says so: {done.stderr}")
        world.clean_up.callback(restart, world, bridge)
        restart(world, bridge)
        eventually(lambda: words in world.log_of(bridge, of_this_case=True), "the log of the start tells", 15)
        for interface in ("all", "eth1"):
            world.lab.on(bridge, "sysctl", "-q", "-w", f"net.ipv4.conf.{interface}.rp_filter=2")
        eventually(lambda: world.api(bridge, "/readyz")[0] == 200, "readiness is back when it is loose", 15)
        all_served_by(world, bridge, paths_of(world, bridge))


@case("a client on a cache's own host is served, by the bridge there too, large responses as well")
def _(world):
    for bridge in BRIDGES[:2]:
        make = connect_from(world, bridge)
        for path in PATHS:
            sock = make(timeout=4)
            response = ask(sock, path)
            equal((response.status, response.bridge), (200, world.bridge_of(path)), f"{path} asked on {bridge}")
            sock.close()
        check_large(world, bridge, make)


class LocalBridge:
    """A fourth cache and its bridge, on the balancer's own host."""

    ADDRESS = {4: "192.168.33.24", 6: "fd33::24"}
    BACKEND = {4: "192.168.33.34", 6: "fd33::34"}

    def __init__(self, world, engine=None):
        self._world, self._engine = world, engine or world.lab.engine
        lab = world.lab
        for words in (("address", "add", f"{self.ADDRESS[4]}/32"), ("address", "add", f"{self.BACKEND[4]}/32"),
                      ("-6", "address", "add", f"{self.ADDRESS[6]}/128"), ("-6", "address", "add", f"{self.BACKEND[6]}/128")):
            lab.on("balancer", "ip", *words, "dev", "eth1", *(["nodad"] if "-6" in words else []))
            removal = [word.replace("add", "del") if word == "add" else word for word in words]
            world.clean_up.callback(lab.on, "balancer", "ip", *removal, "dev", "eth1", check=False)
        os.makedirs(f"{lab.run_dir}/b4/upload", exist_ok=True)
        self._write("b1/nginx.conf", "b4/nginx.conf", self._nginx)
        self._write("b1.yaml", "b4.yaml", self._yaml)
        self._write("balancer.yaml", "balancer4.yaml", lambda text: text)
        self._processes = {}
        world.clean_up.callback(self.stop_all)
        self.start_cache()
        self.start("b4", os.path.join(BUILD, "packetbridge"), "--config", f"{lab.run_dir}/b4.yaml")
        eventually(lambda: re.search(r"\bready\b", self.log("b4")), lambda: f"b4 is ready: {self.log('b4')[-500:]}", 15)

        def join(text):
            return re.sub(r'( +)(- \{ name: b3, address: "(192\.168\.33\.|fd33::)23", number: 3 \})',
                          lambda m: f'{m[1]}{m[2]}\n{m[1]}- {{ name: b4, address: "{m[3]}24", number: 4 }}', text)

        world.clean_up.callback(restart, world, "balancer")
        world.edited("balancer.yaml", join)
        restart(world, "balancer")

    def _write(self, source, target, edit):
        run = self._world.lab.run_dir
        with open(f"{run}/{source}", encoding="ascii") as file:
            text = edit(file.read())
        with open(f"{run}/{target}", "w", encoding="ascii") as file:
            file.write(text)
        self._world.clean_up.callback(os.unlink, f"{run}/{target}")

    def _nginx(self, text):
        for last in ("21", "31"):
            text = text.replace(f"192.168.33.{last}", f"192.168.33.{last[0]}4").replace(f"fd33::{last}", f"fd33::{last[0]}4")
        return text.replace("/b1/", "/b4/").replace("X-Bridge b1", "X-Bridge b4").replace('"b1 ', '"b4 ') \
            .replace("1.log", "4.log").replace("b1.log", "b4.log")

    def _yaml(self, text):
        for last in ("21", "31"):
            text = text.replace(f"192.168.33.{last}", f"192.168.33.{last[0]}4").replace(f"fd33::{last}", f"fd33::{last[0]}4")
        text = re.sub(r"engine: \w+", f"engine: {self._engine}", text)
        text = re.sub(r"mode: \w+", "mode: auto", text)
        text = text.replace("number: 1\n", "number: 4\n")
        return text.replace("splicelb-b1", "splicelb-b4")

    def start_cache(self):
        run = self._world.lab.run_dir
        self.start("nginx4", "nginx", "-p", f"{run}/b4", "-c", f"{run}/b4/nginx.conf", "-e", f"{run}/log/nginx4.log")

    def start(self, name, *words):
        with open(f"{self._world.lab.run_dir}/log/{name}.log", "w", encoding="utf-8") as log:
            self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self._world.lab.namespace("balancer"), *words], stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True)

    def stop(self, name):
        process = self._processes.pop(name, None)
        if process:
            process.terminate()
            process.wait(timeout=15)

    def stop_all(self):
        for name in ("b4", "nginx4"):
            self.stop(name)

    def log(self, name):
        with open(f"{self._world.lab.run_dir}/log/{name}.log", encoding="utf-8") as file:
            return file.read()


def check_local_bridge(world, local):
    """The local cache has its share, large responses come whole, and openings that it refuses go elsewhere."""
    seen = {path: ask(world.connect(timeout=4), path).bridge for path in PATHS}
    mine = [path for path, bridge in seen.items() if bridge == "b4"]
    true(len(mine) >= 2, f"the local bridge has a share: {seen}")
    for path in mine:
        sock = world.connect(timeout=4)
        for _ in range(3):
            equal(ask(sock, path).bridge, "b4", "requests on one connection")
    # A request in two segments goes through user space.
    equal(ask_in_two(world.connect(timeout=4, nagle=False), mine[0], 9).bridge, "b4", "a request in two segments")
    check_large(world, "b4")
    local.stop("nginx4")
    for path in mine:
        response = ask(world.connect(timeout=4), path)
        true(response.status == 200 and response.bridge in BRIDGES, f"{path} goes to the next choice: {response}")
    return mine


@case("balancer and cache on one host: the local cache serves its share, and what it refuses goes to the next choice")
def _(world):
    check_local_bridge(world, LocalBridge(world))


@case("balancer and cache on one host, each with the other engine")
def _(world):
    other = "nfqueue" if world.lab.engine == "ebpf" else "ebpf"
    check_local_bridge(world, LocalBridge(world, other))


@case("balancer and cache on one host: health checks see the local cache end and come back")
def _(world):
    local = LocalBridge(world)
    check_services(world, ["web"])
    eventually(lambda: is_in(world, "b4", "up"), "the local bridge is up", seconds=15)
    local.stop("nginx4")
    eventually(lambda: is_in(world, "b4", "ill"), "the local bridge is ill without its cache", seconds=15)
    local.start_cache()
    eventually(lambda: is_in(world, "b4", "up"), "the local bridge is up again", seconds=15)


def starts(world, program):
    """The first line of the program's last start, once it is ready."""
    return [line for line in world.log_of(program, of_this_case=True).splitlines() if " ready: " in line][-1]


def refused_start(world, program):
    """What the program says when it does not start."""
    done = subprocess.run(["ip", "netns", "exec", world.lab.namespace(program), os.path.join(BUILD, "packetbridge"), "--config",
                           f"{world.lab.run_dir}/{program}.yaml"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=20, check=False)
    equal(done.returncode, 1, f"the exit code: {done.stdout[-300:]}")
    return done.stdout


def with_mode(world, bridge, mode):
    world.edited(f"{bridge}.yaml", lambda text: re.sub(r"mode: \w+", f"mode: {mode}", text))


def adopt_refuses(world, bridge, words):
    """Engine ebpf: mode adopt does not start there, and says why."""
    if world.lab.engine != "ebpf":
        return
    world.edited(f"{bridge}.yaml", lambda text: re.sub(r"mode: \w+", "mode: adopt", text) + "\n")
    world.lab.stop(bridge)
    said = refused_start(world, bridge)
    true("mode adopt: " in said and words in said, f"it says why: {said[-500:]}")


class Container:
    """A web server in a network namespace of its own behind a bridge's host, as Docker makes them."""

    def __init__(self, world, bridge):
        self._lab, self._bridge = world.lab, bridge
        self.host = "inner"
        lab = world.lab
        subprocess.run(["ip", "netns", "add", lab.namespace(self.host)], check=True)
        world.clean_up.callback(subprocess.run, ["ip", "netns", "delete", lab.namespace(self.host)], check=True)
        lab.on(bridge, "ip", "link", "add", "inner0", "type", "veth", "peer", "name", "eth0", "netns", lab.namespace(self.host))
        for host, interface, last in ((bridge, "inner0", 1), (self.host, "eth0", 2)):
            if host == self.host:
                lab.on(host, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.accept_dad=0")
                lab.on(host, "ip", "link", "set", "lo", "up")
            lab.on(host, "ip", "link", "set", interface, "up")
            lab.on(host, "ip", "address", "add", f"10.88.0.{last}/24", "dev", interface)
            lab.on(host, "ip", "-6", "address", "add", f"fd88::{last}/64", "dev", interface, "nodad")
        lab.on(self.host, "ip", "route", "add", "default", "via", "10.88.0.1")
        lab.on(self.host, "ip", "-6", "route", "add", "default", "via", "fd88::1")
        for setting in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
            world.sysctl(bridge, setting, 1)
        # IPv6's forwarding takes the default route away where it was learnt, and here it was not.
        self.address = {4: "10.88.0.2", 6: "fd88::2"}[world.family]
        conf = f"{lab.run_dir}/inner.conf"
        with open(f"{lab.run_dir}/{bridge}/nginx.conf", encoding="ascii") as file:
            text = file.read()
        number = bridge[1]
        text = text.replace(f"192.168.33.3{number}:80 ", "10.88.0.2:80 ").replace(f"[fd33::3{number}]:80 ", "[fd88::2]:80 ")
        # Only the first server.
        text = text[:text.index("server {", text.index("server {") + 1)] + "}\n"
        text = text.replace(f"pid {lab.run_dir}/{bridge}/nginx.pid", f"pid {lab.run_dir}/inner.pid")
        with open(conf, "w", encoding="ascii") as file:
            file.write(text)
        world.clean_up.callback(os.unlink, conf)
        process = subprocess.Popen(["ip", "netns", "exec", lab.namespace(self.host), "nginx", "-p", f"{lab.run_dir}/{bridge}",
                                    "-c", conf, "-e", f"{lab.run_dir}/log/inner.log"], stdin=subprocess.DEVNULL,
                                   start_new_session=True)

        def end():
            process.terminate()
            process.wait(timeout=15)

        world.clean_up.callback(end)
        eventually(lambda: lab.on(bridge, "curl", "-sg", "-o", "/dev/null", "-w", "%{http_code}",
                                  world.url("/", self.address), check=False) == "200", "the container answers", 10)


@case("a cache in a container behind the bridge's host: auto translates and says why, adopt refuses to start")
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    world.clean_up.callback(restart, world, bridge)
    container = Container(world, bridge)
    inside = world.bracketed(container.address) + ":80"
    own = world.bracketed(world.backend_address(bridge)) + ":80"
    world.edited(f"{bridge}.yaml", lambda text: text.replace(f'"{own}"', f'"{inside}"'))
    adopt_refuses(world, bridge, f"the backend {inside} is not this host's own (it is reached by inner0)")
    with_mode(world, bridge, "auto")
    restart(world, bridge)
    if world.lab.engine == "ebpf":
        true(f"no adoption, for the backend {inside}" in starts(world, bridge), f"it says why: {starts(world, bridge)}")
    all_served_by(world, bridge, paths)
    check_large(world, bridge)


def only_adopt(world):
    return None if world.lab.mode == "adopt" else "another mode needs nothing of the backend's kernel"


def check_obstacle(world, bridge, arise, words):
    """What makes adoption impossible is told while it adopts, adopt refuses to start, and auto translates and says why."""
    restart(world, bridge)
    arise()
    world.not_ready(bridge, words, 15)
    true(words in world.log_of(bridge, of_this_case=True), "the log tells")
    adopt_refuses(world, bridge, words)
    with_mode(world, bridge, "auto")
    restart(world, bridge)
    said = starts(world, bridge)
    true(words in said and ("mode translate" in said or "but translate for " in said), f"it says why: {said}")
    # It may lack others: what arose may have ended what listened before.
    true(words not in world.api(bridge, "/readyz")[1], "no reason not to be ready when it translates")


@case("TCP settings of the cache's host that forbid adoption: told when they change, auto translates, adopt refuses", requires=only_adopt)
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    world.clean_up.callback(restart, world, bridge)
    for name in ("tcp_timestamps", "tcp_sack", "tcp_window_scaling", "tcp_syncookies"):
        with contextlib.ExitStack() as of_this_setting:
            outer, world.clean_up = world.clean_up, of_this_setting
            check_obstacle(world, bridge, lambda setting=name: world.sysctl(bridge, f"net.ipv4.{setting}", 0), f"net.ipv4.{name} must ")
            all_served_by(world, bridge, paths)
            check_large(world, bridge)
            world.clean_up = outer


@case("a listener that speaks MPTCP: told when it begins, auto translates, adopt refuses", requires=only_adopt)
def _(world):
    bridge = "b2"
    if not os.path.exists("/proc/sys/net/mptcp/enabled"):
        raise Skip("the kernel has no MPTCP")
    paths = paths_of(world, bridge)
    world.clean_up.callback(restart, world, bridge)
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    own = world.bracketed(world.backend_address(bridge)) + ":80"
    world.sysctl(bridge, "net.mptcp.enabled", 1)

    def begin():
        world.lab.stop("nginx2")
        process = subprocess.Popen(["ip", "netns", "exec", world.lab.namespace(bridge), "python3", "-c", MPTCP_SERVER, bridge,
                                    world.backend_address(bridge)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)

        def end():
            process.kill()
            process.wait()

        world.clean_up.callback(end)

    check_obstacle(world, bridge, begin, f"the listener at {own} speaks MPTCP")
    all_served_by(world, bridge, paths)


def check_host(world, program, host=None):
    """The exit code and the lines of --check --host."""
    executable = "balancer" if program == "balancer" else "packetbridge"
    done = subprocess.run(["ip", "netns", "exec", world.lab.namespace(host or program), os.path.join(BUILD, executable), "--config",
                           f"{world.lab.run_dir}/{program}.yaml", "--check", "--host"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
    return done.returncode, done.stdout.splitlines()


def has_line(lines, kind, *words):
    return any(line.startswith(kind) and all(word in line for word in words) for line in lines)


@case("--check --host lists what a bridge's host has, lacks and will disappoint in, and changes nothing")
def _(world):
    bridge = "b2"
    code, lines = check_host(world, bridge)
    equal(code, 0, f"the exit code: {lines}")
    for words in ("this process may", "interface eth1 is up: driver veth", f"address {world.bridge_address(bridge)} is on this host",
                  f"a start takes engine {world.lab.engine}, mode {world.lab.mode}"):
        true(has_line(lines, "ok", words), f"{words}: {lines}")
    true(has_line(lines, "ok", f"answers leave by eth1 with {world.vip} as their source, an address of that segment"), f"the way out: {lines}")
    equal(has_line(lines, "ok", "this process may load kernel programs"), world.lab.engine == "ebpf", f"what kernel programs need: {lines}")
    with second_uplink(world, bridge):
        _, lines = check_host(world, bridge)
        true(has_line(lines, "warning", f"answers leave by eth2 with {world.vip} as their source, which is none", "health checks can tell"),
             f"another way out: {lines}")
    rules = (world.iptables, "-w", "-P", "INPUT")
    world.clean_up.callback(world.lab.on, bridge, *rules, "ACCEPT")
    world.lab.on(bridge, *rules, "DROP")
    _, lines = check_host(world, bridge)
    true(has_line(lines, "warning", "the firewall drops what no rule accepts (INPUT of", "docs/hosts.md"), f"the firewall: {lines}")
    world.lab.on(bridge, *rules, "ACCEPT")
    world.sysctl(bridge, "net.ipv4.tcp_sack", 0)
    code, lines = check_host(world, bridge)
    adopts = world.lab.mode == "adopt"
    equal(code, 1 if adopts else 0, f"the exit code: {lines}")
    equal(has_line(lines, "missing", "for mode adopt: net.ipv4.tcp_sack must be 1"), adopts, f"what is missing: {lines}")
    world.edited(f"{bridge}.yaml", lambda text: text.replace(f'"{world.bridge_address(bridge)}"', f'"{world.bridge_address("b1")}"'))
    code, lines = check_host(world, bridge)
    equal(code, 1, f"the exit code: {lines}")


def only_ebpf(world):
    return None if world.lab.engine == "ebpf" else "XDP is the ebpf engine's"


@case("--check --host tries which XDP the balancer's interface gives, and leaves nothing there", requires=only_ebpf)
def _(world):
    lab = world.lab
    lab.stop("balancer")
    world.clean_up.callback(restart, world, "balancer")
    code, lines = check_host(world, "balancer")
    true(code == 0 and has_line(lines, "ok", "XDP on eth1 is native: tried"), f"a veth whose peer merges packets: {code} {lines}")
    true("xdp" not in lab.on("balancer", "ip", "link", "show", "eth1"), "nothing hangs there")
    peer = ("ethtool", "-K", "to-balancer", "gro")
    world.clean_up.callback(lab.on, "segment", *peer, "on")
    lab.on("segment", *peer, "off")
    code, lines = check_host(world, "balancer")
    true(code == 0 and has_line(lines, "warning", "XDP on eth1 will be generic", "is lost in this veth"), f"one whose peer does not: {code} {lines}")
    world.edited("balancer.yaml", lambda text: text.replace("engine: ebpf\n", "engine: ebpf\nxdp_mode: native\n"))
    code, lines = check_host(world, "balancer")
    true(code == 1 and has_line(lines, "missing", "xdp_mode native on eth1"), f"where native is asked for: {code} {lines}")


@case("the firewall of a balancer's host, OUTPUT policy DROP: ebpf's packets meet no rule, and what nfqueue needs is told and let out")
def _(world):
    path = PATHS[0]
    bridge = world.bridge_of(path)
    policy = (world.iptables, "-w", "-P", "OUTPUT")
    world.clean_up.callback(world.lab.on, "balancer", *policy, "ACCEPT")
    if world.family == 6:
        world.rule("balancer", "OUTPUT", "-p icmpv6", "ACCEPT")
    world.rule("balancer", "OUTPUT", "-o lo", "ACCEPT")
    world.lab.on("balancer", *policy, "DROP")
    _, lines = check_host(world, "balancer")
    equal(has_line(lines, "warning", "the firewall drops what no rule accepts (OUTPUT of"), world.lab.engine == "nfqueue", f"whether it is told: {lines}")
    if world.lab.engine == "nfqueue":
        try:
            world.connect(timeout=1.5)
            raise AssertionError("what nfqueue sends passes")
        except TimeoutError:
            pass
        world.rule("balancer", "OUTPUT", f"-s {world.vip} -p tcp --sport 80", "ACCEPT")
        world.rule("balancer", "OUTPUT", "-p tcp --dport 80", "ACCEPT")
    all_served_by(world, bridge, [path])
    # Of these the first segment is held in user space.
    equal(ask_in_two(world.connect(timeout=4, nagle=False), path, 9).bridge, bridge, "a request in two segments")


@case("--check --host lists the ways to a balancer's bridges, and what is in its place")
def _(world):
    code, lines = check_host(world, "balancer")
    equal(code, 0, f"the exit code: {lines}")
    for bridge in BRIDGES:
        true(has_line(lines, "ok", f"bridge {bridge} ({world.bridge_address(bridge)}): reached by eth1, MTU 1500"), f"{bridge}: {lines}")
    prefix = 32 if world.family == 4 else 128
    route = (f"{world.bridge_address('b2')}/{prefix}", "dev", "eth1", "mtu", "1400")
    world.lab.on("balancer", "ip", "route", "add", *route)
    world.clean_up.callback(world.lab.on, "balancer", "ip", "route", "del", *route[:3])
    world.edited("balancer.yaml", lambda text: text.replace(f'b1, address: "{world.bridge_address("b1")}"', 'b1, address: "%s"' % (
        "203.0.113.9" if world.family == 4 else "2001:db8:9::9")))
    world.lab.on("balancer", "ip", "route", "del", "default") if world.family == 4 else world.lab.on("balancer", "ip", "-6", "route", "del", "default")
    world.clean_up.callback(world.lab.on, "balancer", "ip", *(["-6"] if world.family == 6 else []), "route", "replace", "default", "via",
                            "192.168.33.1" if world.family == 4 else "fd33::1", "dev", "eth1")
    code, lines = check_host(world, "balancer")
    equal(code, 1, f"the exit code: {lines}")
    true(has_line(lines, "missing", "bridge b1 (", "no route leads there"), f"b1: {lines}")
    true(has_line(lines, "warning", "bridge b2 (", "MTU of 1400, below 1500"), f"b2: {lines}")


class Firewall:
    """The rules of docs/hosts.md on one chain of a host, whose policy is DROP, for as long as a block lasts."""

    def __init__(self, world, host, chain, *rules):
        needed = ["-p icmpv6 -j ACCEPT"] if world.family == 6 else []
        self._world, self._host, self._chain, self._rules = world, host, chain, [*needed, *rules]

    def _run(self, *words):
        self._world.lab.on(self._host, self._world.iptables, "-w", *words)

    def __enter__(self):
        for rule in self._rules:
            self._run("-A", self._chain, *rule.split())
        self._run("-P", self._chain, "DROP")
        return self

    def __exit__(self, *_):
        self._run("-P", self._chain, "ACCEPT")
        for rule in self._rules:
            self._run("-D", self._chain, *rule.split())


ESTABLISHED = "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
LOOPBACK_IN, LOOPBACK_OUT = "-i lo -j ACCEPT", "-o lo -j ACCEPT"
BY_SYN = "-p tcp --syn --dport 80 -j ACCEPT"
NEW = "-p tcp --dport 80 -m conntrack --ctstate NEW -j ACCEPT"
# What is allowed, and the modes that serve behind it.
FIREWALLS = [("INPUT", (ESTABLISHED, BY_SYN), {"translate"}),
             ("INPUT", (LOOPBACK_IN, ESTABLISHED, BY_SYN), {"translate"}),
             ("INPUT", (LOOPBACK_IN, ESTABLISHED, NEW), {"adopt", "translate"}),
             ("OUTPUT", (ESTABLISHED,), {"adopt"}),
             ("OUTPUT", (LOOPBACK_OUT, ESTABLISHED), {"adopt", "translate"})]


def no_conntrack(world):
    done = subprocess.run(["unshare", "-n", world.iptables, "-w", "-A", "INPUT", *ESTABLISHED.split()], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return f"no connection tracking here: {done.stdout.strip()}" if done.returncode else None


@case("firewalls of a cache's host with policy DROP: each set of rules lets those modes serve that the table says", requires=no_conntrack)
def _(world):
    bridge = "b2"
    path = paths_of(world, bridge)[0]
    words = f"its backend {world.bracketed(world.backend_address(bridge))}:80, got no answer"
    world.clean_up.callback(restart, world, bridge)
    for chain, rules, modes in FIREWALLS:
        serves = world.lab.mode in modes
        with Firewall(world, bridge, chain, *rules):
            try:
                served = ask(world.connect(timeout=1.5), path).bridge == bridge
            except (OSError, AssertionError):
                served = False
            equal(served, serves, f"whether {chain} DROP with {rules} lets {world.lab.mode} serve")
            # And the start's own opening tells.
            told = world.log_of(bridge).count(words)
            restart(world, bridge)
            if serves:
                all_served_by(world, bridge, [path])
                time.sleep(5)  # longer than it waits
            else:
                eventually(lambda: world.log_of(bridge).count(words) > told, "the start warns of what is swallowed", 15)
            equal(world.log_of(bridge).count(words) > told, not serves, f"whether the start warns, {chain} DROP with {rules}")
    all_served_by(world, bridge, [path])


MPTCP_SERVER = """
import socket, sys, threading
name, address = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.socket(family, socket.SOCK_STREAM, 262)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((address, 80))
listener.listen(100)
def serve(sock):
    while sock.recv(65536):
        sock.sendall(b"HTTP/1.1 200 OK\\r\\nX-Bridge: %s\\r\\nContent-Length: 2\\r\\n\\r\\nok" % name.encode())
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
