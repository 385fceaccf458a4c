"""What the alerts and the dashboard under provision/ ask Prometheus for, and whether a page of metrics has it."""

import json
import os
import re
import subprocess

SOURCE = os.path.realpath(os.path.join(os.path.dirname(__file__), "../.."))
ALERTS = os.path.join(SOURCE, "provision/prometheus/alerts.yaml")
ALERTS_TEST = os.path.join(SOURCE, "provision/prometheus/alerts_test.yaml")
CONFIG = os.path.join(SOURCE, "provision/prometheus/prometheus.yaml")
DASHBOARD = os.path.join(SOURCE, "provision/grafana/splicelb.json")

# What Grafana puts in the place of its variables.
VARIABLES = {"$__rate_interval": "1m", "$balancer": ".*", "$service": ".*", "$bridge": ".*"}
# Labels of the scrape, and series that Prometheus makes itself.
OF_THE_SCRAPE = {"job", "instance"}
OF_PROMETHEUS = {"up", "ALERTS"}

_SELECTOR = re.compile(r"\b(up|ALERTS|splicelb_\w+)\b(?:\s*\{([^}]*)\})?|\{([^}]*)\}")
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"\s*,?')
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def alerts():
    """Name, severity and expression of each alert. Our file has one form, so that no YAML library is needed."""
    with open(ALERTS, encoding="utf-8") as file:
        blocks = file.read().split("      - alert: ")[1:]
    for block in blocks:
        folded = re.search(r"^        expr: >-\n((?: {10}.*\n)+)", block, re.MULTILINE)
        expr = " ".join(folded[1].split()) if folded else re.search(r"^        expr: (.*)$", block, re.MULTILINE)[1].strip("'")
        yield block.split()[0], re.search(r"severity: (\w+)", block)[1], expr


def dashboard():
    with open(DASHBOARD, encoding="utf-8") as file:
        return json.load(file)


def panel_queries():
    """Title, expression and legend of each query, as Grafana would ask."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], filled(target["expr"]), target["legendFormat"]
    for each in board["annotations"]["list"]:
        yield each["name"], filled(each["expr"]), each["textFormat"] + each["titleFormat"]


def filled(expr):
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


def variants(text):
    """The words that `a(b|c)d|e` stands for."""
    group = re.search(r"\(([^()]*)\)", text)
    if group:
        return [each for middle in group[1].split("|")
                for each in variants(text[:group.start()] + middle + text[group.end():])]
    return text.split("|")


def selectors(expr):
    """The names of each selector, and its matchers: (label, operator, value)."""
    for name, inner, nameless in _SELECTOR.findall(re.sub(r"\b(?:by|on|group_left)\s*\([^)]*\)", "", expr)):
        matchers = _MATCHER.findall(inner or nameless)
        named = [value for label, _, value in matchers if label == "__name__"]
        names = [name] if name else variants(named[0]) if named else []
        yield names, [each for each in matchers if each[0] != "__name__"]


def labels_asked_for(expr, legend=""):
    groups = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expr)
    return {label.strip() for group in groups for label in group.split(",")} | set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))


def samples(page):
    """Name, labels and value of each line of a page in the text format."""
    for line in page.splitlines():
        found = _SAMPLE.match(line)
        if found:
            yield found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])


def complaints(expr, legend, pages):
    """What an expression asks for that none of the pages has."""
    known = [(name, labels) for page in pages for name, labels, _ in samples(page)]
    asked, there = labels_asked_for(expr, legend) - OF_THE_SCRAPE, set()
    found_any = False
    for names, matchers in selectors(expr):
        if not names:
            yield f"{expr}: a selector without a name"
        ours = [name for name in names if name not in OF_PROMETHEUS]
        if not ours:
            asked -= {"service", "bridge"}  # an alert has its own
            continue
        found_any = True
        series = [labels for name, labels in known if name in ours]
        for name in ours:
            if name not in {known_name for known_name, _ in known}:
                yield f"{expr}: no page has {name}"
        there |= {label for labels in series for label in labels}
        for label, operator, value in matchers:
            if label in OF_THE_SCRAPE:
                continue
            values = {labels[label] for labels in series if label in labels}
            if not values:
                yield f"{expr}: no {' or '.join(ours)} has the label {label}"
            elif operator in ("=", "!="):
                if value not in values:
                    yield f"{expr}: {label} is never {value}"
            else:
                for word in variants(value):
                    if not any(re.fullmatch(word, each) for each in values):
                        yield f"{expr}: {label} is never {word}"
    if found_any:
        for label in sorted(asked - there):
            yield f"{expr}: asks by the label {label}, which none of its series has"


def parse_complaint(expressions, folder):
    """What promtool's parser says of them; None: nothing."""
    path = os.path.join(folder, "expressions.yaml")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"groups": [{"name": "all", "rules": [{"record": f"expression:{number}", "expr": expr}
                                                        for number, expr in enumerate(expressions)]}]}, file)
    done = subprocess.run(["promtool", "check", "rules", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return None if done.returncode == 0 else done.stdout
