"""A bound from below of a network's Lipschitz constant: the largest Jacobian that is found.

At each of some points the norm of the Jacobian comes by power iteration, `v <- J' J v`. Half of the
points are random, at several scales; the others lie ever closer to the best one so far. A backend
may call a slope what is none (TensorFlow gives `celu` a slope of 2 at 0): at the point that counts,
the function itself has to change by that much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from snconvert.compat.derivatives import Arrays, Function, backward_product, forward_product
from snconvert.compat.graphs import nodes_of, sequential_graph

_ROUNDS = 12  # of power iteration
_LAST_ROUNDS = 100  # at the best points
_BATCH = 16  # points that are worked on at once
_SIZE = 32  # of an axis that may have any
_SCALES = (1.0, 0.1, 3.0, 0.01)  # of random points
_STEP = 1e-3  # of the function's own change, relative to the point
_TRUE = 0.9  # of the slope: what the change shows at least

Found = tuple[float, Arrays, Arrays]
"""A norm, the point where it is reached, and the vector that reaches it."""


def lower_bound(model: keras.Model, samples: int, start: Sequence[Arrays] = ()) -> float | None:
    """Returns the largest norm of a Jacobian that is found, of all outputs by all inputs together.

    Inputs of whole numbers, and those of an `Embedding`, are held; so are those of other types.

    Args:
        model: A model whose inputs are known.
        samples: At how many points to look.
        start: Further points, each an array a continuous input, with one sample.

    Returns:
        A float32 number as a rule, to be read as "at least"; `None` if nothing can be found: no
        input is continuous, or the model cannot be computed.
    """
    try:
        return _largest(_Search(model, np.random.default_rng(0)), samples, start)
    except Exception:  # noqa: BLE001 - whatever the code of a model raises that is not built for it
        return None


def _largest(search: _Search, samples: int, start: Sequence[Arrays]) -> float | None:
    if not search.free or not (samples or start):
        return None
    found: list[Found] = []
    for first in range(0, len(start), _BATCH):
        some = zip(*start[first : first + _BATCH], strict=True)
        found += search.at([np.concatenate(arrays) for arrays in some])
    for first in range(0, samples, _BATCH):
        count = min(_BATCH, samples - first)
        best = max(found, key=lambda each: each[0], default=None)
        shrink = 0.5 ** (8.0 * first / samples) if best and 2 * first >= samples else None
        points = search.points(first, count, best and best[1], shrink)
        found += search.at(points)
    top = sorted(found, key=lambda each: -each[0])[:_BATCH]
    points, vectors = (
        [np.concatenate(arrays) for arrays in zip(*ones, strict=True)]
        for ones in ([x for _, x, _ in top], [v for _, _, v in top])
    )
    found += search.at(points, vectors, _LAST_ROUNDS)
    for norm, point, vector in sorted(found, key=lambda each: -each[0]):
        if math.isfinite(norm) and search.changes(point, vector) >= _TRUE * norm:
            return norm
    return None


class _Search:
    """What is looked for: a function of a model's continuous inputs.

    Args:
        model: The model.
        rng: Of the points.
    """

    def __init__(self, model: keras.Model, rng: np.random.Generator) -> None:
        self._model, self._graph, self._rng = model, sequential_graph(model) or model, rng
        self._inputs = [keras.ops.shape(tensor)[1:] for tensor in model.inputs]
        self._held = {
            place: highest
            for place, tensor in enumerate(model.inputs)
            if (highest := _highest(model, tensor)) is not None
        }
        self.free = [place for place in range(len(self._inputs)) if place not in self._held]

    def points(self, first: int, count: int, best: Arrays | None, shrink: float | None) -> Arrays:
        """Returns some points, random or around the best one."""
        points = []
        for index, place in enumerate(self.free):
            shape = [size or _SIZE for size in self._inputs[place]]
            noise = self._rng.normal(size=(count, *shape))
            if best is None or shrink is None:
                scales = [_SCALES[(first + row) % len(_SCALES)] for row in range(count)]
                noise *= np.reshape(scales, (-1, *[1] * len(shape)))
            else:
                noise = best[index] + noise * shrink * max(np.abs(best[index]).max(), 1e-3)
            points.append(noise.astype(np.float32))
        return points

    def at(
        self, points: Arrays, vectors: Arrays | None = None, rounds: int = _ROUNDS
    ) -> list[Found]:
        """Returns the norm of the Jacobian at each point, with the vector that reaches it.

        Args:
            points: The points.
            vectors: Where the iteration starts; by default at random.
            rounds: How many there are.
        """
        function = self._function(len(points[0]))
        if vectors is None:
            vectors = [np.asarray(self._rng.normal(size=x.shape), np.float32) for x in points]
        vectors = _units(vectors)
        norms = np.zeros(len(points[0]))
        for _ in range(rounds):
            images = _units(self._images(function, points, vectors))
            back = backward_product(function, points, images)
            norms = np.maximum(norms, _lengths(back) / np.maximum(_lengths(images), 1e-30))
            vectors = _units(back)
        ones = [slice(index, index + 1) for index in range(len(norms))]
        return [
            (float(norm), [x[one] for x in points], [v[one] for v in vectors])
            for norm, one in zip(norms, ones, strict=True)
        ]

    @staticmethod
    def _images(function: Function, points: Arrays, vectors: Arrays) -> Arrays:
        try:
            return forward_product(function, points, vectors)
        except (LookupError, NotImplementedError, RuntimeError, TypeError):
            # Not all operations have it (`UpSampling2D` by cubics in TensorFlow): a difference
            # gives about the same direction.
            ends = [
                [x + sign * _STEP * v for x, v in zip(points, vectors, strict=True)]
                for sign in (1, -1)
            ]
            images = [map(keras.ops.convert_to_numpy, function(_tensors(end))) for end in ends]
            return [one - two for one, two in zip(*images, strict=True)]

    def changes(self, point: Arrays, vector: Arrays) -> float:
        """Returns by how much the function changes along a vector, relative to its length."""
        function = self._function(1)
        size = max(float(np.abs(x).max(initial=0.0)) for x in point)
        step = np.float32(_STEP * max(size, 1e-2) / max(_lengths(vector)[0], 1e-30))
        before = [
            np.asarray(keras.ops.convert_to_numpy(y), float) for y in function(_tensors(point))
        ]
        changes = []
        for sign in (1, -1):
            moved = [x + sign * step * v for x, v in zip(point, vector, strict=True)]
            after = [keras.ops.convert_to_numpy(y) for y in function(_tensors(moved))]
            change = _lengths([y - z for y, z in zip(after, before, strict=True)])
            way = _lengths(
                [np.subtract(y, x, dtype=float) for y, x in zip(moved, point, strict=True)]
            )
            changes.append(float(change[0] / max(way[0], 1e-300)))
        return max(changes)

    def _function(self, count: int) -> Function:
        held = {
            place: self._rng.integers(
                0, max(1, highest), (count, *[s or _SIZE for s in self._inputs[place]])
            )
            for place, highest in self._held.items()
        }

        def function(tensors: list[Any]) -> list[Any]:
            values: list[Any] = [None] * len(self._inputs)
            for place, tensor in zip(self.free, tensors, strict=True):
                values[place] = tensor
            for place, numbers in held.items():
                dtype = self._model.inputs[place].dtype
                values[place] = keras.ops.cast(keras.ops.convert_to_tensor(numbers), dtype)
            inputs = keras.tree.pack_sequence_as(self._graph.input, values)
            outputs = keras.tree.flatten(self._graph(inputs, training=False))
            return [keras.ops.cast(y, "float32") for y in outputs if "float" in str(y.dtype)]

        return function


def _highest(model: keras.Model, tensor: Any) -> int | None:
    """Returns what the whole numbers of an input are below, `None` if it is continuous."""
    sizes = [
        layer.input_dim
        for layer in model.layers
        if isinstance(layer, keras.layers.Embedding)
        for node in nodes_of(layer)
        if any(one is tensor for one in node.input_tensors)
    ]
    if sizes:
        return int(min(sizes))
    return None if "float" in keras.backend.standardize_dtype(tensor.dtype) else 2


def _tensors(arrays: Arrays) -> list[Any]:
    return [keras.ops.convert_to_tensor(array) for array in arrays]


def _lengths(arrays: Arrays) -> Any:
    """Returns the length of each sample, over all arrays, in float64."""
    squares = [np.square(x.reshape(len(x), -1).astype(float)).sum(axis=1) for x in arrays]
    return np.sqrt(np.sum(squares, axis=0))


def _units(arrays: Arrays) -> Arrays:
    lengths = _lengths(arrays)
    scale = 1.0 / np.where(lengths > 0, lengths, 1.0)
    return [(x * scale.reshape(-1, *[1] * (x.ndim - 1))).astype(np.float32) for x in arrays]
