#!/usr/bin/env python3
"""A server that speaks first, as those of mail and many databases do: greets, then returns each line;
for a line "SEND n" it returns n bytes of x instead, for "THINK s n" the same after s seconds.

usage: greeter.py NAME PORT ADDRESS...
"""

import ipaddress
import socketserver
import sys
import threading
import time


class Greeting(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(f"220 {self.server.name} greets {self.client_address[0]}\r\n".encode())
        for line in self.rfile:
            words = line.split()
            if words[:1] == [b"THINK"] and len(words) == 3:
                time.sleep(int(words[1]))
            if words[:1] in ([b"SEND"], [b"THINK"]):
                line = b"x" * min(int(words[-1]), 1 << 28)
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


class Server6(Server):
    address_family = socketserver.socket.AF_INET6


def main():
    name, port, addresses = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    threads = []
    for address in addresses:
        kind = Server6 if ipaddress.ip_address(address).version == 6 else Server
        server = kind((address, port), Greeting)
        server.name = name
        threads.append(threading.Thread(target=server.serve_forever))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
