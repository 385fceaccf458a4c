"""Clients by the hundred thousand: tests/support/client_crowd on the segment's port toward the balancer."""

import os
import subprocess

from harness import Skip, true
from world import BUILD


class ClientCrowd:
    """They stand before the balancer's uplink for the rest of the case; see client_crowd/main.cpp for their steps."""

    def __init__(self, world, clients=1):
        program = os.path.join(BUILD, "cmake/tests/client-crowd")
        if not os.access(program, os.X_OK):
            raise Skip(f"{program} is not built")
        mac = world.lab.on("balancer", "cat", "/sys/class/net/eth1/address").strip()
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", world.lab.namespace("segment"), program, "to-balancer", mac,
             f"{world.bracketed(world.vip)}:80", str(world.dscp), str(clients)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        world.clean_up.callback(self._end)
        first = self._process.stdout.readline().strip()
        true(first == "ready", f"the crowd said: {first}")

    def begin(self, *words):
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def counts(self):
        """What came of the step that was begun last, when it is done."""
        line = self._process.stdout.readline()
        true("=" in line, f"the crowd said: {line.strip()}")
        return {name: float(count) if "." in count else int(count) for name, count in (word.split("=") for word in line.split())}

    def step(self, *words):
        self.begin(*words)
        return self.counts()

    def _end(self):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
