"""Health checks: bridges that are checked by the way that users' packets take."""

import json
import re

from cases_kernel import edited
from harness import case, equal, eventually, true

# By service, without its family.
CHECKS = {
    "web": "{ type: http, path: /check, host: lab.test, body: /check, %s }",
    "tls": "{ type: tls, sni: www.lab.test, %s }",
    "greet": "{ type: tcp, %s }",
    "own": "{ type: http, method: HEAD, path: /own, expect: [200, 300-399], %s }",
    "proxied": "{ type: http, path: /proxied, %s }",
    "by-proxied-source": "{ type: tcp, %s }",
}
QUICK = "interval: 100ms, timeout: 100ms"


def with_checks(text, services, words):
    """balancer.yaml with `health` in these services."""
    for service, health in services.items():
        text = re.sub(rf"(  - name: {service}\n)", rf"\1    health: {health % words}\n", text)
    return text


def health_of(world, service):
    """By bridge, as the balancer's API tells it."""
    status = json.loads(world.page("balancer", "/status"))
    found = next(each for each in status["services"] if each["name"] == service)
    return {each["name"]: each["health"] for each in found["bridges"]}


def check_services(world, services, words=QUICK):
    """These services, by their names without a family, are checked for the rest of the case."""
    named = {f"{name}{world.family}": CHECKS[name] for name in services}
    # After the file is as it was: the next case begins without.
    world.clean_up.callback(lambda: [
        eventually(lambda service=service: not any(health_of(world, service).values()), f"{service} is not checked")
        for service in named])
    edited(world, "balancer.yaml", lambda text: with_checks(text, named, words))
    for service in named:
        eventually(lambda service=service: all(health_of(world, service).values()), f"{service} is checked")


def passed(health):
    return {name: each and each["checks"]["passed"] for name, each in health.items()}


@case("each type of health check passes by the way that users' packets take, in full segments too")
def _(world):
    before = world.verdicts()
    check_services(world, CHECKS)
    for name in CHECKS:
        service = f"{name}{world.family}"
        # One check of sixteen has a twin as a full segment.
        eventually(lambda service=service: min(passed(health_of(world, service)).values()) >= 20,
                   lambda service=service: f"checks of {service}: {health_of(world, service)}", seconds=20)
        for bridge, health in health_of(world, service).items():
            equal((health["state"], health["failure"], health["narrow"]), ("up", None, False), f"{service}, {bridge}")
    after = world.verdicts()
    true(after["hear_check"] > before["hear_check"], "the balancer counts what answers its checks")
    equal(after["drop_check"], before["drop_check"], "packets that look like answers and are none")
    lines = [line for line in world.log_of("balancer", of_this_case=True).splitlines() if "warning" in line]
    true(not [line for line in lines if ": bridge " in line], f"warnings: {lines}")
