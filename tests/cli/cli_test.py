#!/usr/bin/env python3
"""The contract of both executables on their command line: exit codes, one-line errors, reload and clean exit.

Usage: cli_test.py BIN_DIRECTORY. What touches the host runs in a network namespace of its own and is skipped
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

    def test_check_judges_flags_and_secret_without_touching_the_host(self):
        for program in ("balancer", "packetbridge"):
            code, stdout, stderr = run(program, "--check", "--secret-file", self.secret)
            self.assertEqual((code, stdout, stderr), (0, "valid: 1 service\n", ""))

    def test_a_secret_that_will_not_do_ends_with_1_and_what_to_do(self):
        missing = os.path.join(self.directory, "missing")
        for path, words in [
            (missing, ["No such file", "openssl rand -hex 16"]),
            (self.write("open", "00" * 16, 0o644), ["chmod 600"]),
            (self.write("group", "00" * 16, 0o620), ["chmod 600"]),
            (self.write("short", "00ff\n", 0o600), ["short:1:5", "32 hex digits"]),
            (self.write("digit", "\n" + "0" * 31 + "g\n", 0o600), ["digit:2:32", "hex digit"]),
            (self.write("empty", "# none\n", 0o600), ["no key", "openssl"]),
            (self.write("three", ("00" * 16 + "\n") * 3, 0o600), ["three:3:1", "third key"]),
        ]:
            with self.subTest(path=path):
                self.assert_one_line(run("balancer", "--check", "--secret-file", path), 1, "balancer", *words)

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
        """What a run leaves on the host: chains, jumps and addresses of ours."""
        tables = self.inside("iptables-save") + self.inside("ip6tables-save")
        return [line for line in tables.splitlines() if re.match(r"(:|-A.*)SPLICELB", line)] + re.findall(
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
            self.assertTrue(any("SPLICELB-BRIDGE" in line for line in self.traces()))
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
        self.assert_one_line(run("balancer", "--config", other, prefix=self.prefix()), 1, "balancer", "5330")
        self.assertEqual(self.traces(), running)
        self.assertEqual(self.get(10001, "/healthz"), "ok\n")

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

    def test_the_log_is_one_json_object_a_line_when_asked(self):
        config = self.write("balancer.yaml", read(self.balancer_config()) + "log: { format: json }\n")
        balancer = self.start("balancer", "--config", config)
        self.assertEqual(self.stop(balancer), 0)
        lines = [json.loads(line) for line in balancer.lines().splitlines()]
        self.assertEqual(lines[-1]["message"], "stopped, everything removed")
        self.assertEqual({line["program"] for line in lines}, {"balancer"})


if __name__ == "__main__":
    unittest.main()
