"""What Keras 3 saves: a `.keras` archive, or with `zipped=False` a folder of the same files.

Looked at is the outside: the members and their names, the bytes of the small ones. The meaning of
the JSON and the inside of the weights are not.
"""

from __future__ import annotations

from snconvert.archive.file_source import FileSource
from snconvert.archive.folder_source import FolderSource
from snconvert.archive.source import ASSETS, CONFIG, METADATA, WEIGHTS, Source
from snconvert.archive.zip_writer import FolderWriter, ZipWriter
from snconvert.core import foreign
from snconvert.errors import SourceError, printable
from snconvert.formats.format import Format
from snconvert.sandbox.worker import Worker

LARGEST = {CONFIG: 64 << 20, METADATA: 16 << 20}
"""How many bytes the small members have at most."""


def read_texts(source: Source) -> None:
    """Fills in the configuration and the metadata from those of their members that are there.

    Raises:
        SourceError: One is too large or damaged.
    """
    if source.stored:  # telling what it is has read them
        return
    for name, most in LARGEST.items():
        if name in source.members and source.members[name].size > most:
            raise SourceError(
                f"{name} is too large ({source.members[name].size} bytes, the limit is {most})",
                "Save the model again with Keras",
            )
    small = [name for name in LARGEST if name in source.members]
    source.stored = {name: b"".join(source.read(name)) for name in small}
    source.config, source.metadata = source.stored.get(CONFIG, b""), source.stored.get(METADATA)


def read_contents(source: Source) -> None:
    """Fills in the configuration, the metadata, the weights and the assets from the members.

    Raises:
        SourceError: One is too large or damaged, or the weights are no HDF5 file.
    """
    read_texts(source)
    if source.metadata is None:
        source.warnings.append("It has no metadata.json, so its Keras version is unknown")
    source.assets = tuple(name for name in source.members if name.startswith(ASSETS))
    source.weights = source.extent(source.weights_name)
    error = foreign.unknown_weights(source.weights.pread(8, 0))
    if error is not None:
        raise error


def _is_zip(source: FileSource) -> bool:
    return source.is_zip


def read_archive(source: FileSource, _: Worker) -> None:
    """Reads the members of an archive; see `Format.read`."""
    names = list(source.members)
    error = foreign.unknown_members(names)
    if error is not None:
        raise error
    for needed in (CONFIG, WEIGHTS):
        if needed in names:
            continue
        fix = "Save the model again with Keras"
        for name in names:
            if name.casefold() == needed:
                fix = f"It holds {printable(name)!r}, but names are case sensitive: rename it"
            elif name.endswith("/" + needed):
                folder = name.removesuffix(needed)
                fix = f"Everything lies in {printable(folder)!r}: zip what is inside that folder"
        raise SourceError(f"the archive has no {needed} at its top level", fix)
    for name in names:
        if name not in (CONFIG, METADATA, WEIGHTS) and not name.startswith(ASSETS):
            raise SourceError(
                f"the archive has an unexpected member {printable(name)!r}, "
                "which no Keras model needs",
                "If you put it there, remove it (`zip -d`); if not, do not trust the file",
            )
    read_contents(source)


def _is_any(_: FolderSource) -> bool:
    return True


def read_folder(source: FolderSource, _: Worker) -> None:
    """Reads the files of a folder; see `Format.read`."""
    names, assets = source.names, ASSETS.rstrip("/")
    error = foreign.unknown_members(names)
    if error is not None:
        raise error
    for needed in (CONFIG, WEIGHTS):
        if needed not in names:
            raise SourceError(
                f"the folder has no {needed}, so it is not a model that Keras saved",
                "Name the .keras file, or the folder that holds config.json and model.weights.h5",
            )
    wanted = [name for name in (METADATA, CONFIG, WEIGHTS) if name in names]
    unknown = [name for name in names if name not in (*wanted, assets)]
    if unknown:
        shown = ", ".join(printable(name) for name in unknown[:5])
        source.warnings.append(f"Other files in the folder are not carried over: {shown}")
    if assets in names:
        wanted += source.files_below(assets)
    for name in wanted:
        source.add(name)
    read_contents(source)


ARCHIVE = Format("keras3_archive", FileSource, _is_zip, read_archive, ZipWriter)
FOLDER = Format("keras3_folder", FolderSource, _is_any, read_folder, FolderWriter)
