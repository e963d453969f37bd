r"""The progress bar on a terminal: stage, layer, bytes and time left in one line.

A thread draws it, so that it moves while the work waits: for a large kernel, the disk, an import.
One line, as `\r` is all that it takes to go back to its start, whatever became of the width.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self, TextIO

from snconvert.cli.columns import ASCII, UNICODE, Marks, size
from snconvert.cli.printing.names import shortened, width_of
from snconvert.errors import printable
from snconvert.sandbox import ticker

if TYPE_CHECKING:
    from snconvert.core.report import Progress

PATIENCE = 0.3
"""Seconds before the bar appears, so that it is there half a second after the command was given;
shorter work ends without one."""
_BEAT = 0.1  # seconds between two pictures
_STAGES = {
    "sigma": "finding u",
    "spectra": "finding spectra",
    "lipschitz": "proving",
    "importing": "importing Keras",
    "keras": "in Keras",
}
_OPENING = "reading"  # what is done before the first stage
_SMALL = 10_000_000  # bytes that take as long as all that does not depend on the size of a model
_BAR, _LEAST_BAR, _LEAST_NAME = 20, 6, 8  # columns
_CLEAR = "\r\x1b[2K"
_GREEN, _DIM, _PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"


class View(NamedTuple):
    """What the bar shows.

    Attributes:
        head: The stage; or of several models how many are done.
        share: How much of it is done, between 0 and 1.
        amount: The same in bytes, or in operations.
        time: How long it will take, or has taken so far.
        what: The layer or the model, for which there is room or not.
    """

    head: str
    share: float
    amount: str
    time: str
    what: str


class ProgressBar:
    """A bar that costs a sleeping thread until the work takes time; a context manager.

    Args:
        stream: The terminal, which is closed at the end; `None`: nothing is shown.
        models: Name and bytes of each model, where there are several.
    """

    def __init__(self, stream: TextIO | None, models: Sequence[tuple[str, int]] = ()) -> None:
        self._stream = stream
        self._models = models
        self._weights = [_SMALL + count for _, count in models]
        self._shares: dict[int, float] = {}  # of the models that are being worked on
        self._done, self._weight_done = 0, 0
        self._model = 0
        self._progress: Progress | None = None
        self._started = self._stage_started = self._told = time.monotonic()
        self._drawn = False
        self._ticker = ticker.Ticker(self._draw, PATIENCE, _BEAT)

    def __enter__(self) -> Self:
        if self._stream is not None:
            with contextlib.suppress(RuntimeError):  # no thread is to be had: no bar, then
                self._ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ticker.stop()
        self._clear()
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()

    def update(self, progress: Progress, model: int = 0) -> None:
        """Takes down how far the work is.

        Args:
            progress: That.
            model: The place of its model among several.
        """
        before, self._told = self._progress, time.monotonic()
        if before is None or (before.stage, self._model) != (progress.stage, model):
            self._stage_started = self._told
        self._progress, self._model = progress, model
        if progress.stage == "sigma" and progress.total:  # most of the time
            self._shares[model] = progress.done / progress.total
        if progress.stage == "importing" and self._stream is not None:
            # It takes seconds, in which libraries that are loaded let no thread run.
            with ticker.still():
                self._draw()

    def end(self, model: int) -> None:
        """Takes down that a model is done."""
        if not self._models:
            return
        self._shares.pop(model, None)
        self._done, self._told = self._done + 1, time.monotonic()
        self._weight_done += self._weights[model]
        if model == self._model:
            self._progress, self._model = None, min(model + 1, len(self._models) - 1)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Takes the bar away for the block, in which something else is printed."""
        with ticker.still():
            self._clear()
            yield

    def view(self) -> View:
        """Returns what the bar shows now."""
        progress, model = self._progress, self._model
        stage = _OPENING if progress is None else _STAGES.get(progress.stage, progress.stage)
        if self._models:
            weight = self._weight_done + sum(
                self._weights[index] * share for index, share in list(self._shares.items())
            )
            share = weight / sum(self._weights)
            left = self._time(self._started, share)
            name = printable(os.path.basename(self._models[model][0].rstrip(os.sep)))
            return View(f"{self._done} of {len(self._models)}", share, "", left, f"{stage} {name}")
        if progress is None or not progress.total:
            return View(stage, 0.0, "", self._time(self._stage_started, 0.0), "")
        share = min(1.0, progress.done / progress.total)
        left = self._time(self._stage_started, share)
        return View(stage, share, _amount(progress), left, printable(progress.what))

    def _time(self, started: float, share: float) -> str:
        """Returns how much time is left by how long a part took; of no part, how long it took."""
        passed = time.monotonic() - started
        if not 0.0 < share < 1.0:
            return f"{_clock(passed)} so far"
        return f"{_clock(max(0.0, (self._told - started) / share - passed))} left"

    def _draw(self) -> None:
        stream = self._stream
        try:
            if stream is not None:
                width = os.get_terminal_size(stream.fileno()).columns
                colours = not os.environ.get("NO_COLOR")
                line = drawn(self.view(), width or 80, marks_of(stream), colours=colours)
                stream.write(f"{_CLEAR}{line}")
                stream.flush()
                self._drawn = True
        except (OSError, ValueError):  # the terminal is gone
            self._ticker.stop()

    def _clear(self) -> None:
        if self._drawn and self._stream is not None:
            self._drawn = False
            with contextlib.suppress(OSError):
                self._stream.write(_CLEAR)
                self._stream.flush()


