"""Whole models in HDF5: `model.save("NAME.h5")` of Keras 2.0 to 3, and `.keras` of Keras 2.12.

All of the model but the weights stands in attributes of the HDF5 file.
"""

from __future__ import annotations

from typing import Any

from snconvert.archive.file_source import FileSource
from snconvert.archive.zip_writer import ZipWriter
from snconvert.config import strict_json
from snconvert.core.foreign import HDF5, weights_only
from snconvert.formats.format import Format
from snconvert.formats.translation import Older, fill_in, scan, seconds_for
from snconvert.sandbox.worker import Worker
from snconvert.weights.contents import Attributes, Contents

_READ_ATTRIBUTES = "snconvert.weights.attributes:read_attributes"
_SECONDS = 2.0  # of a damaged file they are where HDF5 hangs, and of a small one read in no time


def is_hdf5(source: FileSource) -> bool:
    """Whether a file begins as HDF5 does."""
    return source.head(len(HDF5)) == HDF5


def read_hdf5(source: FileSource, worker: Worker) -> tuple[Contents, Attributes]:
    """Takes a file as the weights, and returns what it holds and what its attributes say.

    Raises:
        SourceError: It is damaged, or holds what Keras does not write.
    """
    source.take_whole()
    contents = scan(source, worker)
    seconds = seconds_for(source, _SECONDS)
    attributes = worker.call(_READ_ATTRIBUTES, source.weights, seconds=seconds)
    return contents, attributes


def _read(source: FileSource, worker: Worker) -> None:
    from snconvert.legacy.hdf5 import relocation  # noqa: PLC0415 - as in `translation`

    contents, attributes = read_hdf5(source, worker)
    if attributes.model_config is None:
        raise weights_only(contents.groups, listed=attributes.layers is not None)
    older = Older(
        "a whole model in HDF5",
        _parsed("model_config", attributes.model_config),
        _parsed("training_config", attributes.training_config),
        attributes.keras_version,
        attributes.backend,
    )
    fill_in(source, worker, older, contents, lambda root, held: relocation(root, attributes, held))


def _parsed(name: str, text: str | None) -> Any:
    return (
        None if text is None else strict_json.loads(text.encode("utf-8", "surrogateescape"), name)
    )


HDF5_MODEL = Format("hdf5_model", FileSource, is_hdf5, _read, ZipWriter, older=True)
