"""A host that other programs change: what the start set up is put right, or its loss is told."""

import contextlib
import glob
import os
import re
import signal
import subprocess
import time

import steady
import tcx
from cases_kernel import restart
from cases_restart import only_ebpf
from harness import Skip, case, equal, eventually, true
from http_client import ask, read_response, request
from world import BRIDGES, PROGRAMS

PATHS = [f"/host/{n}" for n in range(12)]


def only_nfqueue(world):
    return None if world.lab.engine == "nfqueue" else "another engine has no such rules"


def only_adopt(world):
    return None if world.lab.mode == "adopt" else "only adoption needs it"


def repairs(world, program, kind):
    lines = world.page(program, "/metrics").splitlines()
    return sum(int(float(line.split()[-1])) for line in lines
               if "_host_repairs_total{" in line and f'fact="{kind}"' in line)


def all_served(world, seconds=15):
    eventually(lambda: all(served(world, path) for path in PATHS), "every request is served again", seconds)


def served(world, path):
    try:
        return ask(world.connect(timeout=1), path).status == 200
    except (OSError, AssertionError):
        return False


def restore_network(world):
    """What the host's own network manager sets up when its link comes back; the VIP is none of its business."""
    def has_its_own_prefix():
        # The address is a service's, too: where the balancer was first, no other prefix takes the place of its /128.
        world.lab.on("balancer", "ip", "address", "del", "fd33::10/128", "dev", "eth1", check=False)
        world.lab.on("balancer", "ip", "address", "replace", "fd33::10/64", "dev", "eth1", "nodad", check=False)
        return "fd33::10/64" in world.lab.on("balancer", "ip", "-6", "address", "show", "dev", "eth1")

    eventually(has_its_own_prefix, "the host has its IPv6 address")
    for words in (("address", "replace", "192.168.33.10/24", "dev", "eth1"),
                  ("route", "replace", "default", "via", "192.168.33.1", "dev", "eth1", "onlink"),
                  ("-6", "route", "replace", "default", "via", "fd33::1", "dev", "eth1", "onlink")):
        world.lab.on("balancer", "ip", *words)


# What a lost fact may cost, in seconds of requests.
COST_S = 2.5


@contextlib.contextmanager
def at_little_cost(world, served_before=True):
    """Requests go on; what happens in the block costs few of them."""
    with steady.steady(world, PATHS) as requests:
        if served_before:
            eventually(lambda: requests.served >= 20, "requests go on before")
            equal(requests.failed, 0, "requests that fail before")
        yield
        served = requests.served
        eventually(lambda: requests.served >= served + 20, "requests go on afterwards")
    world.notes.append(f"{requests.failed} of {requests.failed + requests.served} requests failed {requests.why or ''}".strip())
    true(requests.failed <= COST_S * steady.A_SECOND,
         f"it costs at most {COST_S} s of requests: {requests.failed} of them failed: {requests.why}")


def put_right(world, program, kind, break_it, words):
    """break_it() loses a fact of `kind`; it is put right, told once in the log with `words`, and costs few requests."""
    before, told = repairs(world, program, kind), world.log_of(program).count(words)
    with at_little_cost(world):
        break_it()
        eventually(lambda: repairs(world, program, kind) > before, f"{kind} of {program} is put right", 15)
        all_served(world)
    eventually(lambda: world.log_of(program).count(words) > told, f"{program} tells: {words}")
    equal(world.api(program, "/readyz"), (200, "ready\n"), "readiness")


@case("the VIP that another program removes is back at once")
def _(world):
    prefix = 32 if world.family == 4 else 128
    put_right(world, "balancer", "address",
              lambda: world.lab.on("balancer", "ip", "address", "del", f"{world.vip}/{prefix}", "dev", "eth1"),
              f"the address {world.vip} of eth1 is missing: put right")


@case("a link that goes down and comes up has the VIP again, and says meanwhile that it is not ready")
def _(world):
    def bring_up():
        world.lab.on("balancer", "ip", "link", "set", "eth1", "up")
        restore_network(world)

    world.clean_up.callback(bring_up)
    world.lab.on("balancer", "ip", "link", "set", "eth1", "down")
    world.not_ready("balancer", "the interface eth1 is down")
    equal(world.api("balancer", "/healthz")[0], 200, "the process lives")
    with at_little_cost(world, served_before=False):
        bring_up()
        all_served(world)
    eventually(lambda: world.api("balancer", "/readyz")[0] == 200, "readiness is back")


