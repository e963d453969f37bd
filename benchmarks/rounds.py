"""Measures variants in turns, and says what their times mean.

In every round each variant is measured once, in an order that is drawn anew, and compared with what
another took in the same round, so that a machine that slows down slows both.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

SECONDS = 0.02  # of steps in a row, at least, that one time is taken of
ERROR = 0.01  # the chance that a median lies outside its interval
LEAST = 0.02  # a change of less is never told from noise


def in_turns(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Returns what each variant measured in each round, usually seconds."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            taken[name].append(variants[name]())
    return taken


def timed(step: Callable[[], Any], count: int) -> float:
    """Returns the seconds that a step takes, the mean of some in a row."""
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def steps_in_turns(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Returns the seconds of steps in each round, after three of each; the first sets how many."""
    for step in steps.values():
        timed(step, 3)
    count = enough(next(iter(steps.values())))
    return in_turns({name: lambda s=step: timed(s, count) for name, step in steps.items()}, rounds)


def enough(step: Callable[[], Any]) -> int:
    """Returns how many steps one time is to be taken of."""
    return max(1, round(SECONDS / min(timed(step, 1) for _ in range(5))))


def ratios(taken: dict[str, list[float]], name: str, base: str = "plain") -> list[float]:
    """Returns a variant's ratio to another in each round; none if it was not measured."""
    return [a / b for a, b in zip(taken.get(name, ()), taken[base], strict=name in taken)]


def shown(values: Sequence[float]) -> str:
    """Returns the median, and the quartiles in parentheses; `-` of nothing."""
    if not values:
        return "-"
    middle = f"{statistics.median(values):.2f}"
    if len(values) == 1:
        return middle
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle} ({low:.2f}-{high:.2f})"


def row(cells: Iterable[object]) -> str:
    """Returns a row of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*names: str) -> str:
    """Returns the first two lines of a table in Markdown."""
    return f"{row(names)}\n|{'---|' * len(names)}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns between what numbers the true median lies, by order statistics; maybe infinite.

    The k-th smallest and the k-th largest of n enclose it but with the chance of fewer than k of n
    coins showing heads, twice (David and Nagaraja, Order Statistics, section 7.1).
    """
    ordered, rank, outside = sorted(values), 0, 2.0 ** (1 - len(values))
    while outside <= ERROR:
        rank += 1
        outside += math.comb(len(ordered), rank) * 2.0 ** (1 - len(ordered))
    return (ordered[rank - 1], ordered[-rank]) if rank else (-math.inf, math.inf)


def verdict(changes: Sequence[float], control: Sequence[float]) -> str:
    """Returns `slower`, `faster` or `same`, or `undecided` of too few rounds.

    Args:
        changes: Ratios, new to old, of rounds.
        control: Ratios of the old to itself in the same rounds.
    """
    low, high = interval(changes)
    if not math.isfinite(low):
        return "undecided"
    noise = 1 + max(abs(statistics.median(control) - 1), LEAST)
    return "slower" if low > noise else "faster" if high < 1 / noise else "same"
