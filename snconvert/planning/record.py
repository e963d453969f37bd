"""How a file was made: what `metadata.json` says under the key `snconvert`."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from snconvert.core.report import LayerReport
from snconvert.core.version import __version__
from snconvert.planning.recipe import Recipe


def record(
    recipe: Recipe,
    layers: Sequence[LayerReport],
    sha256: str | None,
    factors: Mapping[str, Mapping[str, float]] | None = None,
    spellings: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Returns version, options, the source's SHA-256 and the numbers of each converted layer.

    Args:
        recipe: The options.
        layers: The report's layers.
        sha256: Of the source, in hexadecimal; `None` where it has none.
        factors: What the stored kernels of layers were multiplied by, by layer and kernel path;
            `remove` divides by it.
        spellings: Module and registered name of layers, by path, where they are not what Keras
            writes today; `remove` and `bake` write them again.
    """
    factors, spellings = factors or {}, spellings or {}
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
                **({} if recipe.lipschitz is None else {"bound": layer.bound}),
                **({"certified": list(layer.certified)} if layer.certified else {}),
                **({"factors": dict(factors[layer.path])} if layer.path in factors else {}),
                **({"plain": dict(spellings[layer.path])} if layer.path in spellings else {}),
            }
            for layer in layers
            if layer.status == "converted"
        },
    }


def with_record(metadata: Any, entry: dict[str, Any]) -> dict[str, Any]:
    """Returns `metadata.json` with a record under `snconvert`, which Keras ignores."""
    if not isinstance(metadata, dict):
        metadata = {}
    before = {"before": metadata["snconvert"]} if "snconvert" in metadata else {}
    return {**metadata, "snconvert": {**entry, **before}}


def records(metadata: Any) -> Iterator[dict[str, Any]]:
    """Yields the records of a file's conversions, that of the last one first.

    Args:
        metadata: The parsed `metadata.json`.
    """
    entry = metadata.get("snconvert") if isinstance(metadata, dict) else None
    while isinstance(entry, dict):
        if not _is_of_upgrade(entry):
            yield entry
        entry = entry.get("before")


def with_source(metadata: Any, sha256: str | None) -> Any:
    """Returns the `metadata.json` of an older file with the record of what that was.

    Args:
        metadata: The parsed `metadata.json` of what is made of it; its first record is of that.
        sha256: Of the older file, in hexadecimal; `None` where it has none.
    """
    return {**metadata, "snconvert": _with_source(metadata["snconvert"], sha256)}


def _with_source(entry: Mapping[str, Any], sha256: str | None) -> dict[str, Any]:
    if _is_of_upgrade(entry):
        return {"version": __version__, **entry, "source_sha256": sha256}
    return {**entry, "before": _with_source(entry["before"], sha256)}


def _is_of_upgrade(entry: Mapping[str, Any]) -> bool:
    return entry.get("command") == "upgrade"


def recorded_factors(metadata: Any) -> dict[str, dict[str, float]]:
    """Returns what kernels were multiplied by, by layer and kernel path, as far as it was recorded.

    Args:
        metadata: The parsed `metadata.json`.
    """
    by_path: dict[str, dict[str, float]] = {}
    for path, layer in _recorded_layers(metadata):
        factors = layer.get("factors")
        if isinstance(factors, dict) and all(_is_factor(x) for x in factors.values()):
            by_path.setdefault(path, factors)
    return by_path


def recorded_spellings(metadata: Any) -> dict[str, dict[str, Any]]:
    """Returns module and registered name of plain layers, by path, as far as they were recorded.

    Args:
        metadata: The parsed `metadata.json`.
    """
    by_path: dict[str, dict[str, Any]] = {}
    for path, layer in _recorded_layers(metadata):
        if isinstance(plain := layer.get("plain"), dict):
            by_path.setdefault(path, plain)
    return by_path


def _recorded_layers(metadata: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields path and record of each layer, those of the last conversion first."""
    for entry in records(metadata):
        layers = entry.get("layers")
        for path, layer in layers.items() if isinstance(layers, dict) else ():
            if isinstance(layer, dict):
                yield path, layer


def without_layers(metadata: Any, gone: Container[str]) -> Any:
    """Returns `metadata.json` without the records of some layers; the rest of a record stays.

    Args:
        metadata: The parsed `metadata.json`.
        gone: The paths of the layers.
    """
    if not isinstance(metadata, dict) or "snconvert" not in metadata:
        return metadata
    left = _without(metadata["snconvert"], gone)
    rest = {key: value for key, value in metadata.items() if key != "snconvert"}
    return {**rest, "snconvert": left} if left else rest


def _without(entry: Any, gone: Container[str]) -> Any:
    if not isinstance(entry, dict):
        return None
    if _is_of_upgrade(entry):
        return entry
    layers = entry.get("layers")
    layers = layers.items() if isinstance(layers, dict) else ()
    kept = {path: layer for path, layer in layers if path not in gone}
    before = _without(entry.get("before"), gone)
    if not kept:
        return before
    entry = {**entry, "layers": kept}
    if len(kept) < len(layers) and isinstance(options := entry.get("options"), dict):
        # The rest bounds the network no more.
        entry["options"] = {key: value for key, value in options.items() if key != "lipschitz"}
    entry.pop("before", None)
    return {**entry, "before": before} if before else entry


def _is_factor(value: Any) -> bool:
    return type(value) in {int, float} and math.isfinite(value) and value > 0


def with_recorded(row: LayerReport, recorded: Mapping[str, Mapping[str, Any]]) -> LayerReport:
    """Returns the row of a layer with the norms that a record has of it."""
    if row.status != "converted":
        return row
    entry = recorded[row.path]
    names = ("sigma", "sigma_after", "residual", *(["bound"] if "bound" in entry else []))
    norms: dict[str, Any] = {name: _norm_in(entry.get(name)) for name in names}
    match entry.get("certified"):
        case [low, high]:
            proved = _norm_in(low), _norm_in(high)
            norms["certified"] = None if None in proved else proved
    return replace(row, **norms)


def _norm_in(value: Any) -> float | None:
    """Returns a number of a record, if it can be a norm."""
    known = type(value) in {int, float} and math.isfinite(value) and value >= 0
    return value if known else None
