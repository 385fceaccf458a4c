"""Two balancers, of which keepalived gives one the VIPs, by the files of docs/ha-keepalived.md."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from cases_health import check_services
from cases_kernel import restart
from cases_lanes import without_timestamps
from cases_restart import Download
from harness import case, equal, eventually, true
from http_client import Crowd, ask
from steady import steady
from world import BRIDGES, BUILD, LAB, SOURCE

PATHS = [f"/keepalived/{n}" for n in range(24)]
KEPT = 30
SECOND = "standby"
HOSTS = ("balancer", SECOND)
VIPS = {"192.168.33.100/32", "fd33::100/128"}


def blocks_of_page():
    """The page's code blocks, in their order, by the first word of each."""
    with open(os.path.join(SOURCE, "docs/ha-keepalived.md"), encoding="utf-8") as file:
        blocks = re.findall(r"^```\w*\n(.*?)^```$", file.read(), re.MULTILINE | re.DOTALL)
    return {block.split()[0]: block for block in blocks}


def missing(_):
    for program, package in (("keepalived", "keepalived"), ("curl", "curl")):
        if not shutil.which(program):
            return f"there is no {program}; scripts/deps.sh --ha installs Debian's {package}"
    return None


def no_macvlan(world):
    done = subprocess.run(["unshare", "-n", "sh", "-c", "ip link add name v0 type veth peer name v1 && ip link add link v0 name v2 type macvlan"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return missing(world) or (f"no macvlan here: {done.stdout.strip()}" if done.returncode else None)


class Pair:
    """The lab's balancer and a second one beside it, each with keepalived; the lab's one has the VIPs at first."""

    def __init__(self, world, vmac):
        self._world, self._lab = world, world.lab
        self._blocks = blocks_of_page()
        self._vmac = self._blocks["use_vmac"] if vmac else ""
        self._processes = {}
        # Who has sent to the VIPs forgets the MAC addresses that they had.
        for host in ("router", *BRIDGES):
            world.clean_up.callback(self._lab.on, host, "ip", "neigh", "flush", "dev", "eth1")
        world.clean_up.callback(restart, world, "balancer")
        self._stand_second()
        for name in ("arp_ignore", "arp_announce"):
            world.sysctl(SECOND, f"net.ipv4.conf.eth1.{name}", 0)
        world.edited("balancer.yaml", lambda text: self._blocks["presence:"] + re.sub(r"(name: own.\n)", r"\1    presence: none\n", text))
        self._write("standby.yaml", self._second_yaml())
        # The lab's VIPs come by keepalived from here on.
        restart(world, "balancer")
        self._start(SECOND, f"{SECOND}-program", os.path.join(BUILD, "balancer"), "--config", f"{self._lab.run_dir}/standby.yaml")
        program = f"{SECOND}-program"
        eventually(lambda: " ready: " in world.log_of(program, of_this_case=True),
                   lambda: f"the second balancer is ready: {world.log_of(program)[-500:]}", 15)
        equal(self.where(), {"balancer": set(), SECOND: set()}, "the VIPs before keepalived starts")
        # With the virtual MAC keepalived sets it to 0.
        world.sysctl("balancer", "net.ipv4.conf.all.rp_filter", 2)
        for host in HOSTS:
            self.start_keepalived(host)
            eventually(self._is_settled, lambda: f"the VIPs are on balancer alone: {self.where()}", 20)
        eventually(lambda: {"(vip4) Entering BACKUP", "(vip6) Entering BACKUP"} <= set(
            re.findall(r"\(vip.\) Entering BACKUP", world.log_of(f"keepalived-{SECOND}", of_this_case=True))), "the second one is a backup", 20)

    def _shell(self, words):
        """Words of the lab's own library."""
        done = subprocess.run(["bash", "-euc", f"""for part in topology namespaces; do source {os.path.dirname(LAB)}/lib/$part.sh; done
CONGESTION=reno; use_lab {self._lab.id}; {words}"""], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        equal(done.returncode, 0, f"{words}: {done.stdout}")

    def _stand_second(self):
        name = self._lab.namespace(SECOND)
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._world.clean_up.callback(subprocess.run, ["ip", "netns", "delete", name], check=True)
        self._world.clean_up.callback(self._end_all)
        self._shell(f"""host_settings {SECOND}; segment_port {SECOND}; host_address {SECOND} 192.168.33.15 fd33::15
on segment ethtool -K to-{SECOND} tx off gro on >/dev/null""")

    def _second_yaml(self):
        """The same services but for those on the first host's own address."""
        with open(f"{self._lab.run_dir}/balancer.yaml", encoding="ascii") as file:
            head, *services = re.split(r"(?m)^(?=  - name: )", file.read())
        return head.replace("/bpffs/splicelb", f"/bpffs/{SECOND}") + "".join(each for each in services if "name: own" not in each)

    def _write(self, name, text):
        path = f"{self._lab.run_dir}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self._world.clean_up.callback(os.unlink, path)

    def _start(self, host, name, *words):
        with open(f"{self._lab.run_dir}/log/{name}.log", "a", encoding="utf-8") as log:
            self._processes[name] = subprocess.Popen(["ip", "netns", "exec", self._lab.namespace(host), *words],
                                                     stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                                     start_new_session=True)

    def start_keepalived(self, host):
        run = self._lab.run_dir
        text = self._blocks["global_defs"].replace("router_id balancer1", f"router_id {host}")
        text = re.sub(r"(?m)^(    interface eth1\n)", rf"\1{self._vmac}", text)
        self._write(f"keepalived-{host}.conf", text)
        self._start(host, f"keepalived-{host}", "keepalived", "--dont-fork", "--log-console", "--log-detail", "--vrrp", "-f",
                    f"{run}/keepalived-{host}.conf", "-p", f"{run}/pid/keepalived-{host}", "-r", f"{run}/pid/keepalived-{host}-vrrp")

    def end(self, name, number=signal.SIGTERM):
        """One of the programs that this started, with its children."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if number == signal.SIGTERM:
            process.terminate()
        else:
            os.killpg(process.pid, number)
        process.wait(timeout=15)

    def _end_all(self):
        for host in HOSTS:
            self.end(f"keepalived-{host}")
        self.end(f"{SECOND}-program")
        self._tidy_first()

    def _tidy_first(self):
        """What a keepalived that was killed has left on the lab's own balancer."""
        words = [("ip", "address", "del", address, "dev", "eth1") for address in VIPS]
        words += [("ip", "link", "del", name) for name in ("vrrp.51", "vrrp6.51")]
        words += [("nft", "delete", "table", family, "keepalived") for family in ("ip", "ip6", "inet")]
        for each in words:
            self._lab.on("balancer", *each, check=False)

    def where(self):
        """By host the VIPs that it answers for."""
        found = {}
        for host in HOSTS:
            lines = self._lab.on(host, "ip", "-o", "address", check=False).splitlines()
            found[host] = {word for line in lines if not re.match(r"\d+: lo ", line) for word in line.split() if word in VIPS}
        return found

    def _is_settled(self):
        return self.where() == {"balancer": VIPS, SECOND: set()}

    def lose_host(self):
        """The first host goes, as by a cut of its power."""
        self._lab.on("segment", "ip", "link", "set", "to-balancer", "down")
        self._world.clean_up.callback(self._lab.on, "segment", "ip", "link", "set", "to-balancer", "up")
        self.end("keepalived-balancer", signal.SIGKILL)
        self._lab.kill("balancer")

    def lose_program(self):
        self._lab.kill("balancer")

    def verdicts(self):
        page = self._lab.on(SECOND, "curl", "-sS", "http://127.0.0.1:10001/metrics")
        found = re.findall(r'^splicelb_balancer_packets_total\{verdict="(\w+)"\} (\d+)', page, re.MULTILINE)
        return {name: int(count) for name, count in found}


def first_connection(world, since):
    """Waits until a new connection is served, and says in how many seconds."""

    def served():
        with contextlib.suppress(OSError, AssertionError), contextlib.closing(world.connect(timeout=0.25)) as sock:
            return ask(sock, PATHS[0]).status == 200
        return False

    eventually(served, "a new connection is served", 30)
    return time.monotonic() - since


class Reading(threading.Thread):
    """A download that is read slowly to its end."""

    def __init__(self, world):
        super().__init__()
        self._download, self.complaint = Download(world), None
        self.enough = threading.Event()

    def run(self):
        try:
            done = 0
            while done < Download.SIZE:
                done = min(done + (256 << 10), Download.SIZE)
                self._download.read_to(done)
                if not self.enough.is_set():
                    self.enough.wait(0.02)
        except (OSError, AssertionError) as error:
            self.complaint = repr(error)


def check_loss(world, pair, lose):
    """The master goes under load: new connections and those with timestamps go on over the second balancer."""
    owners = world.owners(PATHS)
    kept = Crowd(world, KEPT)
    kept.connect()
    true(all(kept.ask(lambda index: f"/kept/{index}", 20)), f"the first requests: {kept.complaints}")
    bridges = [each.bridge for each in kept.ask(lambda index: f"/kept/{index}", 20)]
    downloads = [Reading(world) for _ in range(2)]
    for download in downloads:
        download.start()
    with steady(world, PATHS) as requests:
        eventually(lambda: requests.served > 20, "the load is served")
        began = time.monotonic()
        lose()
        world.notes.append(f"a new connection is served after {first_connection(world, began):.2f} s")
        # The kernel part of a killed balancer goes on, so a new connection does not show who has the VIP.
        eventually(lambda: pair.where()[SECOND] == VIPS, lambda: f"the second balancer has the VIPs: {pair.where()}", 30)
        world.notes.append(f"the VIPs moved within {time.monotonic() - began:.2f} s")
        before = requests.served
        eventually(lambda: requests.served > before + 50, "the load goes on", 20)
    world.notes.append(f"of {requests.served + requests.failed} requests {requests.failed} failed")
    equal(world.owners(PATHS), owners, "the bridges by URL")
    for download in downloads:
        download.enough.set()
        download.join(timeout=60)
        true(not download.is_alive() and not download.complaint, f"a download: {download.complaint}")
    after = kept.ask(lambda index: f"/kept/{index}", 20)
    true(all(after), f"lost of {KEPT} kept connections: {list(kept.complaints.values())[:3]}")
    equal([each.bridge for each in after], bridges, "the bridges of the kept connections")
    true(pair.verdicts().get("forward_lane", 0) >= KEPT, f"by their lanes: {pair.verdicts()}")


@case("keepalived: the host of the master is lost under load: new connections are served by the second balancer, and with lanes all others",
      requires=missing)
def _(world):
    pair = Pair(world, vmac=False)
    check_loss(world, pair, pair.lose_host)


@case("keepalived: the master's balancer is killed under load: the VIPs go to the second balancer, which checks bridges too",
      requires=missing)
def _(world):
    check_services(world, ["web"])
    pair = Pair(world, vmac=False)
    check_loss(world, pair, pair.lose_program)
    status = json.loads(world.lab.on(SECOND, "curl", "-sS", "http://127.0.0.1:10001/status"))
    checked = next(each for each in status["services"] if each["name"] == f"web{world.family}")
    equal({each["name"]: each["health"]["state"] for each in checked["bridges"]}, dict.fromkeys(BRIDGES, "up"), "what it found")


@case("keepalived with the virtual MAC: the host of the master is lost under load", requires=no_macvlan)
def _(world):
    pair = Pair(world, vmac=True)
    def address():
        return re.findall(r"lladdr (\S+)", world.lab.on("router", "ip", "neigh", "show", world.vip))

    equal(ask(world.connect(), PATHS[0]).status, 200, "a request")
    before = address()
    equal(before, ["00:00:5e:00:01:33" if world.family == 4 else "00:00:5e:00:02:33"], "the VIP's MAC address")
    check_loss(world, pair, pair.lose_host)
    equal(address(), before, "the VIP's MAC address afterwards")


@case("keepalived: a connection without timestamps does not outlive its balancer, and is told by a RST when it insists", requires=missing)
def _(world):
    without_timestamps(world)
    pair = Pair(world, vmac=False)
    sock = world.connect(timeout=15)
    ask(sock, "/untimed")
    pair.lose_host()
    first_connection(world, time.monotonic())
    try:
        answer = ask(sock, "/untimed")
    except ConnectionResetError:
        answer = "a RST"
    equal(answer, "a RST", "what came")
    true(pair.verdicts().get("answer_orphan_rst", 0) > 0, f"by name: {pair.verdicts()}")
