"""The balancer's API as programs and people use it: each change is seen in real requests, and every answer is what the OpenAPI
document says."""

import concurrent.futures
import json
import os
import random
import re
import socket
import time

import openapi
from cases_choice import TARGETS, bridge_of, told, web
from harness import case, equal, eventually, true
from http_client import ask
from world import BRIDGES


class Api:
    """The balancer's API from its own host; each answer is held against the document."""

    def __init__(self, world):
        self._world = world
        self.document = json.loads(world.page("balancer", "/openapi.json"))

    def call(self, method, path, body=None, status=None, *, raw=None, words=()):
        """The answer's JSON (None: it has none). `path` with its variables filled in."""
        words = [*words, "-X", method, "-w", "\n%{http_code}"]
        if body is not None or raw is not None:
            words += ["-H", "Content-Type: application/json", "--data-binary", json.dumps(body) if raw is None else raw]
        text = self._world.page("balancer", path, *words)
        answer, code = text.rsplit("\n", 1)
        if status is not None:
            equal(int(code), status, f"{method} {path} {body or raw or ''} says {answer}")
        schema = openapi.response(self.document, method, self._pattern(path), int(code))
        value = json.loads(answer) if schema else None
        if schema:
            equal(list(openapi.complaints(self.document, schema, value)), [], f"complaints about {method} {path}")
        return value

    def _pattern(self, path):
        path = path.partition("?")[0]
        for pattern in self.document["paths"]:
            if re.fullmatch(re.sub(r"\{[a-z]+\}", "[^/]+", pattern), path):
                return pattern
        raise AssertionError(f"{path} is not in the document")

    def service(self, name):
        return next((each for each in self.call("GET", "/loadbalancers", status=200) if each["name"] == name), None)

    def bridge(self, service, name):
        """The bridge and its path."""
        of = self.service(service)
        found = next(each for each in of["backends"] if each["name"] == name)
        return found, f"/loadbalancer/{of['uuid']}/backend/{found['uuid']}"


def api_of(world):
    """The API, and all that the case changes by it is undone at its end."""
    api = Api(world)

    def undo():
        state = f"{world.lab.run_dir}/balancer.state.json"
        if os.path.exists(state):
            world.lab.stop("balancer")
            os.remove(state)
            world.lab.start("balancer")

    world.clean_up.callback(undo)
    return api


def settings(services):
    """The services without what changes by itself."""
    return [{**each, "backends": [{**backend, "connections": 0} for backend in each["backends"]]} for each in services]


def owners(world, targets):
    return [bridge_of(world, target) for target in targets]


@case("the API drains a bridge and weighs it: requests follow at once, a restart keeps it, null gives it back to the file")
def _(world):
    api = api_of(world)
    service = web(world)
    before = owners(world, TARGETS)
    found, path = api.bridge(service, "b1")
    equal((found["state"], found["origin"], found["changed"]), ("ready", "file", []), "b1 as the file has it")
    now = api.call("PATCH", path, {"state": "drain"}, 200)
    equal((now["state"], now["changed"], now["table_share"]), ("drain", ["state"], 0), "b1 drains")
    after = owners(world, TARGETS)
    true("b1" not in after, f"b1 gets nothing: {after}")
    equal([was for was, now in zip(before, after) if was != now and was != "b1"], [], "keys that moved though they were not b1's")
    world.lab.stop("balancer")
    world.lab.start("balancer")
    equal(owners(world, TARGETS), after, "the bridges after a restart")
    true("is set to drain by the API, and not to the file's ready" in world.log_of("balancer", of_this_case=True), "the log says whose word holds")
    api.call("PATCH", path, {"state": None}, 200)
    equal(owners(world, TARGETS), before, "the bridges as the file has them")
    api.call("PATCH", path, {"weight": 0}, 200)
    true("b1" not in owners(world, TARGETS), "weight 0 gets nothing")
    now = api.call("PATCH", path, {"weight": None}, 200)
    equal((now["weight"], now["changed"]), (found["weight"], []), "the file's weight")


