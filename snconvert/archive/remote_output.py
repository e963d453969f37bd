"""Writing a model to an object store, where it is there as a whole or not at all.

The model is put together in a file of this machine, as the header before the weights holds their
CRC-32, checked there, and then sent in parts, of which one is in memory at a time. Where a store
shows an object only once its upload is completed, as S3 and GCS do, the upload is completed after
the last part, or aborted. Elsewhere the parts go to a temporary name beside the place, which is
moved at the end, or removed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from snconvert.address import Address
from snconvert.archive import remote
from snconvert.archive.atomic import exists
from snconvert.archive.zip_writer import Writer
from snconvert.core.report import OnProgress, Progress
from snconvert.errors import (
    OutputError,
    OutputPermissionError,
    SnconvertError,
    SourceError,
    located,
)

_PART = 8 << 20  # S3 takes no less than 5 MiB
_MOST_PARTS = 9_000  # of the 10 000 that S3 takes
_COMPLETED = {"s3", "s3a", "gs", "gcs"}
"""The protocols whose uploads nobody sees before they are completed."""
_READ_ONLY = {"http", "https"}


def check_address(
    source: str, out: Address, writer: type[Writer], *, force: bool, in_place: bool
) -> None:
    """Checks, before any work, that an object may be written.

    Args:
        source: The input.
        out: The output.
        writer: What is going to write it: an archive or a folder.
        force: Whether an existing object may be replaced.
        in_place: Whether the output may be the input.

    Raises:
        OutputError: It is there, or is the input, or cannot be written.
        UnsupportedError: What speaks the protocol is missing.
    """
    refuse_read_only(out)
    if writer.folder:
        raise OutputError(
            "a folder is written on this machine only", "Name a folder here and upload it"
        )
    if isinstance(source, Address) and source.whole == out.whole and not in_place:
        raise OutputError(
            "the output is the input itself", "Choose another output, or use --in-place"
        )
    with writing(out):
        if remote.exists(out) and not (force or in_place):
            raise exists(out)


def refuse_read_only(out: Address) -> None:
    """Raises `OutputError` for the address of a web page, which nobody can write to."""
    if out.protocol in _READ_ONLY:
        raise OutputError(
            f"{out.protocol}:// URLs can be read only",
            "Name an output: -o model-sn.keras, or an object in a store",
            file=out,
        )


def is_occupied(out: Address) -> bool:
    """Whether an object is there.

    Raises:
        SnconvertError: The store cannot be reached.
    """
    with located(file=out), writing(out):
        return remote.exists(out)


@contextlib.contextmanager
def new_object(
    out: Address,
    writer: type[Writer],
    names: Sequence[str],
    *,
    force: bool,
    progress: OnProgress,
) -> Iterator[Writer]:
    """Yields a writer of what is uploaded when the block ends without an exception.

    Args:
        out: Where the object shall be.
        writer: What writes it.
        names: Those of the files of weights.
        force: Whether an object there is replaced.
        progress: Called with how much is uploaded.

    Raises:
        OutputError: There is no room for it here, or it cannot be uploaded; nothing of it is there.
    """
    with tempfile.TemporaryDirectory(prefix="snconvert-", ignore_cleanup_errors=True) as folder:
        path = os.path.join(folder, "written.keras")
        with writer.new(path, out, names, force=False) as parts:
            yield parts
        with located(file=out), writing(out):
            _upload(path, out, force=force, progress=progress)


@contextlib.contextmanager
def writing(out: Address) -> Iterator[None]:
    """Turns what a store raises into an `OutputError` without secrets."""
    try:
        yield
    except SourceError as error:  # of looking whether it is there
        denied = isinstance(error, PermissionError)
        kind = OutputPermissionError if denied else OutputError
        raise kind(error.what, error.fix, file=out) from None
    except SnconvertError:
        raise
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        raise _failed(error, out) from None


def _failed(error: Exception, out: Address) -> OutputError:
    if isinstance(error, FileExistsError):
        return exists(out)
    denied = remote.is_denied(error)
    kind = OutputPermissionError if denied else OutputError
    fix = (
        "Check the credentials, which are those that the store's own tools use"
        if denied
        else "Check the connection and the name of the bucket, and try again"
    )
    return kind(f"it cannot be written to the store ({remote.reason(error, out)})", fix, file=out)


def _upload(path: str, out: Address, *, force: bool, progress: OnProgress) -> None:
    store, key = remote.store_of(out)
    if not force and remote.exists(out):  # it may have come while the work went on
        raise exists(out)
    at_once, size = out.protocol in _COMPLETED, os.path.getsize(path)
    part = max(_PART, size // _MOST_PARTS)
    if at_once:
        # "xb" is S3's `If-None-Match: *`: the last word on whether an object is there.
        upload = store.open(key, "wb" if force else "xb", block_size=part, autocommit=False)
        _send(path, upload, part, progress)
    else:
        temporary = f"{key}.snconvert-{os.urandom(8).hex()}.tmp"
        try:
            _send(path, store.open(temporary, "wb", block_size=part), part, progress)
            store.mv(temporary, key)
        except BaseException:
            with contextlib.suppress(Exception):
                store.rm(temporary)
            raise
    written = remote.find(out).size
    if written != size:
        raise OutputError(f"the store holds {written} bytes of {size}", "Write it again")


def _send(path: str, upload: Any, part: int, progress: OnProgress) -> None:
    """Sends a file in parts; where one cannot be sent, what was sent is given up."""
    try:
        with open(path, "rb") as file:
            size, done = os.path.getsize(path), 0
            while data := file.read(part):
                upload.write(data)
                done += len(data)
                if progress is not None:
                    progress(Progress("uploading", "", done, size))
        upload.close()
        if not getattr(upload, "autocommit", True):
            upload.commit()
    except BaseException:
        with contextlib.suppress(Exception):
            upload.discard()
        with contextlib.suppress(Exception):
            upload.closed = True  # else it would be sent after all when it is collected
        raise
