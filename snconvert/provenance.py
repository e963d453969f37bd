"""How a file was made: what `metadata.json` says under the key `snconvert`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snconvert import __version__
from snconvert.recipe import Recipe
from snconvert.report import LayerReport


def record(recipe: Recipe, layers: Sequence[LayerReport], sha256: str | None) -> dict[str, Any]:
    """Returns version, options, the source's SHA-256 and the numbers of each converted layer.

    Args:
        recipe: The options.
        layers: The report's layers.
        sha256: Of the source, in hexadecimal; `None` where it has none.
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
    }
