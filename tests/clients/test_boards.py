"""Queries of dashboards, rules and runbooks, read by a parser of PromQL; rules and provisioning, read by a parser of YAML."""

import json
import re
import unittest
from pathlib import Path

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Grafana replaces them before Prometheus reads the query.
MACROS = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "6h"}


def dashboards():
    for path in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                if "expr" in target:
                    text = target["expr"]
                    for macro, value in MACROS.items():
                        text = text.replace(macro, value)
                    yield f"{path.name}: {panel['title']}", text


def rules():
    read = yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text(encoding="utf-8"))
    for group in read["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def runbooks():
    for path in sorted((ROOT / "docs/runbooks").rglob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", path.read_text(encoding="utf-8"), re.S):
            for line in block.splitlines():
                yield path.name, line


class Boards(unittest.TestCase):
    def test_every_query_is_promql(self):
        read = 0
        for name, text in [*dashboards(), *rules(), *runbooks()]:
            with self.subTest(name, query=text):
                promql_parser.parse(text)
                read += 1
        self.assertGreater(read, 150)

    def test_what_grafana_is_given_is_yaml(self):
        found = sorted((ROOT / "deploy/grafana/provisioning").rglob("*.yaml"))
        self.assertEqual(len(found), 2)
        for path in found:
            self.assertEqual(yaml.safe_load(path.read_text(encoding="utf-8"))["apiVersion"], 1, path)


if __name__ == "__main__":
    unittest.main()
