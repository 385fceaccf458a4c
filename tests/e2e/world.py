"""What a case sees: one running lab, looked at through one address family."""

import collections
import contextlib
import glob
import hashlib
import http.client
import itertools
import os
import socket
import subprocess
import uuid

import netns
from harness import Skip, eventually, true

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
LAB = os.path.join(SOURCE, "tests/lab/lab.sh")
BUILD = os.environ.get("BUILD", os.path.join(SOURCE, "build"))
BRIDGES = ("b1", "b2", "b3")
PROGRAMS = ("balancer",) + BRIDGES  # of a lab with one balancer
BALANCERS = ("balancer", "balancer2", "balancer3")
FRESH_PORTS = range(5000, 9000)  # below those that the client's kernel gives out, and that cases use by their numbers


class Lab:
    """The namespaces and programs of one engine and mode; tests/lab draws them."""

    def __init__(self, lab_id, engine, mode, balancers=1):
        self.id, self.engine, self.mode = lab_id, engine, mode
        self.balancers = BALANCERS[:balancers]
        self.programs = (*self.balancers, *BRIDGES)
        self.run_dir = f"/tmp/splicelb-lab-{lab_id}"
        self.environment = dict(os.environ, ENGINE=engine, MODE=mode, LAB_BALANCERS=str(balancers))

    def command(self, *words):
        # In a session of its own: Ctrl-C is ours, and what it interrupts is taken down by run.py.
        done = subprocess.run([LAB, *words, self.id], env=self.environment, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, start_new_session=True)
        if done.returncode != 0:
            raise RuntimeError(f"lab.sh {' '.join(words)}: {done.stdout.strip()}")

    def start(self, program):
        self.command("start", program)

    def stop(self, program):
        self.command("stop", program)

    def kill(self, program):
        self.command("kill", program)

    def pid(self, program):
        try:
            with open(f"{self.run_dir}/pid/{program}", encoding="ascii") as file:
                return int(file.read())
        except FileNotFoundError:
            return None

    def runs(self, program):
        """Whether one of its threads lives: the first may be a zombie while another still holds the process's locks."""
        for path in glob.glob(f"/proc/{self.pid(program)}/task/*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(path, encoding="ascii") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] not in "ZX":
                        return True
        return False

    def namespace(self, host):
        return f"splb-{self.id}-{host}"

    def inside(self, host):
        return netns.inside(self.namespace(host))

    def on(self, host, *words, timeout=60, check=True):
        """Runs a program on a host; its standard output."""
        done = subprocess.run(["ip", "netns", "exec", self.namespace(host), *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(words)} on {host}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout


class Rule:
    """A netfilter rule on one host for as long as a block lasts; hits() are the packets that it took."""

    def __init__(self, world, host, table, chain, match, target):
        self._world, self._host, self._table, self._chain = world, host, table, chain
        self._comment = uuid.uuid4().hex
        self._words = [*match.split(), "-m", "comment", "--comment", self._comment, "-j", *target.split()]

    def _run(self, *words):
        return self._world.lab.on(self._host, self._world.iptables, "-w", "-t", self._table, *words)

    def __enter__(self):
        self._run("-I", self._chain, *self._words)
        return self

    def __exit__(self, *_):
        self._run("-D", self._chain, *self._words)

    def hits(self):
        for line in self._run("-nvxL", self._chain).splitlines():
            if self._comment in line:
                return int(line.split()[0])
        raise AssertionError("the rule is gone")


class World:
    def __init__(self, lab, family):
        self.lab, self.family = lab, family
        self.clean_up = contextlib.ExitStack()
        self.notes = []  # figures of the case that runs, for its line
        v4 = family == 4
        self.af = socket.AF_INET if v4 else socket.AF_INET6
        self.client = "10.20.0.2" if v4 else "fd20::2"
        self.vip = "192.168.33.100" if v4 else "fd33::100"
        self.balancer = "192.168.33.10" if v4 else "fd33::10"
        self.iptables = "iptables" if v4 else "ip6tables"
        self.dscp = 1 if v4 else 2  # of the web service
        self._fresh_ports = iter(FRESH_PORTS)
        self._bridge_of = {}
        self._log_marks = {}

    def title(self):
        several = f" {len(self.lab.balancers)} balancers" if len(self.lab.balancers) > 1 else ""
        return f"IPv{self.family} {self.lab.engine} {self.lab.mode}{several}"

    def slug(self):
        return self.title().replace(" ", "-").lower()

    def bridge_address(self, bridge):
        return f"192.168.33.2{bridge[1]}" if self.family == 4 else f"fd33::2{bridge[1]}"

    def backend_address(self, bridge):
        return f"192.168.33.3{bridge[1]}" if self.family == 4 else f"fd33::3{bridge[1]}"

    @staticmethod
    def bracketed(address):
        return f"[{address}]" if ":" in address else address

    def url(self, path, host=None, port=80):
        return f"http://{self.bracketed(host or self.vip)}:{port}{path}"

    # Rules

    def rule(self, host, chain, match, target="DROP", table="filter"):
        return self.clean_up.enter_context(Rule(self, host, table, chain, match, target))

    def drop_first(self, host, chain, match, table="filter"):
        """The first packet that matches is lost; the others pass."""
        return self.rule(host, chain, f"{match} -m statistic --mode nth --every 1000000 --packet 0", table=table)

    def sysctl(self, host, name, value):
        """A setting of a host for the rest of the case."""
        before = self.lab.on(host, "sysctl", "-n", name).strip()
        self.lab.on(host, "sysctl", "-q", "-w", f"{name}={value}")
        self.clean_up.callback(self.lab.on, host, "sysctl", "-q", "-w", f"{name}={before}")

    def rewrite(self, name, edit):
        """A configuration file of the lab becomes edit(its text); the text before, and after."""
        path = f"{self.lab.run_dir}/{name}"
        with open(path, encoding="ascii") as file:
            before = file.read()
        after = edit(before)
        if after != before:
            with open(path, "w", encoding="ascii") as file:
                file.write(after)
        return before, after

    def edited(self, name, edit):
        """The same for the rest of the case; the text before."""
        before, after = self.rewrite(name, edit)
        self.clean_up.callback(self.rewrite, name, lambda _: before)
        if after == before:
            raise AssertionError(f"{name} does not change")
        return before

    def wire_sized_packets(self):
        """No host sends super-packets for the rest of the case: a rule then meets each packet of a wire."""
        for host, interface in [("client", "eth0"), *((bridge, "eth1") for bridge in BRIDGES)]:
            self.lab.on(host, "ethtool", "-K", interface, "tso", "off", "gso", "off")
            self.clean_up.callback(self.lab.on, host, "ethtool", "-K", interface, "tso", "on", "gso", "on")

    def faults(self, *flags):
        """Our fault injector on the router for the rest of the case. Returns a function that ends it: its counts."""
        program = os.path.join(BUILD, "cmake/tests/fault-injector")
        if not os.access(program, os.X_OK):
            raise Skip(f"{program} is not built")
        process = subprocess.Popen(["ip", "netns", "exec", self.lab.namespace("router"), program, *flags],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def end():
            process.terminate()
            rest = process.communicate(timeout=10)[0]
            return {name: int(count) for name, count in (word.split("=") for word in rest.split())}

        self.clean_up.callback(lambda: process.poll() is None and end())
        first = process.stdout.readline().strip()
        true(first == "ready", f"the fault injector said: {first}")
        return end

    # Sockets and requests

    def connect(self, address=None, port=80, source_port=0, timeout=10, nagle=True):
        """A TCP connection from the client host, closed when the case ends."""
        with self.lab.inside("client"):
            sock = socket.socket(self.af, socket.SOCK_STREAM)
        self.clean_up.callback(sock.close)
        sock.settimeout(timeout)
        if not nagle:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self.client, source_port))
        sock.connect((address or self.vip, port))
        return sock

    def fresh_ports(self, count):
        """Ports of the client that no connection of this family has had: no host remembers anything of them."""
        ports = list(itertools.islice(self._fresh_ports, count))
        true(len(ports) == count, f"{count} fresh ports are left")
        return ports

    def curl(self, *words, timeout=60):
        return self.lab.on("client", "curl", "-sS", "-g", "--max-time", str(timeout), *words, timeout=timeout + 5)

    def curl_all(self, paths, *words):
        """One curl for all paths, on one connection unless `words` say otherwise; the lines that came back."""
        return self.curl(*words, *[self.url(path) for path in paths]).splitlines()

    def owners(self, paths):
        """The bridge of each path, each asked on a connection of its own."""
        return dict(zip(paths, (line.split()[0] for line in self.curl_all(paths, "-H", "Connection: close"))))

    def bridge_of(self, path):
        """The bridge that an ordinary request for `path` gets."""
        if path not in self._bridge_of:
            self._bridge_of[path] = self.curl(self.url(path)).split()[0]
        return self._bridge_of[path]

    def fastpath_file(self):
        """The file that every backend serves as /file/100m.bin."""
        return f"{self.lab.run_dir}/www/file/100m.bin"

    # What the programs say of themselves

    def api(self, program, path):
        """Status and body of a page of the program's own API. RuntimeError: it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._api_port(program), timeout=5)
        try:
            with self.lab.inside(program):
                connection.connect()
            connection.request("GET", path, headers={"Accept": "*/*"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise RuntimeError(f"{path} of {program}: {error!r}") from error
        finally:
            connection.close()

    def page(self, program, path, *words):
        """Its body, whatever the status; with `words`, which are curl's, what that prints."""
        if not words:
            return self.api(program, path)[1]
        return self.lab.on(program, "curl", "-sS", "--max-time", "15", *words, f"http://127.0.0.1:{self._api_port(program)}{path}")

    @staticmethod
    def _api_port(program):
        return 10001 if program in BALANCERS else 10002

    def not_ready(self, program, reason, seconds=5):
        """Waits until /readyz says 503 for that reason. Another one may come first: an interface that goes is down before."""
        told = None

        def says_so():
            nonlocal told
            told = self.api(program, "/readyz")
            return told[0] == 503 and reason in told[1]

        eventually(says_so, lambda: f"/readyz of {program} is 503 and says {reason!r}: {told}", seconds)

    def log_of(self, program, of_this_case=False):
        """What the program has logged, since the lab began or since the case did."""
        with open(f"{self.lab.run_dir}/log/{program}.log", encoding="utf-8") as file:
            file.seek(self._log_marks.get(f"{program}.log", 0) if of_this_case else 0)
            return file.read()

    def verdicts(self, balancer="balancer"):
        """Packets by verdict since the balancer started."""
        page = self.page(balancer, "/metrics")
        lines = [line.split('"') for line in page.splitlines() if line.startswith("splicelb_balancer_packets_total{")]
        return collections.Counter({name: int(float(count.strip("} "))) for _, name, count in lines})

    def fallbacks(self, reason):
        """First payloads without a key, so that the client's address chose."""
        page = self.page("balancer", "/metrics")
        line = next(line for line in page.splitlines() if line.startswith("splicelb_balancer_fallbacks_total{")
                    and f'"{reason}"' in line)
        return int(float(line.split()[-1]))

    def late_first_payloads(self):
        """Requests whose rest came later than first_payload_wait."""
        return self.fallbacks("wait_expired")

    def interface_count(self, host, what):
        """What the host's interface has counted both ways: its "packets", "bytes" or "dropped"."""
        base = "/sys/class/net/eth1/statistics"
        return sum(int(count) for count in self.lab.on(host, "cat", f"{base}/rx_{what}", f"{base}/tx_{what}").split())

    # What the backends saw

    def accepted(self, bridge):
        """Connections that the backend has accepted so far, not counting the ones that ask here."""
        with self.lab.inside(bridge):
            with socket.create_connection((self.backend_address(bridge), 80), timeout=5) as sock:
                sock.sendall(b"GET /status HTTP/1.0\r\n\r\n")
                answer = b"".join(iter(lambda: sock.recv(4096), b"")).decode()
        self._asked = getattr(self, "_asked", {})
        self._asked[bridge] = self._asked.get(bridge, 0) + 1
        return int(answer.split("requests\n")[1].split()[0]) - self._asked[bridge]

    def sockets_of(self, bridge, client_port):
        """The kernel's sockets on a bridge host toward one port of the client."""
        listing = self.lab.on(bridge, "ss", "-Htan", "dport", "=", f":{client_port}")
        return [line for line in listing.splitlines() if self.client in line]

    # Programs and logs

    def check_programs(self):
        for program in self.lab.programs:
            true(self.lab.runs(program), f"{program} does not run any more")

    def repair(self):
        """After a failure: everything that should run does."""
        for program in ("nginx1", "nginx2", "nginx3", "greeter1", "greeter2", "greeter3", *reversed(self.lab.programs)):
            if not self.lab.runs(program):
                with contextlib.suppress(RuntimeError):
                    self.lab.start(program)

    def mark_logs(self):
        log_dir = f"{self.lab.run_dir}/log"
        self._log_marks = {name: os.path.getsize(f"{log_dir}/{name}") for name in os.listdir(log_dir)}

    def keep_logs(self, target):
        """What the programs wrote since mark_logs()."""
        os.makedirs(target, exist_ok=True)
        log_dir = f"{self.lab.run_dir}/log"
        for name in os.listdir(log_dir):
            with open(f"{log_dir}/{name}", "rb") as source:
                source.seek(self._log_marks.get(name, 0))
                text = source.read(1 << 20)
            if text:
                with open(os.path.join(target, name), "wb") as copy:
                    copy.write(text)
        for host in self.lab.programs:
            with open(os.path.join(target, f"{host}.state"), "w", encoding="utf-8") as state:
                state.write(self.lab.on(host, "ss", "-tan", check=False))
                for words in (("address",), ("route",), ("-6", "route"), ("neigh",)):
                    state.write(self.lab.on(host, "ip", *words, check=False))
                state.write(self.lab.on(host, "iptables-save", "-c", check=False))
                state.write(self.lab.on(host, "ip6tables-save", "-c", check=False))
                state.write(self.lab.on(host, "nft", "list", "ruleset", check=False))
                with contextlib.suppress(RuntimeError):
                    state.write(self.page(host, "/metrics"))
                state.write(self.lab.on(host, "cat", "/proc/net/netstat", check=False))


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