@contextlib.contextmanager
def progress_bar(
    models: Sequence[tuple[str, int]] = (), *, hidden: bool = False
) -> Iterator[ProgressBar]:
    """Shows how far the work is, where stderr is a terminal on which a line can be taken back.

    Args:
        models: Name and bytes of each model, where there are several.
        hidden: Whether nothing is to be shown.
    """
    if hidden or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield ProgressBar(None, models)
        return
    if os.name == "nt":  # older terminals of Windows know no control sequences by themselves
        importlib.import_module("colorama").just_fix_windows_console()
    # A file of its own, which stays the terminal while a backend that starts is kept quiet.
    stream = open(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")  # noqa: SIM115 - the bar closes it
    with ProgressBar(stream, models) as bar:
        yield bar


def drawn(view: View, width: int, marks: Marks = UNICODE, *, colours: bool = False) -> str:
    """Returns the bar as a line that is narrower than its terminal.

    What matters least is left out where there is no room.

    Args:
        view: What it shows.
        width: How many columns the terminal has.
        marks: The signs that it knows.
        colours: Whether there may be colours.

    Example:
        >>> drawn(View("writing", 0.5, "1 kB/2 kB", "0:01 left", ""), 60)
        'writing    ━━━━━━━━━━──────────  1 kB/2 kB  0:01 left'
        >>> drawn(View("writing", 0.5, "1 kB/2 kB", "0:01 left", ""), 30)
        'writing    ━━━────  0:01 left'
    """
    room = width - 1  # a letter in the last column may already begin the next line
    head = cut(view.head.ljust(9), room, marks)
    room -= len(head)
    cells = {"time": "", "amount": "", "what": ""}
    for name in ("time", "amount"):
        text = getattr(view, name)
        if text and len(text) + 2 <= room - (_LEAST_BAR + 2) * (name != "time"):
            cells[name] = f"  {text}"
            room -= len(cells[name])
    length = min(_BAR, room - 2)
    bar = ""
    if length >= _LEAST_BAR:
        bar = f"  {_bar(view.share, length, marks, colours=colours)}"
        room -= length + 2
    if view.what and room - 2 >= min(_LEAST_NAME, width_of(view.what)):
        cells["what"] = f"  {cut(view.what, room - 2, marks)}"
    return f"{head}{bar}{cells['amount']}{cells['time']}{cells['what']}".rstrip()


def cut(text: str, width: int, marks: Marks) -> str:
    """Returns a text that is at most so wide, without its middle where it was wider."""
    if width <= len(marks.dots) and width_of(text) > width:
        return ""
    return shortened([text], width, marks.dots)[text]


def _bar(share: float, length: int, marks: Marks, *, colours: bool) -> str:
    full, rest = ("#", "-") if marks is ASCII else ("━", "─")
    if not share:  # something moves all the same
        place = int(time.monotonic() / _BEAT) % (length - 1)
        before, solid, after = rest * place, full * 2, rest * (length - 2 - place)
    else:
        count = int(share * length)
        before, solid, after = "", full * count, rest * (length - count)
    if not colours:
        return f"{before}{solid}{after}"
    return f"{_DIM}{before}{_PLAIN}{_GREEN}{solid}{_PLAIN}{_DIM}{after}{_PLAIN}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _amount(progress: Progress) -> str:
    """Returns how much is done, in bytes, or of a network in operations."""
    if progress.stage == "lipschitz":
        return f"{progress.done}/{progress.total}"
    return f"{size(progress.done)}/{size(progress.total)}"


def marks_of(stream: TextIO) -> Marks:
    """Returns the signs that the encoding of a stream has."""
    try:
        "━─→…".encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return ASCII
    return UNICODE
