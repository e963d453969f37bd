"""Writing the converted model: where it may go, and how its bytes are put together."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from snconvert.address import Address
from snconvert.archive.atomic import exists, writing
from snconvert.archive.copying import Copying, Progress
from snconvert.archive.output_folder import check_folder
from snconvert.archive.remote_output import check_address, is_occupied, new_object
from snconvert.archive.source import ASSETS, METADATA, Source
from snconvert.archive.zip_writer import Writer
from snconvert.core.report import OnProgress
from snconvert.errors import (
    OutputError,
    OutputFolderError,
    OutputPermissionError,
    located,
    printable,
)
from snconvert.weights.overlay import Overlay, ShardedOverlay

Check = Callable[[str], None]


class Destination(NamedTuple):
    """Where a result goes, and what may be there already.

    Attributes:
        path: The output.
        force: Whether an existing output may be replaced.
        in_place: Whether the output may be the input, and replace it.
    """

    path: str
    force: bool = False
    in_place: bool = False

    @property
    def replaces(self) -> bool:
        """Whether the result may take the place of something."""
        return self.force or self.in_place

    @property
    def occupied(self) -> bool:
        """Whether something is there that the result may not replace."""
        if self.replaces:
            return False
        if isinstance(self.path, Address):
            return is_occupied(self.path)
        return os.path.exists(self.path)


def check_output(
    source_path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    writer: type[Writer],
    *,
    force: bool = False,
    in_place: bool = False,
    older: bool = False,
) -> str:
    """Checks, before any work, that the output may be written.

    Args:
        source_path: The input.
        out: The output. Where it is a link, the link stays and the file it leads to is replaced.
        writer: What is going to write it: an archive or a folder.
        force: Whether an existing output may be replaced.
        in_place: Whether the output may be the input, and replace it.
        older: Whether no result replaces such an input.

    Returns:
        The path that will be written, free of links.

    Raises:
        OutputError: The output exists, is the input in some disguise, is of another kind, or its
            folder is missing or cannot be written.
    """
    source, shown = os.fspath(source_path), os.fspath(out)
    if isinstance(shown, Address):
        with located(file=shown):
            check_address(source, shown, writer, force=force, in_place=in_place)
        return shown
    with located(file=shown), writing(shown):
        real = _real(shown)
        check_parent(real)
        with contextlib.suppress(FileNotFoundError):
            os.lstat(real)  # says what is wrong with the name itself, if anything is
        same = os.path.exists(real) and os.path.exists(source) and os.path.samefile(source, real)
        if same and not in_place:
            way_out = "" if older else ", or use --in-place to replace the input"
            raise OutputError("the output is the input itself", f"Choose another output{way_out}")
        if writer.folder:
            check_folder(source, real, force=force or in_place)
        elif os.path.lexists(real):
            mode = os.lstat(real).st_mode
            if not stat.S_ISREG(mode):
                if stat.S_ISDIR(mode):
                    raise OutputError("the output is a folder", "Name a file")
                raise OutputError("the output is no regular file", "Choose another output")
            if not (force or in_place):
                raise exists(shown)
        check_writable(real)
    return real


def check_parent(out: str) -> None:
    """Raises `OutputFolderError` unless the folder of an output is there."""
    if not os.path.isdir(parent := os.path.dirname(out)):
        what = f"the folder {printable(parent)!r} does not exist"
        raise OutputFolderError(what, "Create it first")


def check_writable(out: str) -> None:
    """Raises `OutputPermissionError` unless a file can be made in the folder of an output."""
    parent = os.path.dirname(out)
    if not os.access(parent, os.W_OK | os.X_OK):
        what = f"the folder {printable(parent)!r} cannot be written"
        raise OutputPermissionError(what, "Choose a folder that you may write to")


class Output:
    """A converted model on its way into its place; made by `begin`."""

    def __init__(self, source: Source, shown: str, parts: Writer) -> None:
        self._source = source
        self._shown = shown
        self._parts = parts
        self._copying: list[Copying] = []
        try:
            for (name, extent), place in zip(source.weight_files(), parts.weights, strict=True):
                own, last = source.members[name], self._copying[-1:]
                self._copying.append(Copying(extent, own, place, parts.offset, *last))
        except BaseException:
            self.close()
            raise
        self.finished = False

    def finish(
        self,
        *,
        texts: Mapping[str, bytes],
        metadata: Callable[[], bytes],
        overlay: Overlay | ShardedOverlay,
        assets: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        check: Check | None = None,
    ) -> int:
        """Writes what is missing: the changes of the weights, and the other members.

        Args:
            texts: The bytes of the new `config.json`, and of other members that change, by name.
            metadata: Returns the bytes of the new `metadata.json`; called once the weights are
                written.
            overlay: The changes of the weights.
            assets: Old name -> new name of the assets that are renamed.
            progress: Called with numbers of bytes of the old weights, as they are copied.
            check: Called with a path to the finished output, before it takes its place.

        Returns:
            The size of the output in bytes.

        Raises:
            SourceError: The input is damaged, cannot be read, or changed while it was read.
            OutputError: The output cannot be written.
        """
        source, parts = self._source, self._parts
        with located(file=self._shown):
            names = _asset_names(source, assets)
        with located(file=source.path), writing(self._shown):
            overlays = overlay.overlays if isinstance(overlay, ShardedOverlay) else (overlay,)
            crc = 0
            for copying, own in zip(self._copying, overlays, strict=True):
                crc = copying.finish(own, progress)
            parts.end_weights(sum(own.size for own in overlays), crc)
            if isinstance(overlay, ShardedOverlay) and source.weight_map is not None:
                text = source.weight_map.after(source.weights.shards, overlay)
                parts.add(source.weights_name, iter([text]), len(text))
            for name, content in texts.items():
                parts.add(name, iter([content]), len(content))
            for name in source.carried:
                parts.add(name, source.read(name), source.members[name].size)
            for old, new in names.items():
                parts.add(new, source.read(old), source.members[old].size)
            last = metadata()
            parts.add(METADATA, iter([last]), len(last))
            size = parts.close()
            if check is not None:
                check(parts.path)
            source.check_unchanged()
        self.finished = True
        return size

    def check(self) -> None:
        """Raises what has ended the copying of the weights, if anything has, before `finish` does.

        Raises:
            SourceError: As `finish` does.
            OutputError: As `finish` does.
        """
        with located(file=self._source.path), writing(self._shown):
            for copying in self._copying:
                copying.check()

    def close(self) -> None:
        """Ends the copying of the weights."""
        for copying in self._copying:
            copying.close()


@contextlib.contextmanager
def begin(
    source: Source,
    out: str | os.PathLike[str],
    writer: type[Writer],
    *,
    force: bool = False,
    progress: OnProgress = None,
) -> Iterator[Output]:
    """Starts to write a model beside its place, which it takes at the end of the block.

    The weights are copied from now on. All members of an archive are stored with one fixed date, so
    that the same input gives the same bytes. Where `out` is a link, the link stays and what it
    leads to is replaced; a folder only as a whole, and only if it holds nothing but a model.

    Args:
        source: The input.
        out: The output.
        writer: What writes it: an archive or a folder.
        force: Whether an existing output is replaced.
        progress: Called with how much of it is uploaded, where it goes to a store.

    Yields:
        What has to be finished within the block, which closes the input. If it raises, nothing is
        left behind.

    Raises:
        SourceError: The input cannot be read.
        OutputError: The output cannot be written.
    """
    shown = os.fspath(out)
    with located(file=source.path), _new(source, shown, writer, force, progress) as parts:
        with writing(shown):
            output = Output(source, shown, parts)
        with contextlib.closing(output):
            yield output
        if not output.finished:
            raise RuntimeError("an output was begun and not finished")
        source.close()  # Windows replaces no open file


def _new(
    source: Source, shown: str, writer: type[Writer], force: bool, progress: OnProgress
) -> contextlib.AbstractContextManager[Writer]:
    names = [name for name, _ in source.weight_files()]
    if isinstance(shown, Address):
        return new_object(shown, writer, names, force=force, progress=progress)
    with located(file=shown), writing(shown):
        real = _real(shown)
        if writer.folder and os.path.lexists(real):
            check_folder(source.path, real, force=force)
    return writer.new(real, shown, names, force=force)


def _real(out: str) -> str:
    if not out:
        raise OutputError("the output has no name", "Give a path")
    return os.path.realpath(out)


def _asset_names(source: Source, renamed: Mapping[str, str] | None) -> dict[str, str]:
    names = {old: (renamed or {}).get(old, old) for old in source.assets}
    for new in names.values():
        parts = new.split("/")
        if not new.startswith(ASSETS) or any(part in ("", ".", "..") for part in parts):
            raise OutputError(f"the asset name {printable(new)!r} is no path under assets/")
    if len(set(names.values())) < len(names):
        raise OutputError("two assets would get the same name", "Rename the layers")
    return names
