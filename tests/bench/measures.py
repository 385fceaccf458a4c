"""What is measured of a variant that serves. Each function fills a dict of samples; nothing here judges."""

import contextlib
import os
import re
import statistics
import time

from rig import PROGRAMS, cpu_seconds  # which also says where the end-to-end suite's are
from client_crowd import ClientCrowd

CONNECTIONS = 32
FILE_BYTES = 100 * 1024 * 1024
UPLOAD_BYTES = 60 * 1024 * 1024


class Measure:
    """One row of the report."""

    def __init__(self, key, title, unit, better, digits=0):
        self.key, self.title, self.unit, self.better, self.digits = key, title, unit, better, digits


MEASURES = [
    Measure("keepalive", "Requests/s, keep-alive", "requests/s", "higher"),
    Measure("close", "Requests/s, Connection: close", "requests/s", "higher"),
    Measure("download", "Download of 100 MB", "MB/s", "higher"),
    Measure("upload", "Upload of 60 MB", "MB/s", "higher"),
    Measure("first_byte_p50", "First byte of a new connection, median", "µs", "lower"),
    Measure("first_byte_p99", "First byte of a new connection, 99th percentile", "µs", "lower"),
    Measure("keepalive_cpu", "Machine's CPU a request, keep-alive", "µs", "lower", 1),
    Measure("close_cpu", "Machine's CPU a request, close", "µs", "lower", 1),
    Measure("download_cpu", "Machine's CPU of downloads", "s/GB", "lower", 2),
    Measure("upload_cpu", "Machine's CPU of uploads", "s/GB", "lower", 2),
    Measure("middle_keepalive_cpu", "Balancer process's CPU a request, keep-alive", "µs", "lower", 1),
    Measure("middle_close_cpu", "Balancer process's CPU a request, close", "µs", "lower", 1),
    Measure("middle_download_cpu", "Balancer host's CPU of downloads, its kernel's share included", "s/GB", "lower", 4),
    Measure("backend_download_cpu", "Backend host's CPU of downloads, for what arrives and the bridge", "s/GB", "lower", 4),
]


class Busy:
    """Processor seconds between two looks: the whole machine's (interrupts included) and some processes'."""

    def __init__(self, pids=()):
        self._pids = pids

    def __enter__(self):
        self._machine, self._own, self._started = machine_seconds(), self._own_now(), time.monotonic()
        return self

    def __exit__(self, *_):
        self.elapsed = time.monotonic() - self._started
        self.machine = machine_seconds() - self._machine
        self.own = self._own_now() - self._own

    def _own_now(self):
        return sum(cpu_seconds(pid) for pid in self._pids)


def machine_seconds():
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def requests(variant, samples, name, seconds, *headers):
    pids = variant.middle_pids()
    words = [word for header in headers for word in ("-H", header)]
    with Busy(pids) as busy:
        said = variant.rig.client("wrk", "-t", str(os.cpu_count()), "-c", str(CONNECTIONS), "-d", f"{seconds}s", *words, variant.url("/"))
    done = int(re.search(r"(\d+) requests in", said).group(1))
    if not done:
        raise RuntimeError(f"{variant.title}: wrk had no answer:\n{said}")
    samples[name] = float(re.search(r"Requests/sec:\s*([\d.]+)", said).group(1))
    samples[f"{name}_cpu"] = busy.machine / done * 1e6
    if pids:
        samples[f"middle_{name}_cpu"] = busy.own / done * 1e6
    errors = re.search(r"Socket errors: (.*)|Non-2xx or 3xx responses: (\d+)", said)
    if errors:
        samples[f"{name}_errors"] = errors.group(0)


def repeat(variant, seconds, bytes_each, *curl):
    """Runs a transfer until `seconds` are over; its MB/s and the bytes in all."""
    moved, spent, end = 0, 0.0, time.monotonic() + seconds
    while moved == 0 or time.monotonic() < end:
        said = variant.rig.client("curl", "-sS", "-f", "-o", "/dev/null", "-w", "%{time_total} %{size_download} %{size_upload}",
                                  *curl)
        took, down, up = said.split()
        if int(down) + int(up) < bytes_each:
            raise RuntimeError(f"{variant.title}: a transfer ended early: {said}")
        spent += float(took)
        moved += bytes_each
    return moved / spent / 1e6, moved


def download(variant, samples, seconds):
    with Busy() as busy:
        samples["download"], moved = repeat(variant, seconds, FILE_BYTES, variant.url("/file/100m.bin"))
    samples["download_cpu"] = busy.machine / moved * 1e9


def upload(variant, samples, seconds):
    source = os.path.join(variant.rig.scratch, "upload.bin")
    if not os.path.exists(source):
        with open(source, "wb") as file:
            file.write(os.urandom(UPLOAD_BYTES))
    with Busy() as busy:
        samples["upload"], moved = repeat(variant, seconds, UPLOAD_BYTES, "-H", "Expect:", "-T", source,
                                          variant.url("/upload/bench.bin"))
    samples["upload_cpu"] = busy.machine / moved * 1e9


def first_byte(variant, samples, count):
    said = variant.rig.client("taskset", "-c", "0", f"{PROGRAMS}/bench_first_byte", variant.address, str(variant.port), "/", str(count))
    times = sorted(map(float, said.split()))
    samples["first_byte_p50"] = statistics.median(times)
    samples["first_byte_p99"] = times[int(len(times) * 0.99)]


