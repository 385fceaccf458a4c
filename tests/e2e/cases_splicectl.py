"""splicectl on the balancer's host: what it prints is what the case has caused, and what it changes is what clients meet."""

import collections
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading

from cases_drain import PATHS
from harness import case, equal, eventually, true
from http_client import ask, request
from world import BRIDGES, BUILD

TOOL = os.path.join(BUILD, "splicectl")


def run(world, *words):
    """splicectl on the balancer's host: exit code, standard output, standard error."""
    done = subprocess.run(["ip", "netns", "exec", world.lab.namespace("balancer"), TOOL, *words], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def prints(world, *words):
    code, output, errors = run(world, *words)
    true(code == 0, f"splicectl {' '.join(words)}: exit {code}: {errors}")
    return output


def as_json(world, *words):
    return json.loads(prints(world, "--format", "json", *words))


def table(world, *words):
    """The printed table's rows, by their titles; columns begin where their titles do, or end there."""
    head, *lines = prints(world, *words).splitlines()
    titles = head.split("  ")
    titles = [title.strip() for title in titles if title.strip()]
    true(all(line.split()[0] for line in lines), f"rows: {lines}")
    return titles, lines


def web(world):
    return f"web{world.family}"


def bridges(world):
    """Of the web service, by name, as `splicectl bridges` has them as JSON."""
    return {each["name"]: each for each in as_json(world, "bridges", web(world))}


def restart_with_api(world, keys):
    """The balancer has these keys of `api` instead of its own for the rest of the case."""
    def restart():
        world.lab.stop("balancer")
        world.lab.start("balancer")

    world.clean_up.callback(restart)
    world.edited("balancer.yaml", lambda text: re.sub(r'(?m)^api: \{ listen: "[^"]*"', f"api: {{ {keys}", text))
    restart()


def put_back(world, *services):
    """What the case sets is taken back at its end."""
    def reset():
        for service in services or (web(world),):
            for name in BRIDGES:
                prints(world, "reset", f"{service}/{name}")

    world.clean_up.callback(reset)


def shares(owners):
    counts = collections.Counter(owners.values())
    return {name: counts[name] / len(owners) for name in BRIDGES}


@case("splicectl shows each bridge's share and its open connections, in status, services and bridges alike")
def _(world):
    # Connections of other cases are forgotten first.
    eventually(lambda: all(each["connections"] == 0 for each in bridges(world).values()), lambda: f"no connection: {bridges(world)}", seconds=30)
    kept = [world.connect() for _ in range(12)]
    owners = collections.Counter(ask(sock, path).bridge for sock, path in zip(kept, PATHS))
    eventually(lambda: {name: each["connections"] for name, each in bridges(world).items()} == {name: owners[name] for name in BRIDGES},
               lambda: f"{owners}: {bridges(world)}", seconds=30)
    titles, lines = table(world, "bridges", web(world))
    equal(titles[:3], ["SERVICE", "BRIDGE", "ADDRESS"], "the first titles")
    for line, name in zip(lines, BRIDGES):
        one = bridges(world)[name]
        words = line.split()
        equal(words[:6], [web(world), name, world.bridge_address(name), "1", "ready", "-"], "a bridge's line")
        equal(words[6:9], [f"{100 * one['table_share']:.1f}", "%", str(owners[name])], "its share and its connections")
    true(abs(sum(each["table_share"] for each in bridges(world).values()) - 1) < 1e-9, "the shares' sum")
    line = next(line for line in prints(world, "services").splitlines() if line.startswith(web(world) + " "))
    equal(line.split()[1:], [f"{world.bracketed(world.vip)}:80", "http", "uri", "rendezvous", str(world.dscp), "3", "of", "3", "12", "file"],
          "the service's line")
    status = prints(world, "status")
    true(status.splitlines()[0].endswith("at 127.0.0.1:10001: ready"), f"the first line: {status}")
    line = next(line for line in status.splitlines() if line.startswith(web(world) + " "))
    equal(line.split()[1:], [f"{world.bracketed(world.vip)}:80", "http", "uri", "3", "of", "3", "12"], "the service's line of the status")


@case("what splicectl explains of a URL is what its request gets, by the service's address in the URL or by its name")
def _(world):
    owners = world.owners(PATHS)
    for number, path in enumerate(PATHS):
        words = ("explain", world.url(path)) if number % 2 else ("explain", "--service", web(world), path)
        told = as_json(world, *words)
        equal((told["serves"]["bridge"], told["choices"][0]["bridge"]), (owners[path], owners[path]), f"{words}")
        equal(told["service"], web(world), "the service")
    last = prints(world, "explain", world.url(PATHS[0])).splitlines()
    true(last[-1].startswith(f"serves    {owners[PATHS[0]]}: "), f"the last line: {last}")
    # The host is none of the balancer's words.
    code, output, errors = run(world, "explain", "http://lab.test/a")
    true((code, output) == (1, "") and web(world) in errors and "--service" in errors, f"of which service: {errors}")


@case("a bridge that splicectl drains gets no new connection, what it has goes on, and ready brings its keys back")
def _(world):
    put_back(world)
    before = world.owners(PATHS)
    drained = before[PATHS[0]]
    kept = world.connect()
    equal(ask(kept, PATHS[0]).bridge, drained, "the kept connection's bridge")

    said = prints(world, "drain", f"{web(world)}/{drained}")
    true(said.startswith(f"{web(world)}/{drained}: drain, weight 1, 0.0 % of the keys, "), said)
    during = world.owners(PATHS)
    equal(set(during.values()), set(BRIDGES) - {drained}, "the bridges of new connections")
    equal({path: during[path] for path in PATHS if before[path] != drained},
          {path: before[path] for path in PATHS if before[path] != drained}, "the other bridges' keys")
    equal(ask(kept, "/anything").bridge, drained, "the kept connection goes on")
    one = bridges(world)[drained]
    equal((one["state"], one["table_share"], one["changed"]), ("drain", 0, ["state"]), "what is told of it")
    line = next(line for line in prints(world, "status").splitlines() if line.startswith(web(world) + " "))
    true(" 2 of 3 " in line and line.endswith(f"{drained}: drain"), f"its service's line: {line}")
    told = as_json(world, "explain", world.url(PATHS[0]))
    equal((told["choices"][0]["bridge"], told["choices"][0]["takes"], told["serves"]["bridge"]), (drained, False, during[PATHS[0]]),
          "what is explained of its key")

    true(prints(world, "ready", "--service", web(world), drained).startswith(f"{web(world)}/{drained}: ready, weight 1, "), "ready")
    equal(world.owners(PATHS), before, "its keys come back, and no other key moves")
    equal(bridges(world)[drained]["changed"], ["state"], "what the API has set")
    true(prints(world, "reset", f"{web(world)}/{drained}").endswith("(as in the configuration)\n"), "reset")
    equal(bridges(world)[drained]["changed"], [], "what the API has set")


@case("splicectl down resets a bridge's connections at their next packet, and those of others go on")
def _(world):
    put_back(world)
    before = world.owners(PATHS)
    sockets = {name: world.connect(timeout=5) for name in BRIDGES}
    for name, sock in sockets.items():
        equal(ask(sock, next(path for path in PATHS if before[path] == name)).bridge, name, "the bridge")
    true(": down, weight 1, 0.0 % of the keys" in prints(world, "down", f"{web(world)}/b2"), "down")
    for name in ("b1", "b3"):
        equal(ask(sockets[name], "/after").bridge, name, "a connection of another bridge")
    try:
        sockets["b2"].sendall(request("/after"))
        raise AssertionError(f"not reset, but {sockets['b2'].recv(4096)[:60]!r}")
    except ConnectionResetError:
        pass


@case("a weight that splicectl sets moves keys to that bridge alone, as many as its new share says")
def _(world):
    put_back(world)
    paths = [f"/weight/{n}" for n in range(240)]
    before = world.owners(paths)
    said = prints(world, "weight", f"{web(world)}/b1", "3")
    share = bridges(world)["b1"]["table_share"]
    true(f"b1: ready, weight 3, {100 * share:.1f} % of the keys" in said and 0.55 < share < 0.65, f"{said} of {share}")
    during = world.owners(paths)
    moved = {path for path in paths if during[path] != before[path]}
    equal({during[path] for path in moved}, {"b1"}, "where keys have moved to")
    # Of 240 keys: five standard deviations, of 3.2 % each.
    true(abs(shares(during)["b1"] - share) < 0.16, f"its share of the requests {shares(during)}, and of the table {share}")
    equal(prints(world, "weight", f"{web(world)}/b1", "0").split("%")[0], f"{web(world)}/b1: ready, weight 0, 0.0 ", "weight 0")
    true("b1" not in world.owners(paths).values(), "new connections of a bridge without weight")
    prints(world, "reset", f"{web(world)}/b1")
    equal(world.owners(paths), before, "every key is where it was")


@case("a bridge's name that several services have is refused with the candidates, and changes in all when that is said",
      once=True)
def _(world):
    services = [each["name"] for each in as_json(world, "services")]
    put_back(world, *services)
    code, output, errors = run(world, "drain", "b2")
    true((code, output) == (1, "") and f"{len(services)} services have a bridge b2" in errors and services[0] in errors, f"{code}: {errors}")
    code, output, errors = run(world, "drain", f"{web(world)}/b9")
    true((code, output) == (1, "") and "it has: b1, b2, b3" in errors, f"{code}: {errors}")
    equal({each["state"] for each in as_json(world, "bridges")}, {"ready"}, "nothing has changed")
    equal(prints(world, "--all-services", "drain", "b2").count("/b2: drain, "), len(services), "services that say so")
    equal({(each["name"], each["state"]) for each in as_json(world, "bridges")}, {("b1", "ready"), ("b2", "drain"), ("b3", "ready")},
          "every service's bridges")
    true("b2" not in world.owners(PATHS).values(), "new connections")


@case("splicectl changes a balancer whose API is a Unix socket, and says so where it may not open it", once=True)
def _(world):
    path = f"{world.lab.run_dir}/api.sock"
    restart_with_api(world, f'listen: "unix:{path}"')
    api = ("--api", f"unix:{path}")
    true(prints(world, *api, "status").splitlines()[0].endswith(f"at unix:{path}: ready"), "the status")
    true(": drain, " in prints(world, *api, "drain", f"{web(world)}/b2"), "drain")
    true("b2" not in world.owners(PATHS).values(), "new connections")
    prints(world, *api, "reset", f"{web(world)}/b2")
    with tempfile.TemporaryDirectory() as folder:  # the build's own may be closed to others
        os.chmod(folder, 0o755)
        tool = shutil.copy(TOOL, folder)
        nobody = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", "--regid", "65534", tool, *api, "status"], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
    equal((nobody.returncode, nobody.stdout), (1, ""), "who may not open the socket")
    true("Permission denied" in nobody.stderr and "is it allowed to you?" in nobody.stderr, nobody.stderr)


@case("splicectl finds a client's connection and its bridge among the flows")
def _(world):
    ports = world.fresh_ports(3)
    sockets = [world.connect(source_port=port) for port in ports]
    for port, sock, path in zip(ports, sockets, PATHS):
        bridge = ask(sock, path).bridge
        client = f"{world.bracketed(world.client)}:{port}"
        flows = as_json(world, "flows", "--client", client)
        equal([(each["client"], each["service"], each["bridge"]) for each in flows["flows"]], [(client, web(world), bridge)], "the flow")
        listed = as_json(world, "flows", "--service", web(world), "--bridge", bridge, "--limit", "1000000")
        true(client in [each["client"] for each in listed["flows"]] and not listed["more"], "it is among its bridge's")
        equal({each["bridge"] for each in listed["flows"]}, {bridge}, "the bridges of these")
        line = prints(world, "flows", "--client", client).splitlines()[1]
        equal(line.split()[:3], [client, web(world), bridge], "its line")
    code, output, errors = run(world, "flows", "--client", world.client, "--limit", "2")
    true(code == 0 and len(output.splitlines()) == 3 and "there are more" in errors, f"a limit: {code} {output} {errors}")


class Watch(threading.Thread):
    """`splicectl watch` of the web service as JSON, read until it is ended."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.looks = []
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", world.lab.namespace("balancer"), TOOL, "--format", "json", "watch", "--service", web(world), "--interval", "0.2"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        world.clean_up.callback(self.end)
        self.start()

    def run(self):
        for line in self._process.stdout:
            self.looks.append(json.loads(line))

    def end(self):
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()
        self.join()

    def opened(self, begin):
        """By bridge, out of the rates of the looks after the first `begin`."""
        counts = collections.Counter()
        for look in self.looks[begin:]:
            for each in look["bridges"]:
                counts[each["bridge"]] += (each["openings_per_second"] or 0) * (look["seconds"] or 0)
        return {name: round(counts[name], 3) for name in BRIDGES}


@case("the connections per second that splicectl watch shows add up to those that were opened, bridge by bridge")
def _(world):
    watch = Watch(world)
    eventually(lambda: len(watch.looks) >= 3, "looks", seconds=30)
    # What came before is seen: two looks in which nothing opened.
    eventually(lambda: not any(watch.opened(len(watch.looks) - 2).values()), "no connection is opened", seconds=30)
    begin = len(watch.looks)
    owners = collections.Counter(world.owners(PATHS).values())
    expected = {name: float(owners[name]) for name in BRIDGES}
    eventually(lambda: watch.opened(begin) == expected, lambda: f"{expected}: {watch.opened(begin)}", seconds=30)
    rose = set().union(*(look["verdicts_per_second"] for look in watch.looks[begin:]))
    true("forward_first_payload" in rose, f"the verdicts that rose: {rose}")
    watch.end()
    text = prints(world, "watch", "--count", "2", "--interval", "0.1", "--service", web(world))
    true("\x1b" not in text and text.count("SERVICE") == 2, f"without a terminal: {text}")
