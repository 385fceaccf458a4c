#!/usr/bin/env python3
"""The include rule of ARCHITECTURE.md: arrows between rooms point down only.

Reads every #include of ours below libsplice/, balancer/, packetbridge/ and tools/, and prints each that a room may
not have. Kernel programs and the datapath are held to more: the kernel's headers and the datapath's alone. What
people write is held to more, too: a configuration reaches no header of an engine, by whatever way. And no header
includes itself, by whatever way.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A room may include itself and the rooms named here.
MAY_INCLUDE = {
    "libsplice/datapath": set(),
    "libsplice/bpf": {"libsplice/datapath"},
    "libsplice/base": {"libsplice/datapath"},
    "libsplice/wire": {"libsplice/datapath", "libsplice/base"},
    "libsplice/core": {"libsplice/datapath", "libsplice/base", "libsplice/wire"},
    "libsplice/engine": {"libsplice/datapath", "libsplice/base", "libsplice/wire", "libsplice/core", "libsplice/bpf"},
}
BELOW_OPS = set(MAY_INCLUDE)
MAY_INCLUDE["libsplice/ops"] = BELOW_OPS
MAY_INCLUDE["libsplice/config"] = BELOW_OPS - {"libsplice/engine"} | {"libsplice/ops"}
LIBRARY = set(MAY_INCLUDE)
MAY_INCLUDE["balancer"] = LIBRARY
MAY_INCLUDE["packetbridge"] = LIBRARY
MAY_INCLUDE["tools"] = LIBRARY | {"balancer", "packetbridge"}

# <header> names that a room without system calls may include: the language's own, and the libraries it stands on.
PURE_ROOMS = {"libsplice/base", "libsplice/wire", "libsplice/core"}
IMPURE_HEADER = re.compile(
    r"^(sys/|net/|netinet/|arpa/|linux/|unistd|fcntl|time\.h|poll|signal|pthread|thread|mutex|shared_mutex|"
    r"condition_variable|future|ctime|iostream|fstream|cstdio|random|filesystem|spdlog|boost/asio|libmnl|pcap|bpf/)")
ASIDE = {
    ("libsplice/base/address.cpp", "arpa/inet.h"),  # inet_pton() and inet_ntop() make no system call
    ("libsplice/core/http_key.cpp", "boost/asio/buffer.hpp"),  # a pointer and a length: how Beast is handed bytes
}
KERNEL_HEADER = re.compile(r"^(linux/|asm/|bpf/)")

# What the first reaches by no way: a source, or all headers of a room, and a header or a room (which ends with '/').
UNREACHABLE = [
    (re.compile(r"libsplice/config/|(balancer|packetbridge)/(config|options)\.[ch]pp$"), "libsplice/engine/",
     "a configuration knows no engine"),
    (re.compile(r"libsplice/engine/packet_source\.hpp$"), "libsplice/engine/nfqueue.hpp",
     "a source of packets is not always a queue"),
    (re.compile(r"libsplice/ops/"), "libsplice/engine/packet_loop.hpp", "the loop is the engines'"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def room_of(path: str) -> str | None:
    return next((room for room in MAY_INCLUDE if path.startswith(room + "/")), None)


def judge(path: str, bracket: str, header: str) -> str | None:
    """Why `path` may not include `header`; None when it may."""
    room = room_of(path)
    if room is None:
        return None
    if bracket == '"':
        other = room_of(header)
        if other is None:
            generated = header.endswith((".skel.h", ".skel.hpp"))
            return None if generated else f'"{header}" is not a path from the root of the repository'
        if other != room and other not in MAY_INCLUDE[room]:
            return f"{room} may not include {other}"
        return None
    if room in ("libsplice/datapath", "libsplice/bpf") and not KERNEL_HEADER.match(header):
        return f"<{header}> does not exist in the kernel"
    if room in PURE_ROOMS and IMPURE_HEADER.match(header) and (path, header) not in ASIDE:
        return f"<{header}> asks the system; {room} may not"
    return None


def way(graph: dict[str, list[str]], path: str, wanted) -> list[str] | None:
    """The headers from `path` to the first that `wanted` says yes to; None where none is reached."""
    ways = [[path]]
    seen = {path}
    for one in ways:
        for header in graph.get(one[-1], []):
            if wanted(header):
                return one + [header]
            if header not in seen:
                seen.add(header)
                ways.append(one + [header])
    return None


def judge_ways(graph: dict[str, list[str]]) -> list[str]:
    """What is wrong with more than one #include."""
    found = []
    in_a_circle = set()
    for path in sorted(graph):
        circle = way(graph, path, lambda header, path=path: header == path)
        if circle and path not in in_a_circle:
            in_a_circle.update(circle)
            found.append(f"{path}: a circle: {' -> '.join(circle)}")
        for who, whom, why in UNREACHABLE:
            reached = who.match(path) and way(graph, path, lambda header, whom=whom: header.startswith(whom))
            if reached:
                found.append(f"{path}: {why}: {' -> '.join(reached)}")
    return found


def main() -> int:
    defects = []
    graph = {}
    for path in sorted(ROOT.rglob("*")):
        relative = path.relative_to(ROOT).as_posix()
        if path.suffix not in (".h", ".hpp", ".c", ".cpp") or room_of(relative) is None:
            continue
        text = path.read_text()
        includes = list(INCLUDE.finditer(text))
        graph[relative] = [match[2] for match in includes if match[1] == '"']
        for match in includes:
            why = judge(relative, match[1], match[2])
            if why:
                line = text.count("\n", 0, match.start(2)) + 1
                defects.append(f"{relative}:{line}: {why}")
    defects += judge_ways(graph)
    for defect in defects:
        print(defect)
    print(f"includes: {len(graph)} files, {len(defects)} against the rule")
    return 1 if defects or not graph else 0


if __name__ == "__main__":
    sys.exit(main())
