"""Hosts that die, hang, leave and return, and ways that break, while 300 new connections a second ask: each request is counted."""

import os
import signal
import time

from cases_health import PATHS, QUICK, Steady, check_services, cut_off, health_of, is_in, log_says, plug_in, share
from harness import SLOW_CASES, case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES

A_SECOND = 300


def crowd(world):
    """The web service is checked, and asked at the full rate; every request is counted."""
    check_services(world, ["web"])
    return world.clean_up.enter_context(Steady(world, rate=A_SECOND))


def note(world, steady, lost, what="lost"):
    taken = sorted(asked[3] for asked in steady.asked if asked[2] == "ok")
    world.notes.append(f"{len(lost)} of {len(steady.asked)} requests {what}, the slowest took {taken[-1]:.2f} s")


def none_lost(world, steady, since=0.0):
    """None of those begun since then has failed."""
    lost = steady.failed(since)
    note(world, steady, lost)
    equal([(f"{began - since:.2f} s", path, outcome) for began, path, outcome, _ in lost], [], "requests that failed")


def out(world, bridge, service="web"):
    eventually(lambda: share(world, bridge, service) == 0,
               lambda: f"{bridge} is not placed: {health_of(world, f'{service}{world.family}')}", seconds=20)


def back(world, bridge):
    eventually(lambda: is_in(world, bridge, "up") and share(world, bridge) > 0, f"{bridge} is placed again", seconds=20)


