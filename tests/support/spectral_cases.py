"""A layer of every kind in `RULES`, with inputs and an independent sigma; used by test_layers*."""

from __future__ import annotations

import functools
import math
from typing import Any

import keras
import numpy as np
import pytest
from kind_examples import examples_of

from snconvert import layers
from snconvert.kinds.table import RULES

MODES = ("hard", "cap", "gain")
Example = tuple[str, dict[str, Any], tuple[int | None, ...]]


def runs(config: dict[str, Any]) -> bool:
    """Whether TensorFlow on CPU can compute it: it has no channels_first convolution."""
    return config.get("data_format") != "channels_first"


EVERY = [
    pytest.param((name, config, shape), id=f"{name}-{i}")
    for name in RULES
    for i, (config, shape, _) in enumerate(examples_of(name))
]
"""One example or more of each row: a new row is tested without a new test."""

RUNNABLE = [param for param in EVERY if runs(param.values[0][1])]

VARIANTS = [
    pytest.param(("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal"}, (None, 9, 2))),
    pytest.param(
        (
            "Conv1D",
            {"filters": 4, "kernel_size": 2, "padding": "causal", "dilation_rate": 3},
            (None, 9, 2),
        )
    ),
    pytest.param(
        (
            "Conv2D",
            {"filters": 4, "kernel_size": 3, "strides": (2, 1), "padding": "same"},
            (None, 7, 8, 2),
        )
    ),
    pytest.param(("Conv2D", {"filters": 4, "kernel_size": 2, "dilation_rate": 2}, (None, 7, 8, 2))),
    pytest.param(
        ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 3, "strides": 2}, (None, 9, 9, 9))
    ),
]
"""Convolutions with strides, dilation, groups and causal padding."""


def is_state(name: str) -> bool:
    """Whether a variable of that name is a spectral layer's gamma or u."""
    return name in {"u", "gamma"} or name.endswith(("_u", "_gamma"))


def paths_of(layer: Any) -> list[str]:
    """Returns the paths of a built layer's kernels: `kernel`, `cell/recurrent_kernel`."""
    return [kernel.path for kernel in layer.rule.kernels_of(layer.get_config())]


def at(layer: Any, path: str) -> Any:
    """Returns what an attribute path leads to."""
    for attribute in path.split("/"):
        layer = getattr(layer, attribute)
    return layer


def state_of(layer: Any, path: str, part: str) -> Any:
    """Returns the `u` or `gamma` of the kernel of that path."""
    group, _, name = path.rpartition("/")
    owner = at(layer, group) if group else layer
    return getattr(owner, owner._prefix(name) + part)


def build(layer: Any, shape: Any) -> Any:
    """Builds a layer of any kind; an attention layer attends to itself."""
    attention = isinstance(
        layer, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention
    )
    layer.build(*[shape] * (2 if attention else 1))
    return layer


def run(layer: Any, x: Any, **options: Any) -> Any:
    """Calls a layer of any kind: attention on itself, a cell with its initial state, a reversible
    embedding forth and back."""
    if isinstance(layer, keras.layers.MultiHeadAttention | keras.layers.GroupQueryAttention):
        return layer(x, x, **options)
    if hasattr(layer, "get_initial_state") and not isinstance(layer, keras.layers.RNN):
        states = [state + 0.5 for state in layer.get_initial_state(batch_size=x.shape[0])]
        return layer(x, states, **options)[0]
    if isinstance(layer, keras.layers.ReversibleEmbedding):
        return layer(layer(x, **options), reverse=True, **options)
    return layer(x, **options)


def make(example: Example, *, seed: int = 0, **options: Any) -> Any:
    """Returns the built spectral layer with random weights and a converged `u`."""
    name, config, shape = example
    layer = build(getattr(layers, RULES[name].spectral_class)(**config, **options), shape)
    rng = np.random.default_rng(seed)
    # Where gates and attention would saturate, gradients would vanish.
    size = 0.5 if RULES[name].kind in {"recurrent", "attention"} else 1.0
    for variable in layer.weights:
        if not is_state(variable.name):
            variable.assign(rng.normal(size=variable.shape) * size)
    settle(layer)
    return layer


def settle(layer: Any) -> None:
    """Converges every u and puts every gamma at sigma."""
    layer.converge()
    if layer.mode == "gain":
        for path, sigma in layer.spectral_norms().items():
            state_of(layer, path, "gamma").assign(sigma)


def plain(layer: Any, kernels: Any = None, **options: Any) -> Any:
    """Returns the Keras layer with the same weights, and perhaps another kernel, or several by
    path."""
    config = {key: value for key, value in layer.get_config().items() if key not in FIELDS}
    keras_class = getattr(keras.layers, layer.rule.class_name)
    built = layer.get_build_config()
    shape = built.get("input_shape") or next(iter(built["shapes_dict"].values()))
    twin = build(keras_class.from_config({**config, **options}), shape)
    mine = [variable for variable in layer.weights if not is_state(variable.name)]
    for variable, value in zip(twin.weights, mine, strict=True):
        variable.assign(value)
    if kernels is not None:
        kernels = kernels if isinstance(kernels, dict) else {paths_of(layer)[0]: kernels}
        for path, kernel in kernels.items():
            at(twin, path).assign(kernel)
    return twin