def made_by_nftables(world, host):
    """Whether the rules that bring packets to the queues are in a table of ours; else they are iptables'."""
    table = "splicelb-balancer" if host == "balancer" else "splicelb-bridge"
    return table if f"table inet {table}\n" in world.lab.on(host, "nft", "list", "tables") else None


def flush_queue_rules(world, host):
    if table := made_by_nftables(world, host):
        world.lab.on(host, "nft", "delete", "table", "inet", table)
        return
    for save in ("iptables", "ip6tables"):
        for table in ("raw", "mangle"):  # the repair may come between
            world.lab.on(host, save, "-t", table, "-F")
            world.lab.on(host, save, "-t", table, "-X", check=False)


@case("netfilter rules that another program flushes are back", requires=only_nfqueue)
def _(world):
    for program in ("balancer", BRIDGES[1]):
        put_right(world, program, "netfilter_rules", lambda host=program: flush_queue_rules(world, host),
                  "the netfilter rules that bring packets to the queues are not as they were installed: put right")


@case("rules that are made by iptables serve as well as those of nftables, and go with a stop", requires=only_nfqueue)
def _(world):
    if not made_by_nftables(world, "balancer"):
        raise Skip("nftables cannot queue packets here, so all other cases are iptables'")
    for program in PROGRAMS:
        world.clean_up.callback(restart, world, program)
        world.edited(f"{program}.yaml", lambda text: text + "netfilter: iptables\n")
        restart(world, program)
        true(not made_by_nftables(world, program), f"{program} has no table")
        true("SPLICELB" in world.lab.on(program, f"{world.iptables}-save"), f"{program} has chains")
    all_served(world)
    put_right(world, "balancer", "netfilter_rules", lambda: flush_queue_rules(world, "balancer"),
              "the netfilter rules that bring packets to the queues are not as they were installed: put right")
    for program in PROGRAMS:
        world.lab.stop(program)
        true("SPLICELB" not in world.lab.on(program, f"{world.iptables}-save"), f"{program} leaves no chain")


def guard_of(world):
    """The balancer's guard of its ports, as nft lists it; empty: there is none."""
    return world.lab.on("balancer", "nft", "list", "table", "inet", "splicelb-balancer-eth1", check=False)


def slipped(world):
    return int(re.search(r"packets (\d+)", guard_of(world)).group(1))


def take_data_path(world):
    """What another program may do, so that no packet reaches the balancer."""
    if world.lab.engine == "nfqueue":
        flush_queue_rules(world, "balancer")
        return
    for link in glob.glob(f"{world.lab.run_dir}/bpffs/splicelb/balancer-eth1-*/link"):
        subprocess.run(["bpftool", "link", "detach", "pinned", link], check=True, stdin=subprocess.DEVNULL)


@case("what slips past the data path is dropped, never answered: its connection goes on when that is back")
def _(world):
    sock = world.connect(timeout=20)
    equal(ask(sock, PATHS[0]).status, 200, "the first request")
    pid = world.lab.pid("balancer")
    os.kill(pid, signal.SIGSTOP)  # it puts nothing right
    try:
        before = slipped(world)
        take_data_path(world)
        sock.sendall(request(PATHS[1]))
        eventually(lambda: slipped(world) > before, "the guard drops its segments")
    finally:
        os.kill(pid, signal.SIGCONT)
    equal(read_response(sock).status, 200, "the second request on the same connection")
    page = world.page("balancer", "/metrics")
    count = next(line for line in page.splitlines() if line.startswith("splicelb_balancer_slipped_packets_total"))
    true(float(count.split()[-1]) > 0, f"it is counted: {count}")


@case("the guard of the services' ports is back when another program flushes all rules")
def _(world):
    put_right(world, "balancer", "port_guard", lambda: world.lab.on("balancer", "nft", "flush", "ruleset"),
              "the rules that keep this host's own TCP from answering for the services are not as they were installed: "
              "put right")


@case("a guard that is kept stays until the next balancer's, and goes with a stop", requires=only_ebpf)
def _(world):
    world.clean_up.callback(restart, world, "balancer")
    world.edited("balancer.yaml", lambda text: text + "keep: true\n")
    restart(world, "balancer")
    world.lab.stop("balancer")
    true(f"{world.vip} . 80" in guard_of(world), "it stays")
    world.edited("balancer.yaml", lambda text: text.replace("keep: true\n", ""))
    world.lab.start("balancer")
    true(f"{world.vip} . 80" in guard_of(world), "the successor's is in its place")
    world.lab.stop("balancer")
    equal(guard_of(world), "", "the guard after a stop")


