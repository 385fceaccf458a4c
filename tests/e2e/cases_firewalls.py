"""Firewalls of a cache's host beside the iptables rules of cases_hosts.py: nft's, and address translation."""

import os
import re
import subprocess
import textwrap

from cases_hosts import all_served_by, check_obstacle, no_conntrack, only_adopt, paths_of, starts
from cases_kernel import restart
from harness import case, equal, eventually, true
from world import SOURCE


def block_of_page(first_words):
    """The indented block of docs/hosts.md that begins so."""
    with open(os.path.join(SOURCE, "docs/hosts.md"), encoding="utf-8") as file:
        blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", file.read(), re.MULTILINE)
    return next(text for text in map(lambda block: textwrap.dedent(block).strip() + "\n", blocks) if text.startswith(first_words))


def load(world, host, rules):
    """nft rules on a host for the rest of the case."""
    done = subprocess.run(["ip", "netns", "exec", world.lab.namespace(host), "nft", "-f", "-"], input=rules, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    equal(done.returncode, 0, f"nft takes {rules}: {done.stdout}")


@case("firewalls of a cache's host: nft's rules of docs/hosts.md, both policies DROP, let every mode serve", requires=no_conntrack)
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    chains = block_of_page("chain input {")
    true(chains.count("policy drop") == 2, f"both chains: {chains}")
    chains = chains.replace("ct state established,related accept", "ct state established,related accept\n meta l4proto icmpv6 accept")
    world.clean_up.callback(restart, world, bridge)
    world.clean_up.callback(world.lab.on, bridge, "nft", "delete", "table", "inet", "cache_firewall")
    load(world, bridge, f"table inet cache_firewall {{\n{chains}}}\n")
    all_served_by(world, bridge, paths)
    restart(world, bridge)
    all_served_by(world, bridge, paths)


def without_tracking(world, bridge):
    """The rules of docs/hosts.md that keep a backend's connections from being tracked, for each backend of the lab's file."""
    backend = world.backend_address(bridge)
    with open(f"{world.lab.run_dir}/{bridge}.yaml", encoding="ascii") as file:
        ports = sorted(set(re.findall(re.escape(world.bracketed(backend)) + r':(\d+)"', file.read())))
    true("80" in ports, f"the backends' ports: {ports}")
    for port in ports:
        for words in block_of_page("iptables -t raw").replace("BACKEND", backend).replace("port 80", f"port {port}").splitlines():
            _, _, _, _, chain, *match, _, target, option = words.split()
            world.rule(bridge, chain, " ".join(match), f"{target} {option}", table="raw")


def translating_addresses(world, bridge):
    """A rule of NAT that is about none of the bridge's packets."""
    table = ("ip" if world.family == 4 else "ip6", "nat")  # a chain stays when its rules are gone, and does the same harm
    world.clean_up.callback(world.lab.on, bridge, "nft", "delete", "table", *table, check=False)
    world.rule(bridge, "POSTROUTING", f"-s {'10.99.0.0/24' if world.family == 4 else 'fd99::/64'}", "MASQUERADE", table="nat")


NAT = "a chain of type nat and connection tracking"


@case("address translation on a cache's host (NAT, as Docker has it): without tracking of the service every mode serves",
      requires=no_conntrack)
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    translating_addresses(world, bridge)
    if world.lab.mode == "translate":
        all_served_by(world, bridge, paths)
    else:
        world.not_ready(bridge, NAT, 15)
    without_tracking(world, bridge)
    all_served_by(world, bridge, paths)
    eventually(lambda: world.api(bridge, "/readyz")[0] == 200, "it is ready without tracking", 15)
    world.clean_up.callback(restart, world, bridge)
    restart(world, bridge)
    true(f"mode {world.lab.mode}" in starts(world, bridge), f"it starts as ever: {starts(world, bridge)}")
    all_served_by(world, bridge, paths)


@case("address translation on a cache's host: told when it begins, auto translates, adopt refuses, and either names the cure",
      requires=lambda world: only_adopt(world) or no_conntrack(world))
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    world.clean_up.callback(restart, world, bridge)
    check_obstacle(world, bridge, lambda: translating_addresses(world, bridge), NAT)
    true(f"-d {world.backend_address(bridge)} -p tcp --dport 80 -j CT --notrack" in starts(world, bridge), "the cure is named")
    all_served_by(world, bridge, paths)


@case("a chain of type nat alone, where nothing tracks connections, harms no adoption and is no obstacle", requires=only_adopt)
def _(world):
    bridge = "b2"
    paths = paths_of(world, bridge)
    family = "ip" if world.family == 4 else "ip6"
    world.clean_up.callback(restart, world, bridge)
    world.clean_up.callback(world.lab.on, bridge, "nft", "delete", "table", family, "cache_nat")
    load(world, bridge, f"table {family} cache_nat {{ chain c {{ type nat hook postrouting priority 100; }}; }}\n")
    restart(world, bridge)
    all_served_by(world, bridge, paths)
    equal(world.api(bridge, "/readyz")[0], 200, "it is ready")
