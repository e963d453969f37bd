"""The attention layers, whose projections are sublayers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from snconvert.core.matrix_view import MatrixView
from snconvert.kinds.kernel_rule import (
    Config,
    Kernel,
    KernelRule,
    Shape,
    argument_shape,
    dimension,
    positive_integers,
    with_bias,
)

_INNER = {"_softmax": (), "_dropout_layer": ()}
_TITLE = "(1, in, heads*dim) of query, key, value and gate, (1, heads*dim, out) of the output"


def _inward(shape: Shape, _: Config) -> MatrixView:
    """Reads `(in, heads, dim)` as `(1, in, heads*dim)`."""
    return MatrixView(shape, tuple(range(len(shape))), (1, shape[0], math.prod(shape[1:])))


def _outward(shape: Shape, _: Config) -> MatrixView:
    """Reads `(heads, dim, *out)` as `(1, heads*dim, out)`."""
    rows = math.prod(shape[:2])
    return MatrixView(shape, tuple(range(len(shape))), (1, rows, math.prod(shape[2:])))


def _gated(config: Config) -> bool:
    return bool(config.get("use_gate", False))


def _kernels(prefix: str) -> tuple[Kernel, ...]:
    return (
        Kernel("kernel", 0, _inward, f"{prefix}query_dense"),
        Kernel("kernel", 0, _inward, f"{prefix}key_dense"),
        Kernel("kernel", 0, _inward, "_gate_dense", _gated),
        Kernel("kernel", 0, _inward, f"{prefix}value_dense"),
        Kernel("kernel", 0, _outward, f"{prefix}output_dense"),
    )


def _projections(
    config: Config,
    prefix: str,
    features: tuple[int | None, int | None, int | None],
    heads: tuple[int, int],
    dims: tuple[int, int],
    out: tuple[int | None, ...],
) -> Mapping[str, Any]:
    """Returns the shapes of the variables of each group, in the order in which Keras makes them.

    Args:
        config: The layer's configuration.
        prefix: What Keras puts before the names of the sublayers.
        features: Of query, key and value.
        heads: Of the query, and of key and value.
        dims: Of a head of query and key, and of value and output.
        out: The features of the output.
    """
    query, key, value = ((heads[0], dims[0]), (heads[1], dims[0]), (heads[1], dims[1]))
    inner = (heads[0], dims[1])
    groups: dict[str, Any] = {
        "": (),
        f"{prefix}query_dense": with_bias(config, query, (features[0], *query)),
        f"{prefix}key_dense": with_bias(config, key, (features[1], *key)),
    }
    if _gated(config):
        groups["_gate_dense"] = with_bias(config, inner, (features[0], *inner))
    groups[f"{prefix}value_dense"] = with_bias(config, value, (features[2], *value))
    return groups | _INNER | {f"{prefix}output_dense": with_bias(config, out, (*inner, *out))}


def _features(input_shape: Any) -> tuple[int | None, int | None, int | None]:
    shapes = input_shape if isinstance(input_shape, Mapping) else {}
    query, value = (argument_shape(shapes, name) for name in ("query_shape", "value_shape"))
    key = argument_shape(shapes, "key_shape") or value
    return dimension(query, -1), dimension(key, -1), dimension(value, -1)


def _multi_head_variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
    (heads,) = positive_integers(config, "num_heads", length=1)
    (key,) = positive_integers(config, "key_dim", length=1)
    (value,) = positive_integers(
        {"value_dim": config.get("value_dim") or key}, "value_dim", length=1
    )
    features = _features(input_shape)
    out: tuple[int | None, ...] = (features[0],)
    if config.get("output_shape"):
        out = positive_integers(config, "output_shape")
    return _projections(config, "", features, (heads, heads), (key, value), out)


def _grouped_variables(config: Config, input_shape: Any) -> Mapping[str, Any]:
    (dim,) = positive_integers(config, "head_dim", length=1)
    (query,) = positive_integers(config, "num_query_heads", length=1)
    (others,) = positive_integers(config, "num_key_value_heads", length=1)
    features = _features(input_shape)
    return _projections(config, "_", features, (query, others), (dim, dim), (features[0],))


ROWS = (
    KernelRule(
        "MultiHeadAttention",
        "attention",
        "SpectralMultiHeadAttention",
        _kernels(""),
        _multi_head_variables,
        _TITLE,
    ),
    KernelRule(
        "GroupQueryAttention",
        "attention",
        "SpectralGroupQueryAttention",
        _kernels("_"),
        _grouped_variables,
        _TITLE,
    ),
)
