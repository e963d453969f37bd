"""Weights alone, with the configuration of their model in a JSON file beside them.

The weights are `model.save_weights("NAME.weights.h5")` of Keras 2.13 to 3, or the HDF5 file of
`save_weights` of Keras 2; the configuration is `model.to_json()` of either, or a `config.json`.
"""

from __future__ import annotations

from typing import Any

from snconvert.archive.file_source import FileSource
from snconvert.archive.zip_writer import ZipWriter
from snconvert.config import strict_json
from snconvert.config.tree import Node
from snconvert.config.versions import is_keras_2
from snconvert.core.foreign import holds_variables, weights_only
from snconvert.errors import OptionError, SourceError, located
from snconvert.formats.format import Format
from snconvert.formats.hdf5_model import is_hdf5, read_hdf5
from snconvert.formats.translation import Older, fill_in
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Contents


def given_twice() -> OptionError:
    """Returns the error for a configuration beside a model that has one of its own."""
    return OptionError(
        "the model has a configuration of its own, and another one is given beside it",
        "Leave out --config, which is for files of weights only",
    )


def _is_both(source: FileSource) -> bool:
    return source.beside is not None and is_hdf5(source)


def _read(source: FileSource, worker: Worker) -> None:
    from snconvert.legacy import groups, hdf5  # noqa: PLC0415 - as in `translation`
    from snconvert.legacy.relocation import Relocation  # noqa: PLC0415 - as in `translation`

    contents, attributes = read_hdf5(source, worker)
    listed = attributes.layers is not None
    if attributes.model_config is not None:
        raise given_twice()
    if not listed and not holds_variables(contents.groups):
        raise weights_only(contents.groups, listed=False)
    path, text = source.beside or ("", b"")
    with located(file=path):
        config = parse_config(text)

    def relocate(root: Node, held: Contents) -> tuple[Relocation, tuple[str, ...]]:
        if listed:
            return hdf5.relocation(root, attributes, held)
        if groups.of_keras_3(root, held, is_keras_2(None, config)):
            return Relocation(), ()
        return groups.relocation(root, held)

    versions = attributes.keras_version, attributes.backend
    older = Older("weights alone", config, None, *versions, config_file=path)
    fill_in(source, worker, older, contents, relocate)


def parse_config(text: bytes) -> Any:
    """Returns a configuration that is given beside weights: an object, or one written as text.

    Raises:
        SourceError: It is none.
    """
    config = strict_json.loads(text, "the configuration")
    if isinstance(config, str):  # json.dump(model.to_json(), file)
        config = strict_json.loads(config.encode("utf-8", "surrogateescape"), "the configuration")
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise SourceError(
            "this is no configuration of a model: it has no `class_name`, as what `get_config()`"
            " returns has none",
            "Give what `model.to_json()` returns, or the config.json out of a .keras file",
        )
    return config


WEIGHTS_AND_CONFIG = Format(
    "weights_and_config", FileSource, _is_both, _read, ZipWriter, older=True, beside=True
)
