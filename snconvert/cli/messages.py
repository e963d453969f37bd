"""What every command prints of what it is told: errors, and objects of `--json`."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, NamedTuple

from snconvert.display import json_line
from snconvert.errors import SnconvertError


class Display(NamedTuple):
    """What of the results is printed.

    Attributes:
        as_json: Reports as JSON, not as tables.
        quiet: Errors only.
        verbose: Every layer.
    """

    as_json: bool
    quiet: bool
    verbose: bool = False

    @property
    def silent(self) -> bool:
        """Whether nothing is printed for people, but for warnings and errors."""
        return self.as_json or self.quiet


def print_json(shape: dict[str, Any]) -> None:
    """Prints an object of `--json`, now: what reads it need not wait for the other models."""
    print(json_line(shape), flush=True)


def complain(error: SnconvertError | str, failed: dict[str, Any] | None = None) -> None:
    """Prints an error.

    Args:
        error: The error.
        failed: What `--json` prints of a model that failed, but for the error.
    """
    print(f"error: {error}", file=sys.stderr)
    if failed is not None and isinstance(error, SnconvertError):
        try:
            print_json(failed | error.as_json())
        except BrokenPipeError:
            drop_output()


def drop_output() -> None:
    """Sends stdout nowhere: what is buffered would only raise the same error again at the end."""
    with contextlib.suppress(OSError):  # there may be no descriptor left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
