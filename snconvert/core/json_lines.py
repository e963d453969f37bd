"""The lines of `--json`: one object each, as `snconvert/schema.json` describes them.

Every line is for any parser: UTF-8 that is ASCII, without NaN, infinity or half of a character.
"""

from __future__ import annotations

import json
import math
from typing import Any

SCHEMA = 2
"""The version of the shape; it rises when something goes, or means something else."""


def json_line(shape: Any) -> str:
    r"""Returns an object as one line of JSON.

    Bytes of a file name that are no UTF-8 are written as Python escapes them, as in errors. What is
    no finite number is null.

    Example:
        >>> print(json_line({"source": "a\n.keras", "sigma": float("inf")}))
        {"source": "a\n.keras", "sigma": null}
    """
    return json.dumps(_plain(shape), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def failure(verb: str, source: str) -> dict[str, Any]:
    """Returns what is printed of a model that failed, but for its `error`."""
    return {"schema": SCHEMA, "verb": verb, "source": source}
