"""Names without their middle."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from snconvert.cli.columns import ASCII, UNICODE
from snconvert.cli.printing.names import shortened

NAMES = st.lists(st.text(st.sampled_from("ab/_1層🙂é"), max_size=40), max_size=12)


@given(NAMES, st.integers(10, 40), st.sampled_from([UNICODE.dots, ASCII.dots]))
def test_different_names_stay_different(names: list[str], width: int, dots: str) -> None:
    """Names are as wide as there is room for at most, those that fit are whole, and no two become
    the same."""
    short = shortened(names, width, dots)
    assert set(short) == set(names)
    assert len(set(short.values())) == len(set(names))
    for name, text in short.items():
        assert cell_len(text) <= width
        assert text == name or (cell_len(name) > width and dots in text)


def test_a_name_keeps_its_start_and_its_end() -> None:
    """What is left out is the middle, at the place that keeps the names apart."""
    assert shortened(["encoder/block_8/mlp/project"], 16) == {
        "encoder/block_8/mlp/project": "encoder…/project"
    }
    blocks = [f"backbone/stage_{i}/expand/convolution/kernel" for i in range(9)]
    short = shortened(blocks, 20)
    assert all(f"stage_{i}" in short[name] for i, name in enumerate(blocks))
    assert set(
        shortened([f"backbone/stage_{i}/bottleneck_block/conv" for i in (1, 10)], 16).values()
    ) == {
        "…1/bottl…ck/conv",
        "…10/bott…ck/conv",
    }
    inner = [f"{'x' * 30}{i}{'y' * 30}" for i in range(12)]
    assert min(shortened(inner, 12).values()).startswith("xxx")


def test_many_long_names_take_no_time() -> None:
    """10 000 names that differ in the middle only are told apart in a second or two."""
    names = [f"{'a' * 90}{i:05}{'b' * 90}" for i in range(10_000)]
    started = time.perf_counter()
    short = shortened(names, 20)
    assert time.perf_counter() - started < 5
    assert len(set(short.values())) == len(names)
