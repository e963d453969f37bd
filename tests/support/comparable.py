"""Configurations and weights of saved models, made comparable."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py


def config(path: Path) -> Any:
    def stripped(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: stripped(v) for k, v in value.items() if k != "shared_object_id"}
        return [stripped(v) for v in value] if isinstance(value, list) else value

    with zipfile.ZipFile(path) as archive:
        return stripped(json.loads(archive.read("config.json")))


def weights(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.str, item.shape, item[()].tobytes())

    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
        h5py.File(file).visititems(visit)
    return found
