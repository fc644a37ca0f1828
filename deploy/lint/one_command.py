"""Holds the job of one command, rendered by itself: one_command.py SECRET --models|--no-models < manifests."""

import sys

import yaml


def main():
    secret, models = sys.argv[1:]
    config, job = [document for document in yaml.safe_load_all(sys.stdin) if document]
    pod = job["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    args = pod["containers"][0]["args"]
    assert args == ["adopt", "--pipeline", "a", "--partition", "3", "--yes", "--config", "/etc/millrace/millrace.toml"], args
    assert volumes["postgres"]["secret"]["secretName"] == secret, volumes["postgres"]
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"], "it has the release's config"
    assert ("models" in volumes) == (models == "--models"), sorted(volumes)
    assert job["spec"]["backoffLimit"] == 0, "it would be tried again"


main()
