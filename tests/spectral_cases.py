"""A layer of every kind in `RULES`, with inputs and an independent sigma; used by test_layers*."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from test_rules import EXAMPLES

from snconvert import layers
from snconvert.rules import RULES

MODES = ("hard", "cap", "gain")
Example = tuple[str, dict[str, Any], tuple[int | None, ...]]


def runs(config: dict[str, Any]) -> bool:
    """Whether TensorFlow on CPU can compute it: it has no channels_first convolution."""
    return config.get("data_format") != "channels_first"


EVERY = [
    pytest.param((name, config, shape), id=f"{name}-{i}")
    for name in RULES
    for i, (config, shape, _) in enumerate(EXAMPLES[name])
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


def make(example: Example, *, seed: int = 0, **options: Any) -> Any:
    """Returns the built spectral layer with random weights and a converged `u`."""
    name, config, shape = example
    layer = getattr(layers, RULES[name].spectral_class)(**config, **options)
    layer.build(shape)
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        if variable.name not in {"u", "gamma"}:
            variable.assign(rng.normal(size=variable.shape))
    layer.converge()
    if layer.mode == "gain":
        layer.gamma.assign(layer.spectral_norms()["kernel"])
    return layer


def plain(layer: Any, kernel: Any = None, **options: Any) -> Any:
    """Returns the Keras layer with the same weights, and perhaps another kernel."""
    config = {key: value for key, value in layer.get_config().items() if key not in FIELDS}
    keras_class = getattr(keras.layers, layer.rule.class_name)
    twin = keras_class.from_config({**config, **options})
    twin.build(layer.get_build_config()["input_shape"])
    twin.kernel.assign(layer.kernel if kernel is None else kernel)
    if twin.bias is not None:
        twin.bias.assign(layer.bias)
    return twin


FIELDS = ("mode", "bound", "power_iterations")


def inputs_for(example: Example, *, batch: int = 3, seed: int = 1) -> np.ndarray:
    """Returns random float32 inputs of the example's shape."""
    shape = (batch, *(size or 4 for size in example[2][1:]))
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def stack_of(layer: Any, kernel: Any) -> np.ndarray:
    """Returns a kernel as float64 `(b, m, n)`."""
    kernel = np.asarray(kernel).astype("float64")
    stack: np.ndarray = layer.rule.kernels[0].view(kernel.shape, layer.get_config()).matrix(kernel)
    return stack


def sigma_of(layer: Any, kernel: Any) -> float:
    """Returns the largest singular value of a kernel, in float64 by LAPACK."""
    return float(np.linalg.svd(stack_of(layer, kernel), compute_uv=False).max())


def scale_of(layer: Any, kernel: Any, gamma: float | None = None) -> float:
    """Returns `s(sigma)` in float64."""
    sigma = sigma_of(layer, kernel)
    if layer.mode == "gain":
        return (float(layer.gamma) if gamma is None else gamma) / sigma
    factor = layer.bound / sigma
    return min(1.0, factor) if layer.mode == "cap" else factor
