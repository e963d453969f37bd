"""What a model's file holds, to be changed and written again; see `planting`."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from random import Random
from typing import Any, Self

import h5py

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
ID = "shared_object_id"
Tree = dict[str, Any]


class Contents:
    """The configuration, the metadata, the weights and the assets of a file.

    Args:
        members: The bytes of each.

    Attributes:
        notes: What was found out about the file that was made of this one.
    """

    def __init__(self, members: dict[str, bytes]) -> None:
        self.config: Tree = json.loads(members.pop(CONFIG))
        self.metadata: Tree = json.loads(members.pop(METADATA))
        self._weights = io.BytesIO(members.pop(WEIGHTS))
        self.h5 = h5py.File(self._weights, "r+")
        self.assets = members
        self.notes: dict[str, Any] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads an archive."""
        with zipfile.ZipFile(path) as archive:
            return cls({name: archive.read(name) for name in archive.namelist()})

    def write(
        self,
        path: Path,
        *,
        folder: bool = False,
        compression: int = zipfile.ZIP_STORED,
        backwards: bool = False,
        indent: int | None = None,
    ) -> Path:
        """Writes an archive or a folder, and closes the weights."""
        self.h5.close()
        members = {
            METADATA: json.dumps(self.metadata, indent=indent).encode(),
            CONFIG: json.dumps(self.config, indent=indent).encode(),
            WEIGHTS: self._weights.getvalue(),
            **self.assets,
        }
        if folder:
            shutil.rmtree(path, ignore_errors=True)
            for name, data in members.items():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(data)
            return path
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name in reversed(members) if backwards else members:
                archive.writestr(name, members[name])
        return path

    def arrays(self) -> dict[str, h5py.Dataset]:
        """Returns the datasets by path."""
        datasets: dict[str, h5py.Dataset] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                datasets[name] = item

        self.h5.visititems(visit)
        return datasets

    def lay_out(self, **options: Any) -> None:
        """Writes the weights into a new HDF5 file, backwards, by h5py's options of a dataset."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as new:
            for name, dataset in reversed(self.arrays().items()):
                how = options if dataset.ndim and dataset.size else {}
                copy = new.create_dataset(name, data=dataset[()], **how)
                for key, value in dataset.attrs.items():
                    copy.attrs[key] = value
            self.h5.visit(lambda name: new.require_group(name) if name not in new else None)
        self.h5.close()
        self._weights, self.h5 = buffer, h5py.File(buffer, "r+")

    def meaning(self) -> Any:
        """Returns what is another where an error was planted."""
        numbers: dict[Any, int] = {}

        def plain(tree: Any) -> Any:
            if isinstance(tree, dict):
                return {
                    key: numbers.setdefault(value, len(numbers)) if key == ID else plain(value)
                    for key, value in sorted(tree.items())
                }
            return [plain(item) for item in tree] if isinstance(tree, list) else repr(tree)

        arrays = {
            name: (str(item.dtype), item.shape, item[()].tobytes())
            for name, item in self.arrays().items()
        }
        record = self.metadata.get("snconvert")
        return arrays, plain(self.config), plain(record), dict(self.assets)


def _changed(tree: Any, change: Any) -> Any:
    """Returns a copy of a tree, in which a function has changed the items of each object."""
    if isinstance(tree, dict):
        return {key: _changed(value, change) for key, value in change(tree)}
    return [_changed(item, change) for item in tree] if isinstance(tree, list) else tree


def _renumbered(tree: Tree) -> Any:
    return ((key, value * 3 + 7 if key == ID else value) for key, value in tree.items())


def _unnumbered_policy(tree: Tree) -> Any:
    policy = "DTypePolicy" in str(tree.get("class_name"))
    return ((key, value) for key, value in tree.items() if not (policy and key == ID))


REWRITES = (
    "keys in another order",
    "numbers of shared objects",
    "policies without numbers",
    "arrays in another order",
    "arrays in chunks",
    "arrays packed",
    "another day and version",
    "no record",
    "indented",
    "packed",
    "members in another order",
    "a folder",
)
"""What may be done to a file that stays the same model."""


def rewrite(kind: str, source: Path, path: Path, rng: Random) -> Path:
    """Writes a file again in another way that means the same, and returns where."""
    contents = Contents.read(source)
    match kind:
        case "keys in another order":
            contents.config = _changed(
                contents.config, lambda tree: rng.sample(list(tree.items()), len(tree))
            )
        case "numbers of shared objects":
            contents.config = _changed(contents.config, _renumbered)
        case "policies without numbers":
            contents.config = _changed(contents.config, _unnumbered_policy)
        case "arrays in another order":
            contents.lay_out()
        case "arrays in chunks":
            contents.lay_out(chunks=True)
        case "arrays packed":
            contents.lay_out(chunks=True, compression="gzip", shuffle=True)
        case "another day and version":
            contents.metadata |= {"keras_version": "3.15.1", "date_saved": "2001-01-01@00:00:00"}
        case "no record":
            contents.metadata.pop("snconvert", None)
    how: dict[str, Any] = {
        "indented": {"indent": 2},
        "packed": {"compression": zipfile.ZIP_DEFLATED},
        "members in another order": {"backwards": True},
        "a folder": {"folder": True},
    }
    place = path.with_suffix("") if kind == "a folder" else path
    return contents.write(place, **how.get(kind, {}))
