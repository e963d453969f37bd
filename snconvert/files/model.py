"""A model in a file with all that is known of it: configuration, weights, what belongs to what."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from snconvert.archive.output import Destination, Output, begin, check_output
from snconvert.archive.remote_source import RemoteSource
from snconvert.archive.source import Source
from snconvert.config import strict_json
from snconvert.config.parsing import model_root, parse
from snconvert.config.references import needs
from snconvert.config.safety import vet, warnings_of
from snconvert.config.tree import Node, in_two_owners
from snconvert.config.versions import newer_than_tried
from snconvert.config.weight_groups import group_paths
from snconvert.core.convolution_map import Convolution
from snconvert.core.report import OnProgress, begin_stage
from snconvert.core.verbs import VERBS
from snconvert.errors import OutputError, located
from snconvert.files.inventory import StoredLayer, take_inventory
from snconvert.formats.table import FORMATS, open_model
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Contents

_SCAN_SECONDS, _MOST_SECONDS = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Described:
    """What `config.json` and `metadata.json` say.

    Attributes:
        source: The input.
        metadata: The parsed `metadata.json`.
        root: The model.
        warnings: What the user should know.
        holds_code: Whether a layer runs code of its own; no conversion adds or removes any.
    """

    source: Source
    metadata: Any
    root: Node
    warnings: tuple[str, ...]
    holds_code: bool


@dataclass(frozen=True, slots=True)
class Opened(Described):
    """A described model with its weights.

    Attributes:
        paths: The group of each node.
        contents: What the weights file holds.
        inventory: What is stored for each node that a rule covers.
        worker: The guarded process, in which HDF5 runs.
    """

    paths: Mapping[Node, str]
    contents: Contents
    inventory: Mapping[Node, StoredLayer]
    worker: Worker

    @property
    def seconds(self) -> float:
        """How much computing time HDF5 may take over the file before it counts as damaged."""
        return deadline(self.source)


@contextmanager
def open_source(
    verb: str,
    path: str,
    output: Destination | None,
    config: str | os.PathLike[str] | None = None,
    *,
    ranged: bool = False,
    progress: OnProgress = None,
) -> Iterator[tuple[Source, Worker]]:
    """Opens a source for a verb, with the guarded process, and checks where the result goes.

    Args:
        verb: The name of the verb.
        path: The model's file or folder.
        output: Where the result goes; `None`: nowhere.
        config: The configuration of the model, where `path` holds weights only.
        ranged: Whether no weights are read.
        progress: Called with how far a download is.

    Raises:
        SnconvertError: The source cannot be read, or the output cannot be written.
    """
    modules = VERBS[verb].child_modules
    worker = Worker(modules)
    with (
        located(file=path),
        closing(worker),
        open_model(path, worker, config, ranged=ranged, progress=progress) as source,
        worker,
    ):
        if output is not None:
            check_destination(source, output)
        yield source, worker


def check_destination(source: Source, output: Destination) -> None:
    """Checks, before any work, that the result of a model may go to a place.

    Raises:
        OutputError: It cannot be written, or would take the place of a model of another format.
    """
    row, (out, force, in_place) = FORMATS[source.format], output
    if in_place and row.older:
        raise OutputError(
            "the result is a model of Keras 3, which takes the place of no older file",
            "Leave out --in-place",
        )
    check_output(source.path, out, row.writer, force=force, in_place=in_place, older=row.older)


def is_older(source: Source) -> bool:
    """Whether an older Keras wrote a model, which was translated when it was opened."""
    return FORMATS[source.format].older


@contextmanager
def begin_output(
    source: Source, output: Destination | None, progress: OnProgress = None
) -> Iterator[Output | None]:
    """Starts to copy the weights of a source to its output, beside the search for `u`.

    Args:
        source: The input.
        output: Where the result goes; `None`: nowhere, the source is read to its end and checked.
        progress: Called with how far the work is.

    Yields:
        What has to be finished within the block, as `snconvert.archive.output.begin` does.
    """
    if output is None:
        yield None
        begin_stage(progress, "checking")
        source.check_weights()  # writing does both on its way
        source.check_unchanged()
        return
    writer = FORMATS[source.format].writer
    with begin(source, output.path, writer, force=output.replaces, progress=progress) as begun:
        yield begun


def describe(source: Source, *, opaque: bool = False) -> Described:
    """Reads and vets the configuration of a model.

    Args:
        source: The input.
        opaque: Take a model whose layers only its own code knows, too.

    Raises:
        SourceError: It is damaged, hostile, or of a version that cannot be converted.
    """
    config = strict_json.loads(source.config, "config.json")
    metadata: Any = {}
    if source.metadata is not None:
        metadata = strict_json.loads(source.metadata, "metadata.json")
    findings = vet(config)
    root = parse(config)
    if not (opaque and root.opaque):
        root = model_root(root)
    newer = newer_than_tried(metadata)
    warnings = (*source.warnings, *newer, *warnings_of(findings))
    return Described(source, metadata, root, warnings, bool(findings))


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
    contents = worker.call(
        "snconvert.weights.shards:scan", source.weights, seconds=deadline(source)
    )
    paths = group_paths(root)
    inventory = take_inventory(root, paths, contents, rules)
    own = source, model.metadata, root, model.warnings, model.holds_code
    opened = Opened(*own, paths, contents, inventory, worker)
    return replace(opened, warnings=(*opened.warnings, *unshared(opened)))


def loading_facts(model: Opened) -> dict[str, Any]:
    """Returns what Keras needs to load such a model, by the attributes of `Report`."""
    return {
        "needs": needs(model.root.entry),
        "loads": not model.source.weights.shards and not list(unshared(model)),
        "holds_code": model.holds_code,
    }


def unshared(model: Opened) -> Iterator[str]:
    """Yields a warning if Keras will make two layers of one in two places.

    It knows the layer again by the id in the first place, which it fails to write there for what
    lies below another layer or model; and the weights are stored in the first place only.
    """
    places = [
        (node.path, node.first.path)
        for node in model.root.walk()
        if node.first is not None
        and (node.parent is None or node.parent.first is None)
        and "shared_object_id" not in node.first.entry
        and any(path.startswith(f"{model.paths[node.first]}/") for path in model.contents.datasets)
    ]
    if places:
        yield in_two_owners(*places[0], len({first for _, first in places}) - 1)


def kernel_shape(model: Opened, node: Node) -> tuple[int, ...] | None:
    """Returns the shape of a layer's first kernel, or `None` where it has none yet."""
    stored = model.inventory.get(node)
    return stored.kernels[0].dataset.shape if stored and stored.kernels else None


def kernels_of(
    stored: StoredLayer | None,
) -> Iterator[tuple[str, tuple[int, ...], Convolution | None]]:
    """Yields name, shape and convolution of what the file holds of a layer's kernels."""
    for kernel in stored.kernels if stored is not None else ():
        yield kernel.kernel.path, kernel.dataset.shape, kernel.convolution


def deadline(source: Source) -> float:
    """A chain of 10 000 layers takes HDF5 seconds; a damaged file would take for ever."""
    if isinstance(source, RemoteSource):  # each read may wait for the network
        return _MOST_SECONDS
    return min(_SCAN_SECONDS + len(source.config) / 2e5, _MOST_SECONDS)