@case("a bridge removed and added by the API: its keys leave and come back, under a UUID of its own")
def _(world):
    api = api_of(world)
    before = owners(world, TARGETS)
    found, path = api.bridge(web(world), "b2")
    api.call("DELETE", path, status=204)
    api.call("GET", path, status=404)
    true("b2" not in owners(world, TARGETS), "b2 gets nothing")
    service = api.service(web(world))
    backend = {"ip": found["ip"], "port": "80", "name": "b2", "number": found["number"]}
    added = api.call("POST", f"/loadbalancer/{service['uuid']}/backend", backend, 201)
    equal((added["origin"], added["port"], added["weight"]), ("api", 80, 1), "the bridge that was added")
    true(added["uuid"] != found["uuid"], "it is another one than the file's")
    equal(owners(world, TARGETS), before, "the bridges, by name as before")
    api.call("POST", f"/loadbalancer/{service['uuid']}/backend", backend, 409)


@case("a service of the file's is removed by the API, and another one made in its place serves, over a restart, too")
def _(world):
    api = api_of(world)
    name = f"own{world.family}"
    service = api.service(name)

    def served():
        try:
            sock = world.connect(address=service["vip"], port=8080, timeout=1)
            return ask(sock, "/control", "Connection: close").status == 200
        except (OSError, AssertionError):
            return False

    true(served(), "the file's service serves")
    api.call("DELETE", f"/loadbalancer/{service['uuid']}", status=204)
    equal(api.service(name), None, "the service")
    true(not served(), "it serves no more")
    backends = [{"ip": each["ip"], "name": each["name"], "number": each["number"]} for each in service["backends"]]
    made = api.call("POST", "/loadbalancer", {"name": "made", "port": "8080", "eip": service["vip"], "dscp": service["dscp"],
                                              "protocol": "http", "hash": {"key": "path"}, "backends": backends}, 201)
    equal((made["origin"], made["hash"]["key"], len(made["backends"])), ("api", "path", 3), "what was made")
    true(served(), "what was made serves")
    world.lab.stop("balancer")
    world.lab.start("balancer")
    true(served(), "it serves after a restart")
    equal(api.service("made")["uuid"], made["uuid"], "its UUID after a restart")
    api.call("DELETE", f"/loadbalancer/{made['uuid']}", status=204)
    true(not served(), "it serves no more")


@case("a service without an address takes one of ipam, which the host then has, and gives it back", once=True)
def _(world):
    api = api_of(world)

    def has(address):
        return f" {address}/" in world.lab.on("balancer", "ip", "-o", "address")

    made = [api.call("POST", "/loadbalancer", {"name": f"pool{number}", "port": 80}, 201) for number in range(2)]
    equal([each["vip"] for each in made], ["192.168.33.201", "192.168.33.202"], "the first free addresses")
    true(all(has(each["vip"]) for each in made), "the host has them")
    equal(len({each["dscp"] for each in api.call("GET", "/loadbalancers", status=200)}),
          len(api.call("GET", "/loadbalancers", status=200)), "each has a DSCP of its own")
    api.call("DELETE", f"/loadbalancer/{made[0]['uuid']}", status=204)
    eventually(lambda: not has(made[0]["vip"]), "the host gives the address back")
    equal(api.call("POST", "/loadbalancer", {"name": "again", "port": 80}, 201)["vip"], made[0]["vip"], "it is free again")


