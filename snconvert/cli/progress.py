"""The progress bar on a terminal: layer, bytes and time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from snconvert.cli.columns import size

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from snconvert.core.report import Progress

PATIENCE = 0.5
"""Seconds before the bar appears; shorter work ends without one."""

_STAGES = {"sigma": "finding u", "writing": "writing"}
_NAME = 24


class ProgressBar:
    """A bar on stderr that costs nothing, not even its import, until the work takes time."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: RichProgress | None = None
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: Progress) -> None:
        """Shows how far the conversion is."""
        if self._bar is None:
            if time.monotonic() - self._started < PATIENCE:
                return
            self._bar = self._start()
        if progress.stage not in self._tasks:
            self._tasks[progress.stage] = self._bar.add_task(
                "", total=progress.total, what="", amount=""
            )
        what = progress.what if len(progress.what) <= _NAME else "..." + progress.what[3 - _NAME :]
        self._bar.update(
            self._tasks[progress.stage],  # type: ignore[arg-type]
            description=_STAGES.get(progress.stage, progress.stage),
            completed=progress.done,
            total=progress.total,
            amount=_amount(progress),
            what=what.encode("unicode_escape").decode() if not what.isprintable() else what,
        )

    @staticmethod
    def _start() -> RichProgress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description:9}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[what]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        bar.start()
        return bar


def _amount(progress: Progress) -> str:
    """Returns how much is done, in bytes, or of a network in operations."""
    if progress.stage == "lipschitz":
        return f"{progress.done}/{progress.total}"
    return f"{size(progress.done)}/{size(progress.total)}"