@contextlib.contextmanager
def alone(rig, host, pids):
    """A host's work by itself on the last core, so that it can be counted: processes of it, and a thread that does what
    the kernel does for packets that reach it (threaded NAPI); yields the thread's number, or none where there is no such
    thing. What leaves the host is another thread's: otherwise whoever sends would carry it through all the hosts that
    follow, and pay for it. That thread is on the same core, for to wake an idle one costs a virtual machine more than
    all the rest."""
    last = {os.cpu_count() - 1}
    port = f"to-{host}"
    settings = [(host, "eth1", "gro", "generic-receive-offload", "on"),  # a veth has no NAPI otherwise,
                ("segment", port, "gro", "generic-receive-offload", "on"),
                ("segment", port, "tx", "tx-checksumming", "off")]  # and takes only what nobody would have to merge
    was = [_feature(rig, where, interface, name) for where, interface, _, name, _ in settings]
    before = napi_threads()
    affinities = {task: os.sched_getaffinity(task) for pid in pids for task in map(int, os.listdir(f"/proc/{pid}/task"))}
    try:
        for where, interface, word, _, value in settings:
            rig.lab.on(where, "ethtool", "-K", interface, word, value)
        _write(rig, "segment", f"{port}/queues/rx-0/rps_cpus", 1)
        for where, interface in (host, "eth1"), ("segment", port):
            _write(rig, where, f"{interface}/threaded", 1)
        threads = {pid: name for pid, name in napi_threads().items() if pid not in before}
        own = [pid for pid, name in threads.items() if name.startswith("napi/eth1")]
        for task in threads:
            os.sched_setaffinity(task, last)
        for task in affinities:
            os.sched_setaffinity(task, last)
        yield own
    finally:
        for task, affinity in affinities.items():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(task, affinity)
        _write(rig, "segment", f"{port}/queues/rx-0/rps_cpus", 0)
        for where, interface in (host, "eth1"), ("segment", port):
            _write(rig, where, f"{interface}/threaded", 0)
        for (where, interface, word, _, _), value in zip(settings, was):
            rig.lab.on(where, "ethtool", "-K", interface, word, value)


def _feature(rig, where, interface, name):
    return re.search(rf"^{name}: (\w+)", rig.lab.on(where, "ethtool", "-k", interface), re.MULTILINE).group(1)


def _write(rig, where, path, value):
    rig.lab.on(where, "sh", "-c", f"echo {value} > /sys/class/net/{path}")


def napi_threads():
    """{number: name}"""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                name = file.read().strip()
            if name.startswith("napi/"):
                found[int(pid)] = name
    return found


def host_share(variant, samples, key, seconds, host, pids):
    """A host's own part of a download: processes of it and its kernel's work on what reaches it."""
    with alone(variant.rig, host, pids) as threads:
        if not threads:
            return
        with Busy(pids + threads) as busy:
            _, moved = repeat(variant, seconds, FILE_BYTES, variant.url("/file/100m.bin"))
    samples[key] = busy.own / moved * 1e9


def shares(variant, samples, seconds):
    """The balancer's own part of a download, and what the backend's host does for what arrives, the bridge included."""
    if variant.middle_pids():
        host_share(variant, samples, "middle_download_cpu", seconds, "balancer", variant.middle_pids())
    head = variant.rig.client("curl", "-sS", "-f", "-o", "/dev/null", "-D", "-", variant.url("/file/100m.bin"))
    backend = re.search(r"^X-Bridge: (\w+)", head, re.MULTILINE | re.IGNORECASE).group(1)
    host_share(variant, samples, "backend_download_cpu", seconds, backend, variant.bridge_pids(backend))


def slot(variant, effort):
    """Everything that is measured of a variant in its turn."""
    samples = {}
    requests(variant, samples, "keepalive", effort.wrk_seconds)
    requests(variant, samples, "close", effort.wrk_seconds, "Connection: close")
    download(variant, samples, effort.transfer_seconds)
    upload(variant, samples, effort.transfer_seconds)
    first_byte(variant, samples, effort.first_bytes)
    shares(variant, samples, effort.transfer_seconds)
    return samples


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


AS_MANY_AS_GO = 1_000_000_000  # a second


def syns_answered(variant):
    page = variant.rig.lab.on("balancer", "curl", "-sS", "http://127.0.0.1:10001/metrics")
    return sum(float(line.split()[1]) for line in page.splitlines() if 'verdict="answer_syn_ack' in line)


def syn_flood(variant, seconds):
    """As many SYNs from forged addresses as one core makes; how many are answered, what they leave behind, and whether
    requests succeed afterwards."""
    lab, pid = variant.rig.lab, variant.rig.lab.pid("balancer")
    answered_before, before = syns_answered(variant), resident_bytes(pid)
    # A veth without XDP takes frames that are no packets of the kernel's only when it merges packets.
    lab.on("balancer", "ethtool", "-K", "eth1", "gro", "on")
    with ClientCrowd(lab, f"{variant.address}:{variant.port}", 1) as crowd:
        crowd.begin("flood", AS_MANY_AS_GO)
        time.sleep(seconds)
        counts = crowd.step("end")
        quiet = syns_answered(variant)
        while True:  # what waits in queues
            time.sleep(0.2)
            now = syns_answered(variant)
            if now == quiet:
                break
            quiet = now
    lab.on("balancer", "ethtool", "-K", "eth1", "gro", "off")
    after = resident_bytes(pid)
    variant.wait_until_it_serves()
    return {"sent": counts["sent"], "answered": int(quiet - answered_before), "seconds": counts["seconds"],
            "resident_bytes_before": before, "resident_bytes_after": after}


def background_load(seconds=1.0):
    """How busy other programs keep the machine's cores, 0 to 1."""
    with Busy() as busy:
        time.sleep(seconds)
    return busy.machine / busy.elapsed / os.cpu_count()
