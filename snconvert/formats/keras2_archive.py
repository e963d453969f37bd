"""Archives of Keras 2.13 to 2.15 and tf-keras, whatever system wrote them; and unzipped ones."""

from __future__ import annotations

from snconvert.archive.file_source import FileSource
from snconvert.archive.folder_source import FolderSource
from snconvert.archive.source import CONFIG, METADATA, Source
from snconvert.archive.zip_writer import FolderWriter, ZipWriter
from snconvert.config import strict_json
from snconvert.config.versions import is_keras_2, keras_version
from snconvert.errors import SourceError
from snconvert.formats import keras3
from snconvert.formats.format import Format
from snconvert.formats.translation import Older, fill_in, scan
from snconvert.sandbox.worker import Worker


def _is_archive(source: FileSource) -> bool:
    return source.is_zip and _is_keras_2(source)


def _is_folder(source: FolderSource) -> bool:
    for name in (CONFIG, METADATA):
        if name in source.names:
            source.add(name)
    return _is_keras_2(source)


def _is_keras_2(source: Source) -> bool:
    try:
        keras3.read_texts(source)
        version = _version(source)
        # With a version nothing else is asked, so that a large configuration is parsed once.
        config = {} if version else strict_json.loads(source.config, CONFIG)
    except SourceError:
        return False  # what is damaged is told by who reads it
    return is_keras_2(version, config)


def _version(source: Source) -> str | None:
    metadata = strict_json.loads(source.metadata or b"{}", METADATA)
    return metadata["keras_version"] if keras_version(metadata) else None


def _read_archive(source: FileSource, worker: Worker) -> None:
    keras3.read_archive(source, worker)
    _translate(source, worker)


def _read_folder(source: FolderSource, worker: Worker) -> None:
    keras3.read_folder(source, worker)
    _translate(source, worker)


def _translate(source: Source, worker: Worker) -> None:
    from snconvert.legacy.groups import relocation  # noqa: PLC0415 - as in `translation`

    config = strict_json.loads(source.config, CONFIG)
    form = "a .keras archive" if isinstance(source, FileSource) else "an unzipped .keras archive"
    older = Older(form, config, version=_version(source))
    fill_in(source, worker, older, scan(source, worker), relocation)


ARCHIVE = Format(
    "keras2_archive",
    FileSource,
    _is_archive,
    _read_archive,
    ZipWriter,
    older=True,
)
FOLDER = Format(
    "keras2_folder",
    FolderSource,
    _is_folder,
    _read_folder,
    FolderWriter,
    older=True,
)
