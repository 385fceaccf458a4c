"""What the kernel's programs must survive: handing over, ports and backends under pressure, a flood."""

import concurrent.futures
import errno
import os
import socket
import subprocess
import threading
import time

import client_crowd
from cases_restart import Download, only_ebpf, works
from harness import SLOW_CASES, case, equal, eventually, true
from http_client import Crowd, ask
from world import BRIDGES, BUILD, PROGRAMS


def restart(world, program):
    if world.lab.runs(program):
        world.lab.stop(program)
    world.lab.start(program)


@case("with --keep a new process takes over in the middle of three downloads", requires=only_ebpf)
def _(world):
    with open(world.fastpath_file(), "rb") as file:
        wanted = file.read(Download.SIZE)
    for program in PROGRAMS:
        world.clean_up.callback(restart, world, program)  # once more without it, which cleans up
        world.edited(f"{program}.yaml", lambda text: text + "keep: true\n")
        restart(world, program)
    for program in PROGRAMS:
        downloads = [Download(world) for _ in range(3)]
        for download in downloads:
            download.read_to(1 << 20)
        world.lab.stop(program)
        for download in downloads:
            download.read_to(12 << 20)
        world.lab.start(program)
        for download in downloads:
            download.read_to(Download.SIZE)
            true(bytes(download.body) == wanted, f"the bytes, {program} replaced meanwhile")
        works(world)


@case("a client that uses its few ports again and again, the server closing first, never stalls")
def _(world):
    ports = 500
    world.sysctl("client", "net.ipv4.ip_local_port_range", f"30000 {30000 + ports - 1}")
    world.sysctl("client", "net.ipv4.tcp_tw_reuse", "1")
    unconnected = []  # an entry for each time

    def connect():
        try:
            return world.connect()
        except OSError as error:
            # The client's kernel gives a port again when its last connection has ended on both sides. That it has none
            # at this moment says how busy the machine is; no packet was sent. A port that never ends fails the case.
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            unconnected.append(error)
            return None

    def one(n):
        sock = eventually(connect, "the client has a free port", seconds=30)
        response = ask(sock, f"/few/{n}", "Connection: close")
        equal((response.status, response.body.split()[3]), (200, f"/few/{n}".encode()), f"request {n}")
        equal(sock.recv(100), b"", "after the response the server closes")
        sock.close()

    with concurrent.futures.ThreadPoolExecutor(16) as clients:
        list(clients.map(one, range(4 * ports)))  # raises what one of them raised
    if unconnected:
        world.notes.append(f"the client itself had no free port {len(unconnected)} times, and waited")


def listen_overflows(world, host):
    names, values = [line.split() for line in world.lab.on(host, "cat", "/proc/net/netstat").splitlines()
                     if line.startswith("TcpExt:")]
    return int(values[names.index("ListenOverflows")])


