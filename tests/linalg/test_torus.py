"""Proved bounds of convolutions, against explicit matrices and symbols summed by themselves."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, getcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from explicit_map import explicit
from hypothesis import given, settings
from hypothesis import strategies as st

from snconvert.core.convolution_map import Convolution, at_size
from snconvert.linalg import gram_symbol, torus
from snconvert.linalg.gram_symbol import GramSymbol
from snconvert.linalg.torus import are_below, proved_convolution_norm, proved_torus_norm, torus_of

ROUNDING = 1e-13
CONVOLUTIONS = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(4, 9))


def symbol_norm(taps: np.ndarray, conv: Convolution, grid: tuple[int, ...], half: Any) -> float:
    """The largest norm of the symbols, each summed from its definition, over a whole grid."""
    best, halves = 0.0, np.broadcast_to(half, len(grid))
    for place in np.ndindex(*grid):
        waves = 2 * math.pi * (np.array(place) + halves) / np.array(grid)
        symbol = np.zeros((*conv.strides, *taps.shape[1:]), complex)
        for tap, index in zip(taps, np.ndindex(*conv.kernel), strict=True):
            at = [i * d for i, d in zip(index, conv.dilation, strict=True)]
            turn = sum(w * (a // s) for w, a, s in zip(waves, at, conv.strides, strict=True))
            symbol[tuple(a % s for a, s in zip(at, conv.strides, strict=True))] += tap * np.exp(
                1j * turn
            )
        best = max(best, float(np.linalg.norm(symbol.reshape(-1, taps.shape[2]), 2)))
    return best


@settings(max_examples=80, deadline=None)
@given(
    axes=st.lists(CONVOLUTIONS, min_size=1, max_size=2),
    padding=st.sampled_from(["same", "valid", "causal"]),
    blocks=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    positive=st.booleans(),
    scale=st.sampled_from([-1040, 0, 1000]),
    seed=st.integers(0, 99),
)
def test_no_map_exceeds_its_bounds(
    axes: list[tuple[int, ...]],
    padding: str,
    blocks: int,
    channels: tuple[int, int],
    positive: bool,
    scale: int,
    seed: int,
) -> None:
    """Strides, dilation, padding, groups, few channels and any scale: the norm of the explicit
    matrix is below the bound, by one part in a million at most where that matrix is small, and
    below that of the torus alone and the one for every size."""
    kernel, strides, dilation, sizes = zip(*axes, strict=True)
    m, n = channels
    conv = at_size(sizes, kernel, strides, dilation, padding, (blocks, math.prod(kernel) * m, n))
    taps = np.random.default_rng(seed).normal(size=(blocks, math.prod(kernel), m, n))
    taps = np.abs(taps) if positive else taps
    taps /= np.abs(taps).max()
    if conv.on_torus:  # there is no output at this size
        return
    norm = max(np.linalg.norm(explicit(block, conv), 2) for block in taps)
    bound = proved_convolution_norm(np.ldexp(taps, scale), conv)
    near = math.ldexp(bound.mantissa, bound.exponent - scale)
    coarse = np.ldexp(np.ldexp(taps, scale), -scale)  # as subnormal numbers are rounded
    norm = max(np.linalg.norm(explicit(block, conv), 2) for block in coarse)
    assert norm * (1 - ROUNDING) <= near <= norm * (1 + 1e-6)
    largest = max(np.linalg.norm(explicit(block, conv), 2) for block in taps)
    assert largest * (1 - ROUNDING) <= proved_torus_norm(taps, conv)
    everywhere = Convolution.over_all_sizes(kernel, strides, dilation)
    assert largest * (1 - ROUNDING) <= proved_convolution_norm(taps, everywhere).value


@settings(max_examples=60, deadline=None)
@given(
    taps=st.tuples(*[st.integers(-(10**6), 10**6)] * 2).filter(any),
    outputs=st.tuples(*[st.integers(-(2**24), 2**24)] * 2).filter(any),
)
def test_bounds_hold_in_exact_arithmetic(taps: tuple[int, int], outputs: tuple[int, int]) -> None:
    """Of `a, b` on three numbers the norm's square is `a^2 + b^2 + |ab|`: by fractions no bound
    from above is below it, and none from below is above what a vector reaches."""
    (a, b), (x, y) = taps, outputs
    conv = Convolution((2,), (1,), (1,), (0,), (3,), (2,))
    stack = np.array(taps, float).reshape(1, 2, 1, 1)
    square = a * a + b * b + abs(a * b)
    unit = Fraction(1 << 20)
    assert Fraction(proved_convolution_norm(stack, conv).value) ** 2 >= square
    assert (Fraction(proved_torus_norm(stack / 2**20, conv)) * unit) ** 2 >= square
    low = Fraction(torus._quotient(stack[0], conv, np.array(outputs, "f4").reshape(2, 1)))
    reached = Fraction((a * x) ** 2 + (b * x + a * y) ** 2 + (b * y) ** 2, x * x + y * y)
    assert reached * (1 - Fraction(1, 10**12)) <= low**2 <= reached or low < 0


@pytest.mark.parametrize(
    ("kernel", "strides", "dilation", "channels"),
    [
        ((3, 3), (1, 1), (1, 1), (3, 3)),
        ((3, 3), (1, 1), (1, 1), (2, 9)),
        ((5, 2), (2, 1), (1, 1), (2, 3)),
        ((4, 3), (3, 2), (1, 1), (1, 9)),
        ((3, 3), (1, 1), (2, 3), (3, 2)),
        ((5,), (2,), (2,), (2, 3)),
        ((5,), (2,), (3,), (2, 3)),
        ((2, 2, 3), (1, 2, 1), (1, 1, 1), (2, 3)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
    ],
)
def test_what_is_proved_and_what_is_refused(
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
    channels: tuple[int, int],
) -> None:
    """The norm on a torus is proved at 1 + 1e-6 and refused at 1 - 1e-4 of it, by whichever side
    is the smaller one and with the frequencies shifted or not."""
    taps = np.random.default_rng(3).normal(size=(1, math.prod(kernel), *channels))
    taps /= np.abs(taps).max()
    grid = tuple(range(5, 5 + len(kernel)))
    conv = Convolution(kernel, strides, dilation, (0,) * len(kernel), grid, grid)
    symbol = GramSymbol(taps, conv)
    for half in (0, 1):
        norm = symbol_norm(taps[0], conv, grid, half / 2)

        def below(limit: float, half: int = half) -> bool:
            parts = symbol.grams(grid, (half,) * len(kernel))
            return all(are_below(grams, limit, symbol) for grams in parts)

        assert below(norm * (1 + 1e-6))
        assert not below(norm * (1 - 1e-4))
        assert below(norm * 1e3)


def test_the_torus_of_a_map() -> None:
    """It has room for the input and the larger padding, and strides divide it; above 64 frequencies
    for each degree there is a factor."""
    same = at_size((28, 7), (3, 3), (1, 2), (1, 1), "same", (1, 9, 1))
    assert torus_of(same) == ((29, 4), 1.0)
    longest = at_size((1000,), (3,), (1,), (1,), "same", (1, 3, 1))
    assert torus_of(longest) == ((128,), pytest.approx(1 / math.cos(math.pi / 128)))
    assert torus_of(Convolution.over_all_sizes((3,), (1,), (1,)))[1] > 1


def test_a_long_axis() -> None:
    """Where the frequencies of a long input would be too many, a coarser grid bounds the norm."""
    taps = np.random.default_rng(0).normal(size=(1, 3, 2, 3))
    conv = at_size((400,), (3,), (1,), (1,), "valid", (1, 6, 3))
    norm = np.linalg.norm(explicit(taps[0], conv), 2)
    assert norm <= proved_torus_norm(taps / 4, conv) * 4 <= norm * 1.001


@pytest.mark.parametrize(("size", "near"), [(14, 1.01), (20, 1.007)])
def test_it_is_close(size: int, near: float) -> None:
    """At the sizes of a network the torus is within a percent of the map; a kernel of one
    sign, whose waves are as long as the input, is met by the frequencies in between."""
    rng = np.random.default_rng(size)
    for kernel, wanted in ((rng.normal(size=(1, 9, 2, 2)), near), (np.ones((1, 9, 1, 1)), 1.0001)):
        conv = at_size((size, size), (3, 3), (1, 1), (1, 1), "same", (1, 9 * kernel.shape[2], 2))
        norm = np.linalg.norm(explicit(kernel[0], conv), 2)
        assert norm <= proved_torus_norm(kernel / 4, conv) * 4 <= norm * wanted


def test_what_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without memory, or where the torus takes too long, the overlap bound is what is left; nothing
    that is read by no output counts."""
    taps = np.random.default_rng(0).normal(size=(1, 9, 2, 3))
    conv = at_size((64, 64), (3, 3), (1, 1), (1, 1), "same", (1, 18, 3))
    overlap = 3 * np.linalg.norm(taps.reshape(18, 3), 2)
    close = proved_convolution_norm(taps, conv).value
    monkeypatch.setattr(torus, "_WORK", 0)
    assert overlap <= proved_convolution_norm(taps, conv).value <= overlap * (1 + 1e-6)
    monkeypatch.undo()

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torus, "GramSymbol", full)
    assert close < overlap <= proved_convolution_norm(taps, conv).value <= overlap * (1 + 1e-6)
    zeros = np.zeros((1, 3, 1, 1))
    zeros[0, 0] = 1.0  # of an input of one number, read by the tap in the middle only
    alone = at_size((1,), (3,), (1,), (1,), "same", (1, 3, 1))
    assert proved_convolution_norm(zeros, alone).value == 0.0


