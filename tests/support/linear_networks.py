"""Networks for the bound made by hand, and what they compute, with any slopes of activations.

With the slopes held, a network is a linear map: its matrix comes from the images of unit vectors.
Whatever the slopes are, within what the activations allow, its norm is at most the bound.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from snconvert.core.convolution_map import at_size
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.linalg.convolution_apply import adjoint, forward
from snconvert.lipschitz import network as n
from snconvert.weights.contents import State
from snconvert.weights.extent import Extent
from snconvert.weights.reading import scan


class Builder:
    """Builds a network, an operation at a time; each method returns the operation's place."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.rng = folder, np.random.default_rng(seed)
        self.arrays: dict[str, np.ndarray] = {}
        self._made: list = []  # path, class name, how to make `does`, inputs, sizes
        self.outputs: list[tuple[str, int]] = []
        self._descriptor: int | None = None

    def size(self, place: int) -> tuple[int, ...]:
        return self._made[place][4]

    def add(self, class_name: str, does, inputs: tuple[int, ...], sizes: tuple) -> int:
        make = does if callable(does) else lambda _: does
        path = f"{class_name.lower()}_{len(self._made)}"
        self._made.append((path, class_name, make, inputs, tuple(sizes)))
        return len(self._made) - 1

    def array(self, value: np.ndarray) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.asarray(value)
        return name

    def input(self, *sizes: int) -> int:
        return self.add("InputLayer", n.Input(f"x{len(self._made)}"), (), sizes)

    def dense(self, x: int, units: int, kernel: np.ndarray | None = None, **state) -> int:
        rows = self.size(x)[-1]
        if kernel is None:
            kernel = self.rng.normal(size=(rows, units)).astype("f4") / math.sqrt(rows)
        name, view = self.array(kernel), MatrixView.of(kernel.shape)
        states = self._state(state)
        return self.add(
            "Dense",
            lambda s: n.Linear(n.StoredKernel(s[name], view, states(s))),
            (x,),
            (*self.size(x)[:-1], units),
        )

    def conv(self, x: int, filters: int, kernel: int, **options) -> int:
        """A 2D convolution, channels last; `groups`, `strides`, `padding`, `dilation`."""
        *image, channels = self.size(x)
        groups, depthwise = options.get("groups", 1), options.get("depthwise", False)
        stride, dilation = options.get("strides", 1), options.get("dilation", 1)
        blocks = channels if depthwise else groups
        shape = (kernel, kernel, channels // blocks, filters * (channels if depthwise else 1))
        values = self.rng.normal(size=shape).astype("f4") / kernel
        split = (kernel * kernel, channels // blocks, blocks, -1)
        size = (blocks, kernel * kernel * (channels // blocks), shape[-1] // blocks)
        view = MatrixView((*split[:3], size[2]), (2, 0, 1, 3), size)
        conv = at_size(
            tuple(image),
            (kernel,) * 2,
            (stride,) * 2,
            (dilation,) * 2,
            options.get("padding", "same"),
            size,
        )
        name = self.array(values)
        return self.add(
            "DepthwiseConv2D" if depthwise else "Conv2D",
            lambda s: n.Linear(n.StoredKernel(s[name], view), conv),
            (x,),
            (*conv.outputs, shape[-1]),
        )

    def activation(self, x: int, low: float = 0.0, high: float = 1.0) -> int:
        return self.add("relu", n.Slopes(low, high), (x,), self.size(x))

    def scale(self, x: int, axis: int = -1, **values) -> int:
        """A BatchNormalization with random statistics."""
        count = self.size(x)[axis]
        gamma = self.array(values.get("gamma", self.rng.normal(size=count)).astype("f4"))
        variance = self.array(values.get("variance", self.rng.uniform(0.1, 2, count)).astype("f4"))
        return self.add(
            "BatchNormalization",
            lambda s: n.Diagonal(axis, s[gamma], s[variance], 1e-3),
            (x,),
            self.size(x),
        )

    def pool(self, x: int, pool: int, strides: int, padding: str) -> int:
        *image, channels = self.size(x)
        axes = tuple(("average", (size, pool, strides, padding)) for size in image)
        reach = [size if padding == "same" else size - pool + 1 for size in image]
        outputs = tuple(-(-size // strides) for size in reach)
        return self.add("AveragePooling2D", n.AxisMatrices(axes, -1), (x,), (*outputs, channels))

    def flatten(self, x: int) -> int:
        return self.add("Flatten", n.Constant(1.0), (x,), (math.prod(self.size(x)),))

    def sum(self, *inputs: int, weights: tuple[float, ...] = (), subtracts: bool = False) -> int:
        does = n.Sum(weights or (1.0,) * len(inputs), subtracts)
        return self.add("Add", does, inputs, self.size(inputs[0]))

    def concatenate(self, *inputs: int) -> int:
        channels = sum(self.size(place)[-1] for place in inputs)
        sizes = (*self.size(inputs[0])[:-1], channels)
        return self.add("Concatenate", n.Concatenate(-1), inputs, sizes)

    def output(self, *places: int) -> n.Network:
        """Writes the arrays and returns the network."""
        file = self.folder / f"weights-{len(list(self.folder.iterdir()))}.h5"
        with h5py.File(file, "w") as h5:
            for name, value in self.arrays.items():
                h5[name] = value
        self._descriptor = os.open(file, os.O_RDONLY)
        self.extent = Extent(self._descriptor, 0, file.stat().st_size)
        datasets = scan(self.extent).datasets
        stored = {name: n.StoredArray(name, datasets[name]) for name in self.arrays}
        operations = tuple(
            n.Operation(path, name, make(stored), inputs, sizes)
            for path, name, make, inputs, sizes in self._made
        )
        outputs = tuple((operations[place].path, place) for place in places)
        return n.Network(operations, outputs)

    def _state(self, state: dict):
        """Returns what makes the state of a spectral kernel; `u`, `gamma`, settings."""
        if not state:
            return lambda _: None
        state = dict(state)
        u = self.array(state.pop("u"))
        gamma = state.pop("gamma", None)
        gamma = None if gamma is None else self.array(np.array(gamma, "f4"))
        settings = Settings(**state)
        return lambda s: State(
            (u, s[u].dataset), None if gamma is None else (gamma, s[gamma].dataset), settings
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def random_network(b: Builder) -> n.Network:
    """A graph of convolutions, scales, pools, sums and concatenations."""
    x = b.input(6, 5, 3)
    rng = b.rng
    other = b.input(6, 5, 2) if rng.random() < 0.5 else None
    if other is not None:
        x = b.concatenate(x, other)
    for _ in range(rng.integers(1, 4)):
        y = b.conv(x, 4, int(rng.integers(1, 4)), groups=1, dilation=int(rng.integers(1, 3)))
        if rng.random() < 0.3:
            y = b.conv(y, 1, 3, depthwise=True)
            y = b.conv(y, 4, 1)
        if rng.random() < 0.7:
            y = b.scale(y)
        y = b.activation(y, float(rng.choice([0.0, -0.2])))
        if rng.random() < 0.4:
            y = b.scale(y)
        kind = rng.integers(4)
        if kind == 0 and b.size(x) == b.size(y):
            x = b.sum(x, y)
        elif kind == 1:
            x = b.activation(b.scale(b.concatenate(x, y)))
        elif kind == 2:
            x = b.concatenate(b.pool(y, 3, 1, "same"), y)
        else:
            x = y
    x = b.pool(x, 2, 2, "valid")
    return b.output(b.dense(b.flatten(x), 4), b.scale(x))


def matrix_of(builder: Builder, network: n.Network, seed: int = 0) -> np.ndarray:
    """Returns the matrix of a network, from all inputs to all outputs, for slopes at random."""
    rng = np.random.default_rng(seed)
    sizes = [math.prod(op.sizes) for op in network.operations if isinstance(op.does, n.Input)]
    units = np.eye(sum(sizes))
    pieces = iter(np.split(units, np.cumsum(sizes)[:-1], axis=1))
    values: list[np.ndarray] = []
    for operation in network.operations:
        inputs = [values[place] for place in operation.inputs]
        if isinstance(operation.does, n.Input):
            values.append(next(pieces).reshape(-1, *operation.sizes))
        else:
            values.append(_apply(builder, operation, inputs, rng))
    outputs = [values[place].reshape(len(units), -1) for _, place in network.outputs]
    return np.concatenate(outputs, axis=1)


def _apply(builder: Builder, operation: n.Operation, inputs: list, rng) -> np.ndarray:
    does, x = operation.does, inputs[0]
    if isinstance(does, n.Linear):
        stack = does.kernel.view.matrix(builder.arrays[does.kernel.array.path].astype(float))
        if does.convolution is None:
            return x @ stack[0]
        conv = does.convolution
        taps = stack.reshape(len(stack), math.prod(conv.kernel), -1, stack.shape[2])
        parts = np.split(x, len(taps), axis=-1)
        apply = adjoint if does.transposed else forward
        return np.concatenate([apply(p, t, conv) for p, t in zip(parts, taps, strict=True)], -1)
    if isinstance(does, n.Slopes):
        return x * rng.choice([does.low, does.high], operation.sizes)
    if isinstance(does, n.Diagonal):
        return x * _scale(builder, does, x.ndim)
    if isinstance(does, n.AxisMatrices):
        return _pooled(x, does)
    if isinstance(does, n.Sum):
        signs = (1.0, -1.0 if does.subtracts else 1.0, *[1.0] * len(inputs))
        return sum(s * w * y for s, w, y in zip(signs, does.weights, inputs, strict=False))
    if isinstance(does, n.Concatenate):
        return np.concatenate(inputs, axis=-1)
    return x.reshape(len(x), *operation.sizes)


def _scale(builder: Builder, does: n.Diagonal, rank: int) -> np.ndarray:
    """A BatchNormalization's scale, or constants, in a shape to multiply a batch by."""
    if not isinstance(does.gamma, n.StoredArray):
        return np.array(does.gamma)
    gamma = builder.arrays[does.gamma.path].astype(float)
    scale = gamma / np.sqrt(builder.arrays[does.variance.path] + does.epsilon)
    axis = does.axis + (does.axis >= 0)
    return scale.reshape([-1 if index == axis % rank else 1 for index in range(rank)])


def _pooled(x: np.ndarray, does: n.AxisMatrices) -> np.ndarray:
    """Averages, window by window."""
    for axis, (_, (size, pool, stride, padding)) in enumerate(does.axes, start=1):
        count = -(-size // stride) if padding == "same" else (size - pool) // stride + 1
        before = max((count - 1) * stride + pool - size, 0) // 2 if padding == "same" else 0
        windows = [
            range(max(0, i * stride - before), min(size, i * stride - before + pool))
            for i in range(count)
        ]
        x = np.stack([x.take(list(w), axis).mean(axis) for w in windows], axis)
    return x
