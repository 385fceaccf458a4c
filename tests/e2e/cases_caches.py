"""Real caches as backends: Debian's Varnish, Traffic Server and Squid, before the lab's nginx as their origin."""

import hashlib
import os
import shutil
import socket
import subprocess

from cases_hosts import LARGE, fetch, large_beginning, paths_of
from cases_kernel import restart
from harness import case, equal, eventually, true
from http_client import ask, ask_in_two

PORT = 8090


def varnish(run, address, origin):
    return ["varnishd", "-F", "-j", "none", "-n", f"{run}/cache/varnish", "-a", f"{address}:{PORT}", "-b", origin, "-s", "malloc,64m",
            "-t", "1"]


def squid(run, address, origin):
    host = origin.rsplit(":", 1)[0].strip("[]")
    with open(f"{run}/cache/squid.conf", "w", encoding="ascii") as file:
        file.write(f"""http_port {address}:{PORT} accel defaultsite=lab no-vhost
cache_peer {host} parent 80 0 no-query no-digest originserver name=origin
http_access allow all
cache_mem 64 MB
maximum_object_size_in_memory 32 MB
access_log none
cache_log {run}/log/squid.log
pid_filename none
coredump_dir none
shutdown_lifetime 0 seconds
""")
    # Squid gives up root.
    open(f"{run}/log/squid.log", "a", encoding="ascii").close()
    os.chmod(f"{run}/log/squid.log", 0o666)
    return ["squid", "-N", "-f", f"{run}/cache/squid.conf"]


def traffic_server(run, address, origin):
    root = f"{run}/cache/ats"
    shutil.copytree("/etc/trafficserver", f"{root}/etc")
    for folder in ("cache", "log", "run"):
        os.makedirs(f"{root}/{folder}")
    places = {"prefix": root, "exec_prefix": "/usr", "bindir": "/usr/bin", "sbindir": "/usr/sbin", "sysconfdir": f"{root}/etc",
              "datadir": f"{root}/run", "includedir": "/usr/include", "libdir": "/usr/lib",
              "libexecdir": "/usr/lib/trafficserver/modules", "localstatedir": f"{root}/run", "runtimedir": f"{root}/run",
              "logdir": f"{root}/log", "mandir": "/usr/share/man", "infodir": "/usr/share/info", "cachedir": f"{root}/cache"}
    files = {"runroot.yaml": "".join(f"{name}: {path}\n" for name, path in places.items()),
             "etc/remap.config": f"map / http://{origin}/\n", "etc/storage.config": "cache 64M\n",
             "etc/records.config": f"""CONFIG proxy.config.http.server_ports STRING {PORT}:{"ipv6:" if "[" in address else ""}ip-in={address}
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.admin.user_id STRING #-1
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 2
"""}
    for name, text in files.items():
        with open(f"{root}/{name}", "w", encoding="ascii") as file:
            file.write(text)
    return ["traffic_server", f"--run-root={root}/runroot.yaml"]


def needs(program, package):
    return lambda _: None if shutil.which(program) else f"there is no {program}; scripts/deps.sh --caches installs Debian's {package}"


def ask_in_two_in_time(world, path, bridge):
    """A request line in two segments reaches the path's bridge. Where this machine sent the second later than first_payload_wait,
    the client's address chose: once more."""
    for _ in range(10):
        late = world.late_first_payloads()
        got = ask_in_two(world.connect(timeout=5, nagle=False), path, 7).bridge
        if got == bridge:
            return
        true(world.late_first_payloads() > late, f"a request line in two segments: {got}, expected {bridge}")
    raise AssertionError("ten requests in a row whose second segment left too late")


def check_cache(world, command):
    """A bridge whose web service is that cache's: new connections, keep-alive, a large response, a split request line, junk."""
    bridge = "b2"
    lab, run = world.lab, world.lab.run_dir
    paths = paths_of(world, bridge)
    address = world.bracketed(world.backend_address(bridge))
    os.makedirs(f"{run}/cache")
    os.chmod(f"{run}/cache", 0o777)
    world.clean_up.callback(shutil.rmtree, f"{run}/cache")
    with open(f"{run}/log/cache.log", "w", encoding="ascii") as log:
        process = subprocess.Popen(["ip", "netns", "exec", lab.namespace(bridge), *command(run, address, f"{address}:80")],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def end():
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        eventually(lambda: not lab.on(bridge, "ss", "-Hltn", "sport", "=", f":{PORT}").strip(), "the cache is gone", 15)

    world.clean_up.callback(restart, world, bridge)
    world.clean_up.callback(end)
    eventually(lambda: lab.on(bridge, "curl", "-sg", "-o", "/dev/null", "-w", "%{http_code}", f"http://{address}:{PORT}/",
                              check=False) == "200", "the cache answers", 30)
    world.edited(f"{bridge}.yaml", lambda text: text.replace(f'backend: "{address}:80" }}', f'backend: "{address}:{PORT}" }}', 1))
    restart(world, bridge)

    for number in range(12):
        sock = world.connect(timeout=5)
        equal(ask(sock, paths[number % len(paths)]).bridge, bridge, f"new connection {number}")
        sock.close()
    sock = world.connect(timeout=5)
    for path in paths[:1] * 5:
        equal(ask(sock, path).bridge, bridge, "a request on a kept connection")
    true(any(f":{PORT} " in line for line in world.sockets_of(bridge, sock.getsockname()[1])), "the cache has it, not nginx")

    # Another file than the lab's 100 MB: one that each cache has room for.
    name = next(f"/file/20m.bin?{n}" for n in range(60)
                if ask(world.connect(timeout=5), f"/file/20m.bin?{n}", "Range: bytes=0-9").bridge == bridge)
    got = fetch(world, world.connect(timeout=30), name)
    equal(hashlib.sha256(got.body).hexdigest(), large_beginning(world), f"20 MB, {len(got.body)} bytes")

    ask_in_two_in_time(world, paths[0], bridge)

    with world.connect(timeout=5) as sock:
        sock.sendall(b"\x00\xff junk that no server takes \r\n\r\n")
        try:
            answer = sock.recv(65536)
        except ConnectionResetError:
            answer = b""
        except socket.timeout:
            answer = None
    true(answer is not None and not answer.startswith(b"HTTP/1.1 200"), f"junk is refused or closed: {answer and answer[:60]!r}")
    equal(ask(world.connect(timeout=5), paths[0]).bridge, bridge, "a request after junk")


def cache_case(name, program, package, command):
    @case(f"{name} as a bridge's backend: connections, keep-alive, 20 MB, a split request line, junk", requires=needs(program, package))
    def _(world):
        path = f"{world.lab.run_dir}/www/file/20m.bin"
        with open(world.fastpath_file(), "rb") as source, open(path, "wb") as target:
            target.write(source.read(LARGE))
        world.clean_up.callback(os.unlink, path)
        check_cache(world, command)


cache_case("Varnish", "varnishd", "varnish", varnish)
cache_case("Traffic Server", "traffic_server", "trafficserver", traffic_server)
cache_case("Squid", "squid", "squid", squid)
