"""Where the worker is, and what the fixtures say that it must answer."""

import json
import os
from pathlib import Path

URL = os.environ["MILLRACE_CLIENTS_URL"]
FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"


def truth(model):
    """What the pipelines of transformers said of a tiny model: inputs, parameters, outputs."""
    return json.loads((FIXTURES / "functions/truth.json").read_text(encoding="utf-8"))[model]


def plain(value):
    """An answer without the client's classes, and without what it has not set."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        fields = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return {name: plain(one) for name, one in fields.items() if one is not None}
    return value
