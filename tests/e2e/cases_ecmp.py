"""Three balancers before which a router spreads the packets by their addresses and ports, and spreads them anew: whichever
balancer a packet comes to, it finds its bridge."""

import functools
import json
import re
import shutil
import socket
import time

import harness
from cases_crowds import connect_from
from cases_health import CHECKS, QUICK, cut_off, plug_in, with_checks
from cases_lanes import reloads
from harness import SLOW_CASES, equal, eventually, true
from http_client import Crowd, ask
from traffic import KEPT, Kept, Traffic
from world import BALANCERS, BRIDGES, World

case = functools.partial(harness.case, balancers=3)

TCP_REPAIR = 19  # linux/tcp.h
IDLE_S = 14 * 60
CROWD = 10_000
PROOF_IS_ASKED_AFTER_S = 100


def spread(world, *balancers):
    """The router spreads over these from here on."""
    world.lab.command("spread", ",".join(balancers))


def spread_over_all_afterwards(world):
    world.clean_up.callback(spread, world, *BALANCERS)


def die(world, balancer):
    """Its host is gone, and what it knew. It is back, knowing nothing, when the case ends."""
    world.clean_up.callback(world.lab.start, balancer)
    world.clean_up.callback(plug_in, world, balancer)
    cut_off(world, balancer)
    world.lab.kill(balancer)
    # Its kernel program and its table would outlive it.
    shutil.rmtree(f"{world.lab.run_dir}/bpffs/splicelb{balancer.removeprefix('balancer')}", ignore_errors=True)


def restart(world, program):
    """The next one knows nothing of the flows."""
    world.lab.stop(program)
    world.lab.start(program)


def by_lanes(world, *balancers):
    """Packets that these have sent on by their timestamps alone, since they started."""
    return sum(world.verdicts(balancer)["forward_lane"] for balancer in balancers)


def service(world, balancer):
    """Of the balancer's API: the web service."""
    status = json.loads(world.page(balancer, "/status"))
    return next(each for each in status["services"] if each["name"] == f"web{world.family}")


def reload(world, program, name, edit):
    """A file of the program's becomes edit(its text), and the program has taken it up."""
    before = reloads(world, program)
    world.rewrite(name, edit)
    eventually(lambda: reloads(world, program) > before, f"{program} has read {name}", 10)


@case("ECMP: a balancer dies with its table: no request, no kept-alive connection and no download is lost")
def _(world):
    spread_over_all_afterwards(world)
    before = by_lanes(world, "balancer", "balancer3")
    with Traffic(world) as traffic:
        die(world, "balancer2")
        spread(world, "balancer", "balancer3")
        traffic.goes_on("over the two others")
    traffic.check()
    true(by_lanes(world, "balancer", "balancer3") > before, "some went by their lanes")


@case("ECMP: a balancer is added, and flows move to it that it has never seen: nothing is lost")
def _(world):
    spread_over_all_afterwards(world)
    spread(world, "balancer", "balancer3")
    before = by_lanes(world, *BALANCERS)
    with Traffic(world) as traffic:
        spread(world, *BALANCERS)
        traffic.goes_on("over all three")
    traffic.check()
    true(by_lanes(world, *BALANCERS) > before, "some went by their lanes")


@case("ECMP: a balancer comes back with another placement: flows that move find their own bridges, and nothing is lost")
def _(world):
    spread_over_all_afterwards(world)
    world.clean_up.callback(restart, world, "balancer2")
    with Traffic(world) as traffic:
        spread(world, "balancer", "balancer3")
        traffic.goes_on("over the two others")
        world.edited("balancer2.yaml", lambda text: text.replace("key: uri }", "key: uri, algorithm: maglev }")
                     .replace("name: b3,", "name: b3, weight: 3,"))
        restart(world, "balancer2")
        spread(world, *BALANCERS)
        traffic.goes_on("over all three")
    traffic.check()
    true(by_lanes(world, "balancer2") > 0, "some went by their lanes")


@case("ECMP: all three balancers restart one after the other, in their places: nothing is lost")
def _(world):
    with Traffic(world) as traffic:
        for balancer in BALANCERS:
            restart(world, balancer)
            traffic.goes_on(f"after {balancer}")
    traffic.check()
    lanes = [by_lanes(world, balancer) for balancer in BALANCERS]
    true(min(lanes) > 0, f"some went by their lanes at each: {lanes}")


def without_b3(text):
    return re.sub(r"      - \{ name: b3,.*\n", "", text)


