#!/usr/bin/env python3
"""splicectl from outside, against an API of this file's own: what it sends, prints, refuses and survives.

Usage: splicectl_test.py SPLICECTL COMPLETIONS
"""
import http.server
import json
import os
import pty
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from urllib.parse import parse_qs, urlparse

TOOL, COMPLETIONS = sys.argv.pop(1), sys.argv.pop(1)
HOSTILE = "$(touch stolen);\x1b[2J"


def backend(name, state="ready"):
    return {"uuid": f"id-{name}", "name": name, "ip": "192.0.2.21", "port": 80, "weight": 1, "number": None, "state": state,
            "origin": "file", "changed": [], "health": None, "failure": None, "table_share": 0.5, "connections": 3}


def service(name, backends):
    return {"uuid": f"id-{name}", "name": name, "eip": "192.0.2.1", "vip": "192.0.2.1", "port": 80, "dscp": 1, "protocol": "http",
            "hash": {"key": "uri", "algorithm": "rendezvous"}, "origin": "file", "backends": backends}


class Api(http.server.BaseHTTPRequestHandler):
    """As much of a balancer's API as the tests need; what it was asked is in server.asked."""

    def log_message(self, *_):
        pass

    def address_string(self):
        return "client"  # of a Unix socket there is none

    def answer(self, status, body):
        text = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Length", len(text))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        url = urlparse(self.path)
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer(401, {"error": "a token is wanted"})
        elif url.path == "/loadbalancers":
            self.answer(200, self.server.services)
        elif url.path == "/status":
            self.answer(200, {"version": "9", "flows": 1, "flows_pending": 0, "max_flows": 10, "engine": {"name": "ebpf"}, "interface": "eth1",
                              "services": [{"name": each["name"], "bridges": each["backends"]} for each in self.server.services]})
        elif url.path == "/metrics":
            self.answer(200, 'splicelb_balancer_packets_total{verdict="forward_open"} 1\n')
        elif url.path == "/readyz":
            self.answer(200, "ready\n")
        elif url.path == "/flows":
            query = parse_qs(url.query)
            begin, limit = int(query.get("after", ["0"])[0]), int(query["limit"][0])
            end = min(begin + limit, self.server.flows)
            self.answer(200, {"flows": [{"client": f"192.0.2.9:{i}", "service": "web", "bridge": "b1", "state": "open", "idle_ms": i}
                                        for i in range(begin, end)], "next": str(end) if end < self.server.flows else None})
        else:
            self.answer(404, "not found\n")

    def do_PATCH(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.command, self.path, body))
        for each in self.server.services:
            for one in each["backends"]:
                if self.path == f"/loadbalancer/{each['uuid']}/backend/{one['uuid']}":
                    if one["name"] == "stubborn":
                        return self.answer(422, {"error": "state: not this one", "field": "state"})
                    one.update({name: value for name, value in body.items() if value is not None})
                    one["changed"] = [name for name, value in body.items() if value is not None]
                    return self.answer(200, one)
        return self.answer(404, {"error": "no such bridge"})


class TcpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.server = self.serve(TcpServer(("127.0.0.1", 0), Api))
        self.api = f"127.0.0.1:{self.server.server_address[1]}"

    def serve(self, server):
        server.asked, server.token, server.flows = [], None, 2500
        server.services = [service("web", [backend("b1"), backend("b2")]), service("img", [backend("b2"), backend("stubborn")])]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def run_tool(self, *words, api=None, **environment):
        return subprocess.run([TOOL, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                              env={**os.environ, "SPLICELB_API": api or self.api, **environment})

    def prints(self, *words, **options):
        done = self.run_tool(*words, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def refuses(self, code, text, *words, **options):
        done = self.run_tool(*words, **options)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertTrue(done.stderr.startswith("splicectl: "), done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def patches(self):
        return [(path, body) for method, path, body in self.server.asked if method == "PATCH"]


class Asking(Case):
    def test_changes_are_sent_to_the_bridge_that_was_named(self):
        self.assertEqual(self.prints("drain", "b1"), "web/b1: drain, weight 1, 50.0 % of the keys, 3 connections\n")
        self.prints("ready", "web/b2")
        self.prints("weight", "--service", "img", "b2", "7")
        self.prints("down", "web/b1")
        self.prints("reset", "web/b1")
        self.assertEqual(self.patches(), [
            ("/loadbalancer/id-web/backend/id-b1", {"state": "drain"}), ("/loadbalancer/id-web/backend/id-b2", {"state": "ready"}),
            ("/loadbalancer/id-img/backend/id-b2", {"weight": 7}), ("/loadbalancer/id-web/backend/id-b1", {"state": "down"}),
            ("/loadbalancer/id-web/backend/id-b1", {"state": None, "weight": None})])

    def test_a_bridge_of_several_services_changes_in_all_only_when_that_is_said(self):
        self.refuses(1, "as web/b2, or all with --all-services: web, img", "drain", "b2")
        self.assertEqual(self.patches(), [])
        self.assertEqual(self.prints("drain", "b2", "--all-services").count("b2: drain"), 2)

    def test_what_the_api_refuses_is_told_in_its_words(self):
        self.refuses(1, "PATCH /loadbalancer/id-img/backend/id-stubborn of " + self.api + ": 422: state: not this one", "drain", "stubborn")
        self.refuses(1, "GET /explain", "explain", "--service", "web", "/a")

    def test_json_is_what_the_api_has(self):
        self.assertEqual(json.loads(self.prints("--format", "json", "services")), self.server.services)
        bridges = json.loads(self.prints("--format", "json", "bridges", "web"))
        self.assertEqual(bridges, [{"service": "web", **each} for each in self.server.services[0]["backends"]])
        self.assertEqual(json.loads(self.prints("--format", "json", "drain", "b1"))[0]["state"], "drain")

    def test_flows_are_asked_for_a_page_at_a_time_up_to_the_limit(self):
        self.assertEqual(len(self.prints("flows", "--limit", "2500").splitlines()), 2501)
        self.assertEqual(len(json.loads(self.prints("--format", "json", "flows", "--limit", "2400"))["flows"]), 2400)
        done = self.run_tool("flows", "--limit", "3")
        self.assertEqual((done.returncode, len(done.stdout.splitlines())), (0, 4))
        self.assertIn("--limit COUNT shows them", done.stderr)
        self.prints("flows", "--limit", "9999", "--client", "[::1]:80", "--service", "a&b")
        self.assertIn("service=a%26b&client=%5B%3A%3A1%5D%3A80", self.server.asked[-1][1])

    def test_the_token_is_read_from_its_file_and_sent(self):
        self.server.token = "sesame"
        self.refuses(1, "401: a token is wanted (--token-file names", "status")
        path = os.path.join(self.folder, "token")
        self.refuses(1, f"read the token's file {path}: No such file or directory", "--token-file", path, "status")
        for text, right in (("sesame\n", True), ("sesame \r\nmore", True), ("", False), ("two words\n", False), ("\n", False)):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            self.assertEqual(self.run_tool("--token-file", path, "status").returncode, 0 if right else 1, repr(text))

    def test_a_unix_socket_is_an_api_too(self):
        path = os.path.join(self.folder, "api")
        self.serve(UnixServer(path, Api))
        self.assertIn(f"at unix:{path}: ready", self.prints("status", api=f"unix:{path}"))
        self.refuses(1, "No such file or directory", "status", api=f"unix:{path}-other")

    def test_names_move_no_cursor(self):
        self.server.services = [service(HOSTILE, [backend("b1")])]
        for command in ("status", "services", "bridges"):
            self.assertNotIn("\x1b", self.prints(command))
        self.assertNotIn("\x1b", self.prints("watch", "--count", "1"))


class Failing(Case):
    def test_a_wrong_command_line_is_2(self):
        self.refuses(2, "a command is missing")
        self.refuses(2, "--api: 'here': expected", "--api", "here", "status")
        self.refuses(2, "the environment's SPLICELB_API", "status", api="here")
        self.refuses(2, "WEIGHT: '300'", "weight", "b1", "300")

    def test_nobody_who_listens_is_1(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # without listen()
            self.refuses(1, "connect: Connection refused (does the balancer run", "status", api=f"127.0.0.1:{taken.getsockname()[1]}")

    def test_whatever_answers_is_no_crash(self):
        answers = [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n[1, {}, null]",
                   b"HTTP/1.1 200 OK\r\n\r\n{\"services\": 7}", b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe{", b"HTTP/1.1 500 x\r\n\r\n" + 1000 * b"x\x1b",
                   b'HTTP/1.1 200 OK\r\n\r\n[{"name": 7, "backends": {"a": 1}}]', b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
                   b"HTTP/1.1 200 OK\r\n" + 20000 * b"a: b\r\n" + b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + 1000 * b"[" + 1000 * b"]"]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            def serve():
                while True:
                    try:
                        connection = listener.accept()[0]
                    except OSError:
                        return
                    with connection:
                        connection.recv(65536)
                        try:
                            connection.sendall(answers[0])
                        except OSError:
                            pass

            threading.Thread(target=serve, daemon=True).start()
            api = f"127.0.0.1:{listener.getsockname()[1]}"
            while answers:
                for words in (("status",), ("services",), ("bridges",), ("drain", "b1"), ("flows",), ("explain", "/"), ("watch", "--count", "1")):
                    done = self.run_tool(*words, api=api)
                    self.assertIn(done.returncode, (0, 1), (words, answers[0][:60], done.stderr))
                    self.assertNotIn("\x1b", done.stdout + done.stderr)
                answers.pop(0)

    def test_a_full_disk_is_told(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([TOOL, "--api", self.api, "status"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("write to standard output: No space left on device", done.stderr)


class Watching(Case):
    def test_as_lines_it_prints_one_table_a_look(self):
        text = self.prints("watch", "--count", "3", "--interval", "0.1")
        self.assertNotIn("\x1b", text)
        self.assertEqual(text.count("SERVICE  BRIDGE"), 3)
        lines = self.prints("--format", "json", "watch", "--count", "2", "--interval", "0.1").splitlines()
        self.assertEqual([json.loads(line)["seconds"] is None for line in lines], [True, False])
        self.refuses(1, "there is no service nope", "watch", "--service", "nope")

    def test_on_a_terminal_ctrl_c_ends_it_with_0_and_the_cursor_is_seen_again(self):
        process, screen = pty.fork()
        if process == 0:
            os.execv(TOOL, [TOOL, "--api", self.api, "watch", "--interval", "0.1"])
        shown = b""
        while shown.count(b"\x1b[H") < 3:
            shown += os.read(screen, 65536)
        self.assertTrue(shown.startswith(b"\x1b[2J\x1b[?25l\x1b[H"), shown[:40])
        os.write(screen, b"\x03")
        try:
            while block := os.read(screen, 65536):
                shown += block
        except OSError:  # EIO: the terminal's other end is closed
            pass
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), 0)
        self.assertTrue(shown.endswith(b"\x1b[?25h"), shown[-40:])
        os.close(screen)

    def test_it_goes_on_while_the_balancer_restarts(self):
        port = self.server.server_address[1]
        process = subprocess.Popen([TOOL, "--api", self.api, "watch", "--interval", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.kill)
        self.assertRegex(process.stdout.readline(), r"^\d\d:\d\d:\d\d$")
        self.server.shutdown()
        self.server.server_close()
        self.assertIn(f"splicectl: GET /status of {self.api}: ", process.stderr.readline())
        again = TcpServer(("127.0.0.1", port), Api)
        self.serve(again)
        while not again.asked:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 128 + signal.SIGTERM)


class Completing(Case):
    def complete(self, line):
        script = """source "$1"; COMP_LINE=$2; COMP_POINT=${#COMP_LINE}; _splicectl; printf '%s\\n' "${COMPREPLY[@]}" """
        done = subprocess.run(["bash", "-c", script, "bash", COMPLETIONS, line], capture_output=True, text=True, cwd=self.folder,
                              env={**os.environ, "SPLICELB_API": self.api, "PATH": os.path.dirname(TOOL) + ":" + os.environ["PATH"]})
        self.assertEqual((done.returncode, done.stderr), (0, ""), line)
        return done.stdout.split("\n")[:-1] if done.stdout.strip() else []

    def test_commands_flags_and_names(self):
        self.assertEqual(self.complete("splicectl st"), ["status"])
        self.assertEqual(self.complete("splicectl --format j"), ["json"])
        self.assertEqual(self.complete("splicectl watch --i"), ["--interval"])
        self.assertNotIn("--interval", self.complete("splicectl drain --"))
        self.assertEqual(self.complete("splicectl drain "), ["b1", "b2", "img/b2", "img/stubborn", "stubborn", "web/b1", "web/b2"])
        self.assertEqual(self.complete("splicectl weight web/"), ["web/b1", "web/b2"])
        self.assertEqual(self.complete("splicectl bridges "), ["img", "web"])
        self.assertEqual(self.complete("splicectl flows --service w"), ["web"])
        self.assertEqual(self.complete("splicectl drain b1 "), [])
        self.assertEqual(self.complete("splicectl --api 127.0.0.1:1 drain "), [])  # nobody answers there
        self.assertEqual(self.complete(f"splicectl --api {self.api} drain web/b1"), ["web/b1"])

    def test_every_command_and_flag_of_the_help_is_known(self):
        text = self.prints("--help")
        commands = re.findall(r"^  ([a-z]+) .*", text.split("Every command:")[0], re.MULTILINE)
        self.assertEqual(sorted(self.complete("splicectl ")), sorted(commands))
        offered = {flag for command in ["", *commands] for flag in self.complete(f"splicectl {command} --")}
        self.assertEqual(offered, set(re.findall(r"^  (?:-h \[ )?(--[a-z-]+)", text, re.MULTILINE)))

    def test_a_hostile_name_runs_nothing(self):
        self.server.services = [service(HOSTILE.replace(" ", "${IFS}"), [backend("$(touch${IFS}stolen)"), backend("`touch${IFS}stolen`")])]
        self.assertTrue(self.complete("splicectl drain "))
        self.assertTrue(self.complete("splicectl bridges "))
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
