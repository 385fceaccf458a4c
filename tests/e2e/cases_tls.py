"""TLS by server name, through real clients: each library and a browser, and whatever it says, one name gets one bridge."""

import shutil
import subprocess
import tempfile
import threading

from harness import case, equal, true

NAMES = [f"name-{n}.lab.test" for n in range(4)]


def certificate(world):
    return f"{world.lab.run_dir}/tls.crt"


def talk(world, request, *words):
    """A client program on the client host that sends its input; what it printed until the server ended."""
    command = ["ip", "netns", "exec", world.lab.namespace("client"), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as program:
        too_long = threading.Timer(20, program.kill)
        too_long.start()
        try:
            # Its input stays open: the programs end with it, answered or not.
            program.stdin.write(request.encode())
            program.stdin.flush()
            return program.stdout.read().decode(errors="replace")
        finally:
            too_long.cancel()


def answer_in(output):
    """bridge, client's address, TLS version, HTTP version and, if the client gave one, server name, as nginx saw them."""
    lines = [line.split() for line in output.splitlines()]
    found = [words for words in lines if words and words[0] in ("b1", "b2", "b3") and len(words) in (4, 5)]
    equal(len(found), 1, f"answers in {output[-500:]!r}")
    return found[0]


def curl(*flags):
    def ask(world, name):
        address = world.bracketed(world.vip)
        return world.curl("--cacert", certificate(world), *flags, "--resolve", f"{name}:443:{address}", f"https://{name}/x")

    return ask


def request_for(name):
    return f"GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"


def s_client(world, *flags, request):
    return talk(world, request, "openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", certificate(world), *flags,
                "-connect", f"{world.bracketed(world.vip)}:443")


def openssl(*flags):
    def ask(world, name):
        return s_client(world, *flags, "-servername", name, request=request_for(name))

    return ask


def gnutls(priority):
    def ask(world, name):
        return talk(world, request_for(name), "gnutls-cli", f"--x509cafile={certificate(world)}", f"--sni-hostname={name}",
                    f"--verify-hostname={name}", f"--priority={priority}", "--port=443", world.vip)

    return ask


# What says the hello, and what nginx then sees. 80 protocols that nobody speaks make a hello of two segments.
MANY_PROTOCOLS = ",".join(["http/1.1"] + [f"a-protocol-that-nobody-speaks-{n}" for n in range(80)])
CLIENTS = {
    "OpenSSL, TLS 1.2, HTTP/1.1": (curl("--tls-max", "1.2", "--http1.1"), "TLSv1.2", "HTTP/1.1"),
    "OpenSSL, TLS 1.3, HTTP/1.1": (curl("--tlsv1.3", "--http1.1"), "TLSv1.3", "HTTP/1.1"),
    "OpenSSL, TLS 1.2, HTTP/2": (curl("--tls-max", "1.2", "--http2"), "TLSv1.2", "HTTP/2.0"),
    "OpenSSL, TLS 1.3, HTTP/2": (curl("--tlsv1.3", "--http2"), "TLSv1.3", "HTTP/2.0"),
    "OpenSSL's own client, TLS 1.2": (openssl("-tls1_2"), "TLSv1.2", "HTTP/1.1"),
    "OpenSSL's own client, TLS 1.3": (openssl("-tls1_3"), "TLSv1.3", "HTTP/1.1"),
    "OpenSSL's own client, a hello in two segments": (openssl("-alpn", MANY_PROTOCOLS), "TLSv1.3", "HTTP/1.1"),
    "GnuTLS, TLS 1.2": (gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.2"), "TLSv1.2", "HTTP/1.1"),
    "GnuTLS, TLS 1.3": (gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.3"), "TLSv1.3", "HTTP/1.1"),
}


def bridge_of_name(world, name):
    return answer_in(curl()(world, name))[0]


def released(world):
    """First payloads that were complete with a later segment."""
    return world.verdicts()["release_first_payload"]


@case("the same server name gets the same bridge, whichever TLS, HTTP and library the client has")
def _(world):
    world.wire_sized_packets()
    before = released(world)
    bridges = set()
    for name in NAMES:
        expected = bridge_of_name(world, name)
        bridges.add(expected)
        for client, (ask, tls, http) in CLIENTS.items():
            equal(answer_in(ask(world, name)), [expected, world.client, tls, http, name], f"what nginx saw of {client}")
    true(len(bridges) > 1, f"four names spread: {bridges}")
    equal(released(world) - before, len(NAMES), "hellos that came in two segments")


@case("TLS without a server name is served by the client's address")
def _(world):
    answers = []
    for flags in (("-tls1_2",), ("-tls1_3",), ("-alpn", MANY_PROTOCOLS)):
        output = s_client(world, *flags, "-noservername", request=request_for("lab.test"))
        answers.append(answer_in(output))
    equal({len(answer) for answer in answers}, {4}, f"words of answers without a name in {answers}")
    equal({answer[1] for answer in answers}, {world.client}, "the client's address that nginx saw")
    equal(len({answer[0] for answer in answers}), 1, "bridges that one client's address got")


def needs_chromium(_):
    return None if shutil.which("chromium") else "there is no chromium; scripts/deps.sh --browser installs it"


# Certificate errors are ignored, and not the certificate trusted: to trust it, Chromium wants a database of its own. So it
# does not use one connection for two names either, as it does where the address and a trusted certificate are the same.
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors"]


def browse(world, url):
    """Loads a page and all that it names; the page as the browser has understood it."""
    with tempfile.TemporaryDirectory() as profile:
        address = world.bracketed(world.vip)
        return world.lab.on("client", "env", f"HOME={profile}", *CHROMIUM, f"--user-data-dir={profile}/data",
                            f"--host-resolver-rules=MAP *.lab.test {address}", "--dump-dom", url, timeout=120)


def browser_saw(world, bridge):
    """What a browser asked of the backend: server name, TLS and HTTP versions, path."""
    path = f"{world.lab.run_dir}/log/tls{bridge[1]}.log"
    with open(path, encoding="ascii", errors="replace") as file:
        lines = [line.split() for line in file if "Chrome" in line]
    return [words[1:5] for words in lines if words[0] == world.client]


@case("Chromium, whose ClientHello comes in two segments, gets each name's bridge", requires=needs_chromium)
def _(world):
    world.wire_sized_packets()
    names = ["page.lab.test"] + [f"image-{n}.lab.test" for n in range(1, 5)]
    expected = {name: bridge_of_name(world, name) for name in names}
    before = released(world)
    page = browse(world, "https://page.lab.test/page")
    true(f"<p>{expected['page.lab.test']}</p>" in page, f"the page is {expected['page.lab.test']}'s: {page[-500:]!r}")
    for name in names:
        path = "/page" if name == "page.lab.test" else "/image"
        true([name, "TLSv1.3", "HTTP/2.0", path] in browser_saw(world, expected[name]),
             f"{expected[name]} saw {path} of {name}: {browser_saw(world, expected[name])}")
    true(released(world) - before >= len(names), "each of its hellos came in two segments")
