"""How many of the variables that a Keras layer stores are trainable; these come first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ALL = frozenset(
    {
        "AdditiveAttention",
        "Attention",
        "Conv1D",
        "Conv1DTranspose",
        "Conv2D",
        "Conv2DTranspose",
        "Conv3D",
        "Conv3DTranspose",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "EinsumDense",
        "Embedding",
        "GroupNormalization",
        "LayerNormalization",
        "PReLU",
        "RMSNormalization",
        "SeparableConv1D",
        "SeparableConv2D",
    }
)
"""Layers whose variables are all trainable."""


def trainable_count(class_name: str, config: Mapping[str, Any], stored: int) -> int | None:
    """Returns how many of the `stored` variables of a layer are trainable, or `None` if unknown.

    Args:
        class_name: One of Keras' own layers.
        config: Its configuration.
        stored: How many variables its own group holds.

    Example:
        >>> trainable_count("BatchNormalization", {"center": True, "scale": False}, 3)
        1
    """
    if stored == 0 or class_name in _ALL:
        return stored
    if class_name == "BatchNormalization":
        return int(bool(config.get("scale", True))) + int(bool(config.get("center", True)))
    if class_name == "Normalization":
        return 0
    return None
