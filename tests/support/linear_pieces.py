"""The Lipschitz constant of small ReLU networks, by all of their linear pieces.

A network is read as a list of layers in float64; where inputs have a pattern of active neurons, it
is affine. Patterns grow neuron by neuron: a half space is kept where some ball fits into what is
left of the inputs, by a linear program.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

Array = np.ndarray[Any, Any]

_ROOM = 1e-7  # radius of a ball that counts
_FAR = 1e3  # how far inputs go


def random_relu_network(seed: int) -> keras.Model:
    """Returns a network of two to four inputs: a chain, one with skips, or one of convolutions."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    keras.backend.clear_session(free_memory=False)
    kind = ("chain", "skip", "chain", "convolution")[seed % 4]
    if kind == "convolution":
        inputs = keras.Input((4, 1))
        x = layers.Conv1D(2, 2, padding="same")(inputs)
        x = layers.Conv1D(1, 3, padding="same")(layers.ReLU()(x))
        x = layers.Dense(2)(layers.Flatten()(layers.ReLU()(x)))
        return _drawn(rng, keras.Model(inputs, x))
    x = inputs = keras.Input((2,))
    width = int(rng.integers(3, 7))
    for depth in range(int(rng.integers(2, 4))):
        if kind == "chain":
            x = layers.ReLU()(layers.Dense(int(rng.integers(3, 7)))(x))
        else:
            x = layers.Dense(3)(x) if depth == 0 else x
            branch = layers.Dense(3)(layers.ReLU()(layers.Dense(width - 1)(x)))
            x = layers.Add()([x, branch]) if seed % 8 == 1 else layers.Subtract()([x, branch])
    return _drawn(rng, keras.Model(inputs, layers.Dense(int(rng.integers(1, 4)))(x)))


def _drawn(rng: np.random.Generator, model: keras.Model) -> keras.Model:
    for variable in model.weights:
        shape = tuple(variable.shape)
        scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.5
        variable.assign((rng.normal(size=shape) * scale).astype("float32"))
    return model


def lipschitz_constant(model: keras.Model) -> float:
    """Returns the largest norm of the linear pieces of a model of Dense, Conv1D, ReLU and sums."""
    count = int(np.prod(model.input_shape[1:]))
    start = {model.inputs[0].name: (np.eye(count), np.zeros(count))}
    todo = [operation for operation in model.operations if _made(operation) not in start]
    return _largest(model, todo, start, [])


def _made(operation: Any) -> str:
    return str(operation.output.name)


def _largest(
    model: keras.Model,
    todo: list[Any],
    known: dict[str, tuple[Array, Array]],
    sides: list[tuple[Array, float]],
) -> float:
    """Returns the largest norm in the inputs that half spaces `a x <= b` leave.

    Args:
        model: The model.
        todo: Its layers that are not computed yet.
        known: Of each tensor its affine map `x A + b`.
        sides: The half spaces.
    """
    known = dict(known)
    for place, layer in enumerate(todo):
        given = layer.input if isinstance(layer.input, list) else [layer.input]
        maps = [known[tensor.name] for tensor in given]
        if isinstance(layer, layers.ReLU):
            return max(
                _largest(model, todo[place + 1 :], known | {_made(layer): masked}, limits)
                for masked, limits in _pieces(*maps[0], sides)
            )
        known[_made(layer)] = _affine(layer, maps)
    return float(np.linalg.norm(known[model.outputs[0].name][0], 2))


def _affine(layer: Any, maps: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    slope, shift = maps[0]
    if isinstance(layer, layers.Add | layers.Subtract):
        sign = 1.0 if isinstance(layer, layers.Add) else -1.0
        return slope + sign * maps[1][0], shift + sign * maps[1][1]
    if isinstance(layer, layers.Flatten):
        return slope, shift
    kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
    if isinstance(layer, layers.Conv1D):
        matrix = _toeplitz(kernel, len(shift) // kernel.shape[1])
        kernel, bias = matrix, np.tile(bias, len(matrix) // kernel.shape[1])
    return slope @ kernel, shift @ kernel + bias


def _toeplitz(taps: Array, size: int) -> Array:
    """Returns the matrix of a convolution with `same` padding, `(size * m, size * n)`."""
    count, m, n = taps.shape
    before = (count - 1) // 2
    matrix = np.zeros((size, m, size, n))
    for place in range(size):
        for tap in range(count):
            if 0 <= place + tap - before < size:
                matrix[place + tap - before, :, place] = taps[tap]
    return matrix.reshape(size * m, size * n)


def _pieces(slope: Array, shift: Array, sides: list[tuple[Array, float]]) -> Any:
    """Yields what ReLU makes of an affine map in each piece, with the piece's half spaces."""
    found: list[tuple[list[float], list[tuple[Array, float]]]] = [([], sides)]
    for normal, at in zip(slope.T, shift, strict=True):
        grown = []
        for pattern, limits in found:
            for on, side in ((1.0, (-normal, at)), (0.0, (normal, -at))):
                if _has_room([*limits, side]):
                    grown.append(([*pattern, on], [*limits, side]))
        found = grown
    for pattern, limits in found:
        yield (slope * pattern, shift * pattern), limits


def _has_room(sides: list[tuple[Array, float]]) -> bool:
    from scipy.optimize import linprog

    normals = np.array([normal for normal, _ in sides])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    found = linprog(
        np.r_[np.zeros(normals.shape[1]), -1.0],
        np.hstack([normals, lengths]),
        [at for _, at in sides],
        bounds=[(-_FAR, _FAR)] * normals.shape[1] + [(0, 1)],
    )
    return bool(found.status == 0 and -found.fun > _ROOM)
