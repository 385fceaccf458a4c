"""The pages of metrics as Prometheus reads them: what promtool says of them, and that alerts and dashboard find there what
they ask for."""

import contextlib
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from cases_choice import serve_with, web
from cases_health import CHECKS, QUICK, cut_off, plug_in
from harness import case, equal, eventually, true
from http_client import ask, read_response, request
from world import BRIDGES, PROGRAMS, SOURCE

sys.path.insert(0, os.path.join(SOURCE, "tests/support"))
import promql  # noqa: E402

# A service with all that has metrics of its own: checks, weighed choices, hot keys, a shadow.
EVERYTHING = [f"health: {CHECKS['web'] % QUICK}", "bounded_load: 1.25", "hot_keys: { top: 8, spread: 2 }", "shadow: { key: \"uri query(sort)\" }"]


def needs(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    return lambda _: f"there is no {missing[0]}; scripts/deps.sh --metrics installs Debian's prometheus" if missing else None


def name_of(program):
    return "balancer" if program == "balancer" else "bridge"


def verdicts_on(page, program):
    return set(re.findall(rf'^splicelb_{name_of(program)}_packets_total{{verdict="(\w+)"}}', page, re.MULTILINE))


@case("promtool has nothing to say against the pages of metrics, and each has the verdicts that its program can give", requires=needs("promtool"))
def _(world):
    serve_with(world, web(world), EVERYTHING)
    ask(world.connect(), "/metrics-are-read")
    pages = {program: world.page(program, "/metrics") for program in PROGRAMS}
    for program, page in pages.items():
        done = subprocess.run(["promtool", "check", "metrics"], input=page, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        equal((done.returncode, done.stdout), (0, ""), f"promtool check metrics of {program}")
        helped = set(re.findall(r"^# HELP (\w+) \S", page, re.MULTILINE))
        helped |= {f"{name}_{part}" for name in re.findall(r"^# TYPE (\w+) histogram$", page, re.MULTILINE) if name in helped
                   for part in ("bucket", "sum", "count")}
        equal({name for name, _, _ in promql.samples(page)} - helped, set(), f"metrics of {program} without help")
    with open(os.path.join(SOURCE, "libsplice/datapath/verdicts.h"), encoding="ascii") as file:
        every = set(re.findall(r"^\s*X\(\w+, (\w+),", file.read(), re.MULTILINE))
    balancer, bridge = (verdicts_on(pages[program], program) for program in ("balancer", "b1"))
    equal(balancer | bridge, every, "the verdicts of both")
    equal({"answer_syn_ack", "forward_open", "drop_bad_tcp_options"} & bridge, set(), "a balancer's verdicts at a bridge")
    equal({"deliver", "open_adopt", "pass_mark_lost"} & balancer, set(), "a bridge's verdicts at the balancer")
    true({"drop_truncated", "drop_orphan"} <= balancer & bridge, "verdicts of both on both pages")


@case("reloads are counted by how they ended, with the last one's time and duration", once=True)
def _(world):
    for program in ("balancer", "b1"):
        def now(program=program):
            return {(name, labels.get("result")): value for name, labels, value in promql.samples(world.page(program, "/metrics"))}

        def told(what, result=None, program=program):
            return now()[f"splicelb_{name_of(program)}_{what}", result]

        applied, refused = told("reloads_total", "applied"), told("reloads_total", "refused")
        before, good = time.time(), None

        def spoil(text):
            nonlocal good
            good = text
            return text + "\nno_such_key: 1\n"

        world.edited(f"{program}.yaml", spoil)
        eventually(lambda: told("reloads_total", "refused") > refused, "a wrong file is refused", 15)
        equal((told("last_reload_success"), told("reloads_total", "applied")), (0, applied), f"after a wrong file at {program}")
        world.rewrite(f"{program}.yaml", lambda _: good)
        eventually(lambda: told("reloads_total", "applied") > applied, "the right file is taken", 15)
        equal(told("last_reload_success"), 1, f"{program} is right again")
        true(before - 1 <= told("last_reload_timestamp_seconds") <= time.time() + 1, f"when: {told('last_reload_timestamp_seconds')}, not before {before}")
        true(0 < told("last_reload_duration_seconds") <= time.time() - before, f"how long: {told('last_reload_duration_seconds')}")


@case("every metric, label and value that alerts and dashboard ask for is on the pages", once=True)
def _(world):
    serve_with(world, web(world), EVERYTHING)
    ask(world.connect(), "/metrics-are-asked-for")
    eventually(lambda: "splicelb_bridge_backend_up" in world.page("b1", "/metrics"), "the bridge has looked at its backends", 15)
    pages = [world.page(program, "/metrics") for program in PROGRAMS]
    found = [complaint for _, _, expr in promql.alerts() for complaint in promql.complaints(expr, "", pages)]
    found += [f"{title}: {complaint}" for title, expr, legend in promql.panel_queries() for complaint in promql.complaints(expr, legend, pages)]
    equal(found, [], "what is asked for and does not exist")


def slower_than(world, name, seconds):
    """How many of the histogram's values of the case's service are above a bound, which is one of a bucket."""
    counts = {}
    for metric, labels, value in promql.samples(world.page("balancer", "/metrics")):
        if metric == f"splicelb_balancer_{name}_seconds_bucket" and labels["service"] == web(world):
            counts[float(labels["le"])] = value
    bound = min(counts, key=lambda each: abs(each - seconds))
    true(abs(bound - seconds) < 1e-9, f"{seconds} is a bound of {sorted(counts)}")
    return counts[float("inf")] - counts[bound]


@case("a request that comes in two parts and an answer that is lost once are in the histograms, where they took that long")
def _(world):
    equal(ask(world.connect(), "/histogram/quick").status, 200, "a request")
    held = slower_than(world, "first_payload", 0.016384)
    # The balancer waits for the rest in vain, for 50 ms at the least, and then chooses without it.
    sock = world.connect(nagle=False)
    whole = request("/histogram/in-two")
    sock.sendall(whole[:9])
    eventually(lambda: slower_than(world, "first_payload", 0.016384) == held + 1, "the first payload's time is told", 10)
    sock.sendall(whole[9:])
    equal(read_response(sock).status, 200, "the answer to the request in two parts")
    # The backend repeats it after 200 ms at the least, and the client cannot acknowledge it before.
    sock = world.connect()
    answered = slower_than(world, "answer", 0.131072)
    lost = world.drop_first("client", "INPUT", f"-p tcp --sport 80 --dport {sock.getsockname()[1]} -m length --length 200:65535")
    equal(ask(sock, "/histogram/lost").status, 200, "the answer that is lost once")
    true(lost.hits() >= 1, "the first answer is lost")
    eventually(lambda: slower_than(world, "answer", 0.131072) == answered + 1, "the answer's time is told", 10)
    equal(slower_than(world, "first_payload", 0.016384), held + 1, "first payloads that waited")


class Relay:
    """The bridges' pages at the balancer's loopback, which is where Prometheus runs; /b1/metrics is the page of b1."""

    def __init__(self, world):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                try:
                    status, page = world.api(self.path.split("/")[1], "/metrics")
                except RuntimeError as error:
                    status, page = 502, str(error)
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_):
                pass

        with world.lab.inside("balancer"):
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        world.clean_up.callback(self._server.server_close)
        world.clean_up.callback(self._server.shutdown)


class Prometheus:
    """A real one on the balancer's host, which asks every two seconds; alerts fire at once, all else is theirs."""

    def __init__(self, world):
        self._world = world
        folder = tempfile.mkdtemp(prefix="splicelb-prometheus-")
        world.clean_up.callback(shutil.rmtree, folder, ignore_errors=True)
        with open(promql.ALERTS, encoding="utf-8") as file:
            rules = re.sub(r"^( *)for: .*\n", "", file.read(), flags=re.MULTILINE)
        with open(os.path.join(folder, "alerts.yaml"), "w", encoding="utf-8") as file:
            file.write(rules)
        relay = Relay(world)
        job = {"metrics_path": "/metrics", "scrape_interval": "2s", "scrape_timeout": "2s"}
        config = {"global": {"evaluation_interval": "1s"}, "rule_files": ["alerts.yaml"], "scrape_configs": [
            {**job, "job_name": "splicelb-balancer", "static_configs": [{"targets": ["127.0.0.1:10001"]}]},
            {**job, "job_name": "splicelb-packetbridge", "relabel_configs": [
                {"source_labels": ["__address__"], "target_label": "instance"},
                {"source_labels": ["__address__"], "target_label": "__metrics_path__", "replacement": "/$1/metrics"},
                {"target_label": "__address__", "replacement": f"127.0.0.1:{relay.port}"}],
             "static_configs": [{"targets": list(BRIDGES)}]}]}
        with open(os.path.join(folder, "prometheus.yaml"), "w", encoding="utf-8") as file:
            json.dump(config, file)
        with world.lab.inside("balancer"), contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        log = open(os.path.join(folder, "log"), "wb")  # noqa: SIM115  (for as long as the process)
        world.clean_up.callback(log.close)
        process = subprocess.Popen(["ip", "netns", "exec", world.lab.namespace("balancer"), "prometheus", f"--config.file={folder}/prometheus.yaml",
                                    f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{self._port}"],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def end():
            process.terminate()
            process.wait(30)

        world.clean_up.callback(end)

    def ask(self, path, **arguments):
        text = self._world.lab.on("balancer", "curl", "-sS", "--max-time", "10", f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}",
                                  check=False)
        return json.loads(text)["data"] if text.startswith("{") else None

    def query(self, expr):
        answer = self.ask("query", query=expr)
        return answer["result"] if answer else []

    def firing(self):
        answer = self.ask("alerts")
        return {(each["labels"]["alertname"], each["labels"].get("bridge")) for each in answer["alerts"] if each["state"] == "firing"} if answer else set()


@case("a real Prometheus: the dashboard's panels have data, and a bridge that is cut off fires its alert until it is back",
      requires=needs("prometheus"), once=True)
def _(world):
    serve_with(world, web(world), EVERYTHING)
    prometheus = Prometheus(world)
    eventually(lambda: len(prometheus.query("up == 1")) == 1 + len(BRIDGES), lambda: f"every page is read: {prometheus.query('up')}", 60)
    ask(world.connect(), "/prometheus")
    opened = "sum(rate(splicelb_balancer_bridge_signs_total{sign='opening'}[1m])) > 0"

    def opens():
        ask(world.connect(), "/prometheus")
        return prometheus.query(opened)

    eventually(opens, "openings are seen to rise", 60)
    # What shows only trouble, or compares with an hour ago, is empty here.
    for title, expr, _ in promql.panel_queries():
        if not re.search(r"> 0\)?$|offset|result!=|^ALERTS", expr):
            eventually(lambda expr=expr: prometheus.query(expr), f"the panel {title} has data: {expr}", 30)
    eventually(lambda: ("SpliceLBBridgeGone", "b3") not in prometheus.firing(), "nothing is wrong with b3", 30)
    world.clean_up.callback(plug_in, world, "b3")
    cut_off(world, "b3")
    eventually(lambda: ("SpliceLBBridgeGone", "b3") in prometheus.firing(), lambda: f"its alert fires: {prometheus.firing()}", 60)
    plug_in(world, "b3")
    eventually(lambda: ("SpliceLBBridgeGone", "b3") not in prometheus.firing(), "its alert ends", 60)
