"""A bridge that adopts for some of its services and translates for others (mode auto)."""

import json
import os
import re
import subprocess

from cases_firewalls import NAT, translating_addresses
from cases_hosts import MPTCP_SERVER, Container, all_served_by, check_large, no_conntrack, only_adopt, paths_of, starts, with_mode
from cases_kernel import restart
from harness import Skip, case, equal, eventually, true
from http_client import ask, ask_in_two

BRIDGE = "b2"


def modes(world):
    """Of the web service, and of the one at the balancer's own address; both have one backend unless a case changes that."""
    services = {each["vip"]: each["mode"] for each in json.loads(world.page(BRIDGE, "/status"))["services"]}
    return tuple(services[f"{world.bracketed(address)}:{port}"] for address, port in ((world.vip, 80), (world.balancer, 8080)))


def opened(world):
    """Connections that the bridge has adopted, and that it has translated."""
    page = world.page(BRIDGE, "/metrics")
    return tuple(int(re.search(rf'packets_total{{verdict="{verdict}"}} (\d+)', page)[1]) for verdict in ("open_adopt", "open_replay"))


def own_paths(world):
    """Paths that the bridge serves at the balancer's own address."""
    found = [path for path in (f"/by-service/{n}" for n in range(30)) if ask(world.connect(world.balancer, 8080), path).bridge == BRIDGE]
    true(len(found) > 2, f"some are {BRIDGE}'s: {found}")
    return found


def own_served(world, paths):
    for path in paths:
        equal(ask(world.connect(world.balancer, 8080, timeout=4), path).bridge, BRIDGE, f"who answers {path} at the balancer's own address")


def begin(world):
    """The bridge in mode auto, its web service's backend in a container."""
    world.clean_up.callback(restart, world, BRIDGE)
    container = Container(world, BRIDGE)
    inside = world.bracketed(container.address) + ":80"
    own = world.bracketed(world.backend_address(BRIDGE)) + ":80"
    world.edited(f"{BRIDGE}.yaml", lambda text: text.replace(f'"{own}"', f'"{inside}"', 1))
    with_mode(world, BRIDGE, "auto")
    return inside, own


@case("mode auto: one service's backend in a container is translated, another's on the host is adopted", requires=only_adopt)
def _(world):
    paths, others = paths_of(world, BRIDGE), own_paths(world)
    inside, _ = begin(world)
    restart(world, BRIDGE)
    said = starts(world, BRIDGE)
    true(f"no adoption, for the backend {inside}" in said and f"mode adopt, but translate for {world.bracketed(world.vip)}:80," in said, f"the start: {said}")
    equal(modes(world), ("translate", "adopt"), "the services' modes")
    before = opened(world)
    all_served_by(world, BRIDGE, paths)
    own_served(world, others)
    equal(tuple(now - was for now, was in zip(opened(world), before)), (len(others), len(paths)), "adopted and translated")
    check_large(world, BRIDGE)
    # Of these the first segment is user space's where it is translated.
    equal(ask_in_two(world.connect(timeout=4, nagle=False), paths[0], 9).bridge, BRIDGE, "a request in two segments")
    equal(ask_in_two(world.connect(world.balancer, 8080, timeout=4, nagle=False), others[0], 9).bridge, BRIDGE, "one to the adopted service")
    equal(world.api(BRIDGE, "/readyz")[0], 200, "it is ready")


@case("mode auto: with keep a new process goes on with what is translated and with what is adopted", requires=only_adopt)
def _(world):
    path, other = paths_of(world, BRIDGE)[0], own_paths(world)[0]
    begin(world)
    world.edited(f"{BRIDGE}.yaml", lambda text: text + "keep: true\n")
    restart(world, BRIDGE)
    socks = [(world.connect(timeout=4), path), (world.connect(world.balancer, 8080, timeout=4), other)]

    def go_on(when):
        for sock, asked in socks:
            equal(ask(sock, asked).bridge, BRIDGE, f"who answers {asked} {when}")

    go_on("at first")
    world.lab.stop(BRIDGE)
    go_on("while no process runs")
    own_served(world, [other])
    world.lab.start(BRIDGE)
    go_on("with the next process")
    all_served_by(world, BRIDGE, [path])
    own_served(world, [other])
    # Without keep, which cleans up.
    world.edited(f"{BRIDGE}.yaml", lambda text: text.replace("keep: true\n", ""))
    restart(world, BRIDGE)
    go_on("with the one after it")


@case("mode auto: a reload, and a listener that begins to speak MPTCP, change a service's mode while the bridge runs", requires=only_adopt)
def _(world):
    if not os.path.exists("/proc/sys/net/mptcp/enabled"):
        raise Skip("the kernel has no MPTCP")
    lab, paths, others = world.lab, paths_of(world, BRIDGE), own_paths(world)
    inside, own = begin(world)
    world.edited(f"{BRIDGE}.yaml", lambda text: text.replace(f'"{inside}"', f'"{own}"'))
    restart(world, BRIDGE)
    equal(modes(world), ("adopt", "adopt"), "with both backends on the host")
    true("but translate" not in starts(world, BRIDGE), f"the start: {starts(world, BRIDGE)}")
    world.edited(f"{BRIDGE}.yaml", lambda text: text.replace(f'"{own}"', f'"{inside}"', 1))
    eventually(lambda: modes(world) == ("translate", "adopt"), "the reload moves the service", 15)
    all_served_by(world, BRIDGE, paths)
    own_served(world, others)

    world.clean_up.callback(lambda: lab.runs("nginx2") or lab.start("nginx2"))
    world.sysctl(BRIDGE, "net.mptcp.enabled", 1)
    lab.stop("nginx2")
    server = subprocess.Popen(["ip", "netns", "exec", lab.namespace(BRIDGE), "python3", "-c", MPTCP_SERVER, BRIDGE, world.backend_address(BRIDGE)],
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def end():
        server.kill()
        server.wait()

    world.clean_up.callback(end)
    eventually(lambda: modes(world) == ("translate", "translate"), "the listener that speaks MPTCP is translated", 15)
    words = f"the mode of each service is no longer what it needs, for the listener at {own} speaks MPTCP"
    eventually(lambda: words in world.log_of(BRIDGE, of_this_case=True), "the log tells", 15)
    own_served(world, others)
    end()
    lab.start("nginx2")
    # The connections of before are in the way until they are forgotten, or the bridge starts again.
    restart(world, BRIDGE)
    equal(modes(world), ("translate", "adopt"), "with a listener that speaks plain TCP")
    own_served(world, others)


@case("mode auto: address translation (NAT) that begins on the host has the services translated, without a restart",
      requires=lambda world: only_adopt(world) or no_conntrack(world))
def _(world):
    paths = paths_of(world, BRIDGE)
    world.clean_up.callback(restart, world, BRIDGE)
    with_mode(world, BRIDGE, "auto")
    restart(world, BRIDGE)
    equal(modes(world), ("adopt", "adopt"), "at first")
    translating_addresses(world, BRIDGE)
    eventually(lambda: modes(world) == ("translate", "translate"), "the services are translated", 15)
    eventually(lambda: NAT in world.log_of(BRIDGE, of_this_case=True), "the log tells", 15)
    all_served_by(world, BRIDGE, paths)
    check_large(world, BRIDGE)
    equal(world.api(BRIDGE, "/readyz")[0], 200, "it is ready")
