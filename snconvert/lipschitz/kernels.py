"""Kernels with what is folded into them.

What rounding changes in a kernel is bounded by the Frobenius norm of the change: a product of two
numbers is off by `2**-53` of itself, and one of matrices with `k` terms by `g(k) |A|_F |B|_F`
(`snconvert.lipschitz.arrays`).
"""

from __future__ import annotations

import math

import numpy as np

from snconvert.core.convolution_map import Convolution
from snconvert.core.magnitude import Magnitude
from snconvert.linalg.blocks import Array
from snconvert.lipschitz.arithmetic import product, total, widened
from snconvert.lipschitz.arrays import Kernel
from snconvert.lipschitz.constants import Scale
from snconvert.lipschitz.network import Linear
from snconvert.lipschitz.steps import Step


def folded_kernel(step: Step, kernel: Kernel, first: Kernel | None) -> Kernel:
    """Returns the kernel of a step with what is folded into it.

    Args:
        step: The step.
        kernel: Its own kernel, as it is stored.
        first: The folded kernel of what is merged into it.
    """
    linear = step.operation.does
    if not isinstance(linear, Linear):
        raise TypeError(step.operation.class_name)
    for scales, behind in ((step.before, False), (step.behind, True)):
        for scale in scales:
            kernel = scaled(kernel, linear.convolution, scale, last=behind != linear.transposed)
    return kernel if first is None else _merged(first, kernel, step)


def scaled(kernel: Kernel, conv: Convolution | None, scale: Scale, *, last: bool) -> Kernel:
    """Returns a kernel with scaled channels.

    Args:
        kernel: The kernel.
        conv: The map that it makes.
        scale: The scale.
        last: Whether the channels are those of the last axis of the stack, the outputs of all but
            transposed convolutions.
    """
    stack, values = kernel.stack, scale.values
    blocks, rows, columns = stack.shape
    if values.size > 1:
        if conv is None:
            values = values[None, None, :] if last else values[None, :, None]
        else:
            stack = stack.reshape(blocks, math.prod(conv.kernel), -1, columns)
            values = values.reshape((blocks, 1, 1, -1) if last else (blocks, 1, -1, 1))
    products = (stack * values).reshape(blocks, rows, columns)
    # What was missed before is scaled; each number is rounded once more.
    missed = product(kernel.missed, scale.largest)
    return _rescaled(
        products, kernel.exponent + scale.exponent, kernel.factor, missed, scale.roundings + 1
    )


def _merged(first: Kernel, second: Kernel, step: Step) -> Kernel:
    """Returns the kernel of two linear maps in a row, the second without neighbours."""
    conv, columns = step.convolution, first.stack.shape[2]
    blocks = len(first.stack)
    matrix = second.stack.reshape(blocks, columns, -1)
    if conv is None:
        stack = first.stack @ matrix
    else:
        taps = (first.stack @ matrix).reshape(blocks, math.prod(conv.kernel), -1, matrix.shape[2])
        stack = taps.transpose(1, 0, 2, 3).reshape(1, -1, matrix.shape[2])
    one, two = _frobenius(first.stack), _frobenius(second.stack)
    hidden = product(one, two, Magnitude.of(2.0**-52 * (columns + 1)))
    scale_of = Magnitude(0.5, first.exponent + 1), Magnitude(0.5, second.exponent + 1)
    missed = total(
        [
            product(hidden, *scale_of),
            product(first.missed, two, scale_of[1]),
            product(second.missed, total([product(one, scale_of[0]), first.missed])),
        ]
    )
    factor = product(first.factor, second.factor)
    return _rescaled(stack, first.exponent + second.exponent, factor, missed, 0)


def _rescaled(
    stack: Array, exponent: int, factor: Magnitude, missed: Magnitude, roundings: int
) -> Kernel:
    """Returns a kernel whose largest number is of the size of 1.

    Args:
        stack: Its numbers, as computed.
        exponent: The power of two they are multiplied by.
        factor: As of `Kernel`.
        missed: What they miss already.
        roundings: How many operations of each number have rounded beside that.
    """
    # Numbers may have fallen below 2**-1022, where rounding is no longer relative.
    below = Magnitude.of(float(stack.size), exponent - 1070)
    top = math.frexp(float(np.abs(stack).max(initial=0.0)))[1]
    stack, exponent = np.ldexp(stack, -top), exponent + top
    rounded = Magnitude.of(2.0**-52 * roundings, exponent)
    hidden = product(_frobenius(stack), rounded)
    return Kernel(stack, exponent, factor, total([missed, below, hidden]))


def _frobenius(stack: Array) -> Magnitude:
    return widened(float(np.linalg.norm(stack)), stack.size + 4)
