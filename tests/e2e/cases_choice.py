"""What a service may say of its choices beside key and algorithm, in both engines: each time splice-hash is told the same
configuration, and says which bridge it must be."""

import itertools
import json
import os
import subprocess
import time

from harness import case, equal, eventually, true
from http_client import ask
from world import BRIDGES, BUILD

TOOL = os.path.join(BUILD, "splice-hash")
TARGETS = [f"/choice/{n}?b={n}&a=1&utm_source={n % 3}" for n in range(24)]


def reloads(world):
    return world.log_of("balancer").count("reloaded (")


def serve_with(world, service, keys, hash_="key: uri"):
    """The service has these keys, until the case ends: `keys` is YAML, a line each."""
    before = restored = reloads(world)
    world.clean_up.callback(lambda: eventually(lambda: reloads(world) > restored, "the configuration before is back", seconds=15))

    def edit(text):
        head, name, rest = text.partition(f"  - name: {service}\n")
        line, _, after = rest.partition("    hash:")
        more = "".join(f"    {key}\n" for key in keys)
        return f"{head}{name}{line}{more}    hash: {{ {hash_} }}\n{after.partition(chr(10))[2]}"

    def note_reloads():
        nonlocal restored
        restored = reloads(world)

    world.edited("balancer.yaml", edit)
    world.clean_up.callback(note_reloads)  # before the file is as it was
    eventually(lambda: reloads(world) > before, lambda: f"a reload: {world.log_of('balancer', of_this_case=True)[-500:]}", seconds=15)


def told(world, service, records, *flags):
    """splice-hash's choices for each record (as of a log) under the balancer's own configuration."""
    done = subprocess.run([TOOL, "map", "--config", f"{world.lab.run_dir}/balancer.yaml", "--service", service, "--format", "json", *flags],
                          input="".join(json.dumps(record) + "\n" for record in records), text=True, check=True, stdout=subprocess.PIPE)
    return [each["choices"] for each in json.loads(done.stdout)["keys"]]


def web(world):
    return f"web{world.family}"


def bridge_of(world, target, *headers):
    response = ask(world.connect(), target, "Connection: close", *headers)
    equal(response.status, 200, f"the status of {target}")
    return response.bridge


def metric(world, name, service, **labels):
    """The counter's or gauge's value; 0 where it is not there."""
    for line in world.page("balancer", "/metrics").splitlines():
        if line.startswith(f"splicelb_balancer_{name}{{") and f'service="{service}"' in line:
            if all(f'{label}="{value}"' in line for label, value in labels.items()):
                return float(line.split()[-1])
    return 0


def hot_keys(world, service):
    status = json.loads(world.page("balancer", "/status"))
    return next(each for each in status["services"] if each["name"] == service)["hot_keys"]["hot"]


def ask_until(world, condition, what, targets, seconds=30):
    """Asks for the targets in turn, each on its own connection; the bridges of each, when the condition holds of them."""
    seen = {target: [] for target in targets}
    end = time.monotonic() + seconds
    for target in itertools.cycle(targets):
        seen[target].append(bridge_of(world, target))
        if condition(seen):
            return seen
        true(time.monotonic() < end, f"not within {seconds} s: {what}: {seen}")


@case("a query that the key sorts and filters: what the kernel cannot write is user space's, and the bridge is the same")
def _(world):
    serve_with(world, web(world), [], 'key: "uri query(sort,exclude=utm_*) normalise"')
    plain = [f"/choice/{n}" for n in range(12)]  # the kernel program's own
    odd = [target.replace("/choice", "/%63hoice/./x/..") for target in TARGETS[:6]]
    for targets in (plain, TARGETS, odd):
        wanted = [choices[0] for choices in told(world, web(world), [{"uri": target} for target in targets])]
        equal([bridge_of(world, target) for target in targets], wanted, "the bridges")
    # One object, however it is written.
    ways = ["/one?a=1&b=2", "/one?b=2&a=1", "/one?utm_x=7&b=2&a=1", "/%6fne?b=2&a=1", "/x/../one?b=2&&a=1"]
    equal(len({bridge_of(world, way) for way in ways}), 1, f"bridges of {ways}")


@case("a key joined of headers and path goes by all of them")
def _(world):
    serve_with(world, web(world), [], "key: hdr(x-tenant)+hdr(x-device)+path")
    asked = [(target, f"t{n % 3}", "phone" if n % 2 else "tv") for n, target in enumerate(TARGETS)]
    wanted = told(world, web(world), [{"uri": target, "http_x_tenant": tenant, "http_x_device": device} for target, tenant, device in asked])
    got = [bridge_of(world, target, f"X-Device: {device}", f"X-Tenant: {tenant}") for target, tenant, device in asked]
    equal(got, [choices[0] for choices in wanted], "the bridges")
    without_query = [bridge_of(world, target.partition("?")[0], f"X-Tenant: {tenant}", f"X-Device: {device}") for target, tenant, device in asked]
    equal(without_query, got, "the bridges without the query")


