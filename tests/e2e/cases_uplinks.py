"""More than one uplink: a router spreads clients over them (ECMP), and bridges are behind either."""

import contextlib
import os
import re
import subprocess

from cases_hosts import all_served_by, check_host, check_large, has_line, paths_of, starts
from cases_kernel import restart
from cases_restart import only_ebpf
from cases_transfer import upload
from harness import Skip, case, equal, eventually, true
from http_client import ask
from world import BUILD

PATHS = [f"/uplinks/{n}" for n in range(40)]


def add_link(world, host):
    """A second link between the router and a host, eth2 on either, at 192.168.34.0/24 and fd34::/64."""
    lab = world.lab
    lab.on("router", "ip", "link", "add", "eth2", "type", "veth", "peer", "name", "eth2", "netns", lab.namespace(host))
    for end, last in (("router", 1), (host, 2)):
        lab.on(end, "ip", "link", "set", "eth2", "up")
        lab.on(end, "ip", "address", "add", f"192.168.34.{last}/24", "dev", "eth2")
        lab.on(end, "ip", "-6", "address", "add", f"fd34::{last}/64", "dev", "eth2", "nodad")
    # As for any link of the lab that XDP hangs on.
    lab.on("router", "ethtool", "-K", "eth2", "tx", "off", "gro", "on")


@contextlib.contextmanager
def second_link(world, host):
    add_link(world, host)
    try:
        yield
    finally:
        world.lab.on("router", "ip", "link", "del", "eth2", check=False)


def route(world, host, address, *words):
    """A route of one address for the rest of the case, in the place of one before."""
    tool = ("ip", "-6", "route") if world.family == 6 else ("ip", "route")
    prefix = f"{address}/{128 if world.family == 6 else 32}"
    world.lab.on(host, *tool, "replace", prefix, *words)
    world.clean_up.callback(world.lab.on, host, *tool, "del", prefix, check=False)


def near(world):
    """Addresses of the second link: the router's and the host's."""
    return ("192.168.34.1", "192.168.34.2") if world.family == 4 else ("fd34::1", "fd34::2")


def over_both(world):
    """The router spreads what is for the VIP over both links, by ports too."""
    world.sysctl("router", f"net.ipv{world.family}.fib_multipath_hash_policy", 1)
    _, host = near(world)
    try:
        route(world, "router", world.vip, "nexthop", "via", world.balancer, "dev", "eth1", "nexthop", "via", host, "dev", "eth2")
    except RuntimeError as error:
        raise Skip(f"no multipath routes here: {error}") from error


def received(world, host, interface):
    return int(world.lab.on(host, "cat", f"/sys/class/net/{interface}/statistics/rx_packets"))


def by_both(world, host):
    """A function that says how many packets have come in by each uplink since this call."""
    before = [received(world, host, name) for name in ("eth1", "eth2")]
    return lambda: [received(world, host, name) - was for name, was in zip(("eth1", "eth2"), before)]


def uplinks(world, program, *names):
    world.clean_up.callback(restart, world, program)
    world.edited(f"{program}.yaml", lambda text: text.replace("interface: eth1\n", f"interface: [{', '.join(names)}]\n"))


def all_served(world):
    for path in PATHS:
        with contextlib.closing(world.connect(timeout=4)) as sock:
            response = ask(sock, path)
            equal((response.status, response.bridge), (200, world.bridge_of(path)), f"status and bridge of {path}")
            equal(ask(sock, path).status, 200, "a second request")


