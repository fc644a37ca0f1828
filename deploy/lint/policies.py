"""Holds the network policies of rendered manifests to the pods: each pod has one when it starts, hooks too, which let it reach what it needs."""

import sys

import yaml

HOOK = "helm.sh/hook"


def pods(document):
    """Labels of the pods that a document makes."""
    if document["kind"] == "Pod":
        yield document["metadata"]["labels"]
    template = document.get("spec", {}).get("jobTemplate", document).get("spec", {}).get("template")
    if template:
        yield template["metadata"]["labels"]


def hooks(document):
    """Before what it is made, and in which order."""
    said = document["metadata"].get("annotations", {})
    before = {hook for hook in said.get(HOOK, "").split(",") if hook.startswith("pre-")}
    return before, int(said.get("helm.sh/hook-weight", 0))


def selects(policy, labels):
    return policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def faults(document, labels, policies):
    """What keeps a pod from the names of services and from Postgres at the moment when it starts."""
    before, weight = hooks(document)
    for hook in sorted(before) or [None]:
        own = [policy for policy in policies if selects(policy, labels)]
        if hook:
            own = [policy for policy in own if hook in hooks(policy)[0] and hooks(policy)[1] < weight]
        else:
            own = [policy for policy in own if not hooks(policy)[0]]
        ports = {port["port"] for policy in own for rule in policy["spec"]["egress"] for port in rule["ports"]}
        moment = hook or "when it runs"
        if not own:
            yield f"{moment}: no policy is there for it"
        elif not {53, 5432} <= ports:
            yield f"{moment}: it may reach the ports {sorted(ports)} alone"


def main():
    found = seen = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            documents = [document for document in yaml.safe_load_all(file) if document]
        policies = [document for document in documents if document["kind"] == "NetworkPolicy"]
        for document in documents:
            for labels in pods(document):
                seen += 1
                for fault in faults(document, labels, policies):
                    found += 1
                    print(f"{path}: {document['kind']} {document['metadata']['name']}: {fault}", file=sys.stderr)
    print(f"{seen} pods, {found} faults")
    return 1 if found or not seen else 0


sys.exit(main())
