#!/usr/bin/env python3
"""Asks real nginx, Varnish and Apache what they make of odd requests, and writes tests/odd_requests/answers.tsv.

usage: record.py [-o FILE]      as root; needs Debian's archive when Varnish or Apache is missing

The servers run with Debian's defaults, on loopback in a network namespace and folders of their own. What was missing is
installed for the time of the run and removed again. tests/unit/core/odd_requests_test.cpp reads the table.

A row: name, request, and for each server what it said. Bytes that are not printable ASCII, backslashes and tabs stand as
\\xhh, CR and LF as \\r and \\n. An answer is the status, and for 200 the target and the header X-Tenant as the server took
them, in brackets; `0.9` stands for a body without a status line, `closed` for an end without a word, `waits` for silence.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.realpath(os.path.join(HERE, "../.."))
PORTS = {"nginx": 8001, "varnish": 8002, "apache": 8003}
SILENCE_S = 2.0
START_S = 20

NGINX = """daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    default_type text/plain;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "[$request_uri] [$http_x_tenant]"; }}
    }}
}}
"""
VARNISH = """vcl 4.1;
backend none none;
sub vcl_recv { return (synth(200)); }
sub vcl_synth {
    set resp.body = "[" + req.url + "] [" + req.http.x-tenant + "]";
    return (deliver);
}
"""
APACHE = """ServerRoot {folder}
ServerName localhost
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
LoadModule include_module /usr/lib/apache2/modules/mod_include.so
TypesConfig /etc/mime.types
AllowEncodedSlashes NoDecode
AliasMatch "^.*$" "{folder}/saw.shtml"
<Directory "{folder}">
    Options +Includes
    AcceptPathInfo On
    Require all granted