@case("a balancer with two uplinks: a router spreads clients over both, bridges are reached by either, and one may go and come back")
def _(world):
    lab = world.lab
    for path in PATHS:
        world.bridge_of(path)
    with second_link(world, "balancer"):
        uplinks(world, "balancer", "eth1", "eth2")
        restart(world, "balancer")
        true(" on eth1, eth2, " in world.log_of("balancer", of_this_case=True), "the start names both")
        over_both(world)
        count = by_both(world, "balancer")
        all_served(world)
        true(min(count()) > len(PATHS), f"clients come in by both: {count()}")

        # One bridge behind the second uplink, the others behind the first.
        router, _ = near(world)
        route(world, "balancer", world.bridge_address("b2"), "via", router, "dev", "eth2")
        sent = int(lab.on("balancer", "cat", "/sys/class/net/eth2/statistics/tx_packets"))
        mine = [path for path in PATHS if world.bridge_of(path) == "b2"]
        eventually(lambda: [ask(world.connect(timeout=4), path).bridge for path in mine] == ["b2"] * len(mine) and int(
            lab.on("balancer", "cat", "/sys/class/net/eth2/statistics/tx_packets")) > sent + len(mine), "b2 is reached by eth2")
        all_served(world)
        check_large(world, "b2")

        code, lines = check_host(world, "balancer")
        equal(code, 0, f"the exit code: {lines}")
        for name in ("eth1", "eth2"):
            true(has_line(lines, "ok", f"interface {name} is up"), f"{name}: {lines}")

        # The link goes, and the device with it.
        lab.on("router", "ip", "link", "del", "eth2")
        all_served(world)
        equal(world.api("balancer", "/readyz")[0], 200, "readiness with one of two uplinks")
        add_link(world, "balancer")
        over_both(world)

        def comes_by_both():
            count = by_both(world, "balancer")
            all_served(world)
            return min(count()) > len(PATHS)

        if lab.engine == "ebpf":
            eventually(lambda: "the XDP program on eth2" in world.log_of("balancer", of_this_case=True), "the program is back on eth2", 15)
        eventually(comes_by_both, "clients come in by both again", 15)
        lab.stop("balancer")
        true("xdp" not in lab.on("balancer", "ip", "link", "show", "eth2"), "nothing hangs on eth2 after a stop")


@case("two uplinks and keep: the programs on both go on, are taken over, and the one that is left out goes", requires=only_ebpf)
def _(world):
    lab = world.lab

    def hangs_on():
        return [name for name in ("eth1", "eth2") if "xdp" in lab.on("balancer", "ip", "link", "show", name)]

    with second_link(world, "balancer"):
        uplinks(world, "balancer", "eth1", "eth2")
        world.edited("balancer.yaml", lambda text: text + "keep: true\n")
        restart(world, "balancer")
        over_both(world)
        sock = world.connect(timeout=4)
        equal(ask(sock, PATHS[0]).status, 200, "a request")
        lab.stop("balancer")
        equal(hangs_on(), ["eth1", "eth2"], "what is kept")
        equal(ask(sock, PATHS[0]).status, 200, "a request meanwhile")
        lab.start("balancer")
        equal(starts(world, "balancer").count("flows taken over"), 2, f"of both: {starts(world, 'balancer')}")
        equal(ask(sock, PATHS[0]).status, 200, "a request over the next one")
        world.edited("balancer.yaml", lambda text: text.replace("[eth1, eth2]", "eth1"))
        lab.stop("balancer")
        lab.start("balancer")
        equal(hangs_on(), ["eth1"], "with one uplink again")
        # Without keep, which cleans up.
        world.edited("balancer.yaml", lambda text: text.replace("keep: true\n", ""))
        restart(world, "balancer")


@case("a bridge with two uplinks: what balancers send is taken by either, and one may go and come back")
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    with second_link(world, bridge):
        uplinks(world, bridge, "eth1", "eth2")
        restart(world, bridge)
        all_served_by(world, bridge, paths)
        _, host = near(world)
        # To the router, and from there by the second link.
        route(world, "balancer", world.bridge_address(bridge), "via", "192.168.33.1" if world.family == 4 else "fd33::1", "dev", "eth1")
        world.sysctl("router", "net.ipv4.conf.eth1.send_redirects", 0)
        route(world, "router", world.bridge_address(bridge), "via", host, "dev", "eth2")
        before = received(world, bridge, "eth2")
        eventually(lambda: ask(world.connect(timeout=4), paths[0]).bridge == bridge and received(world, bridge, "eth2") > before + 2,
                   "requests come in by eth2")
        all_served_by(world, bridge, paths)
        check_large(world, bridge)
        world.lab.on("router", "ip", "link", "del", "eth2")
        world.lab.on("balancer", *(("ip", "-6") if world.family == 6 else ("ip",)), "route", "del", world.bridge_address(bridge))
        eventually(lambda: ask(world.connect(timeout=4), paths[0]).bridge == bridge, "requests come in by eth1 again", 15)
        all_served_by(world, bridge, paths)
        equal(world.api(bridge, "/readyz")[0], 200, "readiness with one of two uplinks")


