"""Who says on the segment that a VIP is his: one host of all that have it, and none while another does."""

import re

from cases_control import api_of
from cases_kernel import restart
from harness import case, equal, eventually, true
from http_client import ask

FOREIGN = "02:00:00:00:00:99"
OTHER = {4: "192.168.33.90", 6: "fd33::90"}


def mac_of(world, host):
    return world.lab.on(host, "cat", "/sys/class/net/eth1/address").strip()


def give(world, host, address, interface="eth1"):
    """The host has the address until take() or the case's end."""
    words = ("address", "add", address, "dev", interface) + (("nodad",) if world.family == 6 else ())
    world.lab.on(host, "ip", *words)
    world.clean_up.callback(world.lab.on, host, "ip", "address", "del", address, "dev", interface, check=False)


def take(world, host, address, interface="eth1"):
    world.lab.on(host, "ip", "address", "del", address, "dev", interface)


def starts(world):
    """Whether a start is not refused; why else."""
    try:
        world.lab.start("balancer")
    except RuntimeError as error:
        return str(error)
    return None


def balancer_stops(world):
    world.lab.stop("balancer")
    world.clean_up.callback(lambda: world.lab.runs("balancer") or world.lab.start("balancer"))


def who_has(world):
    """Where the router thinks the VIP is: MAC addresses."""
    return re.findall(r"lladdr (\S+)", world.lab.on("router", "ip", "neigh", "show", world.vip))


def asks_anew(world):
    """The router forgets the VIP and asks for it: whether anybody answers."""
    world.lab.on("router", "ip", "neigh", "flush", "dev", "eth1")
    world.lab.on("router", "ping", "-c", "1", "-W", "2", world.vip, check=False)
    return who_has(world)


def served(world, path="/presence"):
    return ask(world.connect(), path).status == 200


@case("a VIP that another host of the segment has: the start is refused, and says the other's MAC address")
def _(world):
    balancer_stops(world)
    give(world, "b2", world.vip)
    complaint = starts(world)
    true(complaint is not None, "the start is refused")
    log = world.log_of("balancer", of_this_case=True)
    true(f"another host has {world.vip} on eth1: {mac_of(world, 'b2')} answers for it" in log, f"why: {log[-800:]}")
    take(world, "b2", world.vip)
    equal(starts(world), None, "a start when the other has it no more")
    true(served(world), "a request is served")


@case("a VIP that another host has: the API answers 409, and a reload keeps what runs")
def _(world):
    api = api_of(world)
    before = api.call("GET", "/loadbalancers", status=200)
    other, family = OTHER[world.family], world.family
    give(world, "b2", f"{other}/{32 if family == 4 else 128}")
    named = f"another host has {other} on eth1: {mac_of(world, 'b2')} answers for it"
    wanted = {"name": "taken", "port": 80, "vip": other, "dscp": 40}
    refusal = api.call("POST", "/loadbalancer", wanted, 409)
    true(named in str(refusal), f"the API says whose it is: {refusal}")
    equal(api.call("GET", "/loadbalancers", status=200), before, "the services afterwards")

    text = world.edited("balancer.yaml", lambda text: re.sub(rf'(name: greet{family}\n    vip: )"[^"]+"', rf'\1"{other}"', text))
    eventually(lambda: "refused, nothing changed: " + named in world.log_of("balancer", of_this_case=True), "the reload is refused", 15)
    true(served(world), "the VIP that runs is served")
    take(world, "b2", f"{other}/{32 if family == 4 else 128}")
    world.rewrite("balancer.yaml", lambda _: text)
    eventually(lambda: "reloaded (" in world.log_of("balancer", of_this_case=True), "the next reload is not", 15)
    equal(api.call("POST", "/loadbalancer", wanted, 201)["vip"], other, "the VIP, when nobody has it")


@case("presence standby: silent until the host is given the VIP, then announced and served; silent again when it is taken away")
def _(world):
    settings = [f"net.ipv4.conf.eth1.{name}" for name in ("arp_ignore", "arp_announce")]
    before = world.lab.on("balancer", "sysctl", *settings)
    world.clean_up.callback(restart, world, "balancer")
    world.clean_up.callback(world.lab.on, "router", "ip", "neigh", "flush", "dev", "eth1")
    world.lab.stop("balancer")
    world.edited("balancer.yaml", lambda text: "presence: standby\n" + re.sub(r"(name: own.\n)", r"\1    presence: none\n", text))
    world.lab.start("balancer")
    prefix = 32 if world.family == 4 else 128
    vip = f"{world.vip}/{prefix}"
    has = world.lab.on("balancer", "ip", "-o", "address")
    true(re.search(rf"lo\s+inet6? {re.escape(vip)} ", has), f"it is on loopback: {has}")
    equal(asks_anew(world), [], "who answers for it on standby")

    # A router that takes another host for it learns at once, for it is told.
    world.lab.on("router", "ip", "neigh", "replace", world.vip, "lladdr", FOREIGN, "dev", "eth1", "nud", "reachable")
    equal(who_has(world), [FOREIGN], "where the router thinks the VIP is")
    give(world, "balancer", vip)
    eventually(lambda: who_has(world) == [mac_of(world, "balancer")], "the router is told of the new host", 10)
    true(served(world), "a request is served")
    own = world.log_of("balancer", of_this_case=True)
    true("own addresses on eth1" not in own, f"health checks come from where they came: {own[-500:]}")

    take(world, "balancer", vip)
    eventually(lambda: f"{world.vip} is not on eth1 any more" in world.log_of("balancer", of_this_case=True), "the balancer sees that it goes", 10)
    equal(asks_anew(world), [], "who answers for it afterwards")
    world.lab.stop("balancer")
    left = world.lab.on("balancer", "ip", "-o", "address")
    true(world.vip not in left, f"a stop leaves none: {left}")
    equal(world.lab.on("balancer", "sysctl", *settings), before, "the host's settings afterwards")


@case("a bridge whose backend has the VIP on loopback is silent about it, and sets its host back when it stops")
def _(world):
    setting = "net.ipv4.conf.eth1.arp_ignore"
    vip = f"{world.vip}/{32 if world.family == 4 else 128}"
    balancer_stops(world)
    world.clean_up.callback(lambda: world.lab.runs("b1") or world.lab.start("b1"))
    give(world, "b1", vip, "lo")
    if world.family == 4:
        eventually(lambda: world.lab.on("b1", "sysctl", "-n", setting).strip() == "1", "the bridge silences its host", 10)
    equal(starts(world), None, "a start of the balancer beside it")
    world.lab.stop("balancer")
    world.lab.stop("b1")
    # What the bridge did is what makes the difference. IPv6 is never asked for another interface's address.
    equal(world.lab.on("b1", "sysctl", "-n", setting).strip(), "0", "the setting after the bridge")
    complaint = starts(world)
    equal(complaint is not None, world.family == 4, "a start beside a host that answers is refused")
    if complaint:
        true(f"{mac_of(world, 'b1')} answers for it" in world.log_of("balancer", of_this_case=True), "and says who answers")
