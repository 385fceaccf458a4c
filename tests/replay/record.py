#!/usr/bin/env python3
"""Records the captures of this folder: a client and a server of this kernel in two network namespaces.

usage: record.py [NAME ...]        as root; needs tcpdump, nft and ethtool

    client namespace  10.77.0.1, fd77::1 ---veth--- 10.77.0.2, fd77::2  server namespace
    tcpdump listens here                             a server of a few lines

Each case is a conversation as a client may have it with a service; splice-replay puts a balancer and a bridge
between the two. Expectations beside the captures are made by `splice-replay --any-vip CAPTURE`, read by a person,
and kept until something that they show is meant to change.
"""

import contextlib
import ctypes
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

FOLDER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "captures")
CLIENT, SERVER = f"replay-c{os.getpid()}", f"replay-s{os.getpid()}"
ADDRESSES = {4: "10.77.0.2", 6: "fd77::2"}
REQUEST = b"GET /%s HTTP/1.1\r\nHost: cdn.example\r\n\r\n"
_CASES = {}


def case(port=80, settings=(), rules=(), offload=False):
    """`settings`: sysctls of both namespaces. `rules`: nft rules at the server's ingress."""
    def add(function):
        _CASES[function.__name__.replace("_", "-")] = (function, port, settings, rules, offload)
        return function
    return add


def run(*words, **how):
    return subprocess.run(words, check=True, **how)


