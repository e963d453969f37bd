"""Random chains of layers, and what their bounds may not be below."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from snconvert.core.convolution_map import Convolution, at_size
from snconvert.linalg.convolution_apply import forward


def he_chain(sizes: list[int], seed: int) -> list[np.ndarray]:
    """Kernels `(m, n)` as He's initialisation draws them, in float32, exact in float64."""
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal((m, n)) * np.sqrt(2 / m)).astype(np.float32).astype(np.float64)
        for m, n in itertools.pairwise(sizes)
    ]


def product_of_norms(kernels: list[np.ndarray]) -> float:
    return float(np.prod([np.linalg.norm(kernel, 2) for kernel in kernels]))


def layer(
    taps: np.ndarray, size: int, padding: str = "same", stride: int = 1
) -> tuple[np.ndarray, Convolution]:
    """Taps with the convolution that they make of a square."""
    kernel = round(taps.shape[1] ** 0.5)
    stack = (1, taps.shape[1] * taps.shape[2], taps.shape[3])
    return taps, at_size((size, size), (kernel, kernel), (stride, stride), (1, 1), padding, stack)


def matrix(taps: np.ndarray, conv: Convolution) -> np.ndarray:
    """The map of a convolution on rows."""
    size = int(np.prod(conv.inputs)) * taps.shape[2]
    return forward(np.eye(size).reshape(size, *conv.inputs, -1), taps[0], conv).reshape(size, -1)


def random_taps(count: int, m: int, n: int, seed: int) -> np.ndarray:
    """Taps as He's initialisation draws them."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((1, count, m, n)) * np.sqrt(2 / count / m)


def largest_piece(kernels: list[np.ndarray], biases: list[np.ndarray]) -> float:
    """The Lipschitz constant of a small ReLU network: the largest norm among its linear pieces.

    A pattern of active neurons is a piece where some ball fits into the inputs that it asks for.
    """
    from scipy.optimize import linprog

    inputs = len(kernels[0])
    widths = [kernel.shape[1] for kernel in kernels[:-1]]
    largest = 0.0
    for pattern in itertools.product([0.0, 1.0], repeat=sum(widths)):
        slope, shift, rows, ends = np.eye(inputs), np.zeros(inputs), [], []
        signs = np.split(np.array(pattern), np.cumsum(widths)[:-1])
        for kernel, bias, on in zip(kernels, biases, signs, strict=False):
            slope, shift = slope @ kernel, shift @ kernel + bias
            side = 1 - 2 * on  # active: z >= 0
            rows.append((slope * side).T)
            ends.append(-shift * side)
            slope, shift = slope * on, shift * on
        norm = float(np.linalg.norm(slope @ kernels[-1], 2))
        if norm <= largest:
            continue
        half_spaces, end = np.concatenate(rows), np.concatenate(ends)
        lengths = np.linalg.norm(half_spaces, axis=1, keepdims=True)
        found = linprog(
            np.r_[np.zeros(inputs), -1.0],
            np.hstack([half_spaces, lengths]),
            end,
            bounds=[(-1e3, 1e3)] * inputs + [(0, 1)],
        )
        if found.status == 0 and -found.fun > 1e-7:
            largest = norm
    return largest


def whole_inequality(
    maps: Sequence[np.ndarray],
    slopes: Sequence[tuple[float, float]],
    multipliers: Sequence[np.ndarray],
    square: float,
    shortcut: np.ndarray | None = None,
) -> np.ndarray:
    """LipSDP's matrix of a chain, or a residual block, in `(dx, dw_1, ..)`, without rounding.

    The multipliers of a chain are those of `1 / square` times the matrix.
    """
    stacks = [exact(stack[0]) for stack in maps]
    sizes = [stacks[0].shape[1], *(len(stack) for stack in stacks[:-1])]
    ends = np.cumsum([0, *sizes])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    whole = exact(np.zeros((ends[-1], ends[-1])))
    times = Fraction(square) if shortcut is None else 1
    whole[parts[0], parts[0]] = exact(np.eye(sizes[0])) * Fraction(square)
    inner = zip(stacks, multipliers, slopes, itertools.pairwise(parts), strict=False)
    for stack, multiplier, ends_of_slopes, (x, w) in inner:
        t = exact(np.diag(multiplier)) * times
        low, high = map(Fraction, ends_of_slopes)
        whole[x, x] += low * high * stack.T @ t @ stack
        whole[w, x] -= (low + high) / 2 * t @ stack
        whole[x, w] -= (low + high) / 2 * stack.T @ t
        whole[w, w] += t
    seen = exact(np.zeros((len(stacks[-1]), ends[-1])))
    seen[:, parts[-1]] = stacks[-1]
    if shortcut is not None:
        seen[:, parts[0]] += exact(shortcut[0])
    return whole - seen.T @ seen


def exact(array: np.ndarray) -> np.ndarray:
    """The same numbers as fractions."""
    return np.array([Fraction(x) for x in np.ravel(array).tolist()], object).reshape(
        np.shape(array)
    )


def exactly_semidefinite(matrix: np.ndarray) -> bool:
    """Whether a symmetric matrix is positive semidefinite, by elimination in fractions."""
    rows = (matrix if matrix.dtype == object else exact(matrix)).tolist()
    for k in range(len(rows)):
        pivot = rows[k][k]
        if pivot < 0 or (pivot == 0 and any(rows[k][k:])):
            return False
        for i in range(k + 1, len(rows)):
            if pivot:
                part = rows[i][k] / pivot
                rows[i] = [x - part * y for x, y in zip(rows[i], rows[k], strict=True)]
    return True


def worst_within(
    stack: np.ndarray, error: float, value: Callable[[np.ndarray], float]
) -> np.ndarray:
    """The matrix within an error of another one, in the 2-norm, at which a value is largest, as far
    as its gradient tells."""
    gradient, step = np.zeros_like(stack), 1e-6
    for place in np.ndindex(*stack.shape):
        ends = []
        for sign in (1, -1):
            moved = np.array(stack)
            moved[place] += sign * step
            ends.append(value(moved))
        gradient[place] = (ends[0] - ends[1]) / (2 * step)
    left, _, right = np.linalg.svd(gradient, full_matrices=False)
    return stack + error * left @ right
