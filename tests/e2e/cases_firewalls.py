"""Firewalls of a cache's host beside the iptables rules of cases_hosts.py: nft's, and address translation."""

import os
import re
import subprocess
import textwrap

from cases_hosts import all_served_by, no_conntrack, paths_of
from cases_kernel import restart
from harness import case, equal, true
from http_client import ask
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


@case("address translation on a cache's host (NAT, as Docker has it): without tracking of the service every mode serves",
      requires=no_conntrack)
def _(world):
    bridge = "b2"
    path = paths_of(world, bridge)[0]
    world.rule(bridge, "POSTROUTING", f"-s {'10.99.0.0/24' if world.family == 4 else 'fd99::/64'}", "MASQUERADE", table="nat")
    try:
        served = ask(world.connect(timeout=1.5), path).bridge == bridge
    except (OSError, AssertionError):
        served = False
    world.notes.append(f"where its connections are tracked it {'serves' if served else 'does not serve'}")
    if world.lab.mode == "translate":
        true(served, "a mode that translates needs nothing")
    backend = world.backend_address(bridge)
    for words in block_of_page("iptables -t raw").replace("BACKEND", backend).splitlines():
        _, _, _, _, chain, *match, _, target, option = words.split()
        world.rule(bridge, chain, " ".join(match), f"{target} {option}", table="raw")
    all_served_by(world, bridge, [path] * 5)