@case("/stats and /metrics count each bridge's openings, answers and bytes, whether it is checked or not")
def _(world):
    api = api_of(world)
    service = web(world)

    def now():
        """Both pages of one moment: connections that close still send packets between two questions."""
        while True:
            stats = api.call("GET", "/stats", status=200)
            page = world.page("balancer", "/metrics")
            if api.call("GET", "/stats", status=200)["frontends"][service] == stats["frontends"][service]:
                break

        def counts(name, label=""):
            return {bridge: float(value) for bridge, value in re.findall(
                rf'^splicelb_balancer_{name}_total\{{bridge="(b\d)",service="{service}"{label}\}} (\S+)$', page, re.M)}

        return stats["frontends"][service], counts("bridge_signs", ',sign="opening"'), counts("bridge_signs", ',sign="answer"'), counts("bridge_bytes")

    before = now()
    got = owners(world, TARGETS)
    sock = world.connect()
    answer = ask(sock, "/counted", "X-Padding: " + "x" * 4000)
    got.append(answer.bridge)
    sock.close()

    def answered():
        return sum((now()[2][bridge] - before[2][bridge] for bridge in BRIDGES)) == len(got)

    eventually(answered, "each answer is counted")
    after = now()
    equal(after[0]["total_connections"] - before[0]["total_connections"], len(got), "connections")
    for bridge in BRIDGES:
        equal(after[1][bridge] - before[1][bridge], got.count(bridge), f"openings of {bridge}")
    grown = {bridge: after[3][bridge] - before[3][bridge] for bridge in BRIDGES}
    equal(sum(grown.values()), after[0]["bytes_rx"] - before[0]["bytes_rx"], "bytes of all bridges")
    true(grown[answer.bridge] > 4000, f"the bytes of a large request: {grown}")


@case("/flows tells each connection with its bridge, by pages and by filters")
def _(world):
    api = api_of(world)
    service = web(world)
    bridges = {}
    for number in range(30):
        sock = world.connect()
        bridges[sock.getsockname()[1]] = ask(sock, f"/flows/{number}").bridge

    def pages(query):
        found, after = [], ""
        while after is not None:
            page = api.call("GET", f"/flows?service={service}&client={world.client}{query}&after={after}", status=200)
            found += page["flows"]
            after = page["next"]
        return {int(flow["client"].rpartition(":")[2]): flow for flow in found if flow["state"] in ("open", "unanswered")}

    for query in ("&limit=7", "&limit=1000", ""):
        flows = pages(query)
        equal({port: flows[port]["bridge"] for port in bridges if port in flows}, bridges, f"the connections by {query}")
    only = pages("&bridge=b2")
    equal(sorted(port for port in only if port in bridges), sorted(port for port, bridge in bridges.items() if bridge == "b2"), "b2's")
    port = next(iter(bridges))
    host = world.client if world.family == 4 else f"[{world.client}]"
    one = api.call("GET", f"/flows?client={host}:{port}&limit=1000", status=200)
    equal([flow["client"] for flow in one["flows"]], [f"{host}:{port}"], "one client's port")
    equal(one["flows"][0]["service"], service, "its service")


