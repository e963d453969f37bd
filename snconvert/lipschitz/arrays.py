"""The arrays of a weights file as the bound needs them: float64, with what a layer makes of them.

A spectral layer computes with `s(sigma_u) W`. `W` is exact in float64; `s` is bounded from above by
a lower bound of `sigma_u = max |W u| / |u|`, of which rounding hides little: a product with `k`
terms for each number loses at most `g(k) |W|_F |u|`, with `g(k) = k e / (1 - k e)`, `e = 2**-53`
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.core.settings import Settings
from snconvert.errors import KernelError
from snconvert.linalg.blocks import Array, read, scan
from snconvert.linalg.convolution_apply import ConvolutionBlock
from snconvert.lipschitz.arithmetic import ONE, ZERO, largest, least, quotient
from snconvert.lipschitz.network import StoredArray, StoredKernel
from snconvert.weights.contents import Dataset, State
from snconvert.weights.extent import Extent
from snconvert.weights.reading import read_kernel

_E = 2.0**-53
_TINY = Magnitude(0.5, -99)  # the layers take a sigma below 2**-120 for zero
_NO_U = "its u cannot be used, so that the norm of the kernel it computes with is not known"


class Kernel(NamedTuple):
    """A kernel in use, `factor * (stack * 2**exponent + what rounding missed)`.

    Attributes:
        stack: float64 `(b, m, n)`, the largest entry below 1.
        exponent: The power of two.
        factor: A bound of what the layer multiplies the kernel by.
        missed: A bound of the Frobenius norm of what the stack misses, times the power of two.
    """

    stack: Array
    exponent: int
    factor: Magnitude = ONE
    missed: Magnitude = ZERO


class Arrays:
    """The arrays of a weights file.

    What a file holds may be wrong: a method returns the reason then, as a clause.

    Args:
        extent: The bytes of the HDF5 file.
    """

    def __init__(self, extent: Extent) -> None:
        self._extent = extent

    def numbers(self, stored: StoredArray, name: str) -> Array | str:
        """Returns an array in float64, or why it cannot be used.

        Args:
            stored: The array.
            name: What it is, for the reason.
        """
        return self._read(stored.path, stored.dataset, name)

    def kernel(self, stored: StoredKernel) -> Kernel | str:
        """Returns a kernel as the layer computes with it, or why it cannot be used."""
        array = self._read(stored.array.path, stored.array.dataset, "kernel")
        if isinstance(array, str):
            return array
        exponent = scan(array).exponent
        scaled = np.ldexp(array, -exponent, out=array if array.flags.owndata else None)
        stack = np.ascontiguousarray(stored.view.matrix(scaled))
        scale = self._scale(stored, stack, exponent)
        if isinstance(scale, str):
            return scale
        factor, negative = scale
        stack = -stack if negative else stack
        wide = stored.array.dataset.dtype == "float64"  # may hold numbers 2**-1022 below
        missed = Magnitude.of(float(array.size), exponent - 1074) if wide else ZERO
        return Kernel(stack, exponent, factor, missed)

    def _read(self, path: str, dataset: Dataset, name: str) -> Array | str:
        raw = read_kernel(self._extent, path, dataset)
        bfloat16 = dataset.dtype == "bfloat16"
        try:
            nonfinite = scan(raw, bfloat16=bfloat16).nonfinite if raw.size else 0
        except KernelError:
            return f"its {name} holds numbers of type {dataset.dtype}"
        if nonfinite:
            return f"its {name} holds NaN or infinite numbers"
        return read(raw, 0, np.empty(raw.shape), bfloat16=bfloat16)

    def _scale(
        self, stored: StoredKernel, stack: Array, exponent: int
    ) -> tuple[Magnitude, bool] | str:
        """Returns a bound of `|s(sigma_u)|` and whether it is negative, or why there is none."""
        state = stored.state
        if state is None or state.settings is None or not stack.any():
            return ONE, False
        conv, (blocks, _, n) = stored.sigma_map, stack.shape
        u = self._read(*state.u, "u") if isinstance(state.u, tuple) else state.u
        above = self._norm_set(state, state.settings)
        if isinstance(u, str) or isinstance(above, str):
            return u if isinstance(u, str) else str(above)
        expected = (blocks, *(conv.outputs if conv else ()), n)
        if u is None or u.shape != expected or not np.isfinite(u).all():
            return _NO_U
        if not u.any():
            return ONE, False  # as the layers, which take sigma for zero
        below = norm_below(stack, conv, np.asarray(u, np.float64).reshape(blocks, -1))
        cap = state.settings.mode == "cap"
        if not below > 0.0:
            return (ONE, False) if cap else _NO_U
        sigma = Magnitude.of(below, exponent)
        factor = quotient(Magnitude.of(abs(above)), sigma)
        if largest([sigma, _TINY]) == _TINY:
            if above < 0.0:
                return _NO_U
            factor = largest([factor, ONE])
        return (least([factor, ONE]) if cap else factor), above < 0.0

    def _norm_set(self, state: State, settings: Settings) -> float | str:
        """Returns the norm that a mode sets, or, for `cap`, allows; the `gamma` of `gain`."""
        if settings.mode != "gain":
            return settings.bound
        value = "it has no gamma" if state.gamma is None else self._read(*state.gamma, "gamma")
        if isinstance(value, str):
            return value
        return float(value.reshape(())) if value.size == 1 else "its gamma is no single number"


def norm_below(stack: Array, conv: Convolution | None, u: Array) -> float:
    """Returns a lower bound of `max |W u| / |u|` over the blocks, at least 0.

    Args:
        stack: float64 `(b, m, n)`, the largest entry below 1 and not far below it.
        conv: The map that the stack makes; `None` where it is a stack of matrices.
        u: float64 `(b, n)`, or `(b, outputs * n)`; directions.
    """
    found = 0.0
    for matrix, row in zip(stack, u, strict=True):
        top = float(np.abs(row).max(initial=0.0))
        if not top:
            continue
        direction = np.ldexp(row, -math.frexp(top)[1])  # of the size of 1
        if conv is None:
            image, terms = matrix @ direction, matrix.shape[1]
            overlap = 1
        else:
            taps = matrix.reshape(math.prod(conv.kernel), -1, matrix.shape[1])
            image = ConvolutionBlock(taps, conv).image(direction[None])[0]
            terms, overlap = len(taps) * matrix.shape[1], conv.overlap
        length = float(np.linalg.norm(direction))
        hidden = _gamma(terms) * math.sqrt(overlap) * float(np.linalg.norm(matrix)) * length
        hidden += _gamma(image.size + 4) * float(np.linalg.norm(image)) + 2.0**-1000
        lower = float(np.linalg.norm(image)) - 2.0 * hidden
        found = max(found, lower / (length * (1.0 + 2.0 * _gamma(direction.size + 4))))
    return found * (conv.factor * (1.0 - 64 * _E) if conv else 1.0)


def _gamma(count: int) -> float:
    return count * _E / (1.0 - count * _E)
