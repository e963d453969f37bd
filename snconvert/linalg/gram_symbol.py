"""The Gram matrix of a convolution's symbol at the frequencies of a torus, with its error.

Tap `t`, a matrix `W_t` of shape `(m, n)`, reads what lies `t d = q s + p` after an output's first
number, with dilation `d`, stride `s` and `p < s`. With strides as channels (polyphase) the symbol
and its Gram matrix are

    M(w) = sum over q of P_q e^(iqw),   P_q with the taps of all phases p, one below the other
    G(w) = M(w)* M(w) = sum over j of C_j e^(ijw),   C_j = sum over q of P_q' P_(q+j).

So the coefficients are made once, in real numbers, and a frequency costs a few multiples of `n^2`
before its Gram matrix is factorised. Where there are fewer inputs than outputs, `P_q'` takes the
place of `P_q`: the norm is the same.

**What rounding hides**, in the Frobenius norm, with `g(k)` as in `snconvert.linalg.certificate`,
`a = sum over q of |P_q|_F`, `r` the rows of `P_q` and `Q` the number of its `q`:

- `C_j` is an inner product of at most `K = Q r` terms: off by at most
  `g(K) sum over q of |P_q|'|P_(q+j)|`, entry by entry; over all `j` together by `g(K) a^2`.
- cos and sin are those of `2 pi j / N` with `j` an integer below `N`, computed in integers of 192
  bits: off by at most `e = 2**-53`, half a unit in the last place of 1.
- An axis with `J` differences turns `D_j = X_j + i Y_j` into `sum of (cos X_j - sin Y_j) +
  i (sin X_j + cos Y_j)`: two inner products of `2 J` terms. Each is off by at most
  `g(2 J + 1) sum of (|X_j| + |Y_j|)`, with the error of cos and sin, and both together by
  `2 g(2 J + 1) sum of |D_j| <= g(4 J + 2) sum of |D_j|`.
- As `(1 + g(k)) (1 + g(l)) <= 1 + g(k + l)`, all together `G(w)` is off by at most
  `g(K + sum of (4 J + 2)) a^2`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.linalg.blocks import Array
from snconvert.linalg.certificate import gamma

_PI = 0x3_243F6A88_85A308D3_13198A2E_03707344_A4093822_299F31D0  # times 2**192
_BITS = 192
_FINE = 16  # frequencies for each degree of the symbol: the bound is 0.5 % above the grid's
_BATCH = 1 << 17  # numbers of Gram matrices that are made at once: more leave the cache

Sizes = tuple[int, ...]


class GramSymbol:
    """The coefficients `C_j` of several blocks, and their sums at the frequencies of a grid.

    Args:
        taps: float64 `(b, k, m, n)`, with a largest number between 1/2 and 1.
        conv: The map.

    Attributes:
        order: The order of the Gram matrices.
        square: The largest `a^2` of a block.
        coefficients: `(*J, b, order, order)`.
    """

    def __init__(self, taps: Array, conv: Convolution) -> None:
        axes = list(zip(conv.kernel, conv.strides, conv.dilation, strict=True))
        steps = [np.unique(np.arange(k) * d // s, return_inverse=True) for k, s, d in axes]
        phases = [np.unique(np.arange(k) * d % s, return_inverse=True) for k, s, d in axes]
        sizes = tuple(len(known) for known, _ in steps)
        count, _, m, n = taps.shape
        parts = np.zeros((*sizes, *(len(known) for known, _ in phases), count, m, n))
        for index, tap in zip(np.ndindex(*conv.kernel), taps.swapaxes(0, 1), strict=True):
            own = (*(w[i] for (_, w), i in zip(steps + phases, index + index, strict=True)),)
            parts[own] = tap
        parts = parts.reshape(*sizes, -1, count, m, n)
        parts = np.moveaxis(parts, len(sizes), -3).reshape(*sizes, count, -1, n)
        if parts.shape[-2] < n:
            parts = parts.swapaxes(-1, -2)
        self.order = parts.shape[-1]
        self._terms = math.prod(sizes) * parts.shape[-2]
        norms = np.linalg.norm(parts, axis=(-2, -1)).sum(axis=tuple(range(len(sizes))))
        self.square = float(np.square(norms).max())
        self.differences, self.coefficients = _correlated(parts, [known for known, _ in steps])

    @property
    def hidden(self) -> float:
        """How far a Gram matrix may be off, in the Frobenius norm."""
        axes = sum(4 * len(known) + 2 for known in self.differences)
        return gamma(self._terms + axes) * self.square

    def grams(self, grid: Sizes, halves: Sizes) -> Iterator[Array]:
        """Yields complex Gram matrices `(f * b, order, order)` at the frequencies of a grid.

        Of a frequency and its negative, whose Gram matrices are conjugates, one is left out.

        Args:
            grid: How many frequencies each axis has.
            halves: By how many halves of their distance they are shifted, an axis.
        """
        waves = [2 * np.arange(size) + half for size, half in zip(grid, halves, strict=True)]
        # Axes of one frequency, which is its own negative, leave the half to the next.
        axis = next((index for index, size in enumerate(grid) if size > 1), 0)
        waves[axis] = waves[axis][waves[axis] <= grid[axis]]
        yield from self._turned(self.coefficients[None], grid, waves)

    def _turned(self, parts: Array, grid: Sizes, waves: list[Array]) -> Iterator[Array]:
        """Yields the sums over the axes that are left, of `parts (1 or 2, *J, b, n, n)`."""
        axis = len(grid) - len(waves)
        cos, sin = roots(2 * grid[axis])
        last = len(waves) == 1
        size = math.prod(parts.shape[2:])
        step = max(1, _BATCH // max(size, 4 * len(self.differences[axis]))) if last else 1
        for first in range(0, len(waves[0]), step):
            wave = waves[0][first : first + step]
            turns = np.outer(wave, self.differences[axis]) % (2 * grid[axis])
            turn = np.stack([cos[turns], sin[turns]])
            if len(parts) > 1:  # ((cos, -sin), (sin, cos))
                turn = np.concatenate([turn, np.stack([-turn[1], turn[0]])], axis=2)
            turned = turn.reshape(2 * len(wave), -1) @ parts.reshape(turn.shape[2], size)
            turned = turned.reshape(2, len(wave), *parts.shape[2:])
            if last:
                yield (turned[0] + 1j * turned[1]).reshape(-1, self.order, self.order)
            else:
                yield from self._turned(turned[:, 0], grid, waves[1:])


def norms_over_frequencies(taps: Array, conv: Convolution, shift: float, enough: Array) -> Array:
    """Returns a bound of the norm of each block, within rounding; on a torus, the norm.

    A map with `O` outputs an axis and a symbol of degree `D` is a part, some rows and columns, of
    the convolution on a ring of `N >= O + D` outputs: no output that is kept reads around the ring.
    The norm on the ring is the largest of `|M(2 pi f / N)|`, `f = 0 .. N - 1`. What reads around it
    may as well change its phase by any angle, so frequencies `2 pi (f + 1/2) / N` bound the norm,
    too. These come closer, as waves that vanish at both ends lie between those of the ring.

    A ring of fewer outputs bounds it with a factor: `|M(w) y|^2` is a trigonometric polynomial of
    degree `D` between 0 and its maximum `p`, so it is at least `p cos(D d / 2)^2` at a distance of
    `d <= pi / D` there (M. Riesz, for the polynomial less `p / 2`), and `d <= pi / N` on the grid.

    Args:
        taps: As for `GramSymbol`.
        conv: The map.
        shift: By which part of their distance the frequencies are shifted: 0 or 1/2.
        enough: Of each block a bound that need not be closer.
    """
    factor, grid = 1.0, []
    for outputs, degree in zip(conv.outputs, conv.degrees, strict=True):
        ring = outputs if conv.on_torus else outputs + degree
        size = ring if conv.on_torus or not degree else min(ring, _FINE * degree)
        if size < ring:
            factor /= math.cos(math.pi * degree / (2 * size))
        grid.append(size)
    symbol = GramSymbol(taps, conv)
    least = np.square(enough / factor)
    top = np.zeros(len(taps))
    for batch in symbol.grams(tuple(grid), (round(2 * shift),) * len(grid)):
        grams = batch.reshape(-1, len(taps), symbol.order, symbol.order)
        # The root of the sum of the fourth powers of the eigenvalues, as a first bound.
        norms = np.sqrt(np.linalg.norm(grams @ grams, axis=(-2, -1)))
        large = norms > np.maximum(least, top)
        norms[large] = np.linalg.eigvalsh(grams[large])[:, -1]
        top = np.maximum(top, norms.max(axis=0))
    return np.asarray(np.sqrt(top) * factor)


def _correlated(parts: Array, steps: list[Array]) -> tuple[list[Array], Array]:
    """Returns the differences of each axis, and the coefficients for them.

    Args:
        parts: `P_q`, `(*Q, b, r, n)`.
        steps: The `q` of each axis, in order.
    """
    *sizes, count, rows, order = parts.shape
    pairs = [np.unique(q[None] - q[:, None], return_inverse=True) for q in steps]
    differences = [known for known, _ in pairs]
    where = [inverse.reshape(len(q), len(q)) for (_, inverse), q in zip(pairs, steps, strict=True)]
    coefficients = np.zeros((*map(len, differences), count, order, order))
    rank = len(sizes)
    beside = np.moveaxis(parts, (rank, rank + 1), (0, 1)).reshape(count, rows, -1)
    for index in np.ndindex(*sizes):
        product = parts[index].swapaxes(-1, -2) @ beside
        product = np.moveaxis(
            product.reshape(count, order, *sizes, order), (0, 1), (rank, rank + 1)
        )
        coefficients[np.ix_(*(at[i] for at, i in zip(where, index, strict=True)))] += product
    return differences, coefficients


@lru_cache(maxsize=8)
def roots(count: int) -> tuple[Array, Array]:
    """Returns cos and sin of `2 pi j / count`, `j = 0 .. count - 1`, each off by at most 2**-53.

    The first step is summed by Taylor's series, and the others follow by products, in integers:
    each step adds less than `2**-176`.
    """
    one, angle = 1 << _BITS, 2 * _PI // count
    first = [0, 0, 0, 0]  # of the powers of i
    term, power = one, 0
    while term:
        first[power % 4] += term
        power += 1
        term = (term * angle >> _BITS) // power
    real, imaginary = first[0] - first[2], first[1] - first[3]
    x, y = one, 0
    cos, sin = np.empty(count), np.empty(count)
    for index in range(count):
        cos[index], sin[index] = x / one, y / one
        x, y = (x * real - y * imaginary) >> _BITS, (x * imaginary + y * real) >> _BITS
    return cos, sin
