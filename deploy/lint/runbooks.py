"""Holds a rendered PrometheusRule to deploy/prometheus/rules.yaml: runbooks.py BEGINNING < manifest. Each page begins so; all else is as it was."""

import sys

import yaml


def main():
    beginning = sys.argv[1]
    rendered = yaml.safe_load(sys.stdin)["spec"]
    with open("prometheus/rules.yaml", encoding="utf-8") as file:
        shipped = yaml.safe_load(file)
    pages = 0
    for group in rendered["groups"]:
        for annotations in (rule["annotations"] for rule in group["rules"] if "alert" in rule):
            page = annotations["runbook_url"]
            assert page.startswith(beginning) and page.endswith(".md"), page
            annotations["runbook_url"] = "docs/runbooks/" + page.removeprefix(beginning)
            pages += 1
    assert pages > 20 and rendered == shipped, f"{pages} pages, or the rules are not those that are shipped"


main()
