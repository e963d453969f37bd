"""Streams that say they are terminals, and reports made by hand to be shown on them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from snconvert.core.report import KernelReport, LayerReport, Report


class Terminal(io.StringIO):
    """A terminal with the letters of an encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


def layer(path: str, status: str = "converted", **changes: Any) -> LayerReport:
    """A Dense layer whose sigma of 2 becomes 1."""
    made: dict[str, Any] = {
        "class_name": "Dense",
        "kernel": (3, 4),
        "sigma": 2.0,
        "sigma_after": 1.0,
        "bound": 1.0,
        "new_class": "SpectralDense",
    }
    if status == "skipped":
        made |= {"sigma": None, "sigma_after": None, "bound": None, "new_class": None}
    return LayerReport(path=path, status=status, **(made | changes))


def several(path: str, class_name: str, *shapes: tuple[int, ...], **changes: Any) -> LayerReport:
    """A layer of several kernels; the n-th one's sigma is n + 1."""
    kernels = tuple(
        KernelReport(f"cell/kernel_{place}", shape, place + 1.0, 1.0, 0.0)
        for place, shape in enumerate(shapes, 1)
    )
    made = {"class_name": class_name, "kernel": shapes[0], "kernels": kernels}
    return layer(path, **(made | {"sigma": len(shapes) + 1.0} | changes))


def report(*layers: LayerReport, **changes: Any) -> Report:
    """What `apply` has done to these layers."""
    made: dict[str, Any] = {
        "source": "m.keras",
        "output": "m-sn.keras",
        "target": "layer",
        "mode": "hard",
        "bound": 1.0,
        "norm": "matrix",
        "bytes": 1000,
        "seconds": 0.1,
    }
    return Report(layers=layers, **(made | changes))


def on_terminal(
    patch: pytest.MonkeyPatch, print_it: Callable[[Terminal], None], **environment: str
) -> str:
    """Returns what is printed on a terminal of 80 columns that knows 256 colours.

    Args:
        patch: Sets the environment.
        print_it: Prints.
        environment: What is set in it; `encoding` is that of the terminal.
    """
    stream = Terminal(environment.pop("encoding", "utf-8"))
    patch.delenv("NO_COLOR", raising=False)
    patch.delenv("COLORTERM", raising=False)
    for name, value in ({"COLUMNS": "80", "TERM": "xterm-256color"} | environment).items():
        patch.setenv(name, value)
    print_it(stream)
    return stream.getvalue()


def bare(text: str) -> str:
    """Returns a text without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
