"""The certified bound of a residual block, tighter than `1 + |K_1| |K_2|`.

The block is `y = S x + K_n w_n-1`, `w_i = phi_i(z_i)`, `z_i = K_i w_i-1`, `w_0 = x`; `S` is the
identity, or a linear shortcut. With the slopes `a <= 0 <= b` of each activation and any diagonal
`T_i >= 0` its differences satisfy `Q_i = (dw - a dz)' T (b dz - dw) >= 0`, so that

    rho |dx|^2 - |S dx + K_n dw_n-1|^2 - sum_i Q_i >= 0   for all dx and dw_i

makes `sqrt(rho)` a bound (LipSDP, arXiv 1906.04893, theorem 1, with a skip). It is one Hermitian
matrix in `(dx, dw_1, .., dw_n-1)`, at each frequency if the maps are convolutions. With `M` that
matrix at `rho = 0`, `Z` its block in the `dw`, `-B` that of `dx` and `dw`, and `-C` that of `dx`,
the least such `rho` is the largest eigenvalue of `C + B Z^-1 B*`, where `Z > 0`. For one activation
with slopes [0, 1] that is `1 + lmax(B (T - K_2* K_2)^-1 B*)`, `B = K_2 + K_1* T / 2`.

`rho` is convex in the `T_i`. With `u` its eigenvector and `v = (u, Z^-1 B* u)`, `M v + rho u = 0`,
so its differential is `-v* dM v = sum of (dT_i)_k times Q_i`'s entry `k` at `v`.

What is behind the sum (an activation, batch normalisation) multiplies the bound; what is before the
branch (of a block with pre-activation) is a first map `K_1`, a diagonal one, and an activation. If
the last map is only known to be `K_n q`, with a diagonal `q` within `1 - d` and 1, as when batch
normalisation is folded, `|S x + q K_n w| <= |S x + K_n w| + d |K_n w|`: add `d` times the product
of the branch's norms.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from snconvert.core.magnitude import Magnitude
from snconvert.linalg.one_thread import one_thread
from snconvert.lipschitz.multipliers.estimate import adjoint, largest
from snconvert.lipschitz.multipliers.search import gathered, improved, spread
from snconvert.lipschitz.multipliers.segment import Slopes, scaled_slopes
from snconvert.lipschitz.multipliers.semidefinite import (
    UNIT,
    Array,
    frobenius,
    is_semidefinite,
    product_error,
    rooms,
    unit_scale,
)
from snconvert.lipschitz.multipliers.symbol import Map, stacks

_FARTHEST = 400  # powers of two between the branch and the shortcut: beyond, one of them is nothing
_FACTORS = 2.0 ** np.arange(-4.0, 6.5, 0.5)  # of 1/p, in the first multipliers
_SOME = 48  # frequencies at which these are compared
_FEWEST = 5  # evaluations that the proof is worth
_LARGEST = 4608  # order of a matrix up to which it is proved
_CHUNK = 1 << 22  # numbers of the matrices that are proved at once
_RATE = 1e10  # operations a second


class Block(NamedTuple):
    """A residual block at several frequencies.

    Attributes:
        maps: Those of the branch, stacks `K_i (f, n_i, m_i)` that act on columns.
        errors: Of each map, how far the true one may be in the 2-norm.
        slopes: Of the activations between them.
        shortcut: `S`, `(f, n, m)`.
        shortcut_error: As the errors, of the shortcut.
        copies: Of each activation, how many copies of its channels there are, that take the same
            multipliers.
    """

    maps: tuple[Array, ...]
    errors: tuple[float, ...]
    slopes: tuple[Slopes, ...]
    shortcut: Array
    shortcut_error: float
    copies: tuple[int, ...]

    def at(self, places: Array | slice) -> Block:
        """Returns the block at some of the frequencies."""
        maps = tuple(stack[places] for stack in self.maps)
        return self._replace(maps=maps, shortcut=self.shortcut[places])

    @property
    def parts(self) -> list[slice]:
        """Where `dx`, `dw_1`, ... stand in the vector of all."""
        sizes = [self.maps[0].shape[2], *(stack.shape[1] for stack in self.maps[:-1])]
        ends = np.cumsum([0, *sizes])
        return [slice(int(first), int(end)) for first, end in itertools.pairwise(ends)]


@one_thread()
def residual_bound(
    branch: Sequence[Map],
    slopes: Sequence[Slopes],
    *,
    shortcut: Map | None = None,
    seconds: float,
) -> Magnitude | None:
    """Returns a certified bound of `x -> S x + K_n phi_n-1( .. phi_1(K_1 x))`.

    Args:
        branch: The maps of the branch, two at least.
        slopes: Of each activation between them, an interval that holds 0 and all its slopes.
        shortcut: `S`; `None` for the identity.
        seconds: As for `chain_bound`.

    Returns:
        `None` if multipliers prove nothing: sizes are not known, the branch is constant, the
        strides of the shortcut are not those of the branch, or it would take too long.

    Raises:
        ValueError: A kernel is not finite.

    Example:
        >>> print(residual_bound([np.eye(2), -np.eye(2)], [(0.0, 1.0)], seconds=1.0))  # x - relu(x)
        1.000001
    """
    block = _block(branch, slopes, shortcut)
    if block is None:
        return None
    steps = seconds / _seconds(block) - len(_FACTORS) * min(1.0, _SOME / len(block.shortcut))
    if steps < _FEWEST or block.parts[-1].stop > _LARGEST:
        return None

    def evaluate(places: Array | slice, those: list[Array]) -> tuple[Array, list[Array]]:
        squares, gradient = squares_and_gradient(block.at(places), spread(those, block.copies))
        return squares, gathered(gradient, block.copies)

    first = _first(block)
    multipliers = improved(evaluate, first, steps)
    for those in (multipliers, first):
        bound = _proved(block, spread(those, block.copies))
        if bound is not None:
            return bound
    return None


def _block(branch: Sequence[Map], slopes: Sequence[Slopes], shortcut: Map | None) -> Block | None:
    found = stacks(branch, shortcut)
    if found is None:
        return None
    maps, errors, powers, copies = found
    scaled = [scaled_slopes(low, high) for low, high in slopes]
    power = sum(powers[: len(branch)]) + sum(power for _, power in scaled)
    if abs(power) > _FARTHEST or not all(stack.any() for stack in maps):
        return None
    if shortcut is None and maps[0].shape[2] != maps[-1].shape[1]:
        return None  # strides
    last = len(branch) - 1
    maps[last], errors[last] = maps[last] * 2.0**power, errors[last] * 2.0**power
    count, _, inputs = maps[0].shape
    whole, whole_error = np.broadcast_to(np.eye(inputs), (count, inputs, inputs)), 0.0
    if shortcut is not None:
        if abs(powers[-1]) > _FARTHEST:
            return None
        whole, whole_error = maps[-1] * 2.0 ** powers[-1], errors[-1] * 2.0 ** powers[-1]
    return Block(
        tuple(maps[: last + 1]),
        tuple(errors[: last + 1]),
        tuple(ends for ends, _ in scaled),
        whole,
        whole_error,
        tuple(copies[:last]),
    )


def _form(block: Block, multipliers: list[Array]) -> Array:
    """Returns the matrix at `rho = 0`, `(f, s, s)`."""
    parts = block.parts
    size, count = parts[-1].stop, len(block.maps[0])
    form = np.zeros((count, size, size), np.result_type(*block.maps))
    seen = np.concatenate([block.shortcut, block.maps[-1]], axis=2)
    ends = np.r_[parts[0], parts[-1]]
    form[:, ends[:, None], ends] = -adjoint(seen) @ seen
    inner = zip(block.maps, block.slopes, multipliers, itertools.pairwise(parts), strict=False)
    for stack, (low, high), multiplier, (x, w) in inner:
        across = ((low + high) / 2 * multiplier)[:, None] * stack
        form[:, w, x] -= across
        form[:, x, w] -= adjoint(across)
        form[:, range(w.start, w.stop), range(w.start, w.stop)] += multiplier
        if low * high:
            form[:, x, x] += adjoint(stack) @ ((low * high * multiplier)[:, None] * stack)
    return form


def squares_and_gradient(block: Block, multipliers: list[Array]) -> tuple[Array, list[Array]]:
    """Returns `rho` at each frequency, and the derivatives of the largest by the multipliers.

    Returns:
        Infinity, and derivatives of zero, where `Z` is not positive definite.
    """
    form, inputs = _form(block, multipliers), block.parts[0].stop
    try:
        root = np.linalg.cholesky(form[:, inputs:, inputs:])
    except np.linalg.LinAlgError:
        return np.full(len(form), np.inf), [np.zeros_like(each) for each in multipliers]
    half = np.linalg.solve(root, -form[:, inputs:, :inputs])
    inner = adjoint(half) @ half - form[:, :inputs, :inputs]
    values = np.linalg.eigvalsh(inner)[:, -1]
    at = int(values.argmax())
    top = np.linalg.eigh(inner[at])[1][:, -1]
    vector = np.concatenate([top, np.linalg.solve(adjoint(root[at]), half[at] @ top)])
    gradient = []
    for stack, (low, high), (x, w) in zip(
        block.maps, block.slopes, itertools.pairwise(block.parts), strict=False
    ):
        z, dw = stack[at] @ vector[x], vector[w]
        gradient.append(((dw - low * z).conj() * (high * z - dw)).real)
    return values, gradient


def _first(block: Block) -> list[Array]:
    """Returns the best of some multiples of the identity.

    With norms `k_i` of the maps, `b_i` the steepest slopes and `p` the product of all, the
    multipliers `t_n-1 = k_n^2 (1 + 1/p)` and `t_i-1 = b_i^2 k_i^2 t_i` give `(1 + p)^2` where the
    shortcut is the identity and nothing is known but norms. `Z > 0` takes a little more.
    """
    norms = [math.sqrt(largest(stack @ adjoint(stack))) for stack in block.maps]
    steep = [max(-low, high) for low, high in block.slopes]
    ratio = math.prod(norms) * math.prod(steep)
    sizes = [norms[-1] ** 2]
    for norm, slope in zip(norms[-2:0:-1], steep[:0:-1], strict=True):
        sizes.insert(0, sizes[0] * (1.01 * slope * norm) ** 2)
    found = []
    some = block.at(np.unique(np.linspace(0, len(block.shortcut) - 1, _SOME).astype(int)))
    for factor in _FACTORS:
        those = [
            np.full(stack.shape[1] // count, size * (1 + factor / ratio))
            for stack, count, size in zip(block.maps, block.copies, sizes, strict=False)
        ]
        every = spread(those, block.copies)
        found.append((float(squares_and_gradient(some, every)[0].max()), those))
    return min(found, key=lambda pair: pair[0])[1]


def _proved(block: Block, multipliers: list[Array]) -> Magnitude | None:
    """Returns the bound that the multipliers prove, or `None`.

    The matrix is scaled by powers of two `s` to a diagonal near 1. Its numbers are sums of at most
    six terms of at most four roundings: `16 e` times the terms' Frobenius norms covers them. Added
    to that are `product_error` of `[S K_n]` and of `sqrt(-a b T) K`, and for a map known to `f` in
    the 2-norm `max(s (a + b) / 2 T) max(s) f`.
    """
    most = float(squares_and_gradient(block, multipliers)[0].max())
    size = block.parts[-1].stop
    step = max(1, _CHUNK // size**2)
    if not most < math.inf:
        return None
    for room in rooms(size):
        limit = most * (1 + room)
        if all(
            _is_bound(block.at(slice(first, first + step)), multipliers, limit)
            for first in range(0, len(block.shortcut), step)
        ):
            return Magnitude.of(math.nextafter(math.sqrt(limit), math.inf))
    return None


def _is_bound(block: Block, multipliers: list[Array], square: float) -> bool:
    """Proves that `rho` is the square of a bound."""
    parts, matrix = block.parts, _form(block, multipliers)
    inputs = range(parts[0].stop)
    matrix[:, inputs, inputs] += square
    scale = unit_scale(matrix)
    widest = [scale[:, part].max(axis=1) for part in parts]
    off = block.errors[-1] * widest[-1] + block.shortcut_error * widest[0]
    seen = np.concatenate([block.shortcut, block.maps[-1]], axis=2)
    seen = seen * scale[:, None, np.r_[parts[0], parts[-1]]]
    error = product_error(seen, np.ones(seen.shape[1]), off)
    terms = square * widest[0] ** 2 * len(inputs) + frobenius(seen) ** 2
    inner = zip(block.maps, block.slopes, multipliers, itertools.pairwise(parts), strict=False)
    for index, (stack, (low, high), multiplier, (x, w)) in enumerate(inner):
        bend, scaled = -low * high * multiplier, stack * scale[:, None, x]
        across = (low + high) / 2 * multiplier * scale[:, w]
        away = block.errors[index] * scale[:, x].max(axis=1)
        error = error + np.abs(across).max(axis=1) * away + product_error(scaled, bend, away)
        terms = terms + 2 * frobenius(across[:, :, None] * scaled)
        terms = terms + (multiplier * scale[:, w] ** 2).sum(axis=1)
        terms = terms + frobenius(np.sqrt(bend)[:, None] * scaled) ** 2
    matrix = scale[:, :, None] * matrix * scale[:, None]
    return is_semidefinite(matrix, error + 16 * UNIT * terms)


def _seconds(block: Block) -> float:
    """Returns about how long it takes to evaluate multipliers once."""
    complexity = 16 if np.iscomplexobj(block.maps[0]) else 4
    return 1e-3 + float(complexity * len(block.shortcut) * block.parts[-1].stop ** 3) / _RATE