def scaled(layer: Any) -> dict[str, np.ndarray]:
    """Returns the float64 effective kernels by path, sigma being LAPACK's."""
    return {
        path: np.asarray(at(layer, path)).astype("float64")
        * scale_of(layer, at(layer, path), path=path)
        for path in paths_of(layer)
    }


FIELDS = ("mode", "bound", "power_iterations", "norm")


def inputs_for(example: Example, *, batch: int = 3, seed: int = 1) -> np.ndarray:
    """Returns random float32 inputs of the example's shape, or ids for an embedding."""
    shape = (batch, *(size or 4 for size in example[2][1:]))
    rng = np.random.default_rng(seed)
    if "input_dim" in example[1]:
        return rng.integers(0, example[1]["input_dim"], size=shape).astype("int32")
    return rng.normal(size=shape).astype("float32")


def stack_of(layer: Any, kernel: Any, path: str | None = None) -> np.ndarray:
    """Returns a kernel, the first if no path says which, as float64 `(b, m, n)`."""
    kernel = np.asarray(kernel).astype("float64")
    row = next(k for k in layer.rule.kernels if path in {None, k.path})
    stack: np.ndarray = row.view(kernel.shape, layer.get_config()).matrix(kernel)
    return stack


def sigma_of(layer: Any, kernel: Any, path: str | None = None) -> float:
    """Returns the norm of a kernel, of its matrices or of its map, in float64 by LAPACK."""
    matrices = stack_of(layer, kernel, path)
    if layer.norm == "operator":
        maps = unit_maps(layer, path or paths_of(layer)[0])
        if maps is not None:
            matrices = np.tensordot(np.asarray(kernel).astype("float64").ravel(), maps, 1)
    return float(np.linalg.svd(matrices, compute_uv=False).max())


@functools.lru_cache(maxsize=4)
def unit_maps(layer: Any, path: str) -> np.ndarray | None:
    """Returns the maps of all unit kernels, float64 `(size, inputs, outputs)`: how Keras' own
    layer, and for a part of a layer the layer of that part, responds to unit inputs.

    `None` for a kernel that is no convolution.
    """
    row = next(k for k in layer.rule.kernels if k.path == path)
    if row.convolution is None:
        return None
    kind, config, (_, *shape) = convolution_at(layer, path)
    twin = getattr(keras.layers, kind)(**config, use_bias=False, dtype="float64")
    twin.build((None, *shape))
    import tensorflow as tf  # other backends have no use for it

    size = math.prod(shape)
    eye = tf.constant(np.eye(size).reshape(size, *shape))
    respond, found = tf.function(twin), []  # traced once: groups are compiled anew in eager calls
    for unit in np.eye(math.prod(twin.kernel.shape)):
        twin.kernel.assign(unit.reshape(twin.kernel.shape))
        found.append(np.asarray(respond(eye)).reshape(size, -1))
    return np.stack(found)


def convolution_at(layer: Any, path: str) -> tuple[str, dict[str, Any], Any]:
    """Returns class, configuration and input shape of the plain layer that does by itself what the
    kernel of that path does."""
    kind, config, built = layer.rule.class_name, layer.get_config(), layer.get_build_config()
    shape = built.get("input_shape") or built["shapes_dict"]["sequences_shape"]
    how = {key: config[key] for key in ("kernel_size", "strides", "padding", "dilation_rate")}
    if "Depthwise" in kind or "Separable" in kind:
        how["depth_multiplier"] = config["depth_multiplier"]
        return kind.replace("Separable", "Depthwise"), how, shape
    if "ConvLSTM" not in kind:
        others = ("filters", "groups", "output_padding")
        return kind, how | {key: config[key] for key in others if key in config}, shape
    kind, how["filters"] = kind.replace("LSTM", ""), 4 * config["filters"]
    if path == "cell/kernel":
        return kind, how, (None, *shape[2:])
    how |= {"strides": 1, "padding": "same", "dilation_rate": 1}
    return kind, how, layer.compute_output_shape(shape)


def scale_of(layer: Any, kernel: Any, gamma: float | None = None, path: str | None = None) -> float:
    """Returns `s(sigma)` in float64."""
    sigma = sigma_of(layer, kernel, path)
    if layer.mode == "gain":
        mine = state_of(layer, path or paths_of(layer)[0], "gamma")
        return (float(mine) if gamma is None else gamma) / sigma
    factor = layer.bound / sigma
    return min(1.0, factor) if layer.mode == "cap" else factor


def cosine(a: Any, b: Any) -> float:
    a, b = (np.ravel(np.asarray(x)).astype("float64") for x in (a, b))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