@case("a bridge stops for three seconds while 300 requests a second come: none is lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    world.clean_up.callback(lambda: world.lab.runs("b2") or world.lab.start("b2"))
    world.lab.stop("b2")
    true("sent back to balancers, for other bridges" in world.log_of("b2", of_this_case=True), "the log tells of the bounces")
    time.sleep(3)
    world.lab.start("b2")
    back(world, "b2")
    none_lost(world, steady)


@case("a bridge is killed while 300 requests a second come: what begins after it is not lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    world.clean_up.callback(lambda: world.lab.runs("b2") or world.lab.start("b2"))
    world.lab.kill("b2")
    killed = time.monotonic()
    # An adopting bridge's kernel program needs nobody.
    if world.lab.mode == "translate":
        out(world, "b2")
    time.sleep(1)
    world.lab.start("b2")
    back(world, "b2")
    none_lost(world, steady, killed)


@case("nginx is killed while 300 requests a second come: what begins after it is not lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    world.clean_up.callback(lambda: world.lab.runs("nginx2") or world.lab.start("nginx2"))
    master = world.lab.pid("nginx2")
    workers = [int(pid) for pid in world.lab.on("b2", "pgrep", "-P", str(master)).split()]
    for pid in (master, *workers):  # the master first: it would replace them
        os.kill(pid, signal.SIGKILL)
    # Until it has ended it accepts, and what it has accepted is lost.
    eventually(lambda: not world.lab.on("b2", "ss", "-Hltn", "sport", "=", ":80"), "nginx has ended")
    killed = time.monotonic()
    out(world, "b2")
    world.lab.start("nginx2")
    world._asked = {}  # a new nginx counts from nothing
    back(world, "b2")
    none_lost(world, steady, killed)


@case("a link is down for five seconds while 300 requests a second come: what begins after it is not lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    world.clean_up.callback(plug_in, world, "b3")
    cut_off(world, "b3")
    cut = time.monotonic()
    time.sleep(5)
    true(is_in(world, "b3", "gone"), "b3 is gone")
    signs = health_of(world, f"web{world.family}")["b3"]["signs"]
    true(signs["openings"] > signs["answers"] > 0 and signs["repeats"] > 0, f"what connections have shown of it: {signs}")
    name = f'splicelb_balancer_bridge_signs_total{{bridge="b3",service="web{world.family}",sign="repeat"}}'
    true(name in world.page("balancer", "/metrics"), f"the metrics have {name}")
    plug_in(world, "b3")
    back(world, "b3")
    none_lost(world, steady, cut)
    slow = sorted(asked[3] for asked in steady.asked if asked[0] >= cut)
    world.notes.append(f"{sum(1 for took in slow if took > 1.5)} took more than 1.5 s")


@case("a link flaps while 300 requests a second come: what begins after its first fall is not lost", cases=SLOW_CASES)
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    world.clean_up.callback(plug_in, world, "b3")
    cut = None
    for _ in range(8):
        cut_off(world, "b3")
        cut = cut or time.monotonic()
        time.sleep(1.5)
        plug_in(world, "b3")
        time.sleep(1.5)
    back(world, "b3")
    lost = steady.failed(cut)
    note(world, steady, lost)
    # What a bridge had taken and not answered when its link fell again is lost: some tens of milliseconds' requests each time.
    true(len(lost) <= 8 * 3, f"requests that failed: {lost[:8]}")


@case("a bridge's network card is replaced without a word while 300 requests a second come: what begins after it is not lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    was = world.lab.on("b2", "cat", "/sys/class/net/eth1/address").strip()
    world.sysctl("b2", "net.ipv4.conf.eth1.arp_notify", 0)
    world.sysctl("b2", "net.ipv6.conf.eth1.ndisc_notify", 0)
    world.clean_up.callback(world.lab.on, "b2", "ip", "link", "set", "eth1", "address", was)
    world.lab.on("b2", "ip", "link", "set", "eth1", "address", "02:00:00:00:be:ef")
    replaced = time.monotonic()
    time.sleep(5)
    # The kernel may take the old one for right for half a minute more: the case does not wait for that.
    world.lab.on("b2", "ip", "link", "set", "eth1", "address", was)
    # This neighbour alone: a packet that waits for another one's address would be answered "no route to host".
    for host in ("balancer", "router"):
        world.lab.on(host, "ip", "neigh", "flush", "to", world.bridge_address("b2"), "dev", "eth1")
    back(world, "b2")
    none_lost(world, steady, replaced)


def nft_ingress(world, host, device, statement):
    """A rule at a device's ingress for the rest of the case, before any bridge or route."""
    table = "lost_on_the_way"
    world.lab.on(host, "nft", f"add table netdev {table}; add chain netdev {table} in {{ type filter hook ingress device {device} "
                 f"priority 0; }}; add rule netdev {table} in {statement}")
    world.clean_up.callback(world.lab.on, host, "nft", f"delete table netdev {table}")


@case("a network clears the mark on the way to one bridge while 300 requests a second come: what begins after it is not lost")
def _(world):
    steady = crowd(world)
    time.sleep(0.5)
    what, to = ("ip dscp", "ip daddr") if world.family == 4 else ("ip6 dscp", "ip6 daddr")
    nft_ingress(world, "segment", "to-balancer", f"{to} {world.bridge_address('b2')} {what} set 0")
    cleared = time.monotonic()
    out(world, "b2")
    time.sleep(1)
    true(log_says(world, "bridge b2 (", "keep the mark"), "the log names the mark among the reasons")
    none_lost(world, steady, cleared)


def firewall(world, steady, target):
    time.sleep(0.5)
    rule = world.rule("b2", "INPUT", "-p tcp --dport 80", target)
    closed = time.monotonic()
    out(world, "b2")
    time.sleep(1)
    true(rule.hits() > 0, "the firewall has met packets")
    none_lost(world, steady, closed)


@case("a firewall before one backend drops while 300 requests a second come: what begins after it is not lost")
def _(world):
    firewall(world, crowd(world), "DROP")


@case("a firewall before one backend rejects while 300 requests a second come: what begins after it is not lost")
def _(world):
    firewall(world, crowd(world), "REJECT")


@case("all bridges are ill and none may serve in panic: HTTP gets a 503 with Retry-After at once, others a RST, until one is back")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web", "greet"], f"{QUICK}, panic_threshold_percent: 0")
    numbers = (1, 2, 3)
    stopped = [f"{kind}{number}" for kind in ("nginx", "greeter") for number in numbers]
    for program in stopped:
        world.clean_up.callback(lambda name=program: world.lab.runs(name) or world.lab.start(name))
        world.lab.stop(program)
    for bridge in BRIDGES:
        out(world, bridge)
        out(world, bridge, "greet")
    answers = world.verdicts()
    sock = world.connect(timeout=5)
    sock.sendall(request("/down"))
    answer = b"".join(iter(lambda: sock.recv(4096), b""))
    true(answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer, f"the answer: {answer[:80]!r}")
    try:
        data = world.connect(port=2525, timeout=5).recv(100)
        raise AssertionError(f"not reset, but {data!r}")
    except ConnectionResetError:
        pass
    now = world.verdicts()
    true(now["answer_no_bridge_503"] > answers["answer_no_bridge_503"], "answer_no_bridge_503 is counted")
    true(now["answer_no_bridge_rst"] > answers["answer_no_bridge_rst"], "answer_no_bridge_rst is counted")
    for program in stopped:
        world.lab.start(program)
    world._asked = {}
    for bridge in BRIDGES:
        back(world, bridge)
    equal(world.owners(PATHS), before, "all keys are where they were")


@case("all bridges are cut off: no client hangs, HTTP gets a 503 with Retry-After, others a RST, until they are back")
def _(world):
    before = world.owners(PATHS)
    check_services(world, ["web", "greet"])
    greeted = world.connect(port=2525, timeout=5)
    true(greeted.recv(100), "a greeting")
    greeted.close()
    with Steady(world, rate=60) as steady:
        for bridge in BRIDGES:
            world.clean_up.callback(plug_in, world, bridge)
            cut_off(world, bridge)
        cut = time.monotonic()
        for bridge in BRIDGES:
            out(world, bridge)
        eventually(lambda: log_says(world, "is silent to its clients, too"), "the log tells that clients have tried in vain")
        told = time.monotonic()
        time.sleep(1)
        waiting = []

        # Who waits for the server's word has nothing to repeat: only openings without an answer tell, of one bridge after
        # the other, for this client is the service's only key.
        def is_reset():
            try:
                waiting.append(world.connect(port=2525, timeout=0.5))
                data = waiting[-1].recv(100)
                raise AssertionError(f"greeted by {data!r}")
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False

        eventually(is_reset, "a client that waits for its server's word is reset", seconds=60)
        mended = time.monotonic()
        for sock in waiting:
            sock.close()
        for bridge in BRIDGES:
            plug_in(world, bridge)
        for bridge in BRIDGES:
            back(world, bridge)
    answered = steady.failed(cut, mended)
    note(world, steady, answered, "answered by the balancer")
    equal([each for each in answered if not each[2].startswith("b'HTTP/1.1 503 ") and each[2] != "ConnectionResetError"], [],
          "requests that were not answered")
    at_once = [took for began, _, _, took in answered if told <= began]
    true(at_once, "requests that begin when all is known")
    world.notes.append(f"of those that began when all was known the slowest was answered in {max(at_once):.3f} s")
    verdicts = world.verdicts()
    true(verdicts["answer_no_bridge_503"] > 0 and verdicts["answer_no_bridge_rst"] > 0, "both answers are counted")
    equal(world.owners(PATHS), before, "all keys are where they were")


def hand_over(world, program):
    """A restart as systemd makes it."""
    os.kill(world.lab.pid(program), signal.SIGUSR1)
    eventually(lambda: not world.lab.runs(program), f"{program} has ended")
    world.lab.start(program)


def only_ebpf(world):
    return None if world.lab.engine == "ebpf" else "the nfqueue engine does not go on without its process"


@case("each daemon hands over to the next while 300 requests a second come: none is lost", requires=only_ebpf)
def _(world):
    kept = world.connect()
    bridge = ask(kept, "/kept").bridge
    world.clean_up.callback(world.repair)
    steady = world.clean_up.enter_context(Steady(world, rate=A_SECOND))
    for program in ("balancer", *BRIDGES):
        time.sleep(0.3)
        hand_over(world, program)
    time.sleep(0.3)
    equal(ask(kept, "/kept").bridge, bridge, "the connection from before")
    none_lost(world, steady)


@case("200 reloads, by signal and by file, while 300 requests a second come: none is lost", cases=SLOW_CASES)
def _(world):
    path = f"{world.lab.run_dir}/balancer.yaml"
    with open(path, encoding="ascii") as file:
        lab = file.read()
    world.edited("balancer.yaml", lambda text: text + "# begins\n")
    kept = world.connect()
    bridge = ask(kept, "/kept").bridge
    steady = world.clean_up.enter_context(Steady(world, rate=A_SECOND))

    def reloads():
        return world.log_of("balancer", of_this_case=True).count("reloaded (")

    for turn in range(100):
        count = reloads()
        os.kill(world.lab.pid("balancer"), signal.SIGHUP)
        eventually(lambda count=count: reloads() > count, "a reload by SIGHUP")
        count = reloads()
        weight = 2 if turn % 2 == 0 else 1
        with open(path, "w", encoding="ascii") as file:
            file.write(lab.replace("name: b3,", f"name: b3, weight: {weight},") + f"# {turn}\n")
        eventually(lambda count=count: reloads() > count, "a reload by the file")
    true(reloads() >= 200, f"{reloads()} reloads")
    equal(ask(kept, "/kept").bridge, bridge, "the connection from before")
    none_lost(world, steady)


@case("the balancer's own address changes: its checks come from the new one, and no bridge is taken for ill")
def _(world):
    check_services(world, ["web"])
    # The old address is a service's, too: the balancer would put it back before it has seen that it was gone.
    own = f"own{world.family} {world.bracketed(world.vip)}:8080"
    world.edited("balancer.yaml", lambda text: text.replace(f'vip: "{world.balancer}"', f'vip: "{world.vip}"'))
    eventually(lambda: own in world.log_of("balancer", of_this_case=True), "no service is at the old address", seconds=10)
    other = {4: "192.168.33.11", 6: "fd33::11"}[world.family]
    prefix = {4: 24, 6: 64}[world.family]
    extra = [] if world.family == 4 else ["nodad"]
    world.sysctl("balancer", "net.ipv4.conf.eth1.promote_secondaries", 1)

    def change(what, address):
        words = extra if what == "add" else []
        world.lab.on("balancer", "ip", "address", what, f"{address}/{prefix}", "dev", "eth1", *words)

    world.clean_up.callback(world.lab.start, "balancer")
    world.clean_up.callback(change, "del", other)
    world.clean_up.callback(change, "add", world.balancer)
    world.clean_up.callback(world.lab.stop, "balancer")
    change("add", other)
    change("del", world.balancer)
    eventually(lambda: "which health checks come from: " in world.log_of("balancer", of_this_case=True), "the log tells", seconds=10)
    true(other in world.log_of("balancer", of_this_case=True), f"checks come from {other}")
    health = health_of(world, f"web{world.family}")
    passed = {bridge: each["checks"]["passed"] for bridge, each in health.items()}
    eventually(lambda: all(each["checks"]["passed"] >= passed[bridge] + 5
                           for bridge, each in health_of(world, f"web{world.family}").items()), "checks pass", seconds=10)
    true(not log_says(world, "is ill"), "no bridge was ill")