@pytest.mark.parametrize(
    ("size", "kernel", "dilation", "channels"),
    [
        ((3000,), (3,), (10**9,), (1, 1)),
        ((10**6,), (10**6,), (1,), (1, 1)),
        ((9, 9), (10**4, 10**4), (1, 1), (1, 1)),
    ],
)
def test_what_a_file_may_say(
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    dilation: tuple[int, ...],
    channels: tuple[int, int],
) -> None:
    """Sizes that nobody has take neither the time nor the memory that they ask for."""
    conv = Convolution(kernel, (1,) * len(size), dilation, (0,) * len(size), size, size)
    taps = np.broadcast_to(0.5, (1, math.prod(kernel), *channels))
    grid, _ = torus_of(conv)
    assert not torus._is_affordable(taps, conv, grid)
    assert proved_torus_norm(taps, conv) == math.inf


def test_few_outputs_of_a_large_input() -> None:
    """Of a map with many inputs and few outputs the matrix is made row by row of the outputs."""
    taps = np.random.default_rng(0).normal(size=(1, 59 * 59, 3, 2))
    conv = at_size((60, 60), (59, 59), (1, 1), (1, 1), "valid", (1, 59 * 59 * 3, 2))
    norm = np.linalg.norm(explicit(taps[0], conv), 2)
    assert torus._explicit(taps, conv).shape == (1, 8, 60 * 60 * 3)
    assert norm <= proved_convolution_norm(taps, conv).value <= norm * (1 + 1e-6)


