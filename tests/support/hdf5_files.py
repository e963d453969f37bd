"""Small HDF5 files, as bytes."""

from __future__ import annotations

import io

import h5py
import numpy as np


def built(fill, **options):
    """Returns the bytes of an HDF5 file that `fill` filled."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        fill(file)
    return buffer.getvalue()


def content(data):
    """Returns shape, type and bytes of every dataset, as h5py reads them; groups as None."""
    found = {}

    def visit(name, item):
        group = isinstance(item, h5py.Group)
        found[name] = None if group else (item.shape, item.dtype.str, item[()].tobytes())

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return found


def layers(file):
    """Five numbered layers, one of them with a layer inside."""
    for index in range(5):
        file.create_group(f"layers/dense_{index}/vars").attrs["name"] = f"n{index}"
        for number in range(2):
            file[f"layers/dense_{index}/vars/{number}"] = np.full((3, 2), 10.0 * index + number)
    file["layers/dense_0/inner/vars/0"] = np.ones(7, "f2")
    file.create_group("vars")


LAYERS = built(layers)
NEW_LAYERS = built(layers, libver="latest")
NAMES = [f"layers/dense_{index}" for index in range(5)]
