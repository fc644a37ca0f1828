#!/usr/bin/env python3
"""sbom.py OUT [--features LIST]: what is in the program, as CycloneDX 1.5 JSON: every crate that is built into it or builds it, with the
checksum of Cargo.lock, and the C libraries that crates bring along, which scanners of crates do not see. Needs cargo; fetches nothing that a
build would not.
"""

import argparse
import json
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Crates whose source carries a C library: its name, its package URL, and where the version stands: in the crate's own version behind `+`, or in a file.
VENDORED = {
    "rdkafka-sys": ("librdkafka", "pkg:github/confluentinc/librdkafka@v{}", r"\+(.+)$", None),
    "zstd-sys": ("zstd", "pkg:github/facebook/zstd@v{}", r"\+zstd\.(.+)$", None),
    "libz-sys": ("zlib", "pkg:github/madler/zlib@v{}", r'#define ZLIB_VERSION "([^"]+)"', "src/zlib/zlib.h"),
    "libmimalloc-sys": ("mimalloc", "pkg:github/microsoft/mimalloc@v{}", r"#define MI_MALLOC_VERSION\s+(\d+)", "c_src/mimalloc/*/include/mimalloc.h"),
    "openssl-src": ("openssl", "pkg:generic/openssl@{}", r"\+(.+)$", None),
}


def metadata(features):
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target()]
    if features:
        command += ["--features", features]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def target():
    out = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return re.search(r"^host: (.+)$", out, re.M)[1]


def reachable(resolve):
    """Ids of what the root needs to be built and to run, each with its own dependencies; nothing that tests alone need."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found, todo = {}, [resolve["root"]]
    while todo:
        current = todo.pop()
        if current in found:
            continue
        needed = [dep["pkg"] for dep in nodes[current]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        found[current] = sorted(set(needed))
        todo += needed
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    out = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["license"]:
        # The old separator of licences is not SPDX.
        out["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        out["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return out


def version_of(package, pattern, where):
    if where is None:
        text = package["version"]
    else:
        files = sorted(Path(package["manifest_path"]).parent.glob(where))
        if not files:
            sys.exit(f"sbom: {package['name']} {package['version']} has no {where}: its C library cannot be named; mend VENDORED")
        # The newest, where a crate has several.
        text = files[-1].read_text(encoding="utf-8")
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"sbom: no version of a C library in {package['name']} {package['version']}; mend VENDORED")
    number = found[1]
    # mimalloc writes 3.3.2 as 30302.
    return f"{int(number) // 10000}.{int(number) // 100 % 100}.{int(number) % 100}" if number.isdigit() else number


def vendored(package):
    if package["name"] not in VENDORED:
        return None
    name, url, pattern, where = VENDORED[package["name"]]
    version = version_of(package, pattern, where)
    reference = url.format(version)
    return {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": version,
        "purl": reference,
        "description": f"C source in the crate {package['name']}, linked statically",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--features", default="", help="cargo features, as the build has them")
    arguments = parser.parse_args()
    told = metadata(arguments.features)
    packages = {package["id"]: package for package in told["packages"]}
    with open(ROOT / "Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    found = reachable(told["resolve"])
    root = told["resolve"]["root"]
    components, dependencies = [], []
    for identity in sorted(found, key=lambda identity: purl(packages[identity])):
        package = packages[identity]
        needed = [purl(packages[other]) for other in found[identity]]
        library = vendored(package)
        if library:
            components.append(library)
            needed.append(library["bom-ref"])
        if identity != root:
            components.append(component(package, checksums))
        dependencies.append({"ref": purl(package), "dependsOn": sorted(needed)})
    main_component = component(packages[root], checksums) | {"type": "application"}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        # The same sources give the same number.
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(dependencies))),
        "version": 1,
        "metadata": {"component": main_component},
        "components": components,
        "dependencies": dependencies,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    libraries = [f"{c['name']} {c['version']}" for c in components if not c["purl"].startswith("pkg:cargo/")]
    print(f"{arguments.out}: {len(components)} components, of them C libraries: {', '.join(libraries)}")


main()
