"""First payloads as networks and odd clients cut, mix and lose them."""

import itertools
import random
import socket

from harness import case, equal, eventually, true
from http_client import ask, parse, read_response, request
from raw_tcp import ACK, FIN, PSH, Connection
from world import BRIDGES

PATH = "/cut/here?x=1"


def answered(connection):
    return parse(connection.stream)


def check(world, response, path=PATH):
    equal(response.status, 200, "status")
    equal(response.body.split()[3].decode(), path, "the request target that nginx saw")
    equal(response.bridge, world.bridge_of(path), "the bridge")


class Pieces:
    """Checks answers to requests that come in pieces. A piece that this machine sent later than first_payload_wait lets the
    client's address choose: the balancer has counted that, and the case says how often."""

    def __init__(self, world):
        self._world, self._late, self._excused = world, world.late_first_payloads(), 0

    def check(self, response, path=PATH):
        try:
            return check(self._world, response, path)
        except AssertionError:
            late = self._world.late_first_payloads()
            if response.status != 200 or late == self._late:
                raise
            self._late = late
        equal(response.body.split()[3].decode(), path, "the request target that nginx saw")
        self._excused += 1
        self._world.notes[:] = [f"{self._excused} requests' pieces came too late on this machine"]
        return None


@case("a request cut in two at every byte gets its URL's bridge")
def _(world):
    whole, pieces = request(PATH), Pieces(world)
    for cut in range(1, len(whole)):
        sock = world.connect(nagle=False)
        sock.sendall(whole[:cut])
        sock.sendall(whole[cut:])
        try:
            pieces.check(read_response(sock))
        except AssertionError as failure:
            raise AssertionError(f"cut after byte {cut}: {failure}") from failure
        sock.close()


@case("a request sent byte by byte without Nagle's algorithm gets its URL's bridge")
def _(world):
    pieces = Pieces(world)
    sock = world.connect(nagle=False)
    whole = request(PATH)
    for at in range(len(whole)):
        sock.send(whole[at:at + 1])
    pieces.check(read_response(sock))


@case("a request sent byte by byte with Nagle's algorithm is answered, by the client's address if need be")
def _(world):
    bridges = set()
    for _ in range(3):
        sock = world.connect(nagle=True)
        whole = request(PATH)
        for at in range(len(whole)):
            sock.send(whole[at:at + 1])
        response = read_response(sock)
        equal((response.status, response.body.split()[3].decode()), (200, PATH), "status and target")
        bridges.add(response.bridge)
    equal(len(bridges), 1, "bridges that one client's address got")


LONG_PATH = "/cut/" + "long" * 24  # longer than any of the segments below