def test_an_axis_without_taps() -> None:
    """It needs one frequency only, however long it is, and no factor."""
    conv = at_size((500, 40), (1, 3), (1, 1), (1, 1), "same", (1, 6, 3))
    assert torus_of(conv) == ((1, 41), 1.0)
    taps = np.random.default_rng(0).normal(size=(1, 3, 2, 3)) / 4
    for half, count in ((0, 21), (1, 21)):
        grams = np.concatenate(list(GramSymbol(taps, conv).grams((1, 41), (0, half))))
        every = symbol_norm(taps[0], conv, (1, 41), half / 2 * np.array([0, 1]))
        assert (len(grams), np.linalg.eigvalsh(grams).max()) == (count, pytest.approx(every**2))
    row = at_size((40,), (3,), (1,), (1,), "same", (1, 6, 3))
    norm = np.linalg.norm(explicit(taps[0], row), 2)
    assert norm <= proved_torus_norm(taps, conv) <= norm * 1.005


def test_one_tap_is_a_matrix() -> None:
    """A 1x1 convolution has the norm of its matrix at every size, and so has one whose strides are
    as long as its kernel."""
    taps = np.random.default_rng(0).normal(size=(1, 4, 5, 30))
    norm = np.linalg.norm(taps[0, 0], 2)
    large = at_size((500, 500), (1, 1), (1, 1), (1, 1), "same", (1, 5, 30))
    assert norm <= proved_convolution_norm(taps[:, :1], large).value <= norm * (1 + 1e-6)
    norm = np.linalg.norm(taps.reshape(20, 30), 2)
    patches = at_size((224, 224), (2, 2), (2, 2), (1, 1), "valid", (1, 20, 30))
    assert norm <= proved_convolution_norm(taps, patches).value <= norm * (1 + 1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 12, 1000])
