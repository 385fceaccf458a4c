"""Ways that are narrower than anybody says: behind a router to a bridge, and behind a bridge's host to its backend."""

import re
import time

from cases_health import check_services, health_of
from cases_hosts import Container, all_served_by, paths_of, with_mode
from cases_kernel import restart
from cases_transfer import upload
from cases_uplinks import route
from harness import case, equal, eventually, true
from http_client import ask
from world import BRIDGES, Rule

NARROW = 1400


@case("a link to a bridge that is narrower than its route says: full segments' checks find it, a warning names mss, and it serves on")
def _(world):
    bridge = "b2"
    service = f"web{world.family}"
    address = world.bridge_address(bridge)
    world.sysctl("router", "net.ipv4.conf.eth1.send_redirects", 0)
    route(world, "balancer", address, "via", "192.168.33.1" if world.family == 4 else "fd33::1", "dev", "eth1")
    with Rule(world, "router", "filter", "FORWARD", f"-d {address} -m length --length {NARROW + 1}:65535", "DROP") as lost:
        check_services(world, ["web"], "interval: 100ms, timeout: 100ms")
        eventually(lambda: health_of(world, service)[bridge]["narrow"], lambda: f"it is found: {health_of(world, service)}", 30)
        true(lost.hits() > 0, "by what was lost")
        eventually(lambda: re.search(rf"bridge {bridge} \S+ answers, but not to full segments .*lower mss", world.log_of("balancer", of_this_case=True)), "the log tells", 15)
        equal({name: (each["state"], each["narrow"]) for name, each in health_of(world, service).items()},
              {name: ("up", name == bridge) for name in BRIDGES}, "states, and who is narrow")
        all_served_by(world, bridge, paths_of(world, bridge))
    eventually(lambda: not health_of(world, service)[bridge]["narrow"], "it is found wide again", 30)
    eventually(lambda: re.search(rf"full segments arrive at bridge {bridge} \S+ again", world.log_of("balancer", of_this_case=True)), "the log tells", 15)


def too_big(world, program):
    """What the system refused there as larger than the way takes (EMSGSIZE)."""
    return int(re.search(r"^splicelb_\w+_send_too_big_total (\d+)", world.page(program, "/metrics"), re.MULTILINE)[1])


@case("a backend behind a narrower link of the bridge's host: what the bridge itself sends there and does not fit is counted and told by "
      "name, clients learn the MTU from the rest, and 2 MB go up whole")
def _(world):
    bridge = "b2"
    path = paths_of(world, bridge)[0]
    world.clean_up.callback(restart, world, bridge)
    container = Container(world, bridge)
    world.lab.on(bridge, "ip", "link", "set", "inner0", "mtu", str(NARROW))
    own, inside = (world.bracketed(address) + ":80" for address in (world.backend_address(bridge), container.address))
    world.edited(f"{bridge}.yaml", lambda text: text.replace(f'"{own}"', f'"{inside}"'))
    if world.lab.mode == "adopt":
        with_mode(world, bridge, "auto")
    restart(world, bridge)
    # The client keeps what it learns for minutes; the next case shall find nothing.
    world.clean_up.callback(world.lab.on, "client", "ip", f"-{world.family}", "route", "flush", "cache")
    world.wire_sized_packets()
    all_served_by(world, bridge, [path])
    equal(too_big(world, bridge), 0, "what is refused of small requests")
    # The bridge sends the first payload by itself, once the backend has answered its SYN.
    sock = world.connect(timeout=10)
    began = time.monotonic()
    equal(ask(sock, path, f"X-Long: {'x' * 3000}").bridge, bridge, "who answers a request of three segments")
    world.notes.append(f"answered after {time.monotonic() - began:.1f} s")
    sock.close()
    true(too_big(world, bridge) > 0, "it is counted")
    eventually(lambda: re.search(r"EMSGSIZE, send_too_big\).*mss", world.log_of(bridge, of_this_case=True)), "the log names it, and mss", 15)
    true(f"mtu {NARROW}" in world.lab.on("client", "ip", "route", "get", world.vip), "the client has learnt the MTU")
    true(bridge in (upload(world, 2_000_000, f"narrow{n}.bin") for n in range(100)), "an upload went there")