@case("ECMP: a bridge is added at one balancer after the other while flows move between them: nothing is lost")
def _(world):
    spread_over_all_afterwards(world)
    before = {}
    for balancer in BALANCERS:
        before[balancer] = world.edited(f"{balancer}.yaml", without_b3)
        eventually(lambda name=balancer: len(service(world, name)["bridges"]) == 2, f"{balancer} knows two bridges")
    with Traffic(world) as traffic:
        reload(world, "balancer", "balancer.yaml", lambda _: before["balancer"])
        spread(world, "balancer")
        # Those of b3 begin here, and move to balancers that do not know it yet.
        later = Kept(world)
        later.start()
        world.clean_up.callback(later.stop)
        eventually(lambda: later.rounds >= 2, "the later connections are answered", 30)
        spread(world, *BALANCERS)
        eventually(lambda: sum(world.verdicts(name)["drop_lane_unknown"] for name in BALANCERS[1:]) > 0,
                   "packets for a bridge that is not known yet", 20)
        for balancer in BALANCERS[1:]:
            reload(world, balancer, f"{balancer}.yaml", lambda _, name=balancer: before[name])
        traffic.goes_on("with the third bridge")
        spread(world, "balancer2", "balancer3")
        traffic.goes_on("over two balancers")
        rounds = later.rounds
        eventually(lambda: later.rounds >= rounds + 2 or later.lost, "the later connections go on", 30)
    traffic.check()
    later.check(world)
    equal({bridge for bridges in later.bridges for bridge in bridges}, set(BRIDGES), "bridges of the later connections")