@case("other programs' netfilter rules come and go without a repair", requires=only_nfqueue)
def _(world):
    before = repairs(world, "balancer", "netfilter_rules")
    for _ in range(3):
        world.lab.on("balancer", "iptables", "-t", "mangle", "-A", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP")
        world.lab.on("balancer", "iptables", "-t", "mangle", "-D", "INPUT", "-p", "udp", "--dport", "9", "-j", "DROP")
    time.sleep(2)  # longer than the period of looks
    equal(repairs(world, "balancer", "netfilter_rules"), before, "repairs")


@case("a bridge's sysctl that another program sets back is set again", requires=only_adopt)
def _(world):
    put_right(world, BRIDGES[0], "sysctl",
              lambda: world.lab.on(BRIDGES[0], "sysctl", "-q", "-w", "net.ipv4.tcp_fwmark_accept=0"),
              "the sysctl net.ipv4.tcp_fwmark_accept, which must be 1, is 0: put right")


def only_tcx(world):
    if reason := only_ebpf(world):
        return reason
    return "the kernel has no TCX" if tcx.programs(world, BRIDGES[0], "ingress") is None else None


def hang_by(world, program, what):
    """A bridge's programs hang by `what`, a word of its configuration, for the rest of the case."""
    world.clean_up.callback(restart, world, program)
    world.edited(f"{program}.yaml", lambda text: text + f"tc: {what}\n")
    restart(world, program)


def filters(world, host, side):
    """Of clsact."""
    shown = world.lab.on(host, "tc", "filter", "show", "dev", "eth1", side, check=False)
    return [next(word.split(":")[0] for word in line.split() if word.startswith("bridge_"))
            for line in shown.splitlines() if "bridge_" in line]


@case("a bridge whose qdisc another program deletes has its programs again", requires=only_ebpf)
def _(world):
    hang_by(world, BRIDGES[0], "clsact")
    before = repairs(world, BRIDGES[0], "tc_program")
    with at_little_cost(world):
        world.lab.on(BRIDGES[0], "tc", "qdisc", "del", "dev", "eth1", "clsact")
        eventually(lambda: repairs(world, BRIDGES[0], "tc_program") >= before + 2, "both programs are put right", 15)
        all_served(world)
    shown = [filters(world, BRIDGES[0], side) for side in ("ingress", "egress")]
    true([len(names) for names in shown] == [1, 1] and shown[0][0].endswith("_in") and shown[1][0].endswith("_out"),
         f"each program is on its own side: {shown}")


@case("by TCX nobody takes a bridge's programs with a qdisc, and there is none of ours", requires=only_tcx)
def _(world):
    bridge = BRIDGES[0]
    put_right_before = repairs(world, bridge, "tc_program")
    before = [tcx.programs(world, bridge, side) for side in ("ingress", "egress")]
    equal([len(ids) for ids in before], [1, 1], "programs on each side")
    true("clsact" not in world.lab.on(bridge, "tc", "qdisc", "show", "dev", "eth1"), "no qdisc is made")
    world.lab.on(bridge, "tc", "qdisc", "add", "dev", "eth1", "clsact")
    world.lab.on(bridge, "tc", "qdisc", "del", "dev", "eth1", "clsact")
    all_served(world)
    equal([tcx.programs(world, bridge, side) for side in ("ingress", "egress")], before, "programs on each side")
    equal(repairs(world, bridge, "tc_program"), put_right_before, "repairs")


@case("a bridge's TCX link that somebody detaches is back", requires=only_tcx)
def _(world):
    bridge = BRIDGES[0]
    (link,) = glob.glob(f"{world.lab.run_dir}/bpffs/splicelb-{bridge}/packetbridge-eth1/ingress")
    put_right(world, bridge, "tc_program",
              lambda: subprocess.run(["bpftool", "link", "detach", "pinned", link], check=True, stdin=subprocess.DEVNULL),
              "the program at the ingress of eth1 is gone: put right")


@case("a bridge that was kept on clsact goes on by TCX, and back: connections go on, one program runs", requires=only_tcx)
def _(world):
    bridge = BRIDGES[0]
    path = next(path for path in PATHS + [f"/more/{n}" for n in range(100)] if world.bridge_of(path) == bridge)
    hang_by(world, bridge, "clsact")
    world.edited(f"{bridge}.yaml", lambda text: text + "keep: true\n")
    restart(world, bridge)
    sock = world.connect(timeout=10)

    def check(by_link):
        for side in ("ingress", "egress"):
            counts = (len(tcx.programs(world, bridge, side)), len(filters(world, bridge, side)))
            equal(counts, (1, 0) if by_link else (0, 1), f"programs at {side}, by TCX and by clsact")
        equal(ask(sock, path).bridge, bridge, "the connection goes on")

    check(False)
    for by_link, before, after in ((True, "clsact", "tcx"), (False, "tcx", "clsact"), (True, "clsact", "auto")):
        world.lab.stop(bridge)
        check(not by_link)
        world.edited(f"{bridge}.yaml", lambda text, old=before, new=after: text.replace(f"tc: {old}\n", f"tc: {new}\n"))
        world.lab.start(bridge)
        check(by_link)


@case("the balancer's interface gets another Ethernet address, and is followed", requires=only_ebpf)
def _(world):
    link = world.lab.on("balancer", "cat", "/sys/class/net/eth1/address").strip()

    def become(address):
        world.lab.on("balancer", "ip", "link", "set", "dev", "eth1", "address", address)
        for host in ("client", "router", *BRIDGES):
            world.lab.on(host, "ip", "neigh", "flush", "all", check=False)

    world.clean_up.callback(all_served, world)
    world.clean_up.callback(become, link)
    put_right(world, "balancer", "ethernet_addresses", lambda: become("02:00:5e:00:53:01"),
              "is old, for they have changed: put right")


@case("frames to the address of a macvlan above the balancer's interface are served", requires=only_ebpf)
def _(world):
    world.clean_up.callback(world.lab.on, "balancer", "ip", "link", "del", "vrrp0", check=False)
    before = repairs(world, "balancer", "ethernet_addresses")
    virtual = "00:00:5e:00:01:21"
    neighbour = ("ip", "neigh", "replace", world.vip, "lladdr", virtual, "dev", "eth1", "nud", "permanent")
    world.clean_up.callback(world.lab.on, "router", "ip", "neigh", "del", world.vip, "dev", "eth1", check=False)
    with at_little_cost(world):
        world.lab.on("balancer", "ip", "link", "add", "vrrp0", "link", "eth1", "address", virtual, "type", "macvlan",
                     "mode", "bridge")
        world.lab.on("balancer", "ip", "link", "set", "vrrp0", "up")
        world.lab.on("router", *neighbour)  # it may be used before it is known
        eventually(lambda: repairs(world, "balancer", "ethernet_addresses") > before, "the address is known", 15)
        for path in PATHS:
            true(served(world, path), f"{path} by the virtual address")


def away_and_back(world, leave, come_back):
    """The balancer's interface is gone for a while, with all that hung on it."""
    leave()

    def bring_back():
        if "eth1" not in world.lab.on("balancer", "ip", "-o", "link"):
            come_back()
            world.lab.on("balancer", "ip", "link", "set", "eth1", "up")
            restore_network(world)

    world.clean_up.callback(bring_back)
    world.not_ready("balancer", "the interface eth1 is gone", 15)
    with at_little_cost(world, served_before=False):
        bring_back()
        all_served(world, 20)
    eventually(lambda: world.api("balancer", "/readyz")[0] == 200, "readiness is back", 15)


def successor(world):
    """Another interface in the place of the balancer's."""
    world.lab.on("balancer", "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "to-balancer", "netns",
                 world.lab.namespace("segment"))
    world.lab.on("segment", "ip", "link", "set", "to-balancer", "master", "segment", "up")
    world.lab.on("segment", "ethtool", "-K", "to-balancer", "tx", "off", "gro", "on")  # as the lab's network does
    for host in ("router", *BRIDGES):
        world.lab.on(host, "ip", "neigh", "flush", "all")


def replace_interface(world):
    away_and_back(world, lambda: world.lab.on("balancer", "ip", "link", "del", "eth1"), lambda: successor(world))


@case("an interface that is removed is told of, and its successor serves")
def _(world):
    replace_interface(world)


@case("generic XDP: the successor of an interface that is removed merges no packets either", requires=only_ebpf)
def _(world):
    def merges():
        return "generic-receive-offload: on" in world.lab.on("balancer", "ethtool", "-k", "eth1")

    world.clean_up.callback(restart, world, "balancer")
    world.edited("balancer.yaml", lambda text: text.replace("engine: ebpf\n", "engine: ebpf\nxdp_mode: generic\n"))
    world.lab.on("balancer", "ethtool", "-K", "eth1", "gro", "on")
    restart(world, "balancer")
    true(not merges(), "it merges none at first")
    world.lab.on("balancer", "ip", "link", "del", "eth1")
    world.not_ready("balancer", "the interface eth1 is gone", 15)
    successor(world)
    world.lab.on("balancer", "ethtool", "-K", "eth1", "gro", "on")
    world.lab.on("balancer", "ip", "link", "set", "eth1", "up")
    restore_network(world)
    eventually(lambda: world.api("balancer", "/readyz")[0] == 200, "readiness is back", 15)
    all_served(world, 20)
    true(not merges(), "its successor merges none")


@case("an interface that was in another network namespace serves again when it is back")
def _(world):
    def move(host, interface, to, name):
        world.lab.on(host, "ip", "link", "set", interface, "netns", world.lab.namespace(to), "name", name)

    away_and_back(world, lambda: move("balancer", "eth1", "router", "away1"),
                  lambda: move("router", "away1", "balancer", "eth1"))


def beside_an_ingress_qdisc(world, bridge):
    """Another program's `ingress` qdisc, where the bridge that is stopped meanwhile will start."""
    world.lab.stop(bridge)
    world.lab.on(bridge, "tc", "qdisc", "add", "dev", "eth1", "ingress")

    def end():
        world.lab.on(bridge, "tc", "qdisc", "del", "dev", "eth1", "ingress")
        restart(world, bridge)

    world.clean_up.callback(end)


@case("by clsact a bridge does not start beside an ingress qdisc of another program, and names it", requires=only_ebpf)
def _(world):
    bridge = BRIDGES[2]
    beside_an_ingress_qdisc(world, bridge)
    world.edited(f"{bridge}.yaml", lambda text: text + "tc: clsact\n")
    try:
        world.lab.start(bridge)
    except RuntimeError as refused:
        true("`ingress` qdisc has the interface's ingress" in str(refused), f"it names the qdisc: {refused}")
        return
    raise AssertionError("it started")


@case("by TCX a bridge serves beside an ingress qdisc of another program", requires=only_tcx)
def _(world):
    bridge = BRIDGES[2]
    beside_an_ingress_qdisc(world, bridge)
    world.lab.start(bridge)
    all_served(world)


@case("a client on the cache's host that asks the backend itself has its full speed")
def _(world):
    # Large segments on lo: a Varnish before a local nginx, an exporter.
    address = world.bracketed(world.backend_address(BRIDGES[0]))
    size = 20 << 20
    got = world.lab.on(BRIDGES[0], "curl", "-sS", "-g", "-o", "/dev/null", "-w", "%{size_download} %{time_total}", "-r",
                       f"0-{size - 1}", "--max-time", "20", f"http://{address}/file/100m.bin").split()
    equal(int(got[0]), size, "bytes")
    world.notes.append(f"20 MB in {float(got[1]):.2f} s")


@case("two programs that fight are noticed, and the repair slows down", once=True)
def _(world):
    prefix = 32 if world.family == 4 else 128
    words = "another program undoes what is put right"
    told = world.log_of("balancer").count(words)
    before = repairs(world, "balancer", "address")
    for number in range(6):
        world.lab.on("balancer", "ip", "address", "del", f"{world.vip}/{prefix}", "dev", "eth1")
        eventually(lambda wanted=before + number + 1: repairs(world, "balancer", "address") >= wanted,
                   "the address is put right", 15)
    equal(world.log_of("balancer").count(words), told + 1, "lines that tell of the fight")
    all_served(world)


@case("a balancer that starts tells the link of its VIP: a router that knew it elsewhere sends it there at once")
def _(world):
    own = world.lab.on("balancer", "cat", "/sys/class/net/eth1/address").strip()

    def knows():
        return re.findall(r"lladdr (\S+)", world.lab.on("router", "ip", "neigh", "show", world.vip))

    world.lab.stop("balancer")
    world.clean_up.callback(lambda: world.lab.runs("balancer") or world.lab.start("balancer"))
    world.lab.on("router", "ip", "neigh", "replace", world.vip, "lladdr", "02:00:00:00:00:99", "dev", "eth1", "nud", "reachable")
    equal(knows(), ["02:00:00:00:00:99"], "where the router thinks the VIP is")
    world.lab.start("balancer")
    eventually(lambda: knows() == [own], "the router was told", seconds=5)
    true(served(world, PATHS[0]), "a request is served")
