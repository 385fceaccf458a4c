"""Clients by the hundred thousand: tests/support/client_crowd on the segment's port toward the balancer."""

import os
import select
import subprocess

from harness import Skip
from world import BUILD

PROGRAM = os.path.join(BUILD, "cmake/tests/client-crowd")


def before_balancer(world, clients=1, hosts=65536):
    """A crowd that stands before the web service for the rest of a case, of so many addresses."""
    if not os.access(PROGRAM, os.X_OK):
        raise Skip(f"{PROGRAM} is not built")
    return world.clean_up.enter_context(ClientCrowd(world.lab, f"{world.bracketed(world.vip)}:80", world.dscp, clients, hosts))


class ClientCrowd:
    """On the segment's port toward the balancer; see client_crowd/main.cpp for the steps that it takes."""

    def __init__(self, lab, service, dscp, clients=1, hosts=65536):
        mac = lab.on("balancer", "cat", "/sys/class/net/eth1/address").strip()
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", lab.namespace("segment"), PROGRAM, "to-balancer", mac, service, str(dscp), str(clients), str(hosts)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        first = self._process.stdout.readline().strip()
        if first != "ready":
            self.__exit__()
            raise RuntimeError(f"the crowd said: {first}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def begin(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def ready(self):
        """Whether counts() need not wait."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def counts(self):
        """What came of the step that was begun last, when it is done."""
        line = self._process.stdout.readline()
        if "=" not in line:
            raise RuntimeError(f"the crowd said: {line.strip()}")
        return {name: float(count) if "." in count else int(count) for name, count in (word.split("=") for word in line.split())}

    def step(self, *words):
        self.begin(*words)
        return self.counts()