def test_the_roots_of_unity(count: int) -> None:
    """They are right to half a unit in the last place of 1, which the bounds count on."""
    getcontext().prec = 60
    assert (
        str(Decimal(gram_symbol._PI) / Decimal(2**192))[:50]
        == ("3.1415926535897932384626433832795028841971693993751"[:50])
    )
    cos, sin = gram_symbol.roots(count)
    for index in itertools.islice(range(count), 0, None, max(1, count // 50)):
        angle, term = Decimal(index) * 2 * Decimal(gram_symbol._PI) / Decimal(2**192) / count, 1
        total = [Decimal(0)] * 4
        for power in range(60):
            total[power % 4] += term
            term = term * angle / (power + 1)
        assert abs(Decimal(float(cos[index])) - (total[0] - total[2])) <= Decimal(2) ** -53
        assert abs(Decimal(float(sin[index])) - (total[1] - total[3])) <= Decimal(2) ** -53


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("channels", [(6, 5), (2, 7)])
def test_what_rounding_hides(channels: tuple[int, int], half: int) -> None:
    """Gram matrices are as far from those in longer floats as is allowed for, at most, and not
    so much closer that the bound means nothing."""
    taps = np.random.default_rng(5).normal(size=(2, 15, *channels))
    taps /= np.abs(taps).max()
    conv = Convolution((5, 3), (1, 2), (2, 1), (0, 0), (9, 9), (9, 9))
    symbol = GramSymbol(taps, conv)
    grid, wide = (11, 6), taps.astype(np.longdouble)
    exact = []
    turn = np.arccos(np.longdouble(-1)) * 2
    for one, two in itertools.product(range(6), range(6)):
        if 2 * one + half > 11:
            continue
        waves = [
            (f + np.longdouble(half) / 2) * turn / n for f, n in zip((one, two), grid, strict=True)
        ]
        symbols = np.zeros((2, 2, *channels), np.clongdouble)
        for tap, (i, j) in zip(wide.swapaxes(0, 1), np.ndindex(5, 3), strict=True):
            angle = waves[0] * 2 * i + waves[1] * (j // 2)
            symbols[:, j % 2] += tap * (np.cos(angle) + 1j * np.sin(angle))
        for each in symbols.reshape(2, -1, channels[1]):
            tall = each.T if each.shape[0] < each.shape[1] else each
            exact.append(tall.conj().T @ tall)
    found = np.concatenate(list(symbol.grams(grid, (half, half))))
    assert found.shape == (len(exact), symbol.order, symbol.order)
    off = np.sqrt((np.abs(found - np.array(exact)) ** 2).sum(axis=(1, 2)).max())
    assert symbol.hidden / 1e4 <= off <= symbol.hidden


@pytest.mark.parametrize("order", [7, 128, 150])
def test_what_a_factor_misses(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a factor that LAPACK got wrong in one number the remainder is all that an independent
    product finds to be missing; of the right one next to nothing. Matrices that are small enough
    need none, and what is not positive has none."""
    rng = np.random.default_rng(order)
    parts = rng.normal(size=(3, order + 2, order)) + 1j * rng.normal(size=(3, order + 2, order))
    grams = parts.conj().swapaxes(1, 2) @ parts
    top = float(np.linalg.eigvalsh(grams).max())
    shift = 1.001 * top
    assert torus._factorise(grams, 0.999 * top) is None
    assert torus._factorise(grams, 1e3 * shift) == (0.0, 0.0)
    grams = grams[np.linalg.norm(grams, axis=(1, 2)) > shift]
    right, _ = torus._factorise(grams, shift)
    assert right <= 1e-12 * shift * order
    cholesky = np.linalg.cholesky
    for place in ((0, 0), (order - 1, 0), (order - 1, order - 1)):
        factor = cholesky(shift * np.eye(order) - grams)
        factor[0][place] += 1e-3 * (1 + 1j)
        monkeypatch.setattr(np.linalg, "cholesky", lambda _, factor=factor: factor)
        missed, square = torus._factorise(grams, shift)
        exact = shift * np.eye(order) - grams - factor @ factor.conj().swapaxes(1, 2)
        norm = float(np.linalg.norm(exact, axis=(1, 2)).max())
        assert norm * (1 - 1e-9) <= missed <= norm * math.sqrt(2) * (1 + 1e-9)
        assert square == pytest.approx(float(np.square(np.abs(factor)).sum(axis=(1, 2)).max()))


def test_nothing_rests_on_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a factor of another matrix nor an estimate that is too low makes a bound too low."""
    conv = at_size((20,), (3,), (1,), (1,), "same", (1, 12, 5))
    taps = np.random.default_rng(0).normal(size=(1, 3, 4, 5)) / 4
    grid, _ = torus_of(conv)
    symbol = GramSymbol(taps, conv)
    bound = proved_torus_norm(taps, conv)
    parts = list(symbol.grams(grid, (0,)))
    assert all(are_below(grams, bound * 1.01, symbol) for grams in parts)
    right = torus._largest
    monkeypatch.setattr(torus, "_largest", lambda *about: 0.9 * right(*about))
    assert proved_torus_norm(taps, conv) == pytest.approx(bound, rel=1e-6)
    cholesky = np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda matrix: cholesky(matrix) * (1 + 1e-5))
    assert not all(are_below(grams, bound * 1.01, symbol) for grams in parts)
