"""What an operator allows: deny lists, and new connections a second. (A service's share of the table: tests/bpf, tests/unit.)"""

import os
import re
import time

from cases_choice import reloads, serve_with, web
from cases_restart import Download
from cases_splicectl import prints
from harness import case, equal, eventually, true
from http_client import ask


def dropped(world, verdict):
    return world.verdicts()[verdict]


def is_refused(world, seconds=1.5):
    """Whether a new connection's SYNs are not answered for so long."""
    try:
        world.connect(timeout=seconds).close()
    except TimeoutError:
        return True
    return False


@case("clients on a deny list open nothing, downloads that run go on, and with a line less they are served at once")
def _(world):
    path = f"{world.lab.run_dir}/deny.txt"
    others = "203.0.113.0/24 # none of ours\n2001:db8:dead::/48\n"

    def write(text):
        before = reloads(world)
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(f"{path}.new", path)
        return before

    def reloaded(before):
        eventually(lambda: reloads(world) > before, lambda: f"a reload: {world.log_of('balancer', of_this_case=True)[-500:]}", 15)

    def remove():
        before = reloads(world)
        world.rewrite("balancer.yaml", lambda text: text.replace(f"deny: {path}\n", ""))
        reloaded(before)
        os.remove(path)

    before = write(others)
    world.clean_up.callback(remove)
    world.rewrite("balancer.yaml", lambda text: f"deny: {path}\n{text}")
    reloaded(before)
    equal(ask(world.connect(), "/before").status, 200, "a request while others are denied")
    download = Download(world)
    download.read_to(1 << 20)
    reloaded(write(f"{others}{world.client}\n"))
    refused = dropped(world, "drop_denied")
    true(is_refused(world), "a client on the list has no answer")
    true(dropped(world, "drop_denied") > refused, "its SYNs are counted")
    status = prints(world, "status")
    true(re.search(r"^deny: 3 prefixes; [1-9]\d* packets dropped$", status, re.M), f"splicectl says so: {status}")
    download.read_to(Download.SIZE)
    # A line that is wrong changes nothing, and is named.
    write(f"{others}198.51.100.1/24\n")
    eventually(lambda: f"{path}:3: '198.51.100.1/24': expected" in world.log_of("balancer", of_this_case=True), "the wrong line is told", 15)
    true(is_refused(world), "the lists of before are in force")
    reloaded(write(others))
    equal(ask(world.connect(), "/after").status, 200, "a request afterwards")


@case("a client opens as many connections a second as it may, its further ones come with the next seconds, and none fails")
def _(world):
    serve_with(world, web(world), ["new_connections: 5"])
    before = dropped(world, "drop_source_rate")
    began = time.monotonic()
    for n in range(20):
        equal(ask(world.connect(timeout=20), f"/limited/{n}", "Connection: close").status, 200, f"request {n}")
    took = time.monotonic() - began
    # At most five fall into each second that the clock shows, the first and the last being cut off.
    true(took > 2, f"20 connections took {took:.1f} s at 5 a second")
    true(dropped(world, "drop_source_rate") > before, "what came too early is counted")
    status = prints(world, "status")
    true(re.search(rf"^new_connections: of {web(world)}; [1-9]\d* packets dropped$", status, re.M), f"splicectl says so: {status}")
