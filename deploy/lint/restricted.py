"""Holds every pod of rendered manifests to Kubernetes' Pod Security Standard `restricted`, and to what the chart promises beyond it."""

import sys

import yaml

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods(document):
    if document["kind"] == "Pod":
        yield document["spec"]
        return
    spec = document.get("spec", {}).get("jobTemplate", document).get("spec", {})
    if "template" in spec:
        yield spec["template"]["spec"]


def faults(pod):
    of_pod = pod.get("securityContext", {})
    if of_pod.get("runAsNonRoot") is not True or not of_pod.get("runAsUser"):
        yield "it may run as root"
    if of_pod.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "it has no seccomp profile"
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "it shares a namespace of the host"
    if pod.get("automountServiceAccountToken") is not False:
        yield "it gets a service account's token"
    for volume in pod.get("volumes", []):
        if not VOLUMES & volume.keys():
            yield f"volume {volume['name']} is of a kind that is not allowed"
    for container in pod["containers"]:
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield "a process may gain privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield "it keeps capabilities"
        if own.get("readOnlyRootFilesystem") is not True:
            yield "it may write to its image"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield "its memory has no limit"
        for variable in container.get("env", []):
            secret = "PASSWORD" in variable["name"] and not variable["name"].endswith("_FILE")
            if secret or variable["name"] in ("DATABASE_URL", "MILLRACE_POSTGRES__URL"):
                yield f"the secret {variable['name']} stands in its environment"


def of_migration(document, pod):
    """It loads no models: a claim that one node alone may mount would hold up the upgrade."""
    component = document["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    if component == "migrate" and any(volume["name"] == "models" for volume in pod.get("volumes", [])):
        yield "the migration mounts the models"


OWNER = {"migrate", "seal", "retention"}
# One command of an operator's, which names the login that it takes.
EITHER = {"operator"}


def of_owner(document, pod):
    """Only what takes the owner's login has it, where it is another Secret than the workers'."""
    component = document["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    secrets = {volume.get("secret", {}).get("secretName") for volume in pod.get("volumes", [])}
    if "millrace-migrator" in secrets and component not in OWNER | EITHER:
        yield "it has the owner's login"
    if "millrace-postgres" in secrets and component in OWNER and component != "migrate":
        yield "it has the workers' login, with which it is refused"


def main():
    found = seen = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            documents = [document for document in yaml.safe_load_all(file) if document]
        for document in documents:
            for pod in pods(document):
                seen += 1
                for fault in [*faults(pod), *of_migration(document, pod), *of_owner(document, pod)]:
                    found += 1
                    print(f"{path}: {document['kind']} {document['metadata']['name']}: {fault}", file=sys.stderr)
    print(f"{seen} pods, {found} faults")
    return 1 if found or not seen else 0


sys.exit(main())