REFUSALS = [
    ("POST", "/loadbalancer", "no json", 400, None),
    ("POST", "/loadbalancer", "[" * 60_000, 400, None),
    ("POST", "/loadbalancer", "[]", 422, None),
    ("POST", "/loadbalancer", {}, 422, "name"),
    ("POST", "/loadbalancer", {"name": "x"}, 422, "port"),
    ("POST", "/loadbalancer", {"name": "x", "port": 0}, 422, "port"),
    ("POST", "/loadbalancer", {"name": "x", "port": "80x"}, 422, "port"),
    ("POST", "/loadbalancer", {"name": "x", "port": {"a": 1}}, 422, "port"),
    ("POST", "/loadbalancer", {"name": "x", "port": None}, 422, "port"),
    ("POST", "/loadbalancer", {"name": "a b", "port": 80}, 422, "name"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "prt": 1}, 422, "prt"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "protocol": "udp"}, 422, "protocol"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "vip": "127.0.0.1"}, 422, "vip"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "vip": "192.0.2.1", "eip": "192.0.2.2"}, 422, "eip"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "dscp": 63}, 422, "dscp"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "dscp": 1}, 409, "dscp"),
    ("POST", "/loadbalancer", {"name": "web4", "port": 81}, 409, "name"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "vip": "192.168.33.100"}, 409, "port"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "backends": [{"ip": "192.168.33.21", "weight": -1}]}, 422, "weight"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "backends": [{"ip": "fd33::21"}]}, 422, "ip"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "backends": {}}, 422, "backends"),
    ("POST", "/loadbalancer", {"name": "x", "port": 80, "need": 2}, 422, None),
    ("DELETE", "/loadbalancer/00000000-0000-0000-0000-000000000000", None, 404, "uuid"),
    ("POST", "/loadbalancer/{service}/backend", {}, 422, "ip"),
    ("POST", "/loadbalancer/{service}/backend", {"ip": "nobody"}, 422, "ip"),
    ("POST", "/loadbalancer/{service}/backend", {"ip": "192.0.2.9", "state": "asleep"}, 422, "state"),
    ("POST", "/loadbalancer/{service}/backend", {"ip": "192.0.2.9", "number": 1019}, 422, "number"),
    ("PATCH", "/loadbalancer/{service}/backend/{bridge}", {}, 422, None),
    ("PATCH", "/loadbalancer/{service}/backend/{bridge}", {"weight": 257}, 422, "weight"),
    ("PATCH", "/loadbalancer/{service}/backend/{bridge}", {"weight": 1.5}, 422, "weight"),
    ("PATCH", "/loadbalancer/{service}/backend/{bridge}", {"weight": True}, 422, "weight"),
    ("PATCH", "/loadbalancer/{service}/backend/{bridge}", {"address": "192.0.2.1"}, 422, "address"),
    ("PATCH", "/loadbalancer/{service}/backend/00000000-0000-0000-0000-000000000000", {"weight": 1}, 404, "backend"),
    ("GET", "/flows?service=none", None, 404, "service"),
    ("GET", "/flows?bridge=none", None, 404, "bridge"),
    ("GET", "/flows?client=x", None, 422, "client"),
    ("GET", "/flows?limit=0", None, 422, "limit"),
    ("GET", "/flows?limit=1001", None, 422, "limit"),
    ("GET", "/flows?after=nowhere", None, 422, "after"),
    ("GET", "/flows?colour=red", None, 422, "colour"),
    ("GET", "/explain", None, 422, "service"),
    ("GET", "/explain?service=none&url=/", None, 404, "service"),
    ("GET", "/explain?service=web4", None, 422, "url"),
    ("GET", "/explain?service=web4&url=a%20b", None, 422, "url"),
    ("GET", "/explain?service=web4&url=/&source=x", None, 422, "source"),
    ("GET", "/explain?service=web4&url=/&header=x", None, 422, "header"),
    ("GET", "/explain?service=web4&url=/&colour=red", None, 422, "colour"),
]


@case("what the API refuses it names, with its code and its field, and nothing changes", once=True)
def _(world):
    api = api_of(world)
    before = settings(api.call("GET", "/loadbalancers", status=200))
    service = api.service("web4")
    names = {"service": service["uuid"], "bridge": service["backends"][0]["uuid"]}
    for method, path, body, status, field in REFUSALS:
        raw = body if isinstance(body, str) else None
        answer = api.call(method, path.format(**names), None if raw else body, status, raw=raw)
        equal(answer.get("field"), field, f"the field of {method} {path} {str(body)[:80]}: {answer}")
    equal(world.page("balancer", "/loadbalancer", "-d", "{}", "-o", "/dev/null", "-w", "%{http_code}"), "415", "a form")
    world.lab.on("balancer", "sh", "-c", f"head -c 70000 /dev/zero | tr '\\0' ' ' > {world.lab.run_dir}/big")
    api.call("POST", "/loadbalancer", raw=f"@{world.lab.run_dir}/big", status=413)
    equal(settings(api.call("GET", "/loadbalancers", status=200)), before, "the services")
    true(not os.path.exists(f"{world.lab.run_dir}/balancer.state.json"), "no change is kept")


