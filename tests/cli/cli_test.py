#!/usr/bin/env python3
"""The contract of both executables on their command line: exit codes, one-line errors, reload and clean exit.

Usage: cli_test.py BIN_DIRECTORY BPF_OBJECTS_DIRECTORY. What touches the host runs in a network namespace of its own and is skipped
without root.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BIN = sys.argv.pop(1)
OBJECTS = sys.argv.pop(1)  # where the kernel programs are
PATIENCE_S = 10


def run(program, *arguments, prefix=()):
    done = subprocess.run([*prefix, os.path.join(BIN, program), *arguments], capture_output=True, text=True,
                          timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def read(path):
    with open(path) as file:
        return file.read()


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain for " + what)


class Files(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="splicelb-cli-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.secret = self.write("secret", "00112233445566778899aabbccddeeff\n", 0o600)

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.directory, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def assert_one_line(self, result, code, program, *words):
        returncode, stdout, stderr = result
        self.assertEqual((returncode, stdout), (code, ""), stderr)
        self.assertRegex(stderr, rf"\A{program}: [^\n]+\n\Z")
        for word in words:
            self.assertIn(word, stderr)


class Flags(Files):
    def test_help_and_version_are_printed_and_succeed(self):
        for program in ("balancer", "packetbridge"):
            code, stdout, stderr = run(program, "--help")
            self.assertEqual((code, stderr), (0, ""))
            for flag in ("--config", "--interface", "--secret-file", "--engine", "--api", "--log-level", "--check",
                         "--version"):
                self.assertIn(flag, stdout)
            code, stdout, _ = run(program, "--version")
            self.assertEqual(code, 0)
            self.assertRegex(stdout, rf"\A{program} \d+\.\d+\.\d+\n\Z")

    def test_a_wrong_flag_ends_with_2_and_one_line_that_names_it(self):
        for program, arguments, words in [
            ("balancer", ["--vipp", "1.2.3.4"], ["--vipp", "--vip"]),
            ("balancer", ["--port", "0"], ["--port", "1 to 65535"]),
            ("balancer", ["--dscp", "63"], ["--dscp", "1 to 62"]),
            ("balancer", ["--bridge", "b1"], ["--bridge", "NAME=ADDRESS"]),
            ("balancer", ["--bridge", "b1=2001:db8::1"], ["--bridge", "IPv4"]),
            ("balancer", ["--bridge", "b1=192.168.33.20,number=1019"], ["--bridge", "1 to 1018"]),
            ("packetbridge", ["--number", "0"], ["--number", "1 to 1018"]),
            ("balancer", ["--hash-key", "url"], ["--hash-key", "uri"]),
            ("balancer", ["--algorithm", "best"], ["--algorithm", "rendezvous"]),
            ("balancer", ["--config", "x", "--vip", "192.0.2.1"], ["--vip", "--config"]),
            ("balancer", ["stray"], ["stray"]),
            ("packetbridge", ["--mode", "x"], ["--mode", "translate"]),
            ("packetbridge", ["--service", "1=192.0.2.1:80"], ["--service", "backend="]),
            ("packetbridge", ["--address", "127.0.0.1"], ["--address", "loopback"]),
            ("packetbridge", ["--api", "here"], ["--api", "off"]),
            ("packetbridge", ["--log-level"], ["--log-level"]),
        ]:
            with self.subTest(program=program, arguments=arguments):
                self.assert_one_line(run(program, *arguments), 2, program, *words)

    def test_check_judges_flags_secret_and_interface_without_touching_the_host(self):
        flags = ["--check", "--secret-file", self.secret, "--interface"]
        numbered = ("--bridge", "b1=192.168.33.20,number=7")
        self.assertEqual(run("balancer", *flags, "lo", *numbered), (0, "valid: 1 service\n", ""))
        self.assertEqual(run("balancer", *flags, "lo"),
                         (0, "service 192.168.33.10:80 has no lanes: no number for b1; give each bridge one of its own "
                             "(number: 1 to 1018)\nvalid: 1 service\n", ""))
        for program in ("balancer", "packetbridge"):
            self.assert_one_line(run(program, *flags, "nope0"), 1, program, "nope0", "this host has", "lo")
        self.assert_one_line(run("packetbridge", *flags, "lo"), 1, "packetbridge", "192.168.33.20", "no interface")

    def test_check_warns_of_what_will_hardly_be_wanted(self):
        path = self.write("balancer.yaml", BALANCER_YAML.format(secret=self.secret, api=10001, vip="198.51.100.10")
                          .replace("up0", "lo").replace("address: 198.51.100.21", "address: 198.51.100.21, weight: 0")
                          .replace("address: 198.51.100.22", "address: 198.51.100.22, weight: 0"))
        code, stdout, stderr = run("balancer", "--check", "--config", path)
        self.assertEqual(code, 0)
        self.assertRegex(stdout, r"\Aservice \S+ has no lanes: [^\n]*\nvalid: 1 service\n\Z")
        self.assertRegex(stderr, r"\Abalancer: warning: service cdn: all its bridges have weight 0.*\n\Z")

    def test_a_secret_that_will_not_do_ends_with_1_and_what_to_do(self):
        missing = os.path.join(self.directory, "missing")
        for path, words in [
            (missing, ["No such file", "openssl rand -hex 16"]),
            (self.write("open", "00" * 16, 0o644), ["chmod 600"]),
            (self.write("group", "00" * 16, 0o620), ["chmod 600"]),
            (self.write("short", "00ff\n", 0o600), ["short:1:5", "32 hex digits"]),
            (self.write("digit", "\n" + "0" * 31 + "g\n", 0o600), ["digit:2:32", "hex digit"]),
            (self.write("empty", "# none\n", 0o600), ["no key", "openssl"]),
            (self.write("three", ("01" * 16 + "\n") * 3, 0o600), ["three:3:1", "third key"]),
            (self.write("zeros", "00" * 16 + "\n", 0o600), ["zeros:1:1", "key of zeros"]),
            (self.write("lab", "73706c6963656c622d6c61622d6b6579\n", 0o600), ["lab's key", "192.0.2.10"]),
        ]:
            with self.subTest(path=path):
                result = run("balancer", "--check", "--interface", "lo", "--vip", "192.0.2.10", "--bridge",
                             "b1=192.0.2.21", "--secret-file", path)
                self.assert_one_line(result, 1, "balancer", *words)

    def test_a_wrong_configuration_ends_with_2_and_an_unreadable_one_with_1(self):
        wrong = self.write("wrong.yaml", "servcies: []\n")
        self.assert_one_line(run("balancer", "--check", "--config", wrong), 2, "balancer", "wrong.yaml:1:1", "services")
        self.assert_one_line(run("packetbridge", "--config", wrong), 2, "packetbridge", "wrong.yaml:1:1", "services")
        missing = os.path.join(self.directory, "missing.yaml")
        self.assert_one_line(run("balancer", "--config", missing), 1, "balancer", "missing.yaml", "No such file")


BALANCER_YAML = """
secret_file: {secret}
interface: up0
engine: nfqueue
api: {{ listen: "127.0.0.1:{api}" }}
services:
  - name: cdn
    vip: {vip}
    port: 80
    dscp: 1
    bridges: [{{ name: b1, address: 198.51.100.21 }}, {{ name: b2, address: 198.51.100.22 }}]
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root for a network namespace")
class Host(Files):
    def setUp(self):
        super().setUp()
        self.namespace = f"splicelb-cli-{os.getpid()}"
        self.ip("netns", "add", self.namespace)
        self.addCleanup(self.ip, "netns", "del", self.namespace)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "add", "up0", "type", "veth", "peer", "name", "far0")
        self.inside("ip", "addr", "add", "198.51.100.20/24", "dev", "up0")
        for link in ("up0", "far0"):
            self.inside("ip", "link", "set", link, "up")

    @staticmethod
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def prefix(self):
        return ("ip", "netns", "exec", self.namespace)

    def inside(self, *command):
        return subprocess.run([*self.prefix(), *command], check=True, capture_output=True, text=True).stdout

    def start(self, program, *arguments):
        """Starts it and waits for the line that says what it serves."""
        log = open(os.path.join(self.directory, f"{program}.log"), "w+")
        self.addCleanup(log.close)
        process = subprocess.Popen([*self.prefix(), os.path.join(BIN, program), *arguments], stderr=log,
                                   stdout=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        process.lines = lambda: read(log.name)
        wait_for(lambda: " serves " in process.lines() or process.poll() is not None, "the start of " + program)
        self.assertIsNone(process.poll(), process.lines())
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def said(self, process, text):
        return wait_for(lambda: text in process.lines() and process.lines(), text)

    def get(self, port, path):
        return self.inside("curl", "-fsS", f"http://127.0.0.1:{port}{path}")

    def traces(self):
        """What a run leaves on the host: chains, jumps, tables and addresses of ours."""
        tables = self.inside("iptables-save") + self.inside("ip6tables-save") + self.inside("nft", "list", "tables")
        return [line for line in tables.splitlines() if re.match(r"(:|-A.*|table inet )(?i:splicelb)", line)] + re.findall(
            r"inet6? ((?!127\.|::1|fe80)\S+)", self.inside("ip", "addr"))

    def balancer_config(self, **settings):
        settings = {"secret": self.secret, "api": 10001, "vip": "198.51.100.10", **settings}
        return self.write("balancer.yaml", BALANCER_YAML.format(**settings))

    def bridge_flags(self):
        return ["--engine", "nfqueue", "--interface", "up0", "--address", "198.51.100.20", "--secret-file",
                self.secret, "--service", "1=198.51.100.10:80,backend=198.51.100.20:80"]

    def test_starts_that_the_host_does_not_suit_end_with_1(self):
        flags = ["--secret-file", self.secret]
        unprivileged = (*self.prefix(), "setpriv", "--reuid", "65534", "--clear-groups")
        for program in ("balancer", "packetbridge"):
            with self.subTest(program=program):
                self.assert_one_line(run(program, *flags, "--interface", "nope0", prefix=self.prefix()), 1, program,
                                     "nope0", "up0")
                self.assert_one_line(run(program, *flags, "--interface", "up0", prefix=unprivileged), 1, program,
                                     "CAP_NET_ADMIN")
                self.inside("ip", "link", "set", "up0", "down")
                self.assert_one_line(run(program, *flags, "--interface", "up0", prefix=self.prefix()), 1, program,
                                     "up0", "is down")
                self.inside("ip", "link", "set", "up0", "up")
        self.assert_one_line(run("packetbridge", *flags, "--interface", "up0", prefix=self.prefix()), 1, "packetbridge",
                             "192.168.33.20", "no interface")
        self.assertEqual(self.traces(), ["198.51.100.20/24"])

    def test_the_nfqueue_engine_refuses_to_adopt(self):
        self.assert_one_line(run("packetbridge", *self.bridge_flags(), "--mode", "adopt", prefix=self.prefix()), 1,
                             "packetbridge", "adopt", "translate")

    def test_a_stop_removes_everything_and_succeeds(self):
        before = self.traces()
        for number in (signal.SIGTERM, signal.SIGINT):
            balancer = self.start("balancer", "--config", self.balancer_config())
            bridge = self.start("packetbridge", *self.bridge_flags())
            self.assertIn("198.51.100.10/32", self.traces())
            self.assertTrue(any("splicelb-bridge" in line.lower() for line in self.traces()))
            self.assertEqual(self.stop(balancer, number), 0)
            self.assertEqual(self.stop(bridge, number), 0)
            self.assertEqual(self.traces(), before)

    def test_what_a_killed_run_left_is_taken_over_and_removed(self):
        before = self.traces()
        balancer = self.start("balancer", "--config", self.balancer_config())
        balancer.kill()
        balancer.wait()
        self.assertNotEqual(self.traces(), before)
        again = self.start("balancer", "--config", self.balancer_config())
        self.assertEqual(self.stop(again), 0)
        self.assertEqual(self.traces(), before)

    def test_an_address_that_the_host_has_is_not_removed(self):
        self.inside("ip", "addr", "add", "198.51.100.10/24", "dev", "up0")
        balancer = self.start("balancer", "--config", self.balancer_config())
        self.assertEqual(self.stop(balancer), 0)
        self.assertIn("198.51.100.10/24", self.traces())

    def test_a_second_balancer_is_refused_and_does_not_disturb_the_first(self):
        self.start("balancer", "--config", self.balancer_config())
        running = self.traces()
        other = self.write("other.yaml", BALANCER_YAML.format(secret=self.secret, api=10009, vip="198.51.100.11"))
        self.assert_one_line(run("balancer", "--config", other, prefix=self.prefix()), 1, "balancer",
                             "another balancer runs on up0")
        self.assertEqual(self.traces(), running)
        self.assertEqual(self.get(10001, "/healthz"), "ok\n")

    def test_a_second_bridge_is_refused_and_does_not_disturb_the_first(self):
        self.start("packetbridge", *self.bridge_flags())
        running = self.traces()
        self.assert_one_line(run("packetbridge", *self.bridge_flags(), "--api", "off", prefix=self.prefix()), 1,
                             "packetbridge", "another packetbridge runs on up0")
        self.assertEqual(self.traces(), running)

    def test_an_edit_while_the_programs_start_is_taken_up(self):
        config = self.balancer_config()
        with open(config, "a", encoding="ascii") as file:
            file.write("netfilter: iptables\n")
        # The rules are what a start does last: in front of the program that writes them one that edits the file.
        tools = os.path.realpath(shutil.which("iptables-restore"))
        shutil.copy(tools, os.path.join(self.directory, "tools"))
        front = self.write("front", f'#!/bin/sh\nsed -i "s/dscp: 1/dscp: 9/" {config}\n'
                           f'exec {self.directory}/tools "${{0##*/}}" "$@"\n', 0o755)
        log = open(os.path.join(self.directory, "edited.log"), "w+")
        self.addCleanup(log.close)
        # `ip netns exec` has mounts of its own.
        balancer = subprocess.Popen([*self.prefix(), "sh", "-c", f'mount --bind {front} {tools} && exec "$@"', "sh",
                                     os.path.join(BIN, "balancer"), "--config", config], stderr=log)
        self.addCleanup(self.end, balancer)
        wait_for(lambda: "reloaded (" in read(log.name), "the reload")
        self.assertEqual(json.loads(self.get(10001, "/status"))["services"][0]["dscp"], 9)

    def client_namespace(self):
        """The far end of the uplink as a client's host."""
        client = self.namespace + "c"
        self.ip("netns", "add", client)
        self.addCleanup(self.ip, "netns", "del", client)
        self.inside("ip", "link", "set", "far0", "netns", client)
        for words in ("link set lo up", "link set far0 up", "addr add 198.51.100.1/24 dev far0"):
            self.ip("netns", "exec", client, "ip", *words.split())
        # What leaves a veth for XDP has its checksum.
        self.ip("netns", "exec", client, "ethtool", "-K", "far0", "tx", "off")
        return ("ip", "netns", "exec", client)

    def flows(self):
        return json.loads(self.get(10001, "/status"))["flows"]

    def test_a_reload_that_is_refused_late_has_removed_no_flow_of_nfqueue(self):
        self.refuse_a_reload_late("nfqueue")

    def test_a_reload_that_is_refused_late_has_removed_no_flow_of_ebpf(self):
        self.refuse_a_reload_late("ebpf")

    def refuse_a_reload_late(self, engine):
        client = self.client_namespace()
        config = self.balancer_config()
        self.inside("sysctl", "-qw", "net.ipv6.conf.up0.disable_ipv6=1")
        text = read(config).replace("engine: nfqueue", f"engine: {engine}")
        self.write("balancer.yaml", text)
        balancer = self.start("balancer", "--config", config)
        subprocess.run([*client, "curl", "-s", "-m", "0.5", "http://198.51.100.10/"], check=False)
        wait_for(lambda: self.flows() == 1, "a flow")
        # The service goes, and the address of the one that comes cannot be added: IPv6 is off.
        other = text.replace("name: cdn", "name: other").replace("vip: 198.51.100.10", 'vip: "2001:db8::10"') \
            .replace("198.51.100.21", '"2001:db8::21"').replace("198.51.100.22", '"2001:db8::22"')
        self.write("balancer.yaml", other)
        balancer.send_signal(signal.SIGHUP)
        said = self.said(balancer, "refused, nothing changed: ")
        self.assertIn("add 2001:db8::10 to up0", said)
        self.assertEqual([service["name"] for service in json.loads(self.get(10001, "/status"))["services"]], ["cdn"])
        self.assertEqual(self.flows(), 1)
        subprocess.run([*client, "curl", "-s", "-m", "0.5", "http://198.51.100.10/"], check=False)
        wait_for(lambda: self.flows() == 2, "a second flow by the rules as they were")
        # A change that is taken ends them.
        self.write("balancer.yaml", text.replace("port: 80", "port: 81"))
        balancer.send_signal(signal.SIGHUP)
        self.said(balancer, "reloaded (")
        wait_for(lambda: self.flows() == 0, "the flows' end")
        self.assertEqual(self.stop(balancer), 0)

    def bpffs(self):
        """One that all processes of the host see, as systemd mounts it."""
        folder = os.path.join(self.directory, "bpffs")
        os.mkdir(folder)
        subprocess.run(["mount", "-t", "bpf", "bpf", folder], check=True)
        self.addCleanup(subprocess.run, ["umount", folder], check=True)
        return folder

    def xdp_programs(self):
        return [link for link in json.loads(self.inside("ip", "-j", "link", "show", "up0")) if "xdp" in link]

    def test_a_kept_balancer_is_named_where_it_would_not_be_taken_over(self):
        folder = self.bpffs()
        text = read(self.balancer_config()).replace("engine: nfqueue", "engine: ebpf") + f"bpffs: {folder}/one\n"
        config = self.write("balancer.yaml", text + "keep: true\n")
        balancer = self.start("balancer", "--config", config)
        self.assertEqual(self.stop(balancer), 0)
        self.assertIn("stopped, and kept", balancer.lines())
        self.assertEqual(len(self.xdp_programs()), 1)
        for change in [("engine: ebpf", "engine: nfqueue"), (f"{folder}/one", f"{folder}/other"),
                       ("engine: ebpf", "engine: auto", f"{folder}/one", f"{folder}/other")]:
            other = text
            for was, now in zip(change[::2], change[1::2]):
                other = other.replace(was, now)
            with self.subTest(change=change):
                self.assert_one_line(run("balancer", "--config", self.write("other.yaml", other), prefix=self.prefix()),
                                     1, "balancer", "balancer_xdp", "up0", "bpftool link detach id")
        self.assertIn("198.51.100.10/32", self.traces())
        # A start that takes over and then fails leaves it running.
        with self.subTest("the API's address is taken"):
            taken = self.start("packetbridge", *self.bridge_flags(), "--api", "127.0.0.1:10001")
            self.assert_one_line(run("balancer", "--config", config, prefix=self.prefix()), 1, "balancer", "10001")
            self.assertEqual(len(self.xdp_programs()), 1)
            self.assertIn("198.51.100.10/32", self.traces())
            self.stop(taken)
        again = self.start("balancer", "--config", self.write("balancer.yaml", text))
        self.assertIn("flows taken over", again.lines())
        self.assertEqual(os.stat(f"{folder}/one").st_mode & 0o777, 0o700)
        self.assertEqual(self.stop(again), 0)
        self.assertIn("everything removed", again.lines())
        self.assertEqual(self.xdp_programs(), [])

    def test_auto_does_not_fall_back_beside_another_program(self):
        folder = self.bpffs()
        text = read(self.balancer_config()).replace("engine: nfqueue", "engine: auto") + f"bpffs: {folder}/one\n"
        config = self.write("balancer.yaml", text)
        # Anybody's program will do: it serves nothing.
        objects = os.path.join(OBJECTS, "balancer_xdp.bpf.o")
        self.inside("bpftool", "prog", "loadall", objects, f"{folder}/foreign")
        self.inside("bpftool", "net", "attach", "xdpgeneric", "pinned", f"{folder}/foreign/redirect_probe", "dev",
                    "up0")
        self.assert_one_line(run("balancer", "--config", config, prefix=self.prefix()), 1, "balancer", "up0",
                             "another XDP program is there: redirect_probe")
        self.inside("bpftool", "net", "detach", "xdpgeneric", "dev", "up0")

    def test_a_kept_bridge_is_named_where_it_would_not_be_taken_over(self):
        has_tcx = tuple(map(int, re.match(r"(\d+)\.(\d+)", os.uname().release).groups())) >= (6, 6)
        folder = self.bpffs()
        by_filter = "tc filter del dev up0 ingress prio 5340"
        for tc, end in (("clsact", by_filter), ("auto", "bpftool link detach id" if has_tcx else by_filter)):
            with self.subTest(tc=tc):
                self.keep_a_bridge(f"{folder}/{tc}", tc, end)

    def keep_a_bridge(self, folder, tc, end):
        flags = ["--interface", "up0", "--address", "198.51.100.20", "--secret-file", self.secret, "--service",
                 "1=198.51.100.10:80,backend=198.51.100.20:80", "--mode", "translate", "--bpffs", folder + "-bridge"]
        bridge = self.start("packetbridge", *flags, "--engine", "ebpf", "--keep", "--tc", tc)
        self.assertEqual(self.stop(bridge), 0)
        self.assertIn("stopped, and kept", bridge.lines())
        self.assert_one_line(run("packetbridge", *flags, "--engine", "nfqueue", prefix=self.prefix()), 1,
                             "packetbridge", "bridge_tr_in", "up0", end)
        elsewhere = self.start("packetbridge", *flags[:-1], folder + "-other", "--engine", "ebpf", "--keep", "--tc", tc)
        self.assertIn("bridge_tr_in", elsewhere.lines())
        self.assertIn("not pinned in " + folder + "-other", elsewhere.lines())
        self.assertEqual(self.stop(elsewhere), 0)
        again = self.start("packetbridge", *flags, "--engine", "ebpf", "--tc", tc)
        self.assertNotIn("not pinned", again.lines())
        self.assertEqual(self.stop(again), 0)
        self.assertIn("everything removed", again.lines())
        self.assertNotIn("clsact", self.inside("tc", "qdisc", "show", "dev", "up0"))
        # Nothing serves any more: another engine may start.
        queues = self.start("packetbridge", *flags, "--engine", "nfqueue")
        self.assertEqual(self.stop(queues), 0)

    def test_pins_that_a_crash_would_take_away_are_warned_of(self):
        # `ip netns exec` gives each process a /sys of its own.
        balancer = self.start("balancer", "--config", self.write(
            "balancer.yaml", read(self.balancer_config()).replace("engine: nfqueue", "engine: ebpf")))
        self.said(balancer, "warning the pins in /sys/fs/bpf/splicelb/balancer-up0")
        self.assertEqual(self.stop(balancer), 0)

    def test_an_api_beyond_loopback_needs_a_token(self):
        before = self.traces()
        result = run("packetbridge", *self.bridge_flags(), "--api", "198.51.100.20:10002", prefix=self.prefix())
        self.assert_one_line(result, 1, "packetbridge", "198.51.100.20:10002, beyond loopback", "api.token_file")
        self.assertEqual(self.traces(), before)

    def test_an_api_address_in_use_ends_with_1_and_leaves_nothing(self):
        self.start("balancer", "--config", self.balancer_config())
        running = self.traces()
        result = run("packetbridge", *self.bridge_flags(), "--api", "127.0.0.1:10001", prefix=self.prefix())
        self.assert_one_line(result, 1, "packetbridge", "127.0.0.1:10001", "--api off")
        self.assertEqual(self.traces(), running)

    def test_the_api_tells_status_and_metrics(self):
        self.start("balancer", "--config", self.balancer_config())
        self.start("packetbridge", *self.bridge_flags())
        status = json.loads(self.get(10001, "/status"))
        self.assertEqual(status["engine"]["name"], "nfqueue")
        shares = [bridge["table_share"] for bridge in status["services"][0]["bridges"]]
        self.assertAlmostEqual(sum(shares), 1)
        self.assertIn('splicelb_balancer_packets_total{verdict="answer_syn_ack"} 0', self.get(10001, "/metrics"))
        self.assertEqual(json.loads(self.get(10002, "/status"))["mode"], "translate")
        self.assertIn('splicelb_bridge_packets_total{verdict="deliver"} 0', self.get(10002, "/metrics"))

    def test_a_packet_for_the_vip_is_answered_and_counted(self):
        balancer = self.start("balancer", "--config", self.balancer_config())
        # A connection from the host itself is enough to see the rules, the queue and the machine at work.
        subprocess.run([*self.prefix(), "curl", "-s", "-m", "0.3", "http://198.51.100.10/"], check=False)
        wait_for(lambda: re.search(r'verdict="answer_syn_ack"} [1-9]', self.get(10001, "/metrics")), "a SYN-ACK")
        self.assertEqual(self.stop(balancer), 0)

    def test_sighup_reloads_and_a_wrong_file_changes_nothing(self):
        config = self.balancer_config()
        balancer = self.start("balancer", "--config", config)
        self.write("balancer.yaml", read(config).replace("dscp: 1", "dscp: 63"))
        balancer.send_signal(signal.SIGHUP)
        self.said(balancer, "refused, nothing changed: ")
        self.assertEqual(json.loads(self.get(10001, "/status"))["services"][0]["dscp"], 1)
        self.write("balancer.yaml", read(config).replace("dscp: 63", "dscp: 9"))
        balancer.send_signal(signal.SIGHUP)
        self.said(balancer, "reloaded (")
        self.assertEqual(json.loads(self.get(10001, "/status"))["services"][0]["dscp"], 9)

    def test_a_changed_file_reloads_by_itself_and_moves_the_vip(self):
        self.balancer_config()
        balancer = self.start("balancer", "--config", os.path.join(self.directory, "balancer.yaml"))
        self.balancer_config(vip="198.51.100.12")
        self.said(balancer, "balancer.yaml changed)")
        traces = " ".join(self.traces())
        self.assertIn("198.51.100.12/32 -p tcp", traces)
        self.assertNotIn("198.51.100.10", traces)
        self.assertEqual(self.stop(balancer), 0)

    def test_a_changed_secret_reloads_by_itself_and_a_bad_one_is_refused(self):
        bridge = self.start("packetbridge", *self.bridge_flags())
        self.write("secret", "not a key\n", 0o600)
        self.said(bridge, "refused, nothing changed: ")
        self.write("secret", "ff" * 16 + "\n", 0o600)
        self.said(bridge, "secret changed): serves")

    def test_what_a_reload_cannot_change_is_refused_by_name(self):
        config = self.balancer_config()
        balancer = self.start("balancer", "--config", config)
        text = read(config)
        for was, now, key in [("interface: up0", "interface: lo", "interface"), ("10001", "10011", "api.listen"),
                              ("engine: nfqueue", "engine: ebpf", "engine")]:
            self.write("balancer.yaml", text.replace(was, now))
            balancer.send_signal(signal.SIGHUP)
            self.said(balancer, f"{key} cannot change while the balancer runs")
        for line, key in [("keep: true", "keep"), ("max_flows: 7", "max_flows"), ("xdp_mode: generic", "xdp_mode"),
                          ("bpffs: /run/other", "bpffs")]:
            self.write("balancer.yaml", text + line + "\n")
            balancer.send_signal(signal.SIGHUP)
            self.said(balancer, f"{key} cannot change while the balancer runs")

    def test_the_log_is_one_json_object_a_line_when_asked(self):
        config = self.write("balancer.yaml", read(self.balancer_config()) + "log: { format: json }\n")
        balancer = self.start("balancer", "--config", config)
        self.assertEqual(self.stop(balancer), 0)
        lines = [json.loads(line) for line in balancer.lines().splitlines()]
        self.assertEqual(lines[-1]["message"], "stopped, everything removed")
        self.assertEqual({line["program"] for line in lines}, {"balancer"})


if __name__ == "__main__":
    unittest.main()
