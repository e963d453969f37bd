"""The lines of `--json` are for any parser: one each, strict JSON, whole characters."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from snconvert.display import json_line

TEXTS = st.text(st.characters(exclude_categories=()), max_size=8)  # halves of characters, too
SHAPES: Any = st.recursive(
    TEXTS | st.floats() | st.integers() | st.booleans() | st.none(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)


def refused(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


@given(SHAPES)
def test_any_object_is_one_strict_line(shape: Any) -> None:
    """Whatever it holds is one line of ASCII, strict JSON, and means whole characters."""
    line = json_line(shape)
    assert line.isascii()
    assert line.isprintable()
    again = json.loads(line, parse_constant=refused)
    json.dumps(again, ensure_ascii=False).encode("utf-8")
    assert json_line(again) == line


def test_what_is_not_finite_is_null_and_all_else_stays() -> None:
    """Numbers that JSON lacks become null; bytes that are no text are escaped as in errors."""
    shape = {"a\n": [1.5, math.nan, -math.inf, True, 3], "name": "\xe4\udcff", "pair": (1, 2)}
    assert json.loads(json_line(shape)) == {
        "a\n": [1.5, None, None, True, 3],
        "name": "\xe4\\udcff",
        "pair": [1, 2],
    }