class LateServer:
    """In nginx's place: room for one or two connections, and for a second it accepts none."""

    def __init__(self, world, bridge):
        with world.lab.inside(bridge):
            self._listener = socket.socket(world.af, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((world.backend_address(bridge), 80))
        self._listener.listen(1)
        self._listener.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        world.clean_up.callback(self._end)

    def _serve(self):
        self._ends.wait(1.0)
        while not self._ends.is_set():
            try:
                sock = self._listener.accept()[0]
            except TimeoutError:
                continue
            with sock:
                sock.settimeout(5)
                try:
                    target = sock.recv(4096).split()[1]
                    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
                except (OSError, IndexError):
                    continue  # the client's side of the case says what is missing

    def _end(self):
        self._ends.set()
        self._thread.join()
        self._listener.close()


@case("a full accept queue loses no connection: each opens when there is room")
def _(world):
    path = "/late"
    bridge = world.bridge_of(path)
    nginx = f"nginx{bridge[1]}"
    world.lab.stop(nginx)
    world.clean_up.callback(world.lab.start, nginx)
    LateServer(world, bridge)
    before = listen_overflows(world, bridge)
    # Few: they retransmit at the same moments, ever farther apart, and each time only some find room.
    crowd = Crowd(world, 6)
    crowd.connect()
    bodies = [response and response.body for response in crowd.ask(lambda _: path, 30)]
    equal(bodies, [path.encode()] * 6, "the answers")
    true(listen_overflows(world, bridge) > before, "the queue was full")


@case("nginx with reuseport: both workers of each backend get connections")
def _(world):
    for number in (1, 2, 3):
        nginx = f"nginx{number}"
        world.clean_up.callback(restart, world, nginx)
        world.edited(f"b{number}/nginx.conf",
               lambda text: text.replace("worker_processes 1;", "worker_processes 2;")
               .replace("backlog=8192;", "backlog=8192 reuseport;")
               .replace("add_header X-Bridge", "add_header X-Worker $pid always;\n        add_header X-Bridge"))
        restart(world, nginx)
    workers = {}
    for n in range(120):
        response = ask(world.connect(), f"/worker/{n}")
        equal(response.status, 200, f"status of request {n}")
        workers.setdefault(response.bridge, set()).add(response.headers["x-worker"])
    equal({bridge: len(pids) for bridge, pids in sorted(workers.items())}, {"b1": 2, "b2": 2, "b3": 2}, "workers")


def memory_of(pid):
    """Bytes of a process's own that are in memory, not those of its files and maps."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("Anonymous:"))


def needs_ebpf(world):
    return None if world.lab.engine == "ebpf" else "the nfqueue engine sees each packet in user space"


@case("200 of 200 requests succeed in the middle of a million SYNs a second", requires=needs_ebpf)
def _(world):
    flood = client_crowd.before_balancer(world)
    before, memory = world.verdicts(), memory_of(world.lab.pid("balancer"))
    dropped = world.interface_count("balancer", "dropped")
    flood.begin("flood", 1_000_000)
    slowest = 0.0
    for _ in range(10):
        crowd = Crowd(world, 20)
        started = time.monotonic()
        crowd.connect()
        statuses = [response and response.status for response in crowd.ask(lambda n: f"/flood/{n}", 20)]
        equal(statuses, [200] * 20, "statuses")
        slowest = max(slowest, time.monotonic() - started)
        time.sleep(0.3)
    counts = flood.step("end")
    grown = memory_of(world.lab.pid("balancer")) - memory
    answered = world.verdicts()["answer_syn_ack"] - before["answer_syn_ack"]
    world.notes += [f"{counts['sent'] / counts['seconds']:,.0f} SYNs a second for {counts['seconds']:.1f} s",
                    f"{answered / counts['seconds']:,.0f} answered, the others dropped by the wire", f"20 requests within {1000 * slowest:.0f} ms",
                    f"the balancer's memory grew by {grown >> 10} KiB"]
    true(counts["sent"] > 100_000, f"SYNs sent: {counts['sent']}")
    # The veth holds 256 frames: what its reader is too late for, on a busy machine, it drops and counts.
    dropped = world.interface_count("balancer", "dropped") - dropped
    unheard = counts["sent"] - counts["answered"]
    true(unheard <= dropped, f"SYNs without an answer: {unheard}, of which the wire dropped {dropped}")
    true(answered >= counts["answered"], f"answered: {answered}, of which heard: {counts['answered']}")
    true(grown < 256 << 10, f"the balancer's memory grew by {grown} bytes")


def flow_map(world):
    """Entries that the balancer's flow map holds at most, and the bytes that it takes (of /proc/PID/fdinfo)."""
    folder = f"/proc/{world.lab.pid('balancer')}/fdinfo"
    for name in os.listdir(folder):
        with open(f"{folder}/{name}", encoding="ascii") as file:
            info = dict(line.split(":", 1) for line in file)
        if info.get("map_type", "").strip() == "1" and info["key_size"].strip() == "40":
            return int(info["max_entries"]), int(info["memlock"])
    raise AssertionError("the balancer has no flow map")


@case("500,000 flows with traffic on all of them", requires=needs_ebpf)
def _(world):
    flows = 500_000
    # The crowd echoes no clock.
    world.clean_up.callback(restart, world, "balancer")
    world.edited("balancer.yaml", lambda text: text.replace("    bridges:", "    timestamps: plain\n    bridges:"))
    restart(world, "balancer")
    crowd = client_crowd.before_balancer(world, flows)
    for step, heard in (("syn", "answered"), ("first", "forwarded")):
        counts = crowd.step(step, 0, flows)
        equal((counts["clients"], counts["strayed"]), (flows, 0), f"clients after {step}: {counts}")
        world.notes.append(f"{step}: {counts[heard] / counts['seconds']:,.0f} a second")
    opened = world.verdicts()
    equal(opened["forward_first_payload"], flows, "first payloads")
    equal(counts["bridges"], len(BRIDGES), "bridges that they went to")
    crowd.begin("next", 0, flows)
    for n in range(50):
        equal(ask(world.connect(), f"/many/{n}").status, 200, f"status of request {n}")
    counts = crowd.counts()
    equal((counts["clients"], counts["strayed"]), (flows, 0), f"clients after their next segment: {counts}")
    forwarded = world.verdicts()["forward_open"] - opened["forward_open"]
    true(forwarded >= flows, f"packets forwarded: {forwarded}")
    world.notes.append(f"next: {counts['forwarded'] / counts['seconds']:,.0f} a second")
    entries, memory = flow_map(world)
    true(entries >= flows, f"entries of the flow map: {entries}")
    world.notes.append(f"{memory / entries:.0f} bytes a flow")


@case("a million handshakes of 19 addresses against a table of 200,000: clients of other addresses are served all the while",
      requires=needs_ebpf, cases=SLOW_CASES)
def _(world):
    room, flood = 200_000, 1_000_000
    world.clean_up.callback(restart, world, "balancer")
    world.edited("balancer.yaml", lambda text: text.replace("    bridges:", "    timestamps: plain\n    bridges:")
                 + f"max_flows: {room}\n")
    restart(world, "balancer")
    # The wire loses packets of a flood, and of whoever is beside it: only the answers' coming is told, not when.
    patience = 90
    lives = world.connect(timeout=patience)
    equal(ask(lives, "/lives/first").status, 200, "status of the first request")
    crowd = client_crowd.before_balancer(world, flood, hosts=19)
    equal(crowd.step("syn", 0, flood)["clients"], flood, "SYNs answered")
    crowd.begin("first", 0, flood)
    served = 0
    while not crowd.ready():
        sock = world.connect(timeout=patience)
        equal(ask(sock, f"/during/{served}", "Connection: close").status, 200, f"status of request {served}")
        # One that stays open counts against its address's share.
        sock.close()
        equal(ask(lives, f"/lives/{served}").status, 200, "status on the connection that lives")
        served += 1
    counts = crowd.counts()
    verdicts = world.verdicts()
    true(served > 0, "requests during the flood")
    true(counts["clients"] < flood // 2, f"flows of the flood: {counts}")
    true(verdicts["drop_source_share"] > 0, f"first payloads beyond their source's share: {verdicts}")
    world.notes.append(f"{served} requests served, {counts['clients']:,} of {flood:,} of the flood, in {counts['seconds']:.1f} s")


EARLIER_LAYOUT = os.path.join(BUILD, "cmake/tests/earlier-layout")


def pin_as_an_earlier_build(world, program):
    """What the stopped program has kept is another build's now. The number of flows that it has."""
    bpffs = f"{world.lab.run_dir}/bpffs"
    if program == "balancer":
        words = ["balancer", f"{bpffs}/splicelb/balancer-eth1-5"]
    else:
        words = ["bridge", f"{bpffs}/splicelb-{program}/packetbridge-eth1"]
    done = subprocess.run([EARLIER_LAYOUT, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    equal(done.returncode, 0, f"earlier-layout {' '.join(words)}: {done.stdout}")
    return int(done.stdout)


@case("a build of another map layout is taken over, and kept-alive connections go on", requires=only_ebpf)
def _(world):
    for program in PROGRAMS:
        world.clean_up.callback(restart, world, program)  # once more without it, which cleans up
        world.edited(f"{program}.yaml", lambda text: text + "keep: true\n")
        restart(world, program)
    socks = [world.connect() for _ in range(24)]
    before = [ask(sock, f"/layout/{n}").bridge for n, sock in enumerate(socks)]
    true(set(before) == set(BRIDGES), f"every bridge has some of them: {before}")
    for program in PROGRAMS:
        world.lab.stop(program)
        if program == "balancer" or world.lab.mode == "translate":
            layout = 3 if program == "balancer" else 2
            flows = pin_as_an_earlier_build(world, program)
            true(flows > 0, f"{program} has kept flows")
            world.lab.start(program)
            true(f"{flows} flows of layout {layout} taken over" in world.log_of(program), f"{program} says how many")
        else:
            world.lab.start(program)  # its connections are the backend's own sockets
        for n, sock in enumerate(socks):
            answer = ask(sock, f"/layout/{n}")
            equal((answer.status, answer.bridge), (200, before[n]), f"request {n}, {program} replaced meanwhile")
    works(world)
