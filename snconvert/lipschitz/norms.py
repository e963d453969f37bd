"""Proved norms of kernels in use."""

from __future__ import annotations

import math
from typing import Any

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.linalg.proved_norm import proved_matrix_norm
from snconvert.linalg.torus import proved_convolution_norm
from snconvert.lipschitz.arithmetic import product, root, total
from snconvert.lipschitz.arrays import Arrays, Kernel
from snconvert.lipschitz.kernels import folded_kernel
from snconvert.lipschitz.network import Linear
from snconvert.lipschitz.steps import Step


class Norms:
    """The norms of a network's kernels, each proved once.

    Args:
        arrays: The arrays of the file.
    """

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._known: dict[Any, Magnitude | str] = {}

    def stored(self, linear: Linear) -> Magnitude | str:
        """Returns the norm of a kernel as its layer uses it, or why there is none."""
        key = (linear.kernel.array.path, linear.kernel.view, linear.convolution)
        if key not in self._known:
            try:
                kernel = self._arrays.kernel(linear.kernel)
                norm = (
                    kernel if isinstance(kernel, str) else kernel_norm(kernel, linear.convolution)
                )
            except MemoryError:
                norm = "its kernel takes more memory than there is"
            self._known[key] = norm
        return self._known[key]

    def kernel(self, step: Step) -> Kernel | None:
        """Returns the kernel of a step with what is folded into it; `None` if it cannot be had."""
        linear = step.operation.does
        kernel = self._arrays.kernel(linear.kernel) if isinstance(linear, Linear) else ""
        first = self.kernel(step.merged) if step.merged else None
        if isinstance(kernel, str) or (step.merged and first is None):
            return None
        return folded_kernel(step, kernel, first)

    def folded(self, step: Step) -> Magnitude | None:
        """Returns the norm of the kernel of a step with what is folded into it."""
        key = _key(step)
        if key not in self._known:
            kernel = self.kernel(step)
            if kernel is None:
                return None
            self._known[key] = kernel_norm(kernel, step.convolution)
        norm = self._known[key]
        return None if isinstance(norm, str) else norm


def _key(step: Step) -> Any:
    """Returns what the norm of a step's kernel depends on."""
    does = step.operation.does
    path = (does.kernel.array.path, does.convolution) if isinstance(does, Linear) else None
    scales = [(s.values.tobytes(), s.exponent) for part in (step.before, step.behind) for s in part]
    return path, len(step.before), tuple(scales), _key(step.merged) if step.merged else None


def kernel_norm(kernel: Kernel, conv: Convolution | None) -> Magnitude:
    """Returns a proved bound of the norm of a kernel in use.

    Args:
        kernel: The kernel.
        conv: The map that it makes; `None`: its matrices act on each position.
    """
    stack = kernel.stack
    if conv is None:
        norm = proved_matrix_norm(stack)
    else:
        taps = stack.reshape(len(stack), math.prod(conv.kernel), -1, stack.shape[2])
        norm = proved_convolution_norm(taps, conv)
    scaled = product(norm, Magnitude(0.5, kernel.exponent + 1))
    return product(kernel.factor, total([scaled, missed_norm(kernel, conv)]))


def missed_norm(kernel: Kernel, conv: Convolution | None) -> Magnitude:
    """Returns a bound of the norm of what rounding has missed in a kernel, but for its factor.

    That of a map is at most the root of `Convolution.overlap` times that of its matrix.
    """
    if conv is None or not kernel.missed.mantissa:
        return kernel.missed
    return product(kernel.missed, root(Magnitude.of(float(conv.overlap))))
