"""Saved models of every topology, and what their files hold."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from places import MODELS
from zoo import ZOO, randomize

CONVERTIBLE = sorted(
    path.name
    for path in (MODELS).glob("*")
    if path.name.startswith(("a", "v"))
    and path.suffix != ".h5"
    and not path.name.startswith(("a13", "a15", "a21", "v3.9.2_int8"))
)


CUSTOM = ("a09_custom_dense_subclass.keras", "a28_dtype_positions.keras")


# Keras 3.15.1 cannot reload these files of its own: a layer shared by two models; a Lambda.
NOT_LOADABLE = ("a30_multiple_models_same_layer_nested.keras", "a24_lambda.keras")


def weights(path: Path) -> h5py.File:
    if path.is_dir():
        return h5py.File(io.BytesIO((path / "model.weights.h5").read_bytes()))
    with zipfile.ZipFile(path) as archive:
        return h5py.File(io.BytesIO(archive.read("model.weights.h5")))


def config(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return json.loads((path / "config.json").read_text())
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(
        lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None
    )
    return found


def saved(name: str, folder: Path) -> Path:
    path = folder / f"{name}.keras"
    randomize(ZOO[name]()).save(path)
    return path


def arrays(path: Path) -> dict[str, tuple[str, bytes]]:
    return {n: (x.dtype.str, x[()].tobytes()) for n, x in datasets(weights(path)).items()}


def metadata(path: Path) -> Any:
    if path.is_dir():
        return json.loads((path / "metadata.json").read_text())
    return json.loads(zipfile.ZipFile(path).read("metadata.json"))


def traces(path: Path) -> bool:
    """Whether anything in a file names this package."""
    if path.is_dir():
        return any(b"snconvert" in file.read_bytes() for file in path.rglob("*") if file.is_file())
    return b"snconvert" in path.read_bytes()


def close(one: list[np.ndarray], two: list[np.ndarray], tolerance: float) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(a).max())
