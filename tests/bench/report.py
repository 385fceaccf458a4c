"""From samples to a page of Markdown, the README's section and its chart."""

import os
import re
import statistics

import chart
from measures import MEASURES
from rig import SOURCE

README_MARKS = ("<!-- bench: begin (make bench UPDATE_README=1 writes this) -->", "<!-- bench: end -->")
README_KEYS = ("keepalive", "close", "download", "upload", "first_byte_p50", "first_byte_p99", "keepalive_cpu", "download_cpu",
               "middle_download_cpu")


class Summary:
    """A measure of a variant over all rounds. Ratios are of the same round, so that a busy moment weighs on both: `ratio` to
    direct, `to_limit` to the limit of the path."""

    def __init__(self, result, variant, key):
        rounds = result["samples"].get(variant, [])
        self.values = [one[key] for one in rounds if key in one]

        def ratio_to(base_name):
            pairs = [(one[key], base[key]) for one, base in zip(rounds, result["samples"].get(base_name, []))
                     if one.get(key) is not None and base.get(key)]
            return statistics.median(a / b for a, b in pairs) if pairs and variant != base_name else None

        self.ratio, self.to_limit = ratio_to("direct"), ratio_to("limit")
        if self.values:
            self.median, self.least, self.most = statistics.median(self.values), min(self.values), max(self.values)

    def __bool__(self):
        return bool(self.values)


def number(value, digits):
    return f"{value:,.{digits}f}"


def served(result):
    return [name for name in result["variants"] if result["samples"].get(name)]


def machine_line(result):
    machine = result["machine"]
    return (f"{machine['cores']} cores ({machine['processor']}), kernel {machine['kernel']}, {machine['date']}, commit "
            f"{machine['commit']}, nginx {machine['nginx']}, HAProxy {machine['haproxy']}; {result['effort']['rounds']} rounds; "
            f"other programs kept the machine {machine['busy_before']:.0%} busy before the run and "
            f"{machine['busy_after']:.0%} after it.")


def measure_table(result, measure):
    lines = [f"### {measure.title} ({measure.unit}, {measure.better} is better)", "",
             "| | median | to direct | to the limit | least | most |", "|---|---:|---:|---:|---:|---:|"]
    for name in served(result):
        summary = Summary(result, name, measure.key)
        if not summary:
            continue
        ratio, to_limit = (f"{one:.2f}" if one is not None else "" for one in (summary.ratio, summary.to_limit))
        median, least, most = (number(value, measure.digits) for value in (summary.median, summary.least, summary.most))
        lines.append(f"| {result['variants'][name]} | {median} | {ratio} | {to_limit} | {least} | {most} |")
    return lines + [""] if len(lines) > 4 else []


def syn_lines(result):
    lines = []
    for name, flood in result["syn_flood"].items():
        grown = (flood["resident_bytes_after"] - flood["resident_bytes_before"]) / 1024
        lines.append(f"- {result['variants'][name]}: {flood['sent'] / flood['seconds']:,.0f} SYNs a second for "
                     f"{flood['seconds']:.1f} s, {flood['answered'] / flood['seconds']:,.0f} a second answered; the balancer's "
                     f"resident memory changed by {grown:,.0f} KiB, and requests succeed afterwards.")
    return ["### SYNs from forged addresses", "", *lines, ""] if lines else []


def micro_lines(result):
    if not result["micro"]:
        return []
    lines = ["### Microbenchmarks", "", "| | ns (processor time) |", "|---|---:|"]
    for one in result["micro"]:
        if not one["counters"]:
            label = f" {one['label']}" if one["label"] else ""
            digits = 1 if one["nanoseconds"] < 10 else 0
            lines.append(f"| `{one['name']}`{label} | {one['nanoseconds']:,.{digits}f} |")
    if any(one["counters"] for one in result["micro"]):
        lines += ["", "| | |", "|---|---|"]
    for one in result["micro"]:
        if one["counters"]:
            said = ", ".join(f"{key.replace('_', ' ')} {value:,.0f}" for key, value in one["counters"].items())
            lines.append(f"| `{one['name']}` | {said} |")
    return lines + [""]


def lookup_lines(result):
    """Each algorithm, and every peer's beside it."""
    figures = {(one["name"], one["bridges"]): one for one in result.get("lookups", [])}
    if not figures:
        return []
    lines = ["### Look-ups: from a key's text to its bridge, one core", "",
             "| algorithm | bridges | million/s | peer | million/s | ours to the peer's |", "|---|---:|---:|---|---:|---:|"]
    for (name, bridges), own in sorted(figures.items()):
        if "_" in name:
            continue
        peers = [one for (other, many), one in sorted(figures.items()) if other.startswith(f"{name}_") and many == bridges]
        rate = f"{1e3 / own['nanoseconds']:.1f}"
        for peer in peers:
            peer_name = peer["name"].split("_")[1]
            lines.append(f"| {name} | {bridges} | {rate} | {peer_name}, {peer['label']} | {1e3 / peer['nanoseconds']:.1f} | "
                         f"{peer['nanoseconds'] / own['nanoseconds']:.2f} |")
        if not peers:
            lines.append(f"| {name} | {bridges} | {rate} | | | |")
    return lines + [""]


