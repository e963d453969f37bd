"""Objects in a store that fsspec reaches: S3, GCS, the Hugging Face hub, a web server.

Nothing here but `store_of` knows fsspec, which is an extra; the package that speaks the protocol
comes from the user.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from snconvert.address import LOCAL, Address
from snconvert.errors import (
    SnconvertError,
    SourceError,
    SourceNotFoundError,
    SourcePermissionError,
    UnsupportedError,
    printable,
)

R = TypeVar("R")

_TRIES = 4
_PAUSE = 0.2  # seconds before the second try, twice as long before each one after
_LONGEST_REASON, _SHORT = 200, 4
_VERSION = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created", "updated", "md5")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
_PACKAGES |= {"http": "aiohttp", "https": "aiohttp", "az": "adlfs", "abfs": "adlfs"}
_FINAL = (PermissionError, IsADirectoryError, NotImplementedError, ValueError)
_ABSENT, _REFUSED = (404, 410), (401, 403)  # the statuses of HTTP


@dataclass(frozen=True)
class Stored:
    """An object: where it is, and what tells that it is still the same.

    Attributes:
        address: Its URL.
        store: The file system of fsspec that holds it.
        key: Its name there.
        size: Its length in bytes.
        version: What changes with its bytes, as far as the store says that.
    """

    address: Address
    store: Any
    key: str
    size: int
    version: tuple[str, ...]

    def read(self, start: int, end: int) -> bytes:
        """Returns its bytes from `start` to `end`; a dropped connection is tried again.

        Raises:
            SourceError: They cannot be read.
        """
        with reading(self.address):
            data = bytes(again(lambda: self.store.cat_file(self.key, start=start, end=end)))
        if len(data) != end - start:
            raise SourceError(
                f"{len(data)} bytes came where {end - start} were asked for",
                "The server serves no ranges, or the object was changed: download it first",
            )
        return data


def store_of(address: Address) -> tuple[Any, str]:
    """Returns the file system that holds an object, and the object's name in it.

    Raises:
        UnsupportedError: fsspec is missing, or what speaks the protocol, or nobody speaks it.
        SnconvertError: The store cannot be reached, as for lack of credentials.
    """
    if "::" in address:
        raise UnsupportedError("a chain of URLs is not taken", "Give the URL of the file itself")
    if address.protocol in LOCAL:
        raise UnsupportedError("a file:// URL names no other machine", "Write file:///path")
    package = _PACKAGES.get(address.protocol)
    try:
        core: Any = importlib.import_module("fsspec.core")
    except ImportError:
        also = f" {package}" if package else ""
        raise UnsupportedError(
            "reading and writing URLs needs fsspec, which is not installed",
            f"Install it: pip install 'snconvert[remote]'{also}",
        ) from None
    registry: Any = importlib.import_module("fsspec.registry")
    try:
        registry.get_filesystem_class(address.protocol)
    except ImportError as error:
        fix = f"Install it: pip install {package}" if package else printable(error)
        needed = package or "a package of its own"
        raise UnsupportedError(
            f"{address.protocol}:// needs {needed}, which is not installed", fix
        ) from None
    except ValueError:
        raise UnsupportedError(
            f"nothing is known of {printable(address.protocol)}:// URLs",
            "Give a path, or a URL that fsspec knows, as s3://, gs://, hf:// and https://",
        ) from None
    with reading(address):
        store, key = core.url_to_fs(address.whole)
    return store, key


def find(address: Address) -> Stored:
    """Returns what a store says of an object now.

    Raises:
        SourceNotFoundError: It is not there.
        SourceError: It is a folder, or the store cannot be reached.
    """
    store, key = store_of(address)
    with reading(address):
        again(store.invalidate_cache)
        info = again(lambda: store.info(key))
    if info.get("type", "file") != "file":
        raise SourceError(
            "this is a folder in a store, and models in folders are read on this machine only",
            "Name a file in it, or download the folder",
        )
    if info.get("size") is None:
        raise SourceError("the server does not say how long the file is", "Download it first")
    version = tuple(f"{name}={info[name]}" for name in _VERSION if info.get(name) is not None)
    return Stored(address, store, key, int(info["size"]), version)


def exists(address: Address) -> bool:
    """Whether an object is there.

    Raises:
        SnconvertError: The store cannot be reached.
    """
    try:
        find(address)
    except SourceNotFoundError:
        return False
    return True


def again(work: Callable[[], R]) -> R:
    """Returns what `work` does, which is tried again after what may pass, as a lost connection."""
    pause = _PAUSE
    for _ in range(_TRIES - 1):
        try:
            return work()
        except _FINAL:
            raise
        except Exception as error:
            if is_absent(error) or is_denied(error):
                raise
        time.sleep(pause)
        pause *= 2
    return work()


@contextlib.contextmanager
def reading(address: Address) -> Iterator[None]:
    """Turns what a store raises into an error of one line, without what the URL keeps secret."""
    try:
        yield
    except SnconvertError:
        raise
    except Exception as error:  # noqa: BLE001 - each store has errors of its own
        if is_absent(error):
            raise SourceNotFoundError("there is no such object", "Check the URL") from None
        kind: type[SourceError] = SourceError
        fix = "Check the connection and try again"
        if is_denied(error):
            kind = SourcePermissionError
            fix = "Check the credentials, which are those that the store's own tools use"
        raise kind(f"the store cannot be read ({reason(error, address)})", fix) from None


def reason(error: BaseException, address: Address) -> str:
    """Returns what an error of a store says, in one short line without secrets."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else None
    text = " ".join(str(cause or error).split()) or type(error).__name__
    text = text.replace(address.whole, address)
    for secret in address.secrets:
        edge = r"\b" if len(secret) < _SHORT else ""  # a letter may stand in any word
        text = re.sub(f"{edge}{re.escape(secret)}{edge}", "...", text)
    if len(text) > _LONGEST_REASON:
        text = f"{text[:_LONGEST_REASON]}..."
    return printable(text.rstrip("."))


def is_absent(error: BaseException) -> bool:
    """Whether an error of a store says that the object is not there.

    That of a web server says so of everything; what it comes from has the status, if it answered.
    """
    if not isinstance(error, FileNotFoundError):
        return False
    cause = error.__cause__
    web = (type(cause).__module__ or "").startswith("aiohttp")
    return not web or getattr(cause, "status", None) in _ABSENT


def is_denied(error: BaseException) -> bool:
    """Whether an error of a store says that there are no credentials, or the wrong ones."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, PermissionError) or getattr(error.__cause__, "status", 0) in _REFUSED:
        return True
    return any("Credential" in name or "Auth" in name for name in names)
