"""What became of several models, in all."""

from __future__ import annotations

import time
from collections import Counter

from snconvert.cli.columns import size
from snconvert.core.report import Report
from snconvert.core.verbs import VERBS
from snconvert.errors import printable

_IN_SIGHT = 10  # lines below which a failure need not be named again
_NAMED = 10


NOTHING = "nothing to convert"
"""What is told of a model without a layer of a kind that can be converted."""


class Totals:
    """What became of several models.

    Args:
        verb: What was to be done to each.
        folder: Where the results go, where that was said.
        ending: What the names of all results end with.

    Attributes:
        place: Where the results go, and as what.
        failed: The models that failed.
    """

    def __init__(self, verb: str, folder: str | None = None, ending: str = "") -> None:
        self._verb = VERBS[verb]
        self.place = "" if folder is None else f" to {printable(folder)}"
        self.place += f" as *{printable(ending)}" if ending else ""
        self._started = time.monotonic()
        self._done = self._written = self._nothing = self._bytes = 0
        self._already: Counter[str] = Counter()  # by what they are
        self._lines_since = 0  # that failures are further up
        self.failed: list[str] = []

    def add(self, report: Report) -> None:
        """Counts a model that is done."""
        self._lines_since += 1
        if report.up_to_date:
            self._already[self._verb.earlier] += 1
            return
        self._done += 1
        if report.output is not None:
            self._written += 1
            self._bytes += report.bytes

    def pass_over(self) -> None:
        """Counts a model that has nothing to become."""
        self._lines_since += 1
        self._already[self._verb.already] += 1

    def leave(self) -> None:
        """Counts a model without a layer that can be converted."""
        self._lines_since += 1
        self._nothing += 1

    def in_vain(self, models: int) -> bool:
        """Whether none of so many models has a layer that can be converted."""
        return 0 < self._nothing == models

    def fail(self, source: str) -> None:
        """Counts a model that failed."""
        if not self.failed:
            self._lines_since = 0
        self.failed.append(source)

    def lines(self, models: int) -> list[str]:
        """Returns the totals, and which models failed, where that stands far above.

        Args:
            models: How many there are.
        """
        left = models - self._done - self._already.total() - self._nothing - len(self.failed)
        verb, seconds = self._verb, time.monotonic() - self._started
        done = verb.made or verb.done
        if verb.writes and self._done and not self._written:
            done = f"to {'convert' if verb.converts else verb.name}"
        counts = [
            (self._done, done),
            *((count, word) for word, count in self._already.items()),
            (self._nothing, f"with {NOTHING}"),
            (len(self.failed), "failed"),
            (left, "not done"),
        ]
        told = ", ".join(f"{count} {word}" for count, word in counts if count) or f"0 {done}"
        written = (
            f"{size(self._bytes)} written{self.place}" if self._written else "nothing was written"
        )
        took = f"in {_duration(seconds)}"
        lines = [f"{told}; {written} {took}" if verb.writes else f"{told} {took}"]
        if self.failed and self._lines_since > _IN_SIGHT:
            named = ", ".join(map(printable, self.failed[:_NAMED]))
            more = len(self.failed) - _NAMED
            lines.append(f"failed: {named}{f' and {more} more' if more > 0 else ''}")
        return lines


def _duration(seconds: float) -> str:
    """Returns a duration for people.

    Example:
        >>> _duration(3.14), _duration(14.4), _duration(200)
        ('3.1 s', '14 s', '3 min 20 s')
    """
    if seconds < 10:  # noqa: PLR2004 -- a digit more
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes > 1 else f"{round(seconds)} s"