def send_in_pieces(world, count, choose_orders):
    """The request in `count` segments, in each order that choose_orders() gives; yields order and response."""
    whole = request(LONG_PATH)
    cuts = [len(whole) * n // count for n in range(count + 1)]
    pieces = [(start, whole[start:end]) for start, end in zip(cuts, cuts[1:])]
    for pieces_in_order in choose_orders(list(itertools.permutations(pieces))):
        connection = Connection(world, timestamps=count % 2 == 0, sack=count % 2 == 0)
        connection.handshake()

        def send_all():
            for start, piece in pieces_in_order:
                connection.send(ACK | PSH, start, piece)

        send_all()
        connection.read_until(answered, len(whole), resend=send_all)
        yield [start for start, _ in pieces_in_order], answered(connection)[0]
        connection.close(len(whole))


@case("a request in 2 to 5 segments, in any order, gets its URL's bridge")
def _(world):
    cut = Pieces(world)
    for count in range(2, 6):
        def orders(permutations):
            return random.Random(5).sample(permutations, min(12, len(permutations)))
        for order, response in send_in_pieces(world, count, orders):
            try:
                cut.check(response, LONG_PATH)
            except AssertionError as failure:
                raise AssertionError(f"segments in the order of {order}: {failure}") from failure


def only_ipv6(world):
    return None if world.family == 6 else "IPv4 has no fragment header of its own"


@case("a client whose every packet has a fragment header, and is whole, is served as any", requires=only_ipv6)
def _(world):
    whole = request(LONG_PATH)
    # On a host with connection tracking, too, which takes fragments before anybody else.
    for tracked in (False, True):
        if tracked:
            for bridge in BRIDGES:
                world.rule(bridge, "INPUT", "-m conntrack --ctstate NEW", "ACCEPT")
        for cuts in ([0, len(whole)], [0, 40, len(whole)]):
            connection = Connection(world, timestamps=True, sack=True, window_scale=7, atomic_fragments=True)
            connection.handshake()

            def send_all():
                for start, end in zip(cuts, cuts[1:]):
                    connection.send(ACK | PSH, start, whole[start:end])

            send_all()
            connection.read_until(answered, len(whole), resend=send_all)
            check(world, answered(connection)[0], LONG_PATH)
            again = request(PATH)
            connection.send(ACK | PSH, len(whole), again)
            connection.read_until(lambda c: parse(answered(c)[1]), len(whole) + len(again))
            connection.close(len(whole) + len(again))


@case("overlapping and repeated segments of a request give one request")
def _(world):
    whole = request(PATH)
    connection = Connection(world)
    connection.handshake()
    for start, end in ((0, 10), (0, 10), (5, 20), (0, 20), (15, len(whole)), (0, len(whole))):
        connection.send(ACK | PSH, start, whole[start:end])
    connection.read_until(answered, len(whole))
    check(world, answered(connection)[0])
    # Its own answer comes after anything that the copies could have led to.
    again = request("/after")
    connection.send(ACK | PSH, len(whole), again)
    connection.read_until(lambda c: parse(answered(c)[1]), len(whole) + len(again))
    equal(parse(answered(connection)[1])[0].body.split()[3].decode(), "/after", "the second answer's target")
    whole += again
    connection.close(len(whole))


@case("the first payload without the handshake's last ACK before it opens the connection")
def _(world):
    whole = request(PATH)
    connection = Connection(world, timestamps=True)
    connection.handshake(final_ack=False)
    connection.send(ACK | PSH, 0, whole)
    connection.read_until(answered, len(whole))
    check(world, answered(connection)[0])
    connection.close(len(whole))


@case("a FIN with the first payload: the request is answered and the connection ends")
def _(world):
    whole = request(PATH, "Connection: close")
    connection = Connection(world)
    connection.handshake()
    connection.send(ACK | PSH | FIN, 0, whole)
    connection.read_until(lambda c: c.finished or c.reset, len(whole) + 1)
    check(world, answered(connection)[0])
    true(connection.finished, "the server ended it with a FIN")


@case("data on the SYN is not acknowledged, and accepted when it comes again")
def _(world):
    whole = request(PATH)
    connection = Connection(world)
    connection.handshake(syn_payload=whole)  # checks that only the SYN is acknowledged
    connection.send(ACK | PSH, 0, whole)
    connection.read_until(answered, len(whole))
    check(world, answered(connection)[0])
    connection.close(len(whole))


@case("the SYN-ACK mirrors what the client offered and nothing else")
def _(world):
    for timestamps, sack, window_scale in itertools.product((False, True), (False, True), (None, 0, 9)):
        connection = Connection(world, timestamps, sack, window_scale)
        answer = connection.handshake()
        offered = (timestamps, sack, window_scale is not None)
        equal((answer.option(8) is not None, answer.option(4) is not None, answer.option(3) is not None), offered,
              "timestamps, SACK and window scale in the SYN-ACK")
        true(answer.option(2) is not None, "the SYN-ACK has an MSS")
        whole = request(PATH)
        connection.send(ACK | PSH, 0, whole)
        connection.read_until(answered, len(whole))
        check(world, answered(connection)[0])
        connection.close(len(whole))


@case("a lost SYN-ACK is repaired by the client's SYN")
def _(world):
    lost = world.drop_first("router", "FORWARD", f"-s {world.vip} -p tcp --sport 80 --tcp-flags SYN,ACK SYN,ACK")
    check(world, ask(world.connect(), PATH))
    equal(lost.hits(), 1, "SYN-ACKs lost")


@case("a client that connects ahead of time and probes its connection is kept, and asks later")
def _(world):
    sock = world.connect()
    before = world.verdicts()["answer_keep_alive"]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Without answers the client's kernel would end the connection at its third probe.
    eventually(lambda: world.verdicts()["answer_keep_alive"] - before >= 4, "four answered probes", 30)
    check(world, ask(sock, PATH))


@case("a first payload lost before the balancer is repaired by the client")
def _(world):
    lost = world.drop_first("router", "FORWARD", f"-d {world.vip} -p tcp --dport 80 -m length --length 85:2000")
    check(world, ask(world.connect(), PATH))
    equal(lost.hits(), 1, "first payloads lost")


@case("a first payload lost between balancer and bridge is repaired by the client")
def _(world):
    bridge = world.bridge_of(PATH)
    # On the wire: kernel programs see a packet before any rule of the host that it arrives at.
    world.sysctl("segment", f"net.bridge.bridge-nf-call-{world.iptables}", 1)
    lost = world.drop_first("segment", "FORWARD", f"-d {world.bridge_address(bridge)} -p tcp --dport 80 "
                            f"-m dscp --dscp {world.dscp} -m length --length 85:2000")
    check(world, ask(world.connect(), PATH))
    equal(lost.hits(), 1, "first payloads lost")


def only_translate(world):
    return None if world.lab.mode == "translate" else "adoption replays no handshake"


@case("a lost replay SYN is repaired by the client's retransmission", requires=only_translate)
def _(world):
    bridge = world.bridge_of(PATH)
    lost = world.drop_first(bridge, "INPUT", f"-i lo -d {world.backend_address(bridge)} -p tcp --dport 80 --syn")
    check(world, ask(world.connect(), PATH))
    equal(lost.hits(), 1, "replay SYNs lost")


@case("a lost first segment of the response is repaired by the backend")
def _(world):
    lost = world.drop_first("router", "FORWARD", f"-o eth0 -s {world.vip} -p tcp --sport 80 -m length --length 150:2000")
    check(world, ask(world.connect(), PATH))
    equal(lost.hits(), 1, "responses lost")
