"""A network as the bound sees it: operations in the order in which they are computed.

This is data, without numpy: it is read from the configuration in the parent (`reading`), and goes
to the guarded process, which reads the arrays and computes the bound (`bound`). Every operation has
one output. Sizes are those of one sample, without the axis of the batch; `None` is not known.
"""

from __future__ import annotations

from typing import NamedTuple

from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.weights.contents import Dataset, State

Sizes = tuple[int | None, ...]


class StoredArray(NamedTuple):
    """An array of the weights file.

    Attributes:
        path: Its dataset.
        dataset: Where that lies.
    """

    path: str
    dataset: Dataset


class StoredKernel(NamedTuple):
    """A kernel, and how the layer normalises it.

    Attributes:
        array: Where it lies.
        view: How it is read as a stack `(b, m, n)`, with `m` the input side (of transposed
            convolutions the output side).
        state: How it is normalised; `None`: the layer computes with it as it is.
        sigma_map: The map whose norm the layer's sigma is; `None` for that of the view.
    """

    array: StoredArray
    view: MatrixView
    state: State | None = None
    sigma_map: Convolution | None = None


class Input(NamedTuple):
    """An input of the network, or what is behind a discrete one.

    Attributes:
        name: The input's name.
    """

    name: str


class Linear(NamedTuple):
    """A linear map by a kernel (and a bias, which changes no difference).

    Of a dense one the view's blocks act on the channels of each position: the last axis.

    Attributes:
        kernel: The kernel.
        convolution: The map at the size of the input, or over all sizes; `None` of a dense one.
        transposed: Whether it is the adjoint of that map.
        channels_axis: The axis of the sample that holds the output channels, one for each column
            of the view (of each block, of a convolution); `None` where they are no single axis
            (`EinsumDense` with several).
        inputs_axis: The axis of the input that holds one channel for each row of the view; `None`
            where they are no single axis. That of a convolution is `channels_axis`.
    """

    kernel: StoredKernel
    convolution: Convolution | None = None
    transposed: bool = False
    channels_axis: int | None = -1
    inputs_axis: int | None = -1


class Slopes(NamedTuple):
    """An activation, or anything else that acts on each number by itself.

    Attributes:
        low: The least slope (of a secant), rounded down.
        high: The greatest, rounded up.
        alpha: Further slopes on one side, stored (`PReLU`): the interval widens to hold them.
    """

    low: float
    high: float
    alpha: StoredArray | None = None


class Diagonal(NamedTuple):
    """A scale (and a shift) of each channel: `BatchNormalization`, `Normalization`, `Rescaling`.

    The scale is `gamma / max(sqrt(variance + epsilon), least)`, or one over that if inverted.

    Attributes:
        axis: The axis of the sample that holds the channels; `None`: one scale for all, or no
            single axis, so that only the largest counts.
        gamma: Stored, or a constant for each channel, or for all.
        variance: Stored, or constants; `None`: it is 1 with an epsilon of 0.
        epsilon: What is added to the variance.
        least: What the root is at least.
        inverted: Whether it multiplies by the root.
    """

    axis: int | None
    gamma: StoredArray | tuple[float, ...] = (1.0,)
    variance: StoredArray | tuple[float, ...] | None = None
    epsilon: float = 0.0
    least: float = 0.0
    inverted: bool = False


class Constant(NamedTuple):
    """An operation of which only its constant is known.

    Attributes:
        value: The constant, rounded up.
        channels_axis: The axis whose entries it keeps apart, so that a scale of the channels may
            pass it (pooling, padding, dropout); `None` if it mixes them all.
    """

    value: float
    channels_axis: int | None = None


class GroupNorm(NamedTuple):
    """A normalisation over a group of numbers: `max |gamma| / sqrt(epsilon)`.

    Attributes:
        gamma: The stored scale, or `None`.
        epsilon: What is added to the variance; above zero.
    """

    gamma: StoredArray | None
    epsilon: float


class AxisMatrices(NamedTuple):
    """A map that is the product of one small matrix along each axis: averages, resizing.

    Attributes:
        axes: Of each axis that it changes: the name of the matrix and its arguments, with `None`
            for a size of the input that is not known: `average` (size, pool, stride, padding),
            `adaptive_average` (size, outputs), `resize` (size, outputs, interpolation),
            `upsample` (size, times, interpolation).
        channels_axis: As for `Constant`.
    """

    axes: tuple[tuple[str, tuple[int | str | None, ...]], ...]
    channels_axis: int | None = -1


class Recurrent(NamedTuple):
    """A recurrent layer over a fixed number of steps from a zero state.

    Attributes:
        cell: `simple`, `lstm` or `gru`.
        kernel: `(channels, units)` times the gates.
        recurrent: `(units, units)` times the gates.
        bias: The stored bias, or `None`.
        steps: How many.
        sequences: Whether it returns all steps.
        slope: The greatest slope of the activation of a `simple` one.
        reset_after: As `keras.layers.GRU`.
    """

    cell: str
    kernel: StoredKernel
    recurrent: StoredKernel
    bias: StoredArray | None
    steps: int
    sequences: bool
    slope: float = 1.0
    reset_after: bool = False


class Sum(NamedTuple):
    """A weighted sum of tensors: `Add`, `Subtract`, `Average`.

    Attributes:
        weights: Of each input its absolute weight, rounded up, with the root of how often its
            numbers are repeated by broadcasting.
        subtracts: Whether the second of two is subtracted.
    """

    weights: tuple[float, ...]
    subtracts: bool = False


class Concatenate(NamedTuple):
    """The inputs, one behind the other.

    Attributes:
        axis: The axis of the sample.
        repeats: Of each input the root of how often its numbers are repeated by broadcasting.
    """

    axis: int
    repeats: tuple[float, ...] = ()


class Extremum(NamedTuple):
    """The largest or the smallest of the inputs, number by number: `Maximum`, `Minimum`.

    Attributes:
        repeats: As of `Concatenate`.
    """

    repeats: tuple[float, ...] = ()


class Unbounded(NamedTuple):
    """An operation without a Lipschitz constant.

    Attributes:
        reason: Why, as a clause: `it multiplies two tensors`.
    """

    reason: str


Does = (
    Input
    | Linear
    | Slopes
    | Diagonal
    | Constant
    | GroupNorm
    | AxisMatrices
    | Recurrent
    | Sum
    | Concatenate
    | Extremum
    | Unbounded
)
"""What an operation does."""


class Operation(NamedTuple):
    """One operation.

    Attributes:
        path: The path of the layer that it belongs to.
        class_name: The layer's class; of an activation inside a layer, the activation's name.
        does: What it does.
        inputs: The operations that it reads, by their places in the network.
        sizes: The sizes of its output.
    """

    path: str
    class_name: str
    does: Does
    inputs: tuple[int, ...]
    sizes: Sizes


class Network(NamedTuple):
    """A network.

    Attributes:
        operations: In an order in which each comes after what it reads; inputs come first. What no
            output depends on is left out.
        outputs: Name and operation of each output.
        starts: Paths of layers behind discrete inputs (`Embedding`), whose outputs are inputs here.
        notes: What the user should know, a sentence each.
    """

    operations: tuple[Operation, ...]
    outputs: tuple[tuple[str, int], ...]
    starts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
