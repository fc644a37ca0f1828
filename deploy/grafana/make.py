#!/usr/bin/env python3
"""make.py: writes dashboards/*.json from source/*.py. With --check it writes nothing, and fails when a file is not what it would write."""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "source"))

import decisions  # noqa: E402
import model  # noqa: E402
import overview  # noqa: E402
import partitions  # noqa: E402
import recommendation  # noqa: E402
import risk  # noqa: E402
import sentiment  # noqa: E402
import stores  # noqa: E402

ROOMS = {
    "overview": overview,
    "partitions": partitions,
    "model": model,
    "stores": stores,
    "decisions": decisions,
    "risk": risk,
    "sentiment": sentiment,
    "recommendation": recommendation,
}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit("usage: make.py [--check]")
    folder, stale = HERE / "dashboards", []
    wanted = {folder / f"{name}.json": json.dumps(room.whole(), indent=1, ensure_ascii=False) + "\n" for name, room in ROOMS.items()}
    for path, text in wanted.items():
        if check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        elif not check:
            path.write_text(text)
    stale += [path.name for path in folder.glob("*.json") if path not in wanted]
    if stale:
        sys.exit(f"not what deploy/grafana/make.py writes: {', '.join(sorted(stale))}")


main()
