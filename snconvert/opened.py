"""A model in a file with all that is known of it: configuration, weights, what belongs to what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from snconvert import strictjson
from snconvert.archive.contents import Contents
from snconvert.archive.guard import Worker
from snconvert.archive.source import Source
from snconvert.h5paths import group_paths
from snconvert.inventory import Stored, take_inventory
from snconvert.rules import KernelRule
from snconvert.tree import Node, in_two_owners, model_root, parse
from snconvert.versions import check_version, is_keras_2
from snconvert.vetting import vet

_SCAN_SECONDS, _MOST_SECONDS = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Described:
    """What `config.json` and `metadata.json` say.

    Attributes:
        source: The input.
        metadata: The parsed `metadata.json`.
        root: The model.
        warnings: What the user should know.
    """

    source: Source
    metadata: Any
    root: Node
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Opened(Described):
    """A described model with its weights.

    Attributes:
        paths: The group of each node.
        contents: What the weights file holds.
        inventory: What is stored for each node that a rule covers.
    """

    paths: Mapping[Node, str]
    contents: Contents
    inventory: Mapping[Node, Stored]

    @property
    def seconds(self) -> float:
        """How much computing time HDF5 may take over the file before it counts as damaged."""
        return deadline(self.source)


def describe(source: Source, *, opaque: bool = False) -> Described:
    """Reads and vets the configuration of a model.

    Args:
        source: The input.
        opaque: Take a model whose layers only its own code knows, too.

    Raises:
        SourceError: It is damaged, hostile, or of a version that cannot be converted.
    """
    config = strictjson.loads(source.config, "config.json")
    metadata: Any = {}
    if source.metadata is not None:
        metadata = strictjson.loads(source.metadata, "metadata.json")
    findings = vet(config)
    root = parse(config)
    if not (opaque and root.opaque):
        root = model_root(root)
    aged = check_version(root, metadata)
    return Described(source, metadata, root, (*source.warnings, *aged, *map(str, findings)))


def open_weights(model: Described, rules: Mapping[str, KernelRule], worker: Worker) -> Opened:
    """Scans the weights of a model and checks them against its configuration.

    Args:
        model: What its configuration says.
        rules: The rows, by class name.
        worker: Where HDF5 runs.

    Raises:
        SourceError: The weights are damaged.
        WeightsError: They do not fit the configuration.
    """
    source, root = model.source, model.root
    paths = group_paths(root)
    contents = worker.call("snconvert.archive.h5:scan", source.weights, seconds=deadline(source))
    others = ("optimizer", "metrics") if is_keras_2(root, model.metadata) else ("optimizer",)
    inventory = take_inventory(root, paths, contents, rules, others)
    warnings = (*model.warnings, *_shared_between(root, paths, contents))
    return Opened(source, model.metadata, root, warnings, paths, contents, inventory)


def _shared_between(root: Node, paths: Mapping[Node, str], contents: Contents) -> Iterator[str]:
    """Yields a warning if layers with weights stand in two models or wrappers."""
    pairs = []
    for node in root.walk():
        first = node.first
        if first is None or node.parent is None or first.parent is None:
            continue
        owners = [parent.first or parent for parent in (node.parent, first.parent)]
        stored = f"{paths[first]}/"
        if owners[0] is not owners[1] and any(x.startswith(stored) for x in contents.datasets):
            pairs.append((node.path, first.path))
    if pairs:
        yield in_two_owners(*pairs[0], len({first for _, first in pairs}) - 1)


def kernel_shape(model: Opened, node: Node) -> tuple[int, ...] | None:
    """Returns the shape of a layer's first kernel, or `None` where it has none yet."""
    stored = model.inventory.get(node)
    return stored.kernels[0].dataset.shape if stored and stored.kernels else None


def deadline(source: Source) -> float:
    """A chain of 10 000 layers takes HDF5 seconds; a damaged file would take for ever."""
    return min(_SCAN_SECONDS + len(source.config) / 2e5, _MOST_SECONDS)
