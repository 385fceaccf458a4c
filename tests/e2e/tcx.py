"""Which kernel programs hang on an interface by TCX: Debian 12's tools cannot say."""

import ctypes
import errno
import os
import platform
import socket
import struct

_BPF_SYSCALL = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_QUERY = 16
_ATTACH_TYPE = {"ingress": 46, "egress": 47}  # linux/bpf.h, BPF_TCX_INGRESS
_MOST = 64


def programs(world, host, side, interface="eth1"):
    """The ids of the programs on that side, in the order in which they run; None where the kernel has no TCX."""
    number = _BPF_SYSCALL.get(platform.machine())
    if number is None:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    ids = (ctypes.c_uint32 * _MOST)()
    with world.lab.inside(host):
        # union bpf_attr, query: target_ifindex, attach_type, two flags, prog_ids, prog_cnt.
        attr = ctypes.create_string_buffer(struct.pack("IIIIQI", socket.if_nametoindex(interface), _ATTACH_TYPE[side], 0, 0,
                                                       ctypes.addressof(ids), _MOST), 64)
        failed = libc.syscall(number, _BPF_PROG_QUERY, attr, len(attr)) != 0
    if failed and ctypes.get_errno() == errno.EINVAL:
        return None
    if failed:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return list(ids[:struct.unpack_from("I", attr, 24)[0]])
