"""How results show themselves: as text, in notebooks as HTML, and as the lines of `--json`.

A line of JSON is an object as `snconvert/schema.json` describes it, for any parser: UTF-8 that is
ASCII, without NaN, infinity or half of a character.
"""

from __future__ import annotations

import json
import math
from importlib import import_module
from typing import Any

SCHEMA = 2
"""The version of the shape; it rises when something goes, or means something else."""


def text_of(result: object) -> str:
    """Returns a result as a table of text, as wide as the terminal, or of 80 columns."""
    return str(_render().text(result))


def html_of(result: object) -> str:
    """Returns a result as HTML for a notebook."""
    return str(_render().html(result))


def pretty(result: object, printer: Any, cycle: bool) -> None:  # noqa: ARG001 - IPython's protocol
    """Prints a result in IPython as `print` does."""
    printer.text(text_of(result))


def oriented(
    whole: dict[str, Any], orient: str, rows: str
) -> dict[str, Any] | list[dict[str, Any]]:
    """Returns all of a result, or its layers.

    Args:
        whole: The result in the shape of `--json`.
        orient: `dict` or `records`, as pandas has it.
        rows: Where its layers are.
    """
    if orient not in {"dict", "records"}:
        raise ValueError(f"orient is {orient!r}: choose 'dict' or 'records'")
    return whole if orient == "dict" else list(whole[rows])


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
    """Returns what is printed of a model that failed or is passed over, but for why."""
    return {"schema": SCHEMA, "verb": verb, "source": source}


def listed(items: tuple[Any, ...] | None) -> list[Any] | None:
    """Returns a tuple as JSON has it."""
    return None if items is None else list(items)


def present(**members: Any) -> dict[str, Any]:
    """Returns the members of an object that are not `None`."""
    return {name: value for name, value in members.items() if value is not None}


def _render() -> Any:
    # Results are values at the bottom of the package, tables stand at its top: the one is looked up
    # by its name when a person asks, so that values import nothing that prints them.
    return import_module("snconvert.render")
