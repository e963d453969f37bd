"""The layer kinds that can be converted: one row of `RULES` per Keras class.

A row says which variables of the layer are kernels, how each is read as a stack of matrices, what
the stored variables must look like, and which spectral class takes the layer's place. The layer
classes, the file rewrite, the in-memory patch, the report and the tests loop over this table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from snconvert.errors import SourceError, WeightsError
from snconvert.matrix import MatrixView

Shape = tuple[int, ...]
Config = Mapping[str, Any]
"""A layer's configuration, as `get_config` returns it and `config.json` holds it."""

_HIGHEST_RANK = 32  # of a dataset in HDF5

KINDS = ("dense", "conv", "attention", "recurrent", "embedding")
"""The families that `--kinds` names."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of a layer.

    Attributes:
        name: The attribute that holds it, and the name of its variable.
        index: Its position among the variables stored in `group`.
        view: Maps the kernel's shape and the layer's configuration to its matrix view.
        group: The path below the layer of the object that owns it; empty for the layer itself.
    """

    name: str
    index: int
    view: Callable[[Shape, Config], MatrixView]
    group: str = ""


@dataclass(frozen=True, slots=True)
class KernelRule:
    """One row: a layer class and its spectral counterpart.

    Attributes:
        class_name: The Keras class, or the registered name (`package>Class`) of a user's own.
        kind: One of `KINDS`.
        spectral_class: Name of the class in `snconvert.layers`, or the registered name.
        kernels: Its kernels.
        variables: Maps the configuration and the shape the layer was built for (`None` where it is
            unknown) to the shapes of the variables that each group stores, in order. A dimension
            that cannot be known is `None`. Raises `SourceError` when the configuration is invalid.
        title: What the table of kinds says about it.
    """

    class_name: str
    kind: str
    spectral_class: str
    kernels: tuple[Kernel, ...]
    variables: Callable[[Config, Any], Mapping[str, tuple[tuple[int | None, ...], ...]]]
    title: str


def positive_integers(config: Config, key: str, *, length: int | None = None) -> Shape:
    """Returns `config[key]` as a tuple of positive integers.

    Args:
        config: The layer's configuration.
        key: Which entry.
        length: How many are expected; a single integer stands for that many. `None`: any number.

    Raises:
        SourceError: The entry is missing or is anything else.
    """
    value = config.get(key)
    values = value if isinstance(value, list | tuple) else [value] * (length or 1)
    if (
        (length is not None and len(values) != length)
        or len(values) > _HIGHEST_RANK
        or not all(type(size) is int and 0 < size < 2**40 for size in values)
    ):
        expected = "a positive integer" if length in {None, 1} else f"{length} positive integers"
        raise SourceError(
            f"`{key}` is {value!r}, but {expected} is expected",
            "Repair the layer's configuration and save the model again",
        )
    return tuple(values)


def dimension(shape: Any, axis: int) -> int | None:
    """Returns one axis of a `build_config` shape, or `None` where it is not known."""
    if not isinstance(shape, list | tuple) or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis]
    return size if type(size) is int else None


def input_shape_of(build_config: Any) -> Any:
    """Returns the `input_shape` that a serialised layer was built with, or `None`."""
    return build_config.get("input_shape") if isinstance(build_config, Mapping) else None


def _usual_view(kernel: Shape, _: Config) -> MatrixView:
    return MatrixView.of(kernel)


# -- Dense: y = x W + b -------------------------------------------------------------------------


def _dense_variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
    (units,) = positive_integers(config, "units", length=1)
    kernel = (dimension(input_shape, -1), units)
    return {"": (kernel, (units,)) if config.get("use_bias", True) else (kernel,)}


# -- EinsumDense: y = einsum(equation, x, W) + b ------------------------------------------------


def einsum_terms(config: Config) -> tuple[str, str, str, bool]:
    """Returns input, kernel and output labels, and whether an ellipsis leads the input.

    Raises:
        SourceError: The equation is none that Keras accepts.
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
    """Contracted axes are the rows, kernel-only axes the columns, axes shared by all the blocks."""
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
    """Mirrors `_analyze_einsum_string` of keras/src/layers/core/einsum_dense.py."""
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
        first = min((output.find(label) for label in bias_axes), default=-1)
        if first < 0:
            raise SourceError(
                f"`bias_axes` is {bias_axes!r}, but the equation's output is {output!r}",
                "Repair the layer's configuration and save the model again",
            )
        variables.append(
            tuple(known.get(label) if label in bias_axes else 1 for label in output[first:])
        )
    return {"": tuple(variables)}


# -- Conv: groups are blocks --------------------------------------------------------------------


def _conv_view(shape: Shape, config: Config) -> MatrixView:
    """`(*k, in/groups, out)` as `(groups, k*in/groups, out/groups)`."""
    (groups,) = positive_integers({"groups": config.get("groups", 1)}, "groups", length=1)
    rows, columns = math.prod(shape[:-1]), shape[-1]
    if columns % groups:
        raise WeightsError(
            f"{columns} filters cannot be divided into {groups} groups",
            "Repair the layer's configuration and save the model again",
        )
    if groups == 1:
        return MatrixView.of(shape)
    stack = (groups, rows, columns // groups)
    return MatrixView((rows, groups, columns // groups), (1, 0, 2), stack)


def _conv_variables(rank: int) -> Callable[[Config, Any], Mapping[str, Any]]:
    def variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
        (filters,) = positive_integers(config, "filters", length=1)
        kernel_size = positive_integers(config, "kernel_size", length=rank)
        (groups,) = positive_integers({"groups": config.get("groups", 1)}, "groups", length=1)
        channels = dimension(input_shape, 1 if config.get("data_format") == _FIRST else -1)
        if channels is not None and channels % groups:
            raise SourceError(
                f"{channels} input channels cannot be divided into {groups} groups",
                "Repair the layer's configuration and save the model again",
            )
        kernel = (*kernel_size, None if channels is None else channels // groups, filters)
        return {"": (kernel, (filters,)) if config.get("use_bias", True) else (kernel,)}

    return variables


_FIRST = "channels_first"


def _conv(rank: int) -> KernelRule:
    return KernelRule(
        f"Conv{rank}D",
        "conv",
        f"SpectralConv{rank}D",
        (Kernel("kernel", 0, _conv_view),),
        _conv_variables(rank),
        "(groups, k*in/groups, out/groups)",
    )


RULES: Mapping[str, KernelRule] = {
    rule.class_name: rule
    for rule in (
        KernelRule(
            "Dense",
            "dense",
            "SpectralDense",
            (Kernel("kernel", 0, _usual_view),),
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
        _conv(1),
        _conv(2),
        _conv(3),
    )
}
"""Keras class name -> its rule."""

SPECTRAL: Mapping[str, KernelRule] = {rule.spectral_class: rule for rule in RULES.values()}
"""Spectral class name -> the rule it comes from."""


def table(extra: Iterable[KernelRule] = ()) -> dict[str, KernelRule]:
    """Returns `RULES` with the caller's own rows added; a row of the same class replaces ours."""
    return {**RULES, **{rule.class_name: rule for rule in extra}}
