"""What nobody well-meaning sends, and what is none of our business."""

import random

from harness import case, equal, eventually, true
from http_client import ask, request
from raw_tcp import ACK, FIN, PSH, RST, SYN, Connection, Sender, packet
from world import BRIDGES, Rule


def accepted(world):
    """Connections that the backends have accepted, once those are among them that bridges open by themselves at their start."""
    for bridge in BRIDGES:
        eventually(lambda: "own test: " in world.log_of(bridge), f"{bridge} has tried its hooks", 30)
    return sum(world.accepted(bridge) for bridge in BRIDGES)


@case("random bytes as first payload reach a backend, which refuses them, and harm nobody")
def _(world):
    rng = random.Random(7)
    for size in (1, 2, 17, 200, 1400, 5000, 20000):
        sock = world.connect()
        sock.sendall(bytes([rng.choice(b"\x00\x16\x80\xff{")]) + rng.randbytes(size - 1) + b"\r\n\r\n")
        try:
            answer = sock.recv(4096)
        except ConnectionResetError:
            continue  # nginx closed with bytes of ours unread
        true(answer == b"" or b"400 Bad Request" in answer, f"{size} bytes were answered with {answer[:40]!r}")
        sock.close()
    equal(ask(world.connect(), "/after/garbage").status, 200, "a request afterwards")


@case("forged cookies sent straight to a bridge open nothing")
def _(world):
    rng = random.Random(11)
    sender = Sender(world)
    before = accepted(world)
    for bridge in BRIDGES:
        target = world.bridge_address(bridge)
        for n in range(200):
            flags = rng.choice((ACK | PSH, ACK, ACK | PSH | FIN, SYN, SYN | ACK, RST | ACK))
            payload = request("/forged") if flags & PSH else b""
            sender.send(packet(world.client, target, 9100 + n % 50, 80, rng.getrandbits(32), rng.getrandbits(32), flags,
                               payload, dscp=world.dscp), target)
    equal(ask(world.connect(), "/after/forging").status, 200, "a request afterwards")
    opened = accepted(world) - before
    equal(opened, 1, "connections that the backends accepted")
    for bridge in BRIDGES:
        states = world.lab.on(bridge, "ss", "-Htan", "state", "syn-recv")
        true(":91" not in states, f"half-open connections at {bridge}: {states}")


@case("while cookies are guessed from a client's address, it is served with timestamps, and without from the next second on")
def _(world):
    rng = random.Random(17)
    sender = Sender(world)

    def guess(count):
        for n in range(count):
            sender.send(packet(world.client, world.vip, 9400 + n % 100, 80, rng.getrandbits(32), rng.getrandbits(32), ACK | PSH,
                               request("/guessed")), world.vip)

    for _ in range(10):
        guess(100)
        equal(ask(world.connect(), "/with/timestamps").status, 200, "a request with timestamps, among guesses")
    # What is guessed in one second counts in that second, so a turn may fall between two.
    asked = request("/without/timestamps")
    for _ in range(30):
        bare = Connection(world)
        bare.handshake()
        guess(100)
        bare.send(ACK | PSH, payload=asked)
        if not bare.receive(0.3):
            break
        bare.close(len(asked))
    true(world.verdicts()["drop_guess_budget"] > 0, f"a first payload without timestamps was refused: {world.verdicts()}")
    eventually(lambda: "cookies are being guessed: one address" in world.log_of("balancer"), "the log tells", 15)
    page = world.page("balancer", "/metrics")
    true('splicelb_balancer_cookie_guess_budgets_exhausted_total{scope="source"} 0' not in page, "the address's budget was used up")
    true('splicelb_balancer_cookie_guess_budgets_exhausted_total{scope="all"} 0' in page, "the budget of all was not")
    # It asks again, as any client does, when nobody guesses any more.
    bare.read_until(lambda is_: is_.stream.startswith(b"HTTP/1.1 200"), len(asked),
                    resend=lambda: bare.send(ACK | PSH, payload=asked))
    bare.close(len(asked))


@case("a bridge that is told its balancers believes the marks of nobody else")
def _(world):
    balancer = world.lab.on("balancer", "cat", "/sys/class/net/eth1/address").strip()
    own = world.balancer
    stranger = "02:00:00:00:be:ef"

    def tell(balancers):
        before = world.log_of("b1").count("reloaded (")
        world.rewrite("b1.yaml", lambda text: "".join(line for line in text.splitlines(True) if not line.startswith("balancers:")) if balancers is None
                      else f"balancers: {balancers}\n" + "".join(line for line in text.splitlines(True) if not line.startswith("balancers:")))
        eventually(lambda: world.log_of("b1").count("reloaded (") > before, lambda: f"a reload: {world.log_of('b1')[-300:]}", 15)

    def dropped():
        name = 'splicelb_bridge_packets_total{verdict="drop_not_balancer"} '
        return sum(int(float(line[len(name):])) for line in world.page("b1", "/metrics").splitlines() if line.startswith(name))

    def asked():
        return [ask(world.connect(), f"/told/{n}", "Connection: close").bridge for n in range(30)]

    world.clean_up.callback(tell, None)
    before = dropped()
    for balancers in (f"['{balancer}']", f"['{own}']"):
        tell(balancers)
        true("b1" in asked(), "requests that the balancer sends to the bridge")
        equal(dropped(), before, "packets of others")
    tell(f"['{stranger}']")
    # Its share is passed over only after checks, or not at all: what counts here is that its packets end.
    sender = Sender(world)
    target = world.bridge_address("b1")
    for port in range(9250, 9260):
        sender.send(packet(world.client, target, port, 80, 1, 2, ACK | PSH, b"x", dscp=world.dscp), target)
    eventually(lambda: dropped() >= before + 10, lambda: f"marked packets of others, of 10: {dropped() - before}")


