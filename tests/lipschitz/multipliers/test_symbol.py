"""Convolutions on a torus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.convolution_map import Convolution, at_size
from snconvert.linalg.convolution_apply import forward
from snconvert.lipschitz.multipliers.symbol import (
    _folded,
    frequencies,
    stacks,
    symbol,
    torus_of,
)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Convolution, np.ndarray]:
    """A convolution, and its taps."""
    axes = draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(axes))
    sizes = tuple(draw(st.integers(5, 7)) for _ in range(axes))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    padding = draw(st.sampled_from(["same", "valid", "causal"]))
    m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    count = int(np.prod(kernel))
    conv = at_size(sizes, kernel, strides, dilation, padding, (1, count * m, n))
    taps = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((1, count, m, n))
    return conv, taps


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_a_piece_of_the_torus_is_the_convolution(case: tuple[Convolution, np.ndarray]) -> None:
    """The map by its symbol, of an input with zeros around it, is cut to that with zero padding."""
    conv, taps = case
    finer, ones = conv.strides, (1,) * len(conv.strides)
    torus = torus_of([conv], [(finer, ones)])
    every = np.stack(np.meshgrid(*map(np.arange, torus), indexing="ij"), -1)
    every = every.reshape(-1, len(torus))
    stack, _ = _folded(taps, conv, torus, every, finer, ones)
    inputs = np.random.default_rng(0).standard_normal((*conv.inputs, taps.shape[2]))
    axes = tuple(range(len(torus)))
    fine = tuple(n * s for n, s in zip(torus, finer, strict=True))
    around = np.zeros((*fine, taps.shape[2]))
    around[tuple(map(slice, conv.inputs))] = inputs
    waves = np.fft.fftn(around, axes=axes, norm="ortho")
    copies = [waves[tuple((every + shift * np.array(torus)).T)] for shift in np.ndindex(*finer)]
    folded = (stack @ np.concatenate(copies, axis=1)[:, :, None])[:, :, 0]
    outputs = np.fft.ifftn(folded.reshape(*torus, -1), axes=axes, norm="ortho")
    expected = forward(inputs[None], taps[0], conv)[0]
    np.testing.assert_allclose(outputs[tuple(map(slice, conv.outputs))], expected, atol=1e-12)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=3))
def test_half_the_frequencies_stand_for_all(torus: list[int]) -> None:
    """Of each frequency and its opposite there is one."""
    half = {tuple(map(int, at)) for at in frequencies(torus)}
    opposite = {tuple(-k % n for k, n in zip(at, torus, strict=True)) for at in half}
    assert len(half | opposite) == np.prod(torus)
    assert all(at in opposite for at in half & opposite)
    assert len(half & opposite) == 2 ** sum(n % 2 == 0 for n in torus)


def test_the_error_is_covered() -> None:
    """The symbol in long double is as near as was promised, and not a thousand times nearer."""
    rng = np.random.default_rng(0)
    conv = at_size((20, 17), (5, 3), (1, 1), (1, 2), "same", (1, 15 * 4, 4))
    taps = rng.standard_normal((1, 15, 4, 4))
    torus = torus_of([conv], [((1, 1), (1, 1))])
    at = frequencies(torus)
    stack, error = symbol(taps, conv, torus, at)
    wide = np.zeros(stack.shape, np.clongdouble)
    pi = np.arctan(np.longdouble(1)) * 4
    for tap in range(15):
        angle = np.zeros(len(at), np.longdouble)
        for axis, place in enumerate(divmod(tap, 3)):
            offset = place * conv.dilation[axis] - conv.before[axis]
            angle = angle + 2 * pi * (at[:, axis] * offset % torus[axis]) / torus[axis]
        phase = np.cos(angle) + 1j * np.sin(angle)
        wide += phase[:, None, None] * taps[0, tap].T
    off = np.sqrt(np.square(np.abs(wide - stack)).sum(axis=(1, 2))).max()
    assert off <= error < 1000 * off


def test_what_has_no_torus() -> None:
    """Sizes that are not known, another stride of a shortcut, and too large maps have none."""
    taps = np.ones((1, 9, 1, 1))
    plain = at_size((8, 8), (3, 3), (1, 1), (1, 1), "same", (1, 9, 1))
    strided = at_size((8, 8), (3, 3), (2, 2), (1, 1), "same", (1, 9, 1))
    anywhere = Convolution.over_all_sizes((3, 3), (1, 1), (1, 1))
    large = at_size((1500, 1500), (3, 3), (1, 1), (1, 1), "same", (1, 9, 32))
    assert stacks([(taps, plain)]) is not None
    assert stacks([(taps, plain), (taps, strided)]) is not None
    assert stacks([(taps, plain)], (taps, strided)) is None
    assert stacks([(taps, anywhere)]) is None
    assert stacks([(np.ones((1, 9, 1, 32)), large)]) is None
    assert stacks([(taps, plain), np.ones((1, 1))]) is None


def test_what_is_not_finite() -> None:
    """A kernel with an infinity is refused."""
    with pytest.raises(ValueError, match="not finite"):
        stacks([np.full((2, 2), np.inf)])
