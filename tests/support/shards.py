"""Weights spread over several files, as Keras' `save_weights(..., max_shard_size=...)` does."""

from __future__ import annotations

import json
from pathlib import Path

import h5py


def spread(folder: Path, count: int = 2, name: str = "model.weights.json") -> Path:
    """Replaces `model.weights.h5` of a folder by files with a map, and returns the folder.

    The arrays go to the files in turn, so that kernel and bias of a layer are apart.
    """
    whole = folder / "model.weights.h5"
    weights: dict[str, list[str]] = {}
    total = 0
    with h5py.File(whole) as source:
        names: list[str] = []
        source.visit(names.append)
        for number in range(count):
            file = f"{name.removesuffix('.weights.json')}_{number:05}.weights.h5"
            with h5py.File(folder / file, "w") as shard:
                arrays = [path for path in names if isinstance(source[path], h5py.Dataset)]
                for path in arrays[number::count]:
                    shard[path] = source[path][()]
                    total += source[path].nbytes
                    group = f"/{path.rpartition('/')[0]}"
                    held = weights.setdefault(group, [])
                    if file not in held:
                        held.append(file)
                if number == 0:
                    for path in names:
                        if isinstance(source[path], h5py.Group):
                            shard.require_group(path)
    tree = {
        "metadata": {"total_size": float(total)},
        "weight_map": {key: held if len(held) > 1 else held[0] for key, held in weights.items()},
    }
    (folder / name).write_text(json.dumps(tree, indent=4))
    whole.unlink()
    return folder
