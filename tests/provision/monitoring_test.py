#!/usr/bin/env python3
"""The alerts and the dashboard under provision/, by promtool: they parse, every alert fires and does not, and every
expression of the dashboard is one. Whether what they ask for exists, an end-to-end case says."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import promql  # noqa: E402


def promtool(*words):
    return subprocess.run(["promtool", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


class Alerts(unittest.TestCase):
    def test_promtool_takes_the_rules_and_the_configuration(self):
        for words in (("check", "rules", promql.ALERTS), ("check", "config", "--syntax-only", promql.CONFIG)):
            done = promtool(*words)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_every_alert_fires_and_does_not(self):
        done = promtool("test", "rules", promql.ALERTS_TEST)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_each_has_a_case_in_which_it_is_quiet_and_then_fires(self):
        with open(promql.ALERTS_TEST, encoding="utf-8") as file:
            cases = file.read().split("  - name: ")[1:]
        for name, _, _ in promql.alerts():
            mine = [case for case in cases if f'alertname="{name}"' in case]
            self.assertTrue(mine, f"no case in which {name} fires")
            self.assertTrue(all("exp_samples: []" in case for case in mine), f"a case in which {name} is never quiet")

    def test_the_docs_name_each_and_no_other(self):
        with open(os.path.join(promql.SOURCE, "docs/operations.md"), encoding="utf-8") as file:
            told = set(re.findall(r"`(SpliceLB\w+)`", file.read()))
        self.assertEqual(told, {name for name, _, _ in promql.alerts()})

    def test_each_says_how_bad_it_is_and_what_to_do(self):
        with open(promql.ALERTS, encoding="utf-8") as file:
            blocks = file.read().split("      - alert: ")[1:]
        names = [name for name, _, _ in promql.alerts()]
        self.assertEqual(len(names), len(set(names)))
        for block, (name, severity, _) in zip(blocks, promql.alerts(), strict=True):
            self.assertIn(severity, ("critical", "warning"), name)
            self.assertRegex(block, r"summary: \"\S", name)
            self.assertRegex(block, r"description: >-\n +\S", name)


class Dashboard(unittest.TestCase):
    def test_panels_are_named_explained_and_do_not_overlap(self):
        taken = {}
        panels = promql.dashboard()["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        for panel in panels:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    self.assertNotIn((x, y), taken, f"{panel['title']} lies on {taken.get((x, y))}")
                    taken[x, y] = panel["title"]
            if panel["type"] != "row":
                self.assertTrue(panel["title"] and panel["description"] and panel["targets"], panel["id"])

    def test_no_variable_is_left_that_grafana_does_not_know(self):
        known = {each["name"] for each in promql.dashboard()["templating"]["list"]}
        self.assertEqual(known, {name[1:] for name in promql.VARIABLES if not name.startswith("$__")} | {"datasource"})
        for title, expr, _ in promql.panel_queries():
            self.assertNotIn("$", expr, title)

    def test_promtool_parses_every_expression(self):
        with tempfile.TemporaryDirectory() as folder:
            expressions = [expr for _, expr, _ in promql.panel_queries()]
            self.assertGreater(len(expressions), 20)
            self.assertIsNone(promql.parse_complaint(expressions, folder))
            self.assertIsNotNone(promql.parse_complaint([*expressions, "rate(up[5m]"], folder))


class Complaints(unittest.TestCase):
    """That what exists is told from what does not: the end-to-end case stands on it."""

    PAGE = 'splicelb_bridge_packets_total{verdict="deliver"} 3\nsplicelb_bridge_flows 2\n'

    def of(self, expr, legend=""):
        return list(promql.complaints(expr, legend, [self.PAGE]))

    def test_what_exists_is_no_complaint(self):
        self.assertEqual(self.of('sum by (instance, verdict) (rate(splicelb_bridge_packets_total{verdict=~"del.*"}[5m]))', "{{verdict}}"), [])
        self.assertEqual(self.of('up{job="x"} == 0'), [])
        self.assertEqual(self.of('{__name__=~"splicelb_bridge_(flows|packets_total)"}'), [])

    def test_what_does_not_is_one(self):
        self.assertEqual(len(self.of("splicelb_bridge_flow")), 1)
        self.assertEqual(len(self.of('splicelb_bridge_packets_total{verdict="delivers"}')), 1)
        self.assertEqual(len(self.of('splicelb_bridge_packets_total{verdict=~"deliver|drop_.*"}')), 1)
        self.assertEqual(len(self.of('splicelb_bridge_packets_total{result="deliver"}')), 1)
        self.assertEqual(len(self.of("sum by (service) (splicelb_bridge_flows)")), 1)
        self.assertEqual(len(self.of("splicelb_bridge_flows", "{{service}}")), 1)
        self.assertEqual(len(self.of('{__name__=~"splicelb_(balancer|bridge)_flows"}')), 1)


if __name__ == "__main__":
    if not shutil.which("promtool"):
        print("skipped: there is no promtool; scripts/deps.sh --metrics installs Debian's prometheus")
        sys.exit(77)
    unittest.main()