@case("explain says of each URL which bridge it gets, and why another one that should have it does not", once=True)
def _(world):
    api = api_of(world)
    service = web(world)
    wanted = [choices for choices in told(world, service, [{"uri": target} for target in TARGETS])]

    def explained(target):
        query = target.replace("?", "%3f").replace("&", "%26").replace("=", "%3d")
        return api.call("GET", f"/explain?service={service}&url={query}", status=200)

    for target, choices in zip(TARGETS, wanted):
        answer = explained(target)
        equal([each["bridge"] for each in answer["choices"]], choices, f"the choices of {target}")
        equal(answer["serves"]["bridge"], bridge_of(world, target), f"the bridge of {target}")
        equal(answer["why"], "it is the key's first choice", f"why {target} goes there")
    _, path = api.bridge(service, wanted[0][0])
    api.call("PATCH", path, {"state": "drain"}, 200)
    answer = explained(TARGETS[0])
    equal(answer["serves"]["bridge"], bridge_of(world, TARGETS[0]), "the bridge while the first one drains")
    equal(answer["serves"]["rank"], 2, "its rank")
    equal(answer["why"], f"{wanted[0][0]} would be before it, but its state is drain", "why")


@case("what the file says later does not undo what the API said, and the log tells of each", once=True)
def _(world):
    api = api_of(world)
    _, path = api.bridge(web(world), "b3")
    api.call("PATCH", path, {"weight": 7}, 200)
    world.edited("balancer.yaml", lambda text: text.replace("name: b3, address:", "weight: 2, name: b3, address:"))
    eventually(lambda: "b3 has weight 7 by the API, and not the file's 2" in world.log_of("balancer", of_this_case=True),
               "the reload says whose weight holds", seconds=15)
    equal(api.bridge(web(world), "b3")[0]["weight"], 7, "the weight that runs")
    api.call("PATCH", path, {"weight": None}, 200)
    equal(api.bridge(web(world), "b3")[0]["weight"], 2, "the file's weight, as it is now")


def shape(value, rng):
    """Another value of the same or any other type."""
    return rng.choice([None, True, -1, 2**40, 1.5, "", "x" * 300, [], {}, [value], {"a": value}, "\u0000", "\ud83d\ude00", value])


@case("a thousand connections, slow writers and mutated bodies at the API: requests go on, and it answers afterwards", once=True)
def _(world):
    api = api_of(world)
    before = settings(api.call("GET", "/loadbalancers", status=200))
    rng = random.Random(7)
    good = {"name": "fuzz", "port": 80, "vip": "192.0.2.77", "dscp": 40, "protocol": "http", "hash": {"key": "uri", "algorithm": "maglev"},
            "backends": [{"ip": "192.0.2.78", "weight": 2}]}
    bodies = []
    for _ in range(100):
        body = json.loads(json.dumps(good))
        for key in rng.sample(sorted(body), 2):
            body[key] = shape(body[key], rng)
        bodies.append(json.dumps(body).encode())
        bodies.append(bytes(rng.choice(bodies[-1:] + [b"{}"])[:rng.randrange(1, 40)]))

    def post(body, stop_at=None):
        head = f"POST /loadbalancer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with world.lab.inside("balancer"):
            sock = socket.create_connection(("127.0.0.1", 10001), timeout=10)
        sock.sendall((head + body)[:stop_at])
        return sock

    silent = [post(b"{}", stop_at=30) for _ in range(1000)]
    errors = []

    def flood():
        for body in bodies:
            with post(body) as sock:
                status = sock.recv(4096).split(b" ")[1:2]
                if status and status[0] not in (b"201", b"400", b"409", b"422"):
                    errors.append((status, body))

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood)
        slowest, asked = 0.0, 0
        while not flooding.done():
            began = time.monotonic()
            equal(ask(world.connect(), f"/flood/{asked}", "Connection: close").status, 200, "a request meanwhile")
            slowest, asked = max(slowest, time.monotonic() - began), asked + 1
        flooding.result()
    for sock in silent:
        sock.close()
    equal(errors, [], "answers that are none of a refusal's")
    world.notes.append(f"{asked} requests meanwhile, the slowest took {slowest * 1000:.0f} ms")
    for each in api.call("GET", "/loadbalancers", status=200):
        if each["origin"] == "api":
            api.call("DELETE", f"/loadbalancer/{each['uuid']}", status=204)
    equal(settings(api.call("GET", "/loadbalancers", status=200)), before, "the services afterwards")
    equal({bridge_of(world, target) for target in TARGETS}, set(BRIDGES), "the bridges that serve")