@case("bounded load: a key that all ask for goes to its next choices, too")
def _(world):
    hot = TARGETS[0]
    choices = told(world, web(world), [{"uri": hot}])[0]
    equal({bridge_of(world, hot) for _ in range(10)}, {choices[0]}, "the bridges without a bound")

    def ranks():
        return [metric(world, "choices_total", web(world), rank=rank) for rank in ("first", "second", "third")]

    serve_with(world, web(world), ["bounded_load: 1.1"])
    before = ranks()
    seen = ask_until(world, lambda seen: set(seen[hot]) == set(BRIDGES), "all bridges serve it", [hot])[hot]
    true(metric(world, "choices_weighed_total", web(world), why="over_bound") > 0, "over the bound")
    # The kernel's first choices are added when the loads are reckoned, not at once.
    answered = [counted + seen.count(bridge) for counted, bridge in zip(before, choices)]
    eventually(lambda: ranks() == answered, lambda: f"openings by rank {ranks()} are what the bridges answered: {answered}")


@case("a hot key is spread over two bridges, and others stay on their own")
def _(world):
    serve_with(world, web(world), ["hot_keys: { top: 4, spread: 2 }"])
    hot, cold = TARGETS[1], TARGETS[2]
    choices = told(world, web(world), [{"uri": hot}, {"uri": cold}])
    seen = ask_until(world, lambda seen: len(set(seen[hot])) == 2, "two bridges serve it", [hot])[hot]
    equal(bridge_of(world, cold), choices[1][0], "the other key's bridge")
    seen += [bridge_of(world, hot) for _ in range(30)]
    equal(set(seen), set(choices[0][:2]), "its bridges")
    true(metric(world, "choices_weighed_total", web(world), why="spread") > 0, "spread openings")
    eventually(lambda: metric(world, "hot_keys", web(world)) >= 1, "the hot key is counted")
    eventually(lambda: hot in [each["key"] for each in hot_keys(world, web(world))], lambda: f"{hot} is named: {hot_keys(world, web(world))}")


@case("warm second choices get their share of the openings")
def _(world):
    serve_with(world, web(world), ["warmup: 30 %"])
    choices = dict(zip(TARGETS, told(world, web(world), [{"uri": target} for target in TARGETS])))

    def both(seen):
        ranks = [choices[target].index(bridge) for target, bridges in seen.items() for bridge in bridges]
        return ranks.count(0) >= 20 and ranks.count(1) >= 5

    seen = ask_until(world, both, "first and second choices", TARGETS)
    for target, bridges in seen.items():
        true(set(bridges) <= set(choices[target][:2]), f"{target}: {bridges}, of {choices[target]}")
    second = sum(bridge == choices[target][1] for target, bridges in seen.items() for bridge in bridges)
    equal(metric(world, "choices_weighed_total", web(world), why="warmup"), second, "openings that warm")


@case("a TLS name with a subset has two bridges, and each client one of them")
def _(world):
    service, name = f"tls{world.family}", "subset.lab.test"
    before = told(world, service, [{"host": name, "client": world.client}])[0]
    serve_with(world, service, [], "key: sni, subset: 2")
    certificate = f"{world.lab.run_dir}/tls.crt"
    prefix, length = (world.client.rpartition(".")[0] + ".", 24) if world.family == 4 else (world.client.rpartition(":")[0] + ":", 64)
    clients = [f"{prefix}{number}" for number in range(41, 49)]
    for client in clients:
        words = ("address", "{}", f"{client}/{length}", "dev", "eth0", *(("nodad",) if world.family == 6 else ()))
        world.lab.on("client", "ip", words[0], "add", *words[2:])
        world.clean_up.callback(world.lab.on, "client", "ip", "address", "del", f"{client}/{length}", "dev", "eth0")
    wanted = [choices[0] for choices in told(world, service, [{"host": name, "client": client} for client in clients])]
    equal(set(wanted), set(before[:2]), "the subset is the name's first two choices")
    got = [world.curl("--interface", client, "--cacert", certificate, "-k", "--resolve", f"{name}:443:{world.bracketed(world.vip)}",
                      f"https://{name}/x").split()[0] for client in clients]
    equal(got, wanted, "the clients' bridges")


@case("a shadow is counted and moves nothing; a ramp moves its share of the rows")
def _(world):
    asked = [{"uri": target} for target in TARGETS]
    before = [choices[0] for choices in told(world, web(world), asked)]
    then = [choices[0] for choices in told(world, web(world), asked, "--hash-key", "path", "--algorithm", "maglev")]
    serve_with(world, web(world), ["shadow: { key: path, algorithm: maglev }"])
    equal([bridge_of(world, target) for target in TARGETS], before, "the bridges with a shadow")
    eventually(lambda: metric(world, "shadow_openings_total", web(world)) == len(TARGETS), "all openings are looked at")
    equal(metric(world, "shadow_moved_total", web(world)), sum(a != b for a, b in zip(before, then)), "openings that would move")
    serve_with(world, web(world), ["ramp: 50 %"])
    ramped = [choices[0] for choices in told(world, web(world), asked)]
    true(before != ramped != then, f"some move and some do not: {ramped}")
    equal([bridge_of(world, target) for target in TARGETS], ramped, "the bridges on the ramp")


@case("a ramp to another algorithm under the same key: the kernel's table has the moved rows")
def _(world):
    asked = [{"uri": target} for target in TARGETS]
    before = [choices[0] for choices in told(world, web(world), asked)]
    serve_with(world, web(world), ["shadow: { algorithm: maglev }", "ramp: 50 %"])
    wanted = [choices[0] for choices in told(world, web(world), asked)]
    true(wanted != before, f"some move: {wanted}")
    equal([bridge_of(world, target) for target in TARGETS], wanted, "the bridges")