</Directory>
AddType text/html .shtml
AddOutputFilter INCLUDES .shtml
"""
# Its own REQUEST_URI is the target as it came.
APACHE_PAGE = ('[<!--#echo encoding="none" var="REQUEST_URI" -->] '
               '[<!--#if expr="-n v(\'HTTP_X_TENANT\')" --><!--#echo encoding="none" var="HTTP_X_TENANT" --><!--#endif -->]')


# --- The requests

def head(line, *fields, end=b"\r\n"):
    return end.join([line, *fields, b"Connection: close", b"", b""])


def plain(line, end=b"\r\n"):
    return head(line, b"Host: example.com", end=end)


def request_lines():
    """Whole lines, each with a Host and an end."""
    for name, line in {
        "ordinary": b"GET /a?b=c HTTP/1.1", "HTTP/1.0": b"GET /a?b=c HTTP/1.0",
        "two spaces before the target": b"GET  /a HTTP/1.1", "two spaces after the target": b"GET /a  HTTP/1.1",
        "three spaces around the target": b"GET   /a   HTTP/1.1", "a space after the version": b"GET /a HTTP/1.1 ",
        "two spaces after the version": b"GET /a HTTP/1.1  ", "a tab after the version": b"GET /a HTTP/1.1\t",
        "a space before the method": b" GET /a HTTP/1.1", "a tab before the method": b"\tGET /a HTTP/1.1",
        "a tab before the target": b"GET\t/a HTTP/1.1", "a tab after the target": b"GET /a\tHTTP/1.1",
        "a tab and a space before the target": b"GET \t/a HTTP/1.1", "a vertical tab after the target": b"GET /a\vHTTP/1.1",
        "a word after the version": b"GET /a HTTP/1.1 x", "a space in the target": b"GET /a b HTTP/1.1",
        "two spaces in the target": b"GET /a b c HTTP/1.1", "a space and an H in the target": b"GET /a Hb HTTP/1.1",
        "HTTP/1.2": b"GET /a HTTP/1.2", "HTTP/1.9": b"GET /a HTTP/1.9", "HTTP/1.10": b"GET /a HTTP/1.10",
        "HTTP/1.99": b"GET /a HTTP/1.99", "HTTP/1.100": b"GET /a HTTP/1.100", "HTTP/1.01": b"GET /a HTTP/1.01",
        "HTTP/0.9 said": b"GET /a HTTP/0.9", "HTTP/2.0": b"GET /a HTTP/2.0", "HTTP/3.0": b"GET /a HTTP/3.0", "HTTP/9.9": b"GET /a HTTP/9.9", "HTTP/2.10": b"GET /a HTTP/2.10",
        "HTTP/1.999": b"GET /a HTTP/1.999", "HTTP/1.1000": b"GET /a HTTP/1.1000", "http/1.0 in lower case": b"GET /a http/1.0",
        "two tabs after the method": b"GET\t\t/a HTTP/1.1", "a tab and two spaces before the target": b"GET\t  /a HTTP/1.1", "HTTP/3": b"GET /a HTTP/3", "HTTP/1": b"GET /a HTTP/1",
        "HTTP/1.": b"GET /a HTTP/1.", "HTTP/01.1": b"GET /a HTTP/01.1", "HTTP/1.1x": b"GET /a HTTP/1.1x",
        "http/1.1 in lower case": b"GET /a http/1.1", "Http/1.1 in mixed case": b"GET /a Http/1.1", "ICY/1.1": b"GET /a ICY/1.1",
        "a method in lower case": b"get /a HTTP/1.1", "a method in mixed case": b"Get /a HTTP/1.1",
        "a method that nobody knows": b"FOO /a HTTP/1.1", "a method with a hyphen": b"M-SEARCH /a HTTP/1.1",
        "a method with an underscore": b"MY_GET /a HTTP/1.1", "a method with a digit": b"GET2 /a HTTP/1.1",
        "a method with a colon": b"GE:T /a HTTP/1.1", "a method with a byte above 127": b"GE\xc3 /a HTTP/1.1",
        "a method of 33 bytes": b"A" * 33 + b" /a HTTP/1.1", "HEAD": b"HEAD /a HTTP/1.1", "POST without a length": b"POST /a HTTP/1.1",
        "OPTIONS with a path": b"OPTIONS /a HTTP/1.1", "OPTIONS *": b"OPTIONS * HTTP/1.1", "GET *": b"GET * HTTP/1.1",
        "TRACE": b"TRACE /a HTTP/1.1", "CONNECT": b"CONNECT example.com:443 HTTP/1.1", "CONNECT with a path": b"CONNECT /a HTTP/1.1",
        "PURGE": b"PURGE /a HTTP/1.1", "PROPFIND": b"PROPFIND /a HTTP/1.1",
        "absolute form": b"GET http://example.com/a?b HTTP/1.1", "absolute form with a port": b"GET http://example.com:80/a HTTP/1.1",
        "absolute form without a path": b"GET http://example.com HTTP/1.1",
        "absolute form with a query and no path": b"GET http://example.com?b=c HTTP/1.1",
        "absolute form in capitals": b"GET HTTP://EXAMPLE.COM/a HTTP/1.1", "absolute form with https": b"GET https://example.com/a HTTP/1.1",
        "absolute form with ftp": b"GET ftp://example.com/a HTTP/1.1", "absolute form with a user": b"GET http://u:p@example.com/a HTTP/1.1",
        "absolute form with an IPv6 address": b"GET http://[2001:db8::1]:80/a HTTP/1.1", "absolute form of another host": b"GET http://other.example/a HTTP/1.1",
        "absolute form without a host": b"GET http:///a HTTP/1.1", "absolute form with a fragment": b"GET http://example.com/a#b HTTP/1.1",
        "absolute form with two slashes in the path": b"GET http://example.com//a HTTP/1.1", "one slash after the scheme": b"GET http:/a HTTP/1.1",
        "no slash at the beginning": b"GET a HTTP/1.1", "a query at the beginning": b"GET ?a=b HTTP/1.1", "a fragment at the beginning": b"GET #a HTTP/1.1",
        "a host without a scheme": b"GET example.com/a HTTP/1.1", "two slashes at the beginning": b"GET //a HTTP/1.1",
        "a fragment": b"GET /a#b HTTP/1.1", "a fragment after the query": b"GET /a?b=c#d HTTP/1.1", "a query after the fragment": b"GET /a#b?c=d HTTP/1.1",
        "an encoded number sign": b"GET /a%23b HTTP/1.1", "a dot segment": b"GET /a/./b HTTP/1.1", "two dots": b"GET /a/../b HTTP/1.1",
        "two dots beyond the root": b"GET /../a HTTP/1.1", "an encoded slash": b"GET /a%2fb HTTP/1.1", "an encoded space": b"GET /a%20b HTTP/1.1",
        "a percent sign alone": b"GET /a%zz HTTP/1.1", "a percent sign at the end": b"GET /a% HTTP/1.1", "an encoded NUL": b"GET /a%00b HTTP/1.1",
        "an encoded control": b"GET /a%0ab HTTP/1.1", "a query alone": b"GET /? HTTP/1.1", "two question marks": b"GET /a?b?c HTTP/1.1",
        "a backslash": b"GET /a\\b HTTP/1.1", "a double quote": b"GET /a\"b HTTP/1.1", "angle brackets": b"GET /<a> HTTP/1.1",
        "braces, bar, caret and backtick": b"GET /{a}|^` HTTP/1.1", "square brackets": b"GET /a[0] HTTP/1.1", "a colon in the path": b"GET /a:b HTTP/1.1",
        "bytes above 127": b"GET /\xc3\xa4 HTTP/1.1", "a byte of 255": b"GET /a\xffb HTTP/1.1", "a byte of 128": b"GET /a\x80b HTTP/1.1",
        "DEL": b"GET /a\x7fb HTTP/1.1", "DEL in the query": b"GET /a?\x7f HTTP/1.1", "NUL": b"GET /a\0b HTTP/1.1", "a control of 1": b"GET /a\x01b HTTP/1.1",
        "a control of 31": b"GET /a\x1fb HTTP/1.1", "a control in the query": b"GET /a?\x01 HTTP/1.1", "ESC": b"GET /\x1b[0m HTTP/1.1",
        "a bare CR in the target": b"GET /a\rb HTTP/1.1", "a bare CR after the version": b"GET /a HTTP/1.1\r", "a form feed in the target": b"GET /a\fb HTTP/1.1",
        "no target": b"GET HTTP/1.1", "no target and two spaces": b"GET  HTTP/1.1", "a method alone": b"GET", "a method and a space": b"GET ",
        "a target of 1000 bytes": b"GET /" + b"a" * 999 + b" HTTP/1.1", "a target of 1471 bytes": b"GET /" + b"a" * 1470 + b" HTTP/1.1",
        "a target of 4000 bytes": b"GET /" + b"a" * 3999 + b" HTTP/1.1", "a target of 8000 bytes": b"GET /" + b"a" * 7999 + b" HTTP/1.1",
        "a target of 9000 bytes": b"GET /" + b"a" * 8999 + b" HTTP/1.1", "HTTP/2's preface": b"PRI * HTTP/2.0", "RTSP": b"DESCRIBE rtsp://h/a RTSP/1.0",
    }.items():
        yield name, plain(line)


def line_ends():
    yield "bare LF everywhere", plain(b"GET /a HTTP/1.1", end=b"\n")
    yield "bare LF after the request line", b"GET /a HTTP/1.1\nHost: example.com\r\nConnection: close\r\n\r\n"
    yield "bare LF after a header", b"GET /a HTTP/1.1\r\nHost: example.com\nConnection: close\r\n\r\n"
    yield "bare LF at the head's end", b"GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\n"
    yield "two CRs and LF after the request line", b"GET /a HTTP/1.1\r\r\nHost: example.com\r\nConnection: close\r\n\r\n"
    yield "bare CR everywhere", plain(b"GET /a HTTP/1.1", end=b"\r") + b"\r\n\r\n"
    for name, lead in {"a CRLF": b"\r\n", "two CRLFs": b"\r\n\r\n", "ten CRLFs": b"\r\n" * 10, "an LF": b"\n", "two LFs": b"\n\n",
                       "a CR": b"\r", "two CRs": b"\r\r", "a space": b" ", "a NUL": b"\0", "a space and a CRLF": b" \r\n"}.items():
        yield f"{name} before the request line", lead + plain(b"GET /a HTTP/1.1")


def old_requests():
    yield "HTTP/0.9 with CRLF", b"GET /a\r\n"
    yield "HTTP/0.9 with LF", b"GET /a\n"
    yield "HTTP/0.9 with a space at the end", b"GET /a \r\n"
    yield "HTTP/0.9 and an empty line", b"GET /a\r\n\r\n"
    yield "HTTP/0.9 with POST", b"POST /a\r\n"
    yield "HTTP/0.9 with HEAD", b"HEAD /a\r\n"
    yield "HTTP/0.9 in lower case", b"get /a\r\n"
    yield "HTTP/0.9 with a fragment", b"GET /a#b\r\n"


def headers():
    line = b"GET /a HTTP/1.1"
    yield "no Host", head(line)
    yield "no Host in HTTP/1.0", head(b"GET /a HTTP/1.0")
    yield "no header at all in HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n"
    yield "an empty Host", head(line, b"Host:")
    yield "two equal Hosts", head(line, b"Host: example.com", b"Host: example.com")
    yield "two different Hosts", head(line, b"Host: example.com", b"Host: other.example")
    yield "a Host with a space", head(line, b"Host: exam ple.com")
    yield "a Host with a slash", head(line, b"Host: example.com/x")
    yield "a Host with an underscore", head(line, b"Host: my_host")
    yield "a Host with a port", head(line, b"Host: example.com:8080")
    host = b"Host: example.com"
    tenant = b"X-Tenant: t1"
    for name, fields in {
        "a tenant": [tenant], "a tenant in other case": [b"x-TENANT: t1"], "a tenant without a space": [b"X-Tenant:t1"],
        "a tenant with blanks around it": [b"X-Tenant: \t t1 \t "], "a tenant with blanks inside": [b"X-Tenant: a  b\tc"],
        "an empty tenant": [b"X-Tenant:"], "two tenants": [tenant, b"X-Tenant: t2"], "an empty tenant, then another": [b"X-Tenant:", tenant],
        "a space before the tenant's colon": [b"X-Tenant : t1"], "a tab before the tenant's colon": [b"X-Tenant\t: t1"],
        "a folded tenant": [b"X-Tenant: t1", b" t2"], "a tenant folded by a tab": [b"X-Tenant: t1", b"\tt2"],
        "a tenant folded before its value": [b"X-Tenant:", b" t1"], "a folded header before the tenant": [b"X-Other: a", b" X-Tenant: no", tenant],
        "a folded first header": [b" X-Other: a", tenant], "DEL in the tenant": [b"X-Tenant: a\x7fb"], "a control in the tenant": [b"X-Tenant: a\x01b"],
        "NUL in the tenant": [b"X-Tenant: a\0b"], "a bare CR in the tenant": [b"X-Tenant: a\rb"], "a byte above 127 in the tenant": [b"X-Tenant: \xc3\xa4"],
        "DEL before the tenant": [b"X-Other: a\x7fb", tenant], "a control before the tenant": [b"X-Other: a\x01b", tenant],
        "NUL before the tenant": [b"X-Other: a\0b", tenant], "a bare CR before the tenant": [b"X-Other: a\rb", tenant],
        "an odd Connection before the tenant": [b"Connection: ,;=", tenant], "a header without a colon before the tenant": [b"X-Other", tenant],
        "a header without a name before the tenant": [b": x", tenant], "a name with a space before the tenant": [b"X Other: a", tenant],
        "a name with an underscore before the tenant": [b"X_Other: a", tenant], "a name with a byte above 127 before the tenant": [b"X-\xc3: a", tenant],
        "a name with a quote before the tenant": [b"X\"O: a", tenant], "a name with parentheses before the tenant": [b"X(O): a", tenant],
        "two equal lengths before the tenant": [b"Content-Length: 0", b"Content-Length: 0", tenant],
        "an odd length before the tenant": [b"Content-Length: +0", tenant], "an unknown coding before the tenant": [b"Transfer-Encoding: x", tenant],
        "an Expect before the tenant": [b"Expect: x", tenant], "an Upgrade before the tenant": [b"Upgrade: h2c", tenant],
        "a tenant before the Host": None, "a long header before the tenant": [b"X-Other: " + b"a" * 3000, tenant],
        "sixty headers before the tenant": [b"X-%d: a" % number for number in range(55)] + [tenant],
    }.items():
        yield name, head(line, tenant, host) if fields is None else head(line, host, *fields)


def requests():
    for source in (request_lines, line_ends, old_requests, headers):
        yield from source()


# --- The servers

def install(names):
    """Those of the packages that were missing; their services are not started (Debian Policy 9.3.3.1)."""
    missing = [name for name in names if subprocess.run(["dpkg", "-s", name], capture_output=True, check=False).returncode != 0]
    if not missing:
        return []
    before = installed()
    policy = "/usr/sbin/policy-rc.d"
    ours = not os.path.exists(policy)
    if ours:
        with open(policy, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(policy, 0o755)
    try:
        apt("install", "--no-install-recommends", *missing)
    finally:
        if ours:
            os.unlink(policy)
    return sorted(installed() - before)


def installed():
    listing = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n"], capture_output=True, text=True, check=True)
    return {line.split()[1] for line in listing.stdout.splitlines() if line.startswith("ii")}


def apt(*words):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    done = subprocess.run(["apt-get", "-q", "-y", *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"record.py: apt-get {' '.join(words)}: {done.stderr.strip()}")


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def commands(folder):
    write(f"{folder}/nginx.conf", NGINX.format(folder=folder, port=PORTS["nginx"]))
    write(f"{folder}/varnish.vcl", VARNISH)
    write(f"{folder}/apache.conf", APACHE.format(folder=folder, port=PORTS["apache"]))
    write(f"{folder}/saw.shtml", APACHE_PAGE)
    return {"nginx": ["/usr/sbin/nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/nginx.log"],
            "varnish": ["/usr/sbin/varnishd", "-F", "-n", f"{folder}/varnish", "-a", f"127.0.0.1:{PORTS['varnish']}",
                        "-f", f"{folder}/varnish.vcl", "-s", "malloc,16m"],
            "apache": ["/usr/sbin/apache2", "-X", "-f", f"{folder}/apache.conf"]}


def versions():
    lines = {"nginx": ["/usr/sbin/nginx", "-v"], "varnish": ["/usr/sbin/varnishd", "-V"], "apache": ["/usr/sbin/apache2", "-v"]}
    for name, command in lines.items():
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        yield f"{name}: {done.stdout.splitlines()[0].strip()}"


def wait_for(port, process, name, log):
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    with open(log, encoding="utf-8", errors="replace") as file:
        sys.exit(f"record.py: {name} does not serve: {file.read()[-2000:]}")


def ask(port, request):
    """All that the server says, or None when it says nothing and keeps the connection."""
    stream = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as sock:
        sock.sendall(request)
        try:
            while block := sock.recv(65536):
                stream += block
        except TimeoutError:
            return stream or None
        except ConnectionResetError:
            pass
    return stream


def escaped(data):
    text = ""
    for byte in data:
        plain_byte = 0x20 <= byte < 0x7f and byte != 0x5c
        text += chr(byte) if plain_byte else {10: "\\n", 13: "\\r"}.get(byte, f"\\x{byte:02x}")
    return text


def answer_of(stream):
    if stream is None:
        return "waits"
    if not stream:
        return "closed"
    if not stream.startswith(b"HTTP/"):
        return "0.9 " + escaped(stream) if stream.startswith(b"[") else "closed"
    status = stream.split()[1].decode()
    if status != "200":
        return status
    fields, _, body = stream.partition(b"\r\n\r\n")
    if b"\r\ntransfer-encoding: chunked" in fields.lower():
        body = joined(body)
    return f"200 {escaped(body.strip())}" if body.startswith(b"[") else "200"


def joined(chunks):
    body = b""
    while True:
        size, _, chunks = chunks.partition(b"\r\n")
        if not (size := int(size, 16)):
            return body
        body, chunks = body + chunks[:size], chunks[size + 2:]


def record(path):
    with tempfile.TemporaryDirectory(prefix="odd-requests-") as folder:
        os.chmod(folder, 0o755)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        processes = {}
        try:
            for name, command in commands(folder).items():
                with open(f"{folder}/{name}.out", "wb") as out:
                    processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
                wait_for(PORTS[name], processes[name], name, f"{folder}/{name}.out")
            rows = ["# Written by tests/odd_requests/record.py, which says what stands here.", *(f"# {line}" for line in versions()),
                    "\t".join(["name", "request", *PORTS])]
            for name, request in requests():
                rows.append("\t".join([name, escaped(request), *(answer_of(ask(port, request)) for port in PORTS.values())]))
        finally:
            for process in processes.values():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in processes.values():
                process.wait(10)
    write(path, "\n".join(rows) + "\n")


def main():
    parser = argparse.ArgumentParser(description="asks real servers what they make of odd requests")
    parser.add_argument("-o", default=os.path.join(HERE, "answers.tsv"), metavar="FILE", help="where the table goes")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return record(arguments.o)
    if os.geteuid() != 0 or not shutil.which("unshare"):
        sys.exit("record.py: network namespaces need root and unshare")
    added = install(["nginx", "varnish", "apache2-bin", "media-types"])
    try:
        subprocess.run(["unshare", "-n", sys.executable, os.path.realpath(__file__), "--inside", "-o", os.path.realpath(arguments.o)], check=True)
    finally:
        if added:
            apt("purge", *added)
    return None


if __name__ == "__main__":
    main()