def replay_lines(result):
    replay = result.get("replay")
    if not replay:
        return []
    lines = [f"### Replay of a capture ({replay['packets']:,} packets, {replay['bytes'] / 1e6:,.0f} MB)", "",
             "| | packets/s of processor time | elapsed |", "|---|---:|---:|"]
    for flags, figures in replay["flags"].items():
        lines.append(f"| `splice-replay {flags}` | {figures['processor']:,.0f} | {figures['elapsed']:,.0f} |")
    return lines + [""]


def hashing_lines(result):
    hashing = result.get("hashing")
    if not hashing:
        return []
    piped = hashing["piped"]
    lines = [f"### splice-hash ({hashing['requests'] / 1e6:,.0f} million requests, files in the page cache, four bridges, one core)",
             "", "| | million/s of processor time | elapsed | bytes a line | memory, MiB |", "|---|---:|---:|---:|---:|"]
    for one in hashing["rates"]:
        lines.append(f"| {one['what']} | {one['processor'] / 1e6:.2f} | {one['elapsed'] / 1e6:.2f} | {one['bytes_a_line']:.0f} | "
                     f"{one['memory'] / 2**20:.0f} |")
    lines.append(f"| `zcat` alone of the same | {hashing['zcat'] / 1e6:.2f} | | | |")
    return lines + ["", f"{piped['requests'] / 1e6:,.0f} million requests from `generate` through a pipe into `cache`, on all cores: "
                    f"{piped['elapsed'] / 1e6:.2f} million/s; `cache` took {piped['memory'] / 2**20:.0f} MiB of memory at most, "
                    f"`generate` {piped['generate_memory'] / 2**20:.0f}.", ""]


def markdown(result):
    lines = ["# Benchmark", "", "Medians over rounds in which every variant had its turn; ratios are to direct in the same "
             "round. docs/bench.md says what each line means.", "", machine_line(result), ""]
    for measure in MEASURES:
        lines += measure_table(result, measure)
    for title, reason in result["skipped"].items():
        lines.append(f"Skipped: {title}: {reason}")
    if result["skipped"]:
        lines.append("")
    return "\n".join(lines + syn_lines(result) + replay_lines(result) + hashing_lines(result) + lookup_lines(result) +
                     micro_lines(result))


def readme_section(result):
    names = served(result)
    lines = ["| | " + " | ".join(result["variants"][name] for name in names) + " |", "|---|" + "---:|" * len(names)]
    for measure in MEASURES:
        if measure.key not in README_KEYS:
            continue
        cells = []
        for name in names:
            summary = Summary(result, name, measure.key)
            ratios = [f"{one:.2f}" for one in ((summary.ratio, summary.to_limit) if summary else ()) if one is not None]
            ratio = f" ({', '.join(ratios)})" if ratios and name != "direct" else ""
            cells.append(number(summary.median, measure.digits) + ratio if summary else "")
        named = measure.title.lower().startswith(measure.unit)
        lines.append(f"| {measure.title}{'' if named else f', {measure.unit}'} | " + " | ".join(cells) + " |")
    return "\n".join(["![Requests, downloads, first byte and processor time of each variant](docs/bench.svg)", "", *lines, "", "In parentheses: the ratio to "
                      "direct, then to the limit of the path: an XDP program that only exchanges two MAC addresses, below which "
                      "no balancer that touches each packet of a client can come. Measured on " + machine_line(result) + " `make bench` repeats it; [docs/bench.md](docs/bench.md) says how "
                      "to read it."])


def update_readme(result):
    path = os.path.join(SOURCE, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    begin, end = README_MARKS
    if begin not in text or end not in text:
        raise SystemExit(f"bench: README.md lacks the lines {begin} and {end}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(re.sub(re.escape(begin) + ".*" + re.escape(end), lambda _: f"{begin}\n{readme_section(result)}\n{end}", text,
                          flags=re.DOTALL))
    with open(os.path.join(SOURCE, "docs/bench.svg"), "w", encoding="utf-8") as file:
        file.write(chart.svg(panels(result), [result["variants"][name] for name in served(result)]))


def panels(result):
    """(title, [median or None for each variant], digits) of what the chart shows."""
    shown = []
    for key in ("keepalive", "close", "download", "first_byte_p50", "keepalive_cpu", "download_cpu"):
        measure = next(one for one in MEASURES if one.key == key)
        values = []
        for name in served(result):
            summary = Summary(result, name, key)
            values.append(summary.median if summary else None)
        shown.append((measure.title, f"{measure.unit}, {measure.better} is better", values, measure.digits))
    return shown
