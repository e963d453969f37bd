"""How results show themselves: as text, and in notebooks as HTML."""

from __future__ import annotations

from importlib import import_module
from typing import Any


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


def _render() -> Any:
    # Results are values at the bottom of the package, tables stand at its top: the one is looked up
    # by its name when a person asks, so that values import nothing that prints them.
    return import_module("snconvert.render")
