"""A configuration with weights in several files: `model.save_weights("model.weights.json", ...)`.

A folder that holds the map, the files that it names, `config.json` and perhaps `metadata.json`. The
configuration may also be given beside the folder.
"""

from __future__ import annotations

from snconvert.archive.folder_source import FolderSource
from snconvert.archive.source import ASSETS, CONFIG, METADATA, WEIGHTS
from snconvert.archive.weight_map import SUFFIX, WeightMap
from snconvert.archive.zip_writer import FolderWriter
from snconvert.config import strict_json
from snconvert.errors import SourceError, located, printable
from snconvert.formats.format import Format
from snconvert.formats.keras3 import read_texts
from snconvert.formats.weights_and_config import given_twice, parse_config
from snconvert.sandbox.worker import Worker
from snconvert.weights.extent import Extent, Shard

_LARGEST_MAP = 64 << 20
_SECONDS, _BYTES_PER_SECOND, _MOST_SECONDS = 5.0, 1e9, 60.0
_AGAIN = "Save the weights again with Keras"


def _is_sharded(source: FolderSource) -> bool:
    return any(name.endswith(SUFFIX) for name in source.names)


def _read(source: FolderSource, worker: Worker) -> None:
    _read_config(source)
    found = read_map(source)
    source.weight_map = found
    source.weights_name = found.name
    source.weights = read_shards(source, found, worker)
    names = {CONFIG, METADATA, found.name, *found.files, ASSETS.rstrip("/")}
    unknown = [name for name in source.names if name not in names]
    if unknown:
        shown = ", ".join(printable(name) for name in unknown[:5])
        source.warnings.append(f"Other files in the folder are not carried over: {shown}")
    if ASSETS.rstrip("/") in source.names:
        for name in source.files_below(ASSETS.rstrip("/")):
            source.add(name)
    source.assets = tuple(name for name in source.members if name.startswith(ASSETS))


def _read_config(source: FolderSource) -> None:
    for name in (CONFIG, METADATA):
        if name in source.names:
            source.add(name)
    if source.beside is not None:
        if CONFIG in source.names:
            raise given_twice()
        path, text = source.beside
        read_texts(source)
        with located(file=path):
            source.config = strict_json.dumps(parse_config(text))
    elif CONFIG in source.names:
        read_texts(source)
    else:
        raise SourceError(
            "the folder holds sharded weights without config.json, the configuration of their"
            " model",
            "Give it with --config, as `model.to_json()` returns it",
        )


def read_map(source: FolderSource) -> WeightMap:
    """Returns the checked map of a folder, whose files become members.

    Raises:
        SourceError: It is damaged, hostile, or not alone.
    """
    maps = [name for name in source.names if name.endswith(SUFFIX)]
    rivals = [*maps[1:], *(name for name in (WEIGHTS,) if name in source.names)]
    name = maps[0]
    if rivals:
        raise SourceError(
            f"the folder holds both {printable(name)} and {printable(rivals[0])}, so which weights"
            " are the model's is not known",
            "Take one of them away",
        )
    source.add(name)
    if source.members[name].size > _LARGEST_MAP:
        raise SourceError(f"{printable(name)} is too large", _AGAIN)
    tree = strict_json.loads(b"".join(source.read(name)), name)
    found = WeightMap.of(name, tree, source.names)
    for file in found.files:
        source.add(file)
    twice = source.same_files(found.files)
    if twice is not None:
        one, other = map(printable, twice)
        raise SourceError(f"{one} and {other} in the folder are one file under two names", _AGAIN)
    return found


def read_shards(source: FolderSource, found: WeightMap, worker: Worker) -> Extent:
    """Returns the weights in the files of a map, after a look at what each holds.

    Raises:
        SourceError: A file is damaged, or the map does not fit.
    """
    shards = tuple(read_shard(source, name, worker) for name in found.files)
    found.check(shards)
    return Extent.joined(shards)


def read_shard(source: FolderSource, name: str, worker: Worker, prefix: str = "") -> Shard:
    """Returns one file of weights, after a look at what it holds.

    Args:
        source: The folder.
        name: The name of the file, a member.
        worker: Where HDF5 runs.
        prefix: See `Shard`.

    Raises:
        SourceError: It is damaged.
    """
    extent = source.extent(name)
    seconds = min(_SECONDS + extent.size / _BYTES_PER_SECOND, _MOST_SECONDS)
    try:
        held = worker.call("snconvert.weights.shards:datasets_of", extent, seconds=seconds)
    except SourceError as error:
        what = error.what.replace(WEIGHTS, printable(name))
        what = what if printable(name) in what else f"in {printable(name)}, {what}"
        raise SourceError(what, error.fix) from error
    return Shard(name, extent, frozenset(prefix + path for path in held), prefix)


SHARDED = Format("sharded", FolderSource, _is_sharded, _read, FolderWriter, beside=True)
