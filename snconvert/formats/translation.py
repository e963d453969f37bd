"""What the older formats have in common: the model that was read becomes one of Keras 3.

The configuration is translated, and the weights get other names by a few changed blocks over the
same bytes. What comes after reads and checks all of it as it does any model of Keras 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from snconvert.archive.source import Source
from snconvert.config import strict_json
from snconvert.config.parsing import parse
from snconvert.config.safety import vet
from snconvert.config.tree import MODELS, Node
from snconvert.config.versions import keras_version
from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, located, printable
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Contents
from snconvert.weights.extent import Changes

if TYPE_CHECKING:
    from snconvert.legacy.relocation import Relocation

_KERAS_3 = (3, 0)
_SPELLED_AS = "3.3.3"
"""A version of Keras 3 that spells configurations as translations do."""

_LOOKUPS = {"IntegerLookup", "StringLookup", "TextVectorization"}
_SECONDS, _MOST_SECONDS, _BYTES_PER_SECOND = 5.0, 60.0, 1e7

Relocate = Callable[[Node, Contents], "tuple[Relocation, tuple[str, ...]]"]
"""Returns where the arrays of a model go, and notes; see `legacy.hdf5` and `legacy.groups`."""


class Older(NamedTuple):
    """A model that an older Keras saved.

    Attributes:
        form: What holds it, in words.
        config: Its configuration.
        training: How it was compiled, where that stands apart from the configuration.
        version: Which Keras wrote it, if it says so.
        backend: On which backend, if it says so.
        config_file: The file of the configuration, where it is not that of the weights; it may be
            of another Keras.
    """

    form: str
    config: Any
    training: Any = None
    version: str | None = None
    backend: str | None = None
    config_file: str | None = None


def scan(source: Source, worker: Worker) -> Contents:
    """Returns what the weights of an open source hold."""
    contents: Contents = worker.call(
        "snconvert.weights.reading:scan", source.weights, seconds=seconds_for(source)
    )
    return contents


def seconds_for(source: Source, least: float = _SECONDS) -> float:
    """Returns how much computing time HDF5 may take over a file before it counts as damaged.

    Args:
        source: The open source.
        least: What it may take over a small file.
    """
    return min(least + source.weights.size / _BYTES_PER_SECOND, _MOST_SECONDS)


def fill_in(
    source: Source, worker: Worker, older: Older, contents: Contents, relocate: Relocate
) -> None:
    """Fills in what an open source holds, as a model of Keras 3.

    Args:
        source: The source, with its weights as they are stored.
        worker: Where HDF5 runs.
        older: What the source says of the model.
        contents: What its weights hold.
        relocate: Says where they go.

    Raises:
        SourceError: It holds what Keras 3 has no word for, or is hostile or damaged.
    """
    from snconvert.legacy.configuration import translate  # noqa: PLC0415 - most files are of today

    with located(file=older.config_file):
        for tree in (older.config, older.training):
            vet(tree)  # a translation leaves things out, which are vetted here only
        version = None if older.config_file else older.version
        translated = translate(older.config, older.training, version)
        root = parse(translated.config)
        if root.builtin not in MODELS:
            raise SourceError(
                f"saved by an older Keras, and {printable(root.title)} is no model whose"
                " configuration holds its layers: where its weights belong only its own Python code"
                " tells",
                REBUILD,
            )
    relocation, notes = relocate(root, contents)
    overlay = worker.call(
        "snconvert.jobs.relocate:relocate",
        source.weights,
        relocation,
        seconds=seconds_for(source),
    )
    source.weights = source.weights._replace(changes=Changes(*overlay[:3]))
    source.config = strict_json.dumps(translated.config)
    written = {"keras_version": older.version, "backend": older.backend}
    said = {name: text for name, text in written.items() if text is not None}
    known = keras_version(written)
    if known is None or known < _KERAS_3:
        # Of a configuration of Keras 3 nothing tells the version.
        version = None if translated.config is older.config else _SPELLED_AS
    spelled = {} if version is None else {"keras_version": version}
    record = {"command": "upgrade", "format": source.format, **said}
    source.metadata = strict_json.dumps({**spelled, "snconvert": record})
    by = f"Keras {printable(older.version)}" if older.version else "an unknown version of Keras"
    source.warnings += [f"saved by {by} as {older.form}", *translated.notes, *notes]
    lacking = [node.path for node in root.walk() if _lacks_vocabulary(node)]
    if lacking and not source.assets:
        source.warnings.append(
            f"The file does not hold the vocabulary of {printable(', '.join(lacking))}: set it with"
            " `layer.set_vocabulary` in the loaded model"
        )


def _lacks_vocabulary(node: Node) -> bool:
    """Whether a layer's vocabulary, if it has one, stands in the assets of an archive."""
    return node.builtin in _LOOKUPS and node.config.get("vocabulary") is None