def ends_with_rst(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def vanishes(sock):
    """As of a client that loses its power: nobody hears of it."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    sock.close()


def ends_after_server(sock):
    """The server's socket is in TIME_WAIT."""
    true(ask(sock, "/again/last", "Connection: close").status == 200, "the last answer")
    equal(sock.recv(1), b"", "after which the server closes")
    sock.close()


def use_ports_anew(world, ports, end, meanwhile=lambda: None):
    """Connections from these ports go by one balancer, end by way of the second, and are followed there by others of another
    bridge, which then move to the first: that has entries of the earlier ones, for open connections."""
    spread_over_all_afterwards(world)
    paths = {world.bridge_of(path): path for path in (f"/again/{number}" for number in range(60))}
    equal(set(paths), set(BRIDGES), "paths of every bridge")

    def connections():
        return {port: connect_from(world, port) for port in ports}

    def check(socks, bridge):
        for port, sock in socks.items():
            sock.settimeout(20)
            answer = ask(sock, paths[bridge])
            equal((answer.status, answer.bridge), (200, bridge), f"status and bridge of the connection from port {port}")

    spread(world, "balancer")
    first = connections()
    check(first, "b1")
    spread(world, "balancer2")
    for sock in first.values():
        end(sock)
    meanwhile()
    second = connections()
    check(second, "b2")
    for balancer in ("balancer", "balancer3", "balancer"):
        spread(world, balancer)
        check(second, "b2")


@case("ECMP: a port used anew by way of another balancer comes back to the first, whose entry names a bridge that knows nothing")
def _(world):
    before = world.verdicts()["forward_not_mine"]
    # A bridge that translates would remember for a while what a RST has ended.
    use_ports_anew(world, range(9010, 9020), ends_with_rst, meanwhile=lambda: restart(world, "b1"))
    true(world.verdicts()["forward_not_mine"] >= before + 10, "bounced by the bridge of the entry, sent on to the lane's")


@case("ECMP: a port used anew after a RST, which the bridge of its last connection remembers, comes back to the first balancer")
def _(world):
    use_ports_anew(world, range(9040, 9050), ends_with_rst)


@case("ECMP: a port used anew while the bridge of its last connection is in TIME_WAIT comes back to the first balancer")
def _(world):
    use_ports_anew(world, range(9020, 9030), ends_after_server)


@case("ECMP: a port used anew while the bridge of its last connection takes that for open comes back to the first balancer")
def _(world):
    use_ports_anew(world, range(9030, 9040), vanishes)


@case("ECMP: a backend that refuses is ill for each balancer, and up again for each")
def _(world):
    name = f"web{world.family}"

    def state(balancer):
        health = next(each for each in service(world, balancer)["bridges"] if each["name"] == "b2")["health"]
        return health and health["state"]

    def eventually_all(wanted):
        eventually(lambda: all(state(balancer) == wanted for balancer in BALANCERS),
                   lambda: f"b2 is {wanted} for each: { {balancer: state(balancer) for balancer in BALANCERS} }", 30)

    for balancer in BALANCERS:
        world.edited(f"{balancer}.yaml", lambda text: with_checks(text, {name: CHECKS["web"]}, QUICK))
    eventually_all("up")
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    world.lab.stop("nginx2")
    # A balancer to which the bounce of another's check came would have another bridge answer for it.
    eventually_all("ill")
    world.lab.start("nginx2")
    eventually_all("up")


def without_lane(text):
    return re.sub(r"lane .*\n", "", text)


def without_numbers(text):
    return re.sub(r", number: \d+ }", " }", re.sub(r"^number: \d+\n", "", text, flags=re.MULTILINE))


def upgrade(world):
    """From a fleet without lane line and numbers to one with both, a host at a time. Under way nothing is lost."""
    programs = [*world.lab.balancers, *BRIDGES]
    before = {}
    for files, edit in (([f"{name}.yaml" for name in programs], without_numbers),
                        ([f"{name}.secret" for name in programs], without_lane)):
        for program, name in zip(programs, files):
            count = reloads(world, program)
            before[name] = world.edited(name, edit)
            eventually(lambda: reloads(world, program) > count, f"{program} has read {name}", 10)
    with Traffic(world) as traffic:
        for step in ([(name, "secret") for name in (*BRIDGES, *world.lab.balancers)], [(name, "yaml") for name in BRIDGES],
                     [(name, "yaml") for name in world.lab.balancers]):
            for program, kind in step:
                reload(world, program, f"{program}.{kind}", lambda _: before[f"{program}.{kind}"])
            traffic.goes_on(f"after {step}")
    traffic.check()


@case("ECMP: the order of an upgrade: lane line, bridges' numbers, balancers': nothing is lost, and then flows may move")
def _(world):
    spread_over_all_afterwards(world)
    upgrade(world)
    with Traffic(world) as traffic:
        spread(world, "balancer2", "balancer3")
        traffic.goes_on("over two balancers")
    traffic.check()
    true(by_lanes(world, "balancer2", "balancer3") > 0, "some went by their lanes")


@case("ECMP: after an upgrade balancers begin to ask first payloads for the clock's proof, and every request has it",
      cases=SLOW_CASES)
def _(world):
    upgrade(world)
    with Traffic(world) as traffic:
        time.sleep(PROOF_IS_ASKED_AFTER_S)
        traffic.goes_on("when the proof is asked for")
    traffic.check()
    equal([world.verdicts(name)["drop_bad_clock"] for name in BALANCERS], [0, 0, 0], "first payloads refused")


def only_ipv4(world):
    return None if world.family == 4 else "the case of IPv4 waits with connections of both families"


@case("ECMP: connections that were idle for 14 minutes find their bridges by balancers that know nothing", only_ipv4,
      cases=SLOW_CASES)
def _(world):
    crowds = {}
    for family in (4, 6):
        other = World(world.lab, family)
        other.clean_up = world.clean_up
        crowds[family] = Crowd(other, KEPT)
        crowds[family].connect()
    first = {family: all_answered(crowd, 30) for family, crowd in crowds.items()}
    time.sleep(IDLE_S)
    for balancer in BALANCERS:
        restart(world, balancer)
    for family, crowd in crowds.items():
        equal(all_answered(crowd, 30), first[family], f"the bridges of connections over IPv{family}")
    world.notes.append(f"0 of {2 * KEPT} lost")


def all_answered(crowd, seconds):
    """Each connection's bridge."""
    answers = crowd.ask(lambda index: f"/idle/{index}", seconds)
    complaints = list(crowd.complaints.values())
    true(not complaints, f"lost: {len(complaints)} of {len(answers)}: {complaints[:5]}")
    equal({answer.status for answer in answers}, {200}, "statuses")
    return [answer.bridge for answer in answers]


@case("ECMP: 10,000 kept-alive connections outlive the tables of all three balancers", cases=SLOW_CASES)
def _(world):
    crowd = Crowd(world, CROWD)
    for start in range(0, CROWD, 1000):
        for sock in crowd.members[start:start + 1000]:
            sock.connect_ex(crowd.target)
    first = all_answered(crowd, 60)
    for balancer in BALANCERS:
        restart(world, balancer)
    began = time.monotonic()
    equal(all_answered(crowd, 60), first, "the bridges of the connections")
    world.notes.append(f"0 of {CROWD} lost, all answered within {time.monotonic() - began:.1f} s; "
                       f"{by_lanes(world, *BALANCERS)} packets by their lanes")
