"""A model without values: its layers, and where a file keeps the variables of each.

What only Python code knows of a model, its layers and their places in the weights, that code tells
of a model whose variables were never filled. So weights of any size are converted in their files,
by the code of the model's own package.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import keras

from snconvert.archive.source import CONFIG, TASK, TASK_WEIGHTS, Source
from snconvert.compat.layers import flattened
from snconvert.compat.saving import stored_variables
from snconvert.compat.variables import without_values
from snconvert.config import strict_json
from snconvert.config.tree import PATCHED
from snconvert.errors import SourceError, WeightsError, printable, quoted
from snconvert.files.edits import Edits
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import numbers_of
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Contents, Dataset

IN_FILES = ("preset", "sharded")
"""The formats of folders that such models are in, by their names."""

_SKIPPED = ("compile_config", "build_config")
"""What keras-hub does not write."""


@dataclass(slots=True)
class Skeleton:
    """A model without values.

    Attributes:
        model: The model.
        parts: What each file of configuration describes: the model, or its backbone.
        texts: What those files hold, parsed.
        headed: Whether the variables of a task that are not its backbone's are in a file.
        before: The groups of variables, as they are stored.
        paths: The dataset of each variable, by the variable's `id`.
        contents: What the weights hold.
    """

    model: Layer
    parts: dict[str, Layer]
    texts: dict[str, Any]
    headed: bool
    before: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)
    contents: Contents = field(default_factory=Contents)

    def dataset(self, variable: Any) -> tuple[str, Dataset]:
        """Returns where a variable is stored."""
        path = self.paths[id(variable)]
        return path, self.contents.datasets[path]

    def edits(self) -> Edits:
        """Returns what changes in the weights since the model was built.

        Groups have other names, and layers more variables or fewer. New ones have values.
        """
        edits, after = Edits(), _groups(self)
        edits.moves = [
            (old, new)
            for old, new in zip(self.before, after, strict=True)
            if old != new and old in self.contents.groups
        ]
        known = {id(variable) for _, variable in _variables(self.before)}
        new = [(path, x) for path, x in _variables(after) if id(x) not in known]
        edits.additions = [(path, numbers_of(variable)) for path, variable in new]
        kept = {id(variable) for _, variable in _variables(after)}
        edits.removals = [path for path, x in _variables(self.before) if id(x) not in kept]
        return edits

    def configs(self) -> dict[str, bytes]:
        """Returns the files of configuration as the model is now."""
        return {name: self._config(name, part) for name, part in self.parts.items()}

    def _config(self, name: str, part: Layer) -> bytes:
        entry, old = keras.saving.serialize_keras_object(part), self.texts[name]
        original = old["config"]["object"] if old.get("registered_name") == PATCHED else old
        if entry.get("registered_name") == PATCHED:
            entry["config"]["object"] = original
            # Where `from_preset` looks for them, and puts what it is given.
            own = original["config"]
            if "dtype" in own:
                entry["config"]["dtype"] = own["dtype"]
            if isinstance(own.get("backbone"), dict):
                dtype = own["backbone"].get("config", {}).get("dtype")
                entry["config"]["backbone"] = {"config": {} if dtype is None else {"dtype": dtype}}
            entry = {key: value for key, value in entry.items() if key not in _SKIPPED}
        elif original is not old or not _holds_layers(entry):
            entry = original
        return json.dumps(entry, indent=4).encode()  # as keras-hub writes it


def build(source: Source) -> Skeleton:
    """Builds the model of an open folder without values.

    Raises:
        SourceError: The code of its package does not build it; the message says why.
    """
    texts = {CONFIG: strict_json.loads(source.config, CONFIG)}
    if TASK in source.stored:
        texts[TASK] = strict_json.loads(source.stored[TASK], TASK)
    name = TASK if TASK in texts else CONFIG
    try:
        with without_values():
            model = _deserialized(texts[name])
    except Exception as error:
        raise SourceError(
            f"the code of its package cannot build the model of {name}:"
            f" {quoted(str(error) or type(error).__name__)}",
            "Name the modules that register its classes with --import",
        ) from error
    parts = {CONFIG: model} if name == CONFIG else {CONFIG: model.backbone, TASK: model}
    skeleton = Skeleton(model, parts, texts, headed=TASK_WEIGHTS in source.members)
    skeleton.before = _groups(skeleton)
    return skeleton


def load_whole(source: Source) -> Layer:
    """Returns the model of an open folder with its weights, as `from_preset` of keras-hub does.

    Raises:
        SourceError: Its package cannot build it, or the weights do not fit.
    """
    with closing(Worker()) as worker:
        skeleton = build(source)
        fit(skeleton, worker.call("snconvert.weights.shards:scan", source.weights))
        for shard in source.weights.shards:
            worker.call("snconvert.weights.reading:read_whole", shard.extent)
    model = _deserialized(skeleton.texts[TASK if TASK in skeleton.texts else CONFIG])
    backbone = model if TASK not in skeleton.texts else model.backbone
    backbone.load_weights(os.path.join(source.path, source.weights_name))
    if skeleton.headed:
        model.load_task_weights(os.path.join(source.path, TASK_WEIGHTS))
    if getattr(model, "optimizer", None) is not None:
        model.optimizer.name = "optimizer"  # a task compiles itself, with another name each time
    return model


def _deserialized(entry: Any) -> Layer:
    # Classes may change what they are given.
    return keras.saving.deserialize_keras_object(copy.deepcopy(entry))


def fit(skeleton: Skeleton, contents: Contents) -> None:
    """Compares the variables of a model with what its files hold.

    Raises:
        WeightsError: One is missing, left over, or of another shape.
    """
    again = "The files are damaged or from another version of the package"
    for path, variable in _variables(skeleton.before):
        dataset = contents.datasets.get(path)
        if dataset is None:
            raise WeightsError(f"the weights have no {printable(path)}, which the model has", again)
        if tuple(variable.shape) != dataset.shape:
            raise WeightsError(
                f"{printable(path)} is stored with the shape {dataset.shape}, but the model makes"
                f" it {tuple(variable.shape)}",
                again,
            )
        skeleton.paths[id(variable)] = path
    left = contents.datasets.keys() - set(skeleton.paths.values())
    strangers = {path for path in left if not path.startswith(f"{TASK_WEIGHTS}/optimizer/")}
    if strangers:
        raise WeightsError(
            f"the weights have an unexpected {printable(min(strangers))}, which the model has not",
            again,
        )
    skeleton.contents = contents


def _groups(skeleton: Skeleton) -> dict[str, dict[str, Any]]:
    """Returns the variables by the groups of the files."""
    backbone = skeleton.parts[CONFIG]
    groups = stored_variables(backbone)
    if skeleton.headed:
        inside = flattened(backbone)  # as keras-hub does
        head = stored_variables(skeleton.model, inside)
        groups |= {f"{TASK_WEIGHTS}/{group}".rstrip("/"): own for group, own in head.items()}
    return groups


def _variables(groups: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yields path and variable of all that is stored."""
    for group, own in groups.items():
        for name, variable in own.items():
            yield f"{group}/vars/{name}".lstrip("/"), variable


def _holds_layers(entry: Mapping[str, Any]) -> bool:
    """Whether the configuration of a model is that of its layers."""
    return "layers" in entry["config"]