@case("an uplink that is not there is named by --check, and by a start")
def _(world):
    for program in ("balancer", "b2"):
        executable = "balancer" if program == "balancer" else "packetbridge"
        with open(f"{world.lab.run_dir}/{program}.yaml", encoding="ascii") as file:
            text = re.sub("interface: eth1\n", "interface: [eth1, eth9]\n", file.read())
        path = f"{world.lab.run_dir}/{program}-eth9.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        world.clean_up.callback(os.unlink, path)
        done = subprocess.run(["ip", "netns", "exec", world.lab.namespace(program), os.path.join(BUILD, executable), "--config", path,
                               "--check"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        true(done.returncode != 0 and "eth9" in done.stdout, f"{program}: {done.returncode} {done.stdout}")


def merges(world, host, interface):
    return "generic-receive-offload: on" in world.lab.on(host, "ethtool", "-k", interface)


ADDRESSES = {"balancer": ("192.168.33.10/24", "fd33::10/64"), "b2": ("192.168.33.22/24", "fd33::22/64", "192.168.33.32/32", "fd33::32/128")}


class LinuxBridge:
    """eth1 as its port."""

    NAME = "br0"

    def __init__(self, world, host):
        self._lab, self._host = world.lab, host

    def make(self):
        # Else it takes the lowest address of its ports, whichever come.
        own = self._lab.on(self._host, "cat", "/sys/class/net/eth1/address").strip()
        self._lab.on(self._host, "ip", "link", "add", "br0", "address", own, "type", "bridge")
        self._lab.on(self._host, "ip", "link", "set", "br0", "up")
        self._lab.on(self._host, "ip", "link", "set", "eth1", "master", "br0")

    def end(self):
        self._lab.on(self._host, "ip", "link", "del", "br0")


class Vlan:
    """VLAN 100 on eth1, whose other end is tagged likewise."""

    NAME = "eth1.100"

    def __init__(self, world, host):
        self._lab, self._host, self._port = world.lab, host, f"to-{host}"

    def make(self):
        for host, parent, name in ((self._host, "eth1", "eth1.100"), ("segment", self._port, f"{self._host}.100")):
            self._lab.on(host, "ip", "link", "add", "link", parent, "name", name, "type", "vlan", "id", "100")
            self._lab.on(host, "ip", "link", "set", name, "up")
        self._lab.on("segment", "ip", "link", "set", self._port, "nomaster")
        self._lab.on("segment", "ip", "link", "set", f"{self._host}.100", "master", "segment")

    def end(self):
        self._lab.on(self._host, "ip", "link", "del", "eth1.100")
        self._lab.on("segment", "ip", "link", "del", f"{self._host}.100")
        self._lab.on("segment", "ip", "link", "set", self._port, "master", "segment")


class Bond:
    """Of eth1 alone, active-backup."""

    NAME = "bond0"

    def __init__(self, world, host):
        self._lab, self._host = world.lab, host

    def make(self):
        self._lab.on(self._host, "ip", "link", "add", "bond0", "type", "bond", "mode", "active-backup", "miimon", "100")
        self._lab.on(self._host, "ip", "link", "set", "eth1", "down")
        self._lab.on(self._host, "ip", "link", "set", "eth1", "master", "bond0")
        self._lab.on(self._host, "ip", "link", "set", "bond0", "up")

    def end(self):
        self._lab.on(self._host, "ip", "link", "del", "bond0")
        self._lab.on(self._host, "ip", "link", "set", "eth1", "up")


def move_addresses(world, host, source, target, between):
    """The host's addresses and default routes go from one device to the other; `between` makes or ends one of them."""
    lab = world.lab
    for address in ADDRESSES[host]:
        lab.on(host, "ip", "address", "del", address, "dev", source)
    between()
    for address in ADDRESSES[host]:
        lab.on(host, "ip", "address", "add", address, "dev", target, *(["nodad"] if ":" in address else []))
    lab.on(host, "ip", "route", "replace", "default", "via", "192.168.33.1", "dev", target)
    lab.on(host, "ip", "-6", "route", "replace", "default", "via", "fd33::1", "dev", target)
    eventually(lambda: " 0% packet loss" in lab.on(host, "ping", "-c", "1", "-W", "1", "192.168.33.1", check=False), f"{target} leads out", 15)


def on_device(world, host, kind):
    """The host's addresses are on a device above eth1 for the rest of the case; eth1 merges packets, as a card does."""
    lab = world.lab
    lab.stop(host)
    world.clean_up.callback(lab.start, host)
    merged = merges(world, host, "eth1")
    world.clean_up.callback(lab.on, host, "ethtool", "-K", "eth1", "gro", "on" if merged else "off")
    lab.on(host, "ethtool", "-K", "eth1", "gro", "on")
    device = kind(world, host)
    world.clean_up.callback(move_addresses, world, host, kind.NAME, "eth1", device.end)
    move_addresses(world, host, "eth1", kind.NAME, device.make)
    world.edited(f"{host}.yaml", lambda text: text.replace("interface: eth1\n", f"interface: {kind.NAME}\n"))
    lab.start(host)
    world.clean_up.callback(lab.stop, host)


def all_work_on(world, kind):
    """Balancer and a bridge on such devices, one after the other, and together."""
    for host in ("balancer", "b2"):
        on_device(world, host, kind)
        for path in PATHS:
            equal(ask(world.connect(timeout=4), path).status, 200, f"status of {path}")
    world.notes.append(re.search(r"engine (.*?), (mode|api)", starts(world, "balancer"))[1])
    check_large(world, "b2")
    upload(world, 2_000_000, f"{kind.NAME}.bin")


@case("a Linux bridge as the balancer's uplink, and as a bridge's")
def _(world):
    all_work_on(world, LinuxBridge)


def kernel_has(kind):
    """What a case needs: that the kernel makes such devices."""
    def why_not(_):
        words = ["unshare", "-n", "sh", "-c", "ip link set lo up && ip link add probe0 type veth && " + kind]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return f"not in this kernel: {done.stdout.strip()}" if done.returncode else None
    return why_not


@case("a VLAN as the balancer's uplink, and as a bridge's", requires=kernel_has("ip link add link probe0 name probe0.5 type vlan id 5"))
def _(world):
    all_work_on(world, Vlan)


@case("a bond as the balancer's uplink, and as a bridge's", requires=kernel_has("ip link add probe1 type bond mode active-backup"))
def _(world):
    all_work_on(world, Bond)


@case("generic XDP on a Linux bridge: its ports merge no packets while the balancer runs, later ones neither, and do so again after it",
      requires=only_ebpf)
def _(world):
    lab = world.lab
    on_device(world, "balancer", LinuxBridge)
    true(not merges(world, "balancer", "eth1"), "eth1 merges none")
    upload(world, 2_000_000, "ports.bin")
    lab.on("balancer", "ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    world.clean_up.callback(lab.on, "balancer", "ip", "link", "del", "late0")
    lab.on("balancer", "ethtool", "-K", "late0", "gro", "on")
    lab.on("balancer", "ip", "link", "set", "late0", "master", "br0")
    eventually(lambda: not merges(world, "balancer", "late0"), "a port that comes later merges none", 15)
    lab.on("balancer", "ethtool", "-K", "eth1", "gro", "on")
    eventually(lambda: not merges(world, "balancer", "eth1"), "nor one that somebody turned on", 15)
    upload(world, 2_000_000, "ports2.bin")
    lab.stop("balancer")
    equal([merges(world, "balancer", name) for name in ("eth1", "late0")], [True, True], "after the stop")
    lab.start("balancer")
