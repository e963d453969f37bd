"""Names as wide as there is room for; different ones stay different."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence


def width_of(text: str) -> int:
    """Returns how many columns a text takes: letters of East Asia and emoji two each."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(names: Iterable[str], width: int, dots: str = "…") -> dict[str, str]:
    """Returns for each name one that is at most so wide, without its middle where it was wider.

    Different names stay different: all are cut at the place that keeps most of them apart; those
    that are the same then lose what they begin with, and get a number if even that is not enough.

    Example:
        >>> shortened(["block_8/dense", "block_9/dense", "head"], 10)
        {'head': 'head', 'block_8/dense': 'bl…8/dense', 'block_9/dense': 'bl…9/dense'}
    """
    different = dict.fromkeys(names)
    short = {name: name for name in different if width_of(name) <= width}
    groups: dict[str, list[str]] = {}
    for name, cut in _cut([name for name in different if name not in short], width, dots).items():
        groups.setdefault(cut, []).append(name)
    taken, count = {*short}, 1
    for cut, same in groups.items():
        start = _start_of_last_word(os.path.commonprefix(same))  # noqa: RUF071 - of words
        for name in same:
            text = cut
            if len(same) > 1:
                text = dots + _without_middle(name[start:], width - width_of(dots), dots)
            while text in taken:
                count += 1
                mark = f"{dots}~{count}"
                text = _start(name, width - width_of(mark)) + mark
            taken.add(text)
            short[name] = text
    return short


def _cut(names: Sequence[str], width: int, dots: str) -> dict[str, str]:
    """Returns names without their middle, all cut at the place that keeps most of them apart."""
    best: dict[str, str] = {}
    most, room = 0, width - width_of(dots)
    for head in sorted(range(0, room + 1, max(1, room // 8)), key=lambda x: abs(2 * x - room)):
        trial = {name: _without_middle(name, width, dots, head) for name in names}
        apart = len({*trial.values()})
        if apart > most:
            best, most = trial, apart
        if apart == len(names):
            break
    return best


def _without_middle(text: str, width: int, dots: str, head: int | None = None) -> str:
    """Returns a text that is at most so wide, without its middle behind so many columns."""
    if width_of(text) <= width:
        return text
    room = width - width_of(dots)
    head = room // 2 if head is None else head
    return _start(text, head) + dots + _end(text, room - head)


def _start_of_last_word(text: str) -> int:
    """Returns the place behind the last character that is no letter and no digit."""
    return next((i for i in range(len(text), 0, -1) if not text[i - 1].isalnum()), 0)


def _start(text: str, width: int) -> str:
    """Returns as much of the start of a text as fits."""
    if text.isascii():
        return text[: max(0, width)]
    taken = 0
    for place, char in enumerate(text):
        taken += width_of(char)
        if taken > width:
            return text[:place]
    return text


def _end(text: str, width: int) -> str:
    """Returns as much of the end of a text as fits."""
    return _start(text[::-1], width)[::-1]
