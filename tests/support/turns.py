"""The mark `turns`: of the product of a test's parameters, what the gate tries and what is slow.

Two stacked `parametrize` of n and m values make n * m tests. Where the law does not live in the
pairs, the gate takes as many as the longer list has: while it goes through one, the other takes
turns, so that every value of each is tried. Of three lists of one length, every pair of values of
any two still meets. The rest runs with `-m slow`.
"""

from __future__ import annotations

from typing import Any

import pytest

Marked = type(pytest.param())


def mark_slow(item: pytest.Item) -> None:
    """Marks a test of the product as slow where it is not its turn."""
    if item.get_closest_marker("turns") is None:
        return
    assert isinstance(item, pytest.Function)
    axes = [mark.args for mark in item.iter_markers("parametrize")]
    assert len(axes) > 1, f"{item.nodeid}: what takes turns has several lists of parameters"
    places = [_place(names, values, item.callspec.params) for names, values in axes]
    if sum(places) % min(len(values) for _, values in axes):
        item.add_marker(pytest.mark.slow)


def _place(names: Any, values: Any, parameters: dict[str, Any]) -> int:
    """Returns the place in a list of what a test has of it."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
    own = [parameters[name] for name in names]
    for place, value in enumerate(values):
        one = value.values if isinstance(value, Marked) else value if len(names) > 1 else [value]
        if all(mine is its for mine, its in zip(own, one, strict=True)):
            return place
    raise AssertionError(names)
