"""Presets of keras-hub: the folder that `save_to_preset` writes.

Configuration and weights of a backbone, perhaps in several files; of a task `task.json` as well,
and the weights of its head in `task.weights.h5`; tokenizer, preprocessor and assets are carried
over. Which layers there are only the code of keras-hub tells.

Reference: keras_hub/src/utils/preset_utils.py, `KerasPresetSaver`.
"""

from __future__ import annotations

from snconvert.archive.folder_source import FolderSource
from snconvert.archive.source import (
    ASSETS,
    CONFIG,
    METADATA,
    PRESET_FILES,
    TASK,
    TASK_WEIGHTS,
    WEIGHTS,
)
from snconvert.archive.weight_map import SUFFIX
from snconvert.archive.zip_writer import FolderWriter
from snconvert.config import strict_json
from snconvert.config.safety import vet
from snconvert.core.foreign import unknown_weights
from snconvert.errors import SourceError, printable
from snconvert.formats.format import Format
from snconvert.formats.keras3 import LARGEST, read_texts
from snconvert.formats.sharded import read_map, read_shard, read_shards
from snconvert.sandbox.worker import Worker
from snconvert.weights.extent import Extent

_JSON = tuple(name for name in PRESET_FILES if name.endswith(".json"))


def _is_preset(source: FolderSource) -> bool:
    if CONFIG not in source.names:
        return False
    for name in (CONFIG, METADATA):
        if name in source.names:
            source.add(name)
    if any(name in source.names for name in _JSON):
        return True
    try:
        read_texts(source)
        metadata = strict_json.loads(source.metadata or b"{}", METADATA)
    except SourceError:
        return False  # what is damaged is told by who reads it
    return isinstance(metadata, dict) and "keras_hub_version" in metadata


def _read(source: FolderSource, worker: Worker) -> None:
    read_texts(source)
    for name in _JSON:
        if name in source.names:
            source.add(name)
            if source.members[name].size > LARGEST[CONFIG]:
                raise SourceError(f"{name} is too large", "Save the preset again with keras-hub")
            source.stored[name] = b"".join(source.read(name))
            vet(strict_json.loads(source.stored[name], name))
    vet(strict_json.loads(source.config, CONFIG))
    shards = _backbone(source, worker).shards
    if TASK_WEIGHTS in source.names:
        source.add(TASK_WEIGHTS)
        shards += (read_shard(source, TASK_WEIGHTS, worker, f"{TASK_WEIGHTS}/"),)
    source.weights = Extent.joined(shards)
    if "README.md" in source.names:
        source.add("README.md")
    if ASSETS.rstrip("/") in source.names:
        for name in source.files_below(ASSETS.rstrip("/")):
            source.add(name)
    files = {shard.name for shard in shards}
    source.carried = tuple(
        name for name in source.members if name not in {CONFIG, METADATA, TASK, *files, WEIGHTS}
    )
    if source.weight_map is not None:
        source.carried = tuple(x for x in source.carried if x != source.weight_map.name)
    unknown = [
        name for name in source.names if name not in source.members and name != ASSETS.rstrip("/")
    ]
    if unknown:
        shown = ", ".join(printable(name) for name in unknown[:5])
        source.warnings.append(f"Other files in the folder are not carried over: {shown}")


def _backbone(source: FolderSource, worker: Worker) -> Extent:
    """Returns the weights of the backbone, in one file or in several."""
    if any(name.endswith(SUFFIX) for name in source.names):
        source.weight_map = read_map(source)
        source.weights_name = source.weight_map.name
        return read_shards(source, source.weight_map, worker)
    if WEIGHTS not in source.names:
        raise SourceError(
            f"the preset has neither {WEIGHTS} nor a map of weights in several files",
            "Copy or download all files of the preset",
        )
    source.add(WEIGHTS)
    error = unknown_weights(source.extent(WEIGHTS).pread(8, 0))
    if error is not None:
        raise error
    return Extent.joined((read_shard(source, WEIGHTS, worker),))


PRESET = Format("preset", FolderSource, _is_preset, _read, FolderWriter)
