"""Dense and EinsumDense."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from snconvert.core.matrix_view import MatrixView
from snconvert.errors import SourceError, WeightsError
from snconvert.kinds.kernel_rule import (
    Config,
    Kernel,
    KernelRule,
    Shape,
    dimension,
    positive_integers,
    usual_view,
    with_bias,
)

# -- Dense: y = x W + b -------------------------------------------------------------------------


def _dense_variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
    (units,) = positive_integers(config, "units", length=1)
    kernel = (dimension(input_shape, -1), units)
    return {"": with_bias(config, (units,), kernel)}


# -- EinsumDense: y = einsum(equation, x, W) + b ------------------------------------------------


def einsum_terms(config: Config) -> tuple[str, str, str, bool]:
    """Returns input, kernel and output labels, and whether an ellipsis leads the input.

    Raises:
        SourceError: Keras accepts no such equation.
    """
    equation = config.get("equation")
    text = equation if isinstance(equation, str) else ""
    operands, arrow, output = text.partition("->")
    inputs, comma, kernel = operands.partition(",")
    leading = inputs.startswith("...")
    inputs, output = inputs.replace("...", "", 1), output.replace("...", "", 1)
    letters = (inputs, kernel, output)
    if not (arrow and comma and all(term.isascii() and term.isalpha() for term in letters)):
        raise SourceError(
            f"`equation` is {equation!r}, which is no equation of an input and a kernel",
            "Repair the layer's configuration and save the model again",
        )
    return inputs, kernel, output, leading


def _einsum_view(shape: Shape, config: Config) -> MatrixView:
    """Reads contracted axes as rows, kernel-only axes as columns, axes that all share as blocks."""
    inputs, kernel, output, _ = einsum_terms(config)
    if len(kernel) != len(shape):
        raise WeightsError(
            f"the equation {config['equation']!r} needs a kernel of rank {len(kernel)}, but its"
            f" stored shape is {shape}",
            "The weights belong to another configuration; save the model again",
        )
    blocks = [axis for axis, label in enumerate(kernel) if label in inputs and label in output]
    rows = [axis for axis, label in enumerate(kernel) if label in inputs and label not in output]
    columns = [axis for axis, label in enumerate(kernel) if label not in inputs]
    stack = tuple(math.prod(shape[axis] for axis in axes) for axes in (blocks, rows, columns))
    return MatrixView(shape, (*blocks, *rows, *columns), (stack[0], stack[1], stack[2]))


def _einsum_variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
    """Returns the shapes of kernel and bias, as keras/src/layers/core/einsum_dense.py derives them.

    See `_analyze_einsum_string` there.
    """
    inputs, kernel, output, leading = einsum_terms(config)
    known: dict[str, int | None] = {}
    rank = len(input_shape) if isinstance(input_shape, list | tuple) else len(inputs)
    for axis, label in enumerate(inputs):
        known[label] = dimension(input_shape, axis + (rank - len(inputs) if leading else 0))
    sizes = config.get("output_shape")
    sizes = list(sizes) if isinstance(sizes, list | tuple) else [sizes]
    # `output_shape` leaves out the batch axis, which with a leading ellipsis is part of it.
    labels = output[-len(sizes) :] if leading else output[1 : 1 + len(sizes)]
    known |= {label: size for label, size in zip(labels, sizes, strict=False) if type(size) is int}
    variables: list[tuple[int | None, ...]] = [tuple(known.get(label) for label in kernel)]
    bias_axes = config.get("bias_axes")
    if bias_axes:
        labels = bias_axes if isinstance(bias_axes, str) else ""
        first = min((output.find(label) for label in labels), default=-1)
        if first < 0:
            raise SourceError(
                f"`bias_axes` is {bias_axes!r}, but the equation's output is {output!r}",
                "Repair the layer's configuration and save the model again",
            )
        bias = [known.get(label) if label in bias_axes else 1 for label in output[first:]]
        # A trailing ellipsis stands for axes along which the bias is the same.
        variables.append((*bias, *([] if leading else [1] * (rank - len(inputs)))))
    return {"": tuple(variables)}


ROWS = (
    KernelRule(
        "Dense",
        "dense",
        "SpectralDense",
        (Kernel("kernel", 0, usual_view),),
        _dense_variables,
        "(1, in, out)",
    ),
    KernelRule(
        "EinsumDense",
        "dense",
        "SpectralEinsumDense",
        (Kernel("kernel", 0, _einsum_view),),
        _einsum_variables,
        "contracted axes, kernel-only axes; shared axes are blocks",
    ),
)
