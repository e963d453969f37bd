"""One array or configuration of a file, changed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def meddled(
    path: Path,
    arrays: Callable[[h5py.File], None] = lambda _: None,
    config: Callable[[Any], None] = lambda _: None,
    metadata: Callable[[Any], None] = lambda _: None,
) -> Path:
    """Returns a copy of a file in which something was changed."""
    result = path.with_name("meddled.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name != "model.weights.h5":
                tree = json.loads(data)
                (config if name == "config.json" else metadata)(tree)
                data = json.dumps(tree).encode()
            else:
                buffer = io.BytesIO(data)
                with h5py.File(buffer, "r+") as file:
                    arrays(file)
                data = buffer.getvalue()
            new.writestr(name, data)
    return result


def flip(name: str, bit: int = 0) -> Callable[[h5py.File], None]:
    """Flips one bit of the last number of an array."""

    def change(file: h5py.File) -> None:
        value = file[name][()]
        shape, numbers = value.shape, np.atleast_1d(value).reshape(-1)
        numbers[-1:].view(f"u{value.dtype.itemsize}")[:] ^= 1 << bit
        file[name][...] = numbers.reshape(shape)

    return change
