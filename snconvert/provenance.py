"""How a file was made: what `metadata.json` says under the key `snconvert`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snconvert import __version__
from snconvert.recipe import Recipe
from snconvert.report import LayerReport


def record(
    recipe: Recipe,
    layers: Sequence[LayerReport],
    sha256: str | None,
    factors: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Returns version, options, the source's SHA-256 and the numbers of each converted layer.

    Args:
        recipe: The options.
        layers: The report's layers.
        sha256: Of the source, in hexadecimal; `None` where it has none.
        factors: What stored kernels were multiplied by, by their paths in the source; dividing by
            it undoes the conversion.
    """
    return {
        "version": __version__,
        "command": "apply",
        "options": recipe.options(),
        "source_sha256": sha256,
        "layers": {
            layer.path: {
                "class": layer.class_name,
                "new_class": layer.new_class,
                "sigma": layer.sigma,
                "sigma_after": layer.sigma_after,
                "residual": layer.residual,
            }
            for layer in layers
            if layer.status == "converted"
        },
        **({"factors": dict(factors)} if factors else {}),
    }


def with_record(metadata: Any, made: dict[str, Any]) -> dict[str, Any]:
    """Returns `metadata.json` with how the file was made under `snconvert`; Keras ignores it."""
    if not isinstance(metadata, dict):
        metadata = {}
    before = {"before": metadata["snconvert"]} if "snconvert" in metadata else {}
    return {**metadata, "snconvert": {**made, **before}}
