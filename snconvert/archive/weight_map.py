"""The map of weights that are spread over several files: which file holds which group.

`{"metadata": {"total_size": bytes}, "weight_map": {"/layers/dense/vars": file or list of files}}`,
with the files beside the map. Nothing of it is taken on trust: a name that leads elsewhere, a file
that is not there, and a group that is somewhere else than the map says are errors.

Reference: keras/src/saving/saving_lib.py, `ShardedH5IOStore`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snconvert.errors import SourceError, printable
from snconvert.weights.extent import Shard
from snconvert.weights.overlay import ShardedOverlay

SUFFIX, SHARD_SUFFIX = ".weights.json", ".weights.h5"
MOST_SHARDS = 100
"""Each is an open file, and two models are compared in one process."""

_AGAIN = "Save the weights again with Keras"


@dataclass(frozen=True, slots=True)
class WeightMap:
    """A checked map.

    Attributes:
        name: The name of its file.
        tree: The parsed JSON.
        files: The files of weights, in the order of their names.
    """

    name: str
    tree: Mapping[str, Any]
    files: tuple[str, ...]

    @classmethod
    def of(cls, name: str, tree: Any, names: Collection[str]) -> WeightMap:
        """Checks a map.

        Args:
            name: The name of its file.
            tree: The parsed JSON.
            names: The names of all that lies beside it.

        Raises:
            SourceError: It is none, or names what is no file of weights beside it.
        """
        groups = tree.get("weight_map") if isinstance(tree, dict) else None
        if not isinstance(groups, dict) or not isinstance(tree.get("metadata", {}), dict):
            raise SourceError(f"{printable(name)} is no map of sharded weights", _AGAIN)
        files: set[str] = set()
        for group, held in groups.items():
            if group != "/vars" and not (group.startswith("/") and group.endswith("/vars")):
                raise SourceError(
                    f"{printable(name)} has an entry {printable(group)!r}, which is no group of"
                    " variables (`/.../vars`)",
                    _AGAIN,
                )
            for file in held if isinstance(held, list) and held else [held]:
                _check_file(name, group, file, names)
                files.add(file)
        if not files or len(files) > MOST_SHARDS:
            count = len(files) or "no"
            raise SourceError(
                f"{printable(name)} names {count} files of weights, the limit is {MOST_SHARDS}",
                "Save the weights again with a larger max_shard_size",
            )
        return cls(name, tree, tuple(sorted(files)))

    def check(self, shards: Sequence[Shard]) -> None:
        """Compares the map with what its files hold.

        Raises:
            SourceError: A file holds a group that the map does not list for it, or lacks one.
        """
        listed = {(group, file) for group, files in self._groups() for file in files}
        held = {
            (f"/{path.rpartition('/')[0]}", shard.name)
            for shard in shards
            if not shard.prefix
            for path in shard.datasets
        }
        for wrong, what in (
            (listed - held, "{file} holds no variable of {group}, which {name} says is there"),
            (held - listed, "{file} holds variables of {group}, which {name} does not say"),
        ):
            for group, file in sorted(wrong)[:1]:
                shown = {"group": group, "file": file, "name": self.name}
                raise SourceError(
                    what.format(**{key: printable(text) for key, text in shown.items()}), _AGAIN
                )

    def after(self, shards: Sequence[Shard], overlay: ShardedOverlay) -> bytes:
        """Returns the bytes of the map once the weights are changed, as Keras writes them.

        Groups keep their order, new ones come last. A list of one file stays a list,
        as Keras writes some.

        Args:
            shards: The files before.
            overlay: What changes in them.
        """
        by_group: dict[str, list[str]] = {}
        apart = tuple(shard.prefix for shard in shards if shard.prefix)
        for shard in shards:
            for path in sorted(shard.datasets):
                by_group.setdefault(f"/{path.rpartition('/')[0]}", []).append(path)
        files = [shard.name for shard in shards]
        groups: dict[str, dict[str, None]] = {}
        old = [path for group, _ in self._groups() for path in by_group.get(group, ())]
        kept = [overlay.moved.get(path, path) for path in old]
        for path in [*kept, *sorted(overlay.places)]:
            if path in overlay.places and not (apart and path.startswith(apart)):
                own = groups.setdefault(f"/{path.rpartition('/')[0]}", {})
                own[files[overlay.places[path]]] = None
        lists = {
            f"/{overlay.moved.get(path, path).rpartition('/')[0]}"
            for group, held in self.tree["weight_map"].items()
            if isinstance(held, list)
            for path in by_group.get(group, ())
        }
        held = {
            group: [*own] if len(own) > 1 or group in lists else next(iter(own))
            for group, own in groups.items()
        }
        metadata = dict(self.tree.get("metadata", {}))
        size = metadata.get("total_size")
        if isinstance(size, int | float) and math.isfinite(size):
            metadata["total_size"] = size + overlay.grown
        return json.dumps(
            {**self.tree, "metadata": metadata, "weight_map": held}, indent=4
        ).encode()

    def _groups(self) -> Iterator[tuple[str, list[str]]]:
        for group, held in self.tree["weight_map"].items():
            yield group, held if isinstance(held, list) else [held]


def _check_file(name: str, group: str, file: object, names: Collection[str]) -> None:
    plain = isinstance(file, str) and file.isprintable() and not {"/", "\\", ":"} & {*file}
    if not isinstance(file, str) or not plain or not file.endswith(SHARD_SUFFIX):
        raise SourceError(
            f"{printable(name)} says that {printable(group)} is in {printable(str(file))!r}, which"
            f" is not the name of a file of weights (NAME{SHARD_SUFFIX}) beside it",
            "Do not trust the folder, unless you know who made it",
        )
    if file not in names:
        raise SourceError(
            f"the folder has no {printable(file)}, in which {printable(name)} says that"
            f" {printable(group)} is",
            "Copy or download all files of the weights",
        )