@case("marked packets to a bridge do not reach the host's own service")
def _(world):
    sender = Sender(world)
    target = world.bridge_address("b1")
    seen = world.rule("b1", "INPUT", f"-i eth1 -d {target} -p tcp --dport 80 -m dscp --dscp {world.dscp}", "ACCEPT")
    for port in range(9200, 9220):
        sender.send(packet(world.client, target, port, 80, 1, 0, SYN, dscp=world.dscp), target)
    equal(ask(world.connect(), "/after/marked").status, 200, "a request afterwards")
    equal(seen.hits(), 0, "marked packets that came to the host's sockets")


@case("a bridge host's own service at the bridge's address is untouched")
def _(world):
    for bridge in BRIDGES:
        for _ in range(3):
            body = world.curl(world.url("/", world.bridge_address(bridge)))
            equal(body.strip(), f"own service of {bridge}", "the answer")


@case("a backend asked directly answers as if there were no bridge")
def _(world):
    for bridge in BRIDGES:
        # A port of its own: at the backend it would else be that of some connection that came through the VIP.
        response = ask(world.connect(world.backend_address(bridge), source_port=9006), "/direct")
        equal((response.status, response.bridge, response.remote), (200, bridge, world.client), "the answer")


@case("packets to the VIP that begin nothing open nothing and are not answered by the host")
def _(world):
    sender = Sender(world)
    answers = world.rule("client", "INPUT", f"-s {world.vip} -p tcp --dport 9300:9399", "DROP")
    before = accepted(world)
    rng = random.Random(13)
    for port in range(9300, 9400):
        for flags in (ACK, ACK | PSH, FIN | ACK, SYN | FIN, SYN | RST, 0, FIN | PSH):
            sender.send(packet(world.client, world.vip, port, 80, rng.getrandbits(32), rng.getrandbits(32), flags,
                               b"x" if flags & PSH else b""), world.vip)
    equal(ask(world.connect(), "/after/strays").status, 200, "a request afterwards")
    equal(accepted(world) - before, 1, "connections that the backends accepted")
    equal(answers.hits(), 0, "answers")


@case("a flood of SYNs is answered and forgotten")
def _(world):
    sender = Sender(world)
    dropped = world.interface_count("balancer", "dropped")
    answers = world.rule("client", "INPUT", f"-s {world.vip} -p tcp --dport 9400:9499 --tcp-flags SYN,ACK SYN,ACK", "DROP")
    for n in range(5000):
        sender.send(packet(world.client, world.vip, 9400 + n % 100, 80, n * 7919, 0, SYN), world.vip)
    equal(ask(world.connect(), "/after/flood").status, 200, "a request afterwards")

    # What the balancer's interface dropped, because its reader was late, nobody could answer.
    def missing():
        return 5000 - answers.hits() - (world.interface_count("balancer", "dropped") - dropped)

    eventually(lambda: missing() <= 0, lambda: f"of 5000 SYNs {answers.hits()} were answered, {missing()} are missing", 30)


def bridge_counts(world, bridge, verdict):
    page = world.page(bridge, "/metrics")
    line = next(line for line in page.splitlines() if f'verdict="{verdict}"' in line)
    return int(float(line.split()[-1]))


def kernel_bridge(world):
    return None if world.lab.engine == "ebpf" else "the nfqueue engine's rules bring it marked packets only"


@case("a network that clears or changes the mark is told in the bridge's log, and what it did is over when it ends",
      requires=kernel_bridge)
def _(world):
    bridge = world.bridge_of("/marks")
    world.sysctl("segment", f"net.bridge.bridge-nf-call-{world.iptables}", 1)
    for dscp, verdict in ((0, "pass_mark_lost"), (40, "pass_mark_of_no_service")):
        before = bridge_counts(world, bridge, verdict)
        with Rule(world, "segment", "mangle", "FORWARD", f"-d {world.bridge_address(bridge)} -p tcp --dport 80",
                  f"DSCP --set-dscp {dscp}"):
            sock = world.connect()
            sock.sendall(request("/marks"))
            # The bridge looks at a sample, the client repeats itself. A line is written once a minute.
            eventually(lambda: bridge_counts(world, bridge, verdict) > before and verdict in world.log_of(bridge),
                       f"{bridge} counts {verdict}, and says so in its log", 30)
            sock.close()
    equal(ask(world.connect(), "/marks").bridge, bridge, "the bridge afterwards")
