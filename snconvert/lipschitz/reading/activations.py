"""The slopes of Keras' activations.

Each acts on every number by itself, so that its Lipschitz constant is its steepest slope. Most
intervals are plain to see; those of `gelu`, `silu` and `mish` are the extrema of their derivatives,
which the tests find again, rounded outward. Keras has two forms of `gelu`; theirs is the wider
interval, that of the form with `tanh`. All are those of Keras 3.15 (keras/src/backend/*/nn.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from snconvert.config.references import is_builtin_layer
from snconvert.errors import printable
from snconvert.lipschitz.network import Constant, Does, Slopes, Unbounded
from snconvert.lipschitz.reading.shapes import Sizes, axis_from_end, finite, product, root

_RELU = Slopes(0.0, 1.0)
_GELU = Slopes(-0.1289930686587719, 1.1289930686587721)
_SILU = Slopes(-0.09983932012886696, 1.0998393201288671)
_MISH = Slopes(-0.11252612238946260, 1.0884981612517284)
_SELU = Slopes(0.0, 1.7580993408473773)
_SIXTH = math.nextafter(1 / 6, 1.0)

_SLOPES: Mapping[str, Slopes] = {
    "linear": Slopes(1.0, 1.0),
    "relu": _RELU,
    "relu6": _RELU,
    "leaky_relu": Slopes(0.2, 1.0),
    "elu": _RELU,
    "celu": _RELU,
    "selu": _SELU,
    "gelu": _GELU,
    "silu": _SILU,
    "swish": _SILU,
    "mish": _MISH,
    "hard_silu": Slopes(-0.5, 1.5),
    "hard_swish": Slopes(-0.5, 1.5),
    "tanh": _RELU,
    "hard_tanh": _RELU,
    "tanh_shrink": _RELU,
    "soft_shrink": _RELU,
    "softplus": _RELU,
    "softsign": _RELU,
    "squareplus": _RELU,
    "sparse_plus": _RELU,
    "log_sigmoid": _RELU,
    "sigmoid": Slopes(0.0, 0.25),
    "hard_sigmoid": Slopes(0.0, _SIXTH),
    "sparse_sigmoid": Slopes(0.0, 0.5),
    "snconvert>hard_sigmoid": Slopes(0.0, math.nextafter(0.2, 1.0)),
}
"""Activation -> its slopes, with the arguments that it has by default."""

_NONE = {
    "exponential": "its slope has no limit",
    "glu": "it multiplies two halves of its input",
    "hard_shrink": "it jumps at its threshold",
    "threshold": "it jumps at its threshold",
    "sparsemax": "it jumps, as Keras computes it",
}
"""Activations without a constant, and why."""

SOFTMAX = 0.5
"""The Lipschitz constant of softmax, which it has at (1/2, 1/2, 0...) (arXiv:1704.00805)."""

SQUASHING = ("tanh", "softsign", "hard_tanh")
"""Activations with values in [-1, 1] and slopes in [0, 1]."""

GATES = ("sigmoid", "hard_sigmoid", "snconvert>hard_sigmoid")
"""Activations with values in [0, 1] and slopes in [0, 1/4]."""

NAMES = (*_SLOPES, *_NONE, "softmax", "log_softmax")
"""The activations that are known."""


def name_of(value: Any) -> str:
    """Returns the name of an `activation` entry: of a function of Keras, or of a layer.

    Example:
        >>> name_of(None), name_of({"class_name": "function", "config": "gelu"})
        ('linear', 'gelu')
    """
    if value is None:
        return "linear"
    if isinstance(value, dict):
        value = value.get("config" if value.get("class_name") == "function" else "class_name")
    return value if isinstance(value, str) else "code of its own"


def by_name(name: str, sizes: Sizes, axis: Any = -1) -> Does:
    """Returns what an activation does.

    Args:
        name: Its name.
        sizes: Of its input.
        axis: The axis of a `softmax` or `log_softmax`, as Keras counts.
    """
    if name in _SLOPES:
        return _SLOPES[name]
    if name in {"softmax", "log_softmax"}:
        return _over_axis(name, sizes, axis)
    reason = _NONE.get(name, f"{printable(name)} is no activation of Keras")
    return Unbounded(reason)


def of(value: Any, sizes: Sizes) -> Does:
    """Returns what the `activation` of a layer does.

    Args:
        value: The entry of its configuration.
        sizes: Of the input.
    """
    if isinstance(value, dict) and is_builtin_layer(value) is not None:
        config = value.get("config")
        return of_layer(value["class_name"], config if isinstance(config, dict) else {}, sizes)
    return by_name(name_of(value), sizes)


def of_layer(class_name: str, config: Mapping[str, Any], sizes: Sizes) -> Does:
    """Returns what a layer of Keras without weights does that is an activation.

    Args:
        class_name: Its class.
        config: Its configuration.
        sizes: Of its input.
    """
    if class_name == "Activation":
        return of(config.get("activation"), sizes)
    if class_name == "ReLU":
        return relu(config)
    if class_name == "LeakyReLU":
        return one_sided(config.get("negative_slope", config.get("alpha", 0.3)))
    if class_name == "ELU":
        return elu(config.get("alpha", 1.0))
    if class_name == "Softmax":
        return by_name("softmax", sizes, config.get("axis", -1))
    return Unbounded(f"its activation is a {printable(class_name)} layer")


def relu(config: Mapping[str, Any]) -> Does:
    """Returns what `ReLU` does: `x` above 0 up to `max_value`, `negative_slope x` below."""
    if config.get("threshold"):
        return Unbounded("it jumps at its threshold")
    slopes = one_sided(config.get("negative_slope") or 0.0)
    if isinstance(slopes, Slopes) and config.get("max_value") is not None:
        return slopes._replace(low=min(0.0, slopes.low))
    return slopes


def one_sided(slope: Any) -> Does:
    """Returns the slopes of what is `x` above 0, and not steeper than `slope` below."""
    number = finite(slope)
    if number is None:
        return Unbounded(f"its slope is {printable(slope)}")
    return Slopes(min(number, 1.0), max(number, 1.0))


def elu(alpha: Any) -> Does:
    """Returns the slopes of `elu`: `alpha exp(x)` below 0, which falls to 0, and 1 above."""
    slopes = one_sided(alpha)
    return slopes._replace(low=min(0.0, slopes.low)) if isinstance(slopes, Slopes) else slopes


def _over_axis(name: str, sizes: Sizes, axis: Any) -> Does:
    several = axis if isinstance(axis, list) else [axis]
    found = [None if one is None else axis_from_end(one, len(sizes)) for one in several]
    axes = {one for one in found if one is not None}
    if not axes or None in found:
        return Unbounded("it runs over the batch")
    if name == "softmax":
        return Constant(SOFTMAX)
    count = product([sizes[one] for one in axes])
    if count is None:
        return Unbounded("the size of its axis is not known")
    return Constant(root(count))
