"""What an engine and a mode need of a machine, asked of the kernel and not of our programs: what these cannot do there is
a failure, what the kernel cannot is a reason to skip."""

import ctypes
import os
import platform
import re
import subprocess

POINTS = ["nfqueue:translate", "ebpf:translate", "ebpf:adopt"]

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_LOAD = 5
_XDP = 6
_ADOPTS = "bpf_sk_assign_tcp_reqsk"


def why_not(point):
    """Why the point cannot run here, or None."""
    engine, mode = point.split(":")
    if engine == "nfqueue":
        return _why_no_nfqueue()
    return _why_no_bpf() or (_why_no_adoption() if mode == "adopt" else None)


def _why_no_nfqueue():
    done = subprocess.run(["unshare", "-n", "iptables", "-w", "-t", "raw", "-A", "PREROUTING", "-p", "tcp", "-j", "NFQUEUE"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"iptables has no NFQUEUE here: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"


def why_no_multipath():
    """Why the lab's router cannot spread over several balancers, or None."""
    steps = ("ip link add v1 type veth peer name v2 && ip link set v1 up && ip link set v2 up && "
             "ip address add 192.0.2.1/24 dev v1 && ip -6 address add 2001:db8::1/64 dev v1 nodad && "
             "ip nexthop add id 1 via 192.0.2.2 dev v1 && ip nexthop add id 2 via 192.0.2.3 dev v1 && "
             "ip nexthop add id 3 group 1/2 && ip route add 198.51.100.1/32 nhid 3 && "
             "ip nexthop add id 5 via 2001:db8::2 dev v1 && ip nexthop add id 6 via 2001:db8::3 dev v1 && "
             "ip nexthop add id 7 group 5/6 && ip -6 route add 2001:db8:1::1/128 nhid 7 && "
             "sysctl -q -w net.ipv4.fib_multipath_hash_fields=0x37 net.ipv6.fib_multipath_hash_fields=0x37")
    done = subprocess.run(["unshare", "-n", "sh", "-c", steps], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"the kernel has no multipath routes: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"


def _older_than(major, minor):
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return f"it takes Linux {major}.{minor}, and this is {release}" if tuple(map(int, numbers.groups())) < (major, minor) else None


def _why_no_bpf():
    if older := _older_than(6, 1):
        return older
    with open("/proc/filesystems", encoding="ascii") as file:
        if "bpf" not in file.read().split():
            return "the kernel has no bpffs"
    # r0 = XDP_PASS; exit
    code = ctypes.create_string_buffer(bytes.fromhex("b700000002000000" "9500000000000000"))
    licence = ctypes.create_string_buffer(b"GPL")

    class Load(ctypes.Structure):
        """The beginning of union bpf_attr for BPF_PROG_LOAD."""

        _fields_ = [("type", ctypes.c_uint32), ("count", ctypes.c_uint32), ("code", ctypes.c_uint64), ("licence", ctypes.c_uint64),
                    ("rest", ctypes.c_uint8 * 96)]

    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return f"the suite does not know bpf(2) of {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    load = Load(type=_XDP, count=2, code=ctypes.addressof(code), licence=ctypes.addressof(licence))
    descriptor = libc.syscall(number, _BPF_PROG_LOAD, ctypes.byref(load), ctypes.sizeof(load))
    if descriptor < 0:
        return f"the kernel loads no XDP program: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    return None


def _why_no_adoption():
    if older := _older_than(6, 9):
        return older
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        return "the kernel has no BTF of its own"
    with open("/proc/kallsyms", encoding="ascii") as file:
        if not any(line.split()[2] == _ADOPTS for line in file):
            return f"the kernel has no {_ADOPTS}"
    return None