def inside(namespace, *words):
    run("ip", "netns", "exec", namespace, *words, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def entered(namespace):
    """This thread in the namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as home, open(f"/run/netns/{namespace}", "rb") as there:
        if libc.setns(there.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), f"enter {namespace}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), 0x40000000)


def make_lab():
    for namespace in (CLIENT, SERVER):
        run("ip", "netns", "add", namespace)
        inside(namespace, "ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "eth0", "netns", CLIENT, "type", "veth", "peer", "name", "eth0", "netns", SERVER)
    for namespace, last in ((CLIENT, 1), (SERVER, 2)):
        inside(namespace, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0")
        inside(namespace, "ip", "address", "add", f"10.77.0.{last}/24", "dev", "eth0")
        inside(namespace, "ip", "address", "add", f"fd77::{last}/64", "dev", "eth0", "nodad")
        inside(namespace, "ip", "link", "set", "eth0", "up")


def remove_lab():
    for namespace in (CLIENT, SERVER):
        subprocess.run(["ip", "netns", "delete", namespace], stderr=subprocess.DEVNULL, check=False)


def receive_head(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(4096)
        if not more:
            return b""
        data += more
    return data


def answer(connection, body):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def serve_http(connection):
    while head := receive_head(connection):
        path = head.split()[1]
        answer(connection, b"x" * 6000 if path == b"/large" else b"you asked for %s\n" % path)
        if b"Connection: close" in head:
            return


def serve_greeting(connection):
    connection.sendall(b"220 speak\r\n")
    while connection.recv(4096):
        connection.sendall(b"250 heard\r\n")


def serve_alert(connection):
    connection.recv(4096)
    connection.sendall(bytes.fromhex("15030300020228"))  # a fatal alert: handshake_failure


SERVERS = {80: serve_http, 25: serve_greeting, 443: serve_alert}


def serve(listener, handler):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                handler(connection)
            except OSError:
                pass


def listen(port):
    if port not in SERVERS:
        return None
    with entered(SERVER):
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(listener, SERVERS[port]), daemon=True).start()
    return listener


def record(name):
    function, port, settings, rules, offload = _CASES[name]
    make_lab()
    listener = None
    try:
        for namespace in (CLIENT, SERVER):
            for setting in settings:
                inside(namespace, "sysctl", "-qw", setting)
            inside(namespace, "ethtool", "-K", "eth0", "tx", "on" if offload else "off", "tso", "off", "gso", "off",
                   "gro", "off")
        if rules:
            inside(SERVER, "nft", "add table inet f; add chain inet f in { type filter hook input priority 0; }")
            for rule in rules:
                inside(SERVER, "nft", f"add rule inet f in {rule}")
        listener = listen(port)
        path = os.path.join(FOLDER, f"{name}.pcap")
        with subprocess.Popen(["ip", "netns", "exec", CLIENT, "tcpdump", "-i", "eth0", "-U", "--immediate-mode", "-Z", "root", "-w", path,
                               "tcp"], stderr=subprocess.PIPE, text=True) as dump:
            while "listening" not in dump.stderr.readline():
                pass
            with entered(CLIENT):
                function()
            time.sleep(0.4)
            dump.send_signal(signal.SIGINT)
        print(name, os.path.getsize(path), "bytes")
    finally:
        if listener:
            listener.close()
        remove_lab()


# --- What a client may do

def connect(port=80, family=4, source_port=0, nagle=False):
    sock = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not nagle)
    sock.settimeout(5)
    if source_port:
        sock.bind(("", source_port))
    sock.connect((ADDRESSES[family], port))
    return sock


def read_response(sock):
    data = receive_head(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.split(b"Content-Length: ")[1].split()[0])
    while len(body) < length:
        body += sock.recv(4096)


def fetch(family=4, path=b"a"):
    with connect(family=family) as sock:
        sock.sendall(REQUEST % path)
        read_response(sock)


@case()
def one_request():
    fetch()


@case()
def one_request_ipv6():
    fetch(family=6)


@case(offload=True)
def unfinished_checksums():
    fetch()


@case(settings=["net.ipv4.tcp_timestamps=0"])
def no_timestamps():
    fetch()


@case(settings=["net.ipv4.tcp_sack=0"])
def no_sack():
    fetch()


@case(settings=["net.ipv4.tcp_window_scaling=0"])
def no_window_scaling():
    fetch()


@case(settings=["net.ipv4.tcp_timestamps=0", "net.ipv4.tcp_sack=0", "net.ipv4.tcp_window_scaling=0"])
def no_options():
    fetch()


@case()
def keep_alive():
    with connect() as sock:
        for path in (b"one", b"two", b"three"):
            sock.sendall(REQUEST % path)
            read_response(sock)


@case()
def request_in_two_segments():
    with connect() as sock:
        whole = REQUEST % b"cut"
        sock.sendall(whole[:7])
        sock.sendall(whole[7:])
        read_response(sock)


@case()
def request_larger_than_a_segment():
    with connect() as sock:
        sock.sendall((REQUEST % b"cookies").replace(b"\r\n\r\n", b"\r\nCookie: %s\r\n\r\n" % (b"c" * 3000)))
        read_response(sock)


@case()
def key_larger_than_a_segment():
    with connect() as sock:
        sock.sendall(REQUEST % (b"k" * 2000))
        read_response(sock)


@case()
def requests_in_one_segment():
    with connect() as sock:
        sock.sendall(REQUEST % b"one" + (REQUEST % b"two").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        while sock.recv(4096):
            pass


@case()
def end_with_the_request():
    with connect() as sock:
        sock.send((REQUEST % b"end").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), socket.MSG_MORE)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass


@case()
def request_byte_by_byte():
    with connect() as sock:
        for byte in REQUEST % b"b":
            sock.sendall(bytes([byte]))
        read_response(sock)


@case()
def request_too_slow():
    """The balancer decides by the source address after 50 ms."""
    with connect() as sock:
        whole = REQUEST % b"slow"
        sock.sendall(whole[:7])
        time.sleep(0.12)
        sock.sendall(whole[7:])
        read_response(sock)


@case(rules=["tcp dport 80 numgen inc mod 100 == 2 drop"])
def first_payload_lost():
    fetch()


@case(rules=["tcp dport 80 numgen inc mod 100 == 0 drop"])
def syn_lost():
    fetch()


@case()
def half_closed_download():
    with connect() as sock:
        sock.sendall((REQUEST % b"large").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        sock.shutdown(socket.SHUT_WR)
        read_response(sock)


@case()
def client_resets():
    with connect() as sock:
        sock.sendall(REQUEST % b"large")
        sock.recv(100)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@case(settings=["net.ipv4.tcp_tw_reuse=1"])
def port_used_again():
    for path in (b"first", b"second"):
        with connect(source_port=45000) as sock:
            sock.sendall((REQUEST % path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            read_response(sock)
            while sock.recv(4096):
                pass


@case()
def client_says_nothing():
    connect().close()


@case(port=25)
def server_speaks_first():
    with connect(port=25) as sock:
        sock.recv(100)
        sock.sendall(b"EHLO client.example\r\n")
        sock.recv(100)


@case(port=443)
def tls_hello():
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLError), connect(port=443) as sock:
        context.wrap_socket(sock, server_hostname="www.Example.org")


@case(port=443)
def tls_hello_without_name():
    context = ssl._create_unverified_context()
    context.check_hostname = False
    with contextlib.suppress(ssl.SSLError), connect(port=443) as sock:
        context.wrap_socket(sock)


@case(port=81)
def nobody_listens():
    with contextlib.suppress(ConnectionRefusedError):
        connect(port=81)


@case()
def not_http():
    with contextlib.suppress(OSError), connect() as sock:
        sock.sendall(b"SSH-2.0-client\r\n")
        sock.shutdown(socket.SHUT_WR)
        sock.recv(100)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for name in sys.argv[1:] or _CASES:
        record(name)


if __name__ == "__main__":
    main()
