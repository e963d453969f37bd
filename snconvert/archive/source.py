"""An input that is open for reading, and the proof that its bytes stay what they are.

Apart from the formats, which say what the bytes mean: a file or a folder, its members by name, the
SHA-256 of all of it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from snconvert.archive.background import Hashing
from snconvert.archive.members import Member
from snconvert.archive.weight_map import WeightMap
from snconvert.core.system import POSIX
from snconvert.errors import SourceError
from snconvert.weights.extent import Extent

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
"""The members of a model of Keras 3."""
WEIGHTS_MAP = "model.weights.json"
"""The usual name of the map where the weights are in several files."""
TASK = "task.json"
TASK_WEIGHTS = "task.weights.h5"
PRESET_FILES = (
    TASK,
    "tokenizer.json",
    "preprocessor.json",
    "audio_converter.json",
    "image_converter.json",
    "video_converter.json",
    "README.md",
)
"""What a preset of keras-hub holds beside a configuration, metadata, weights and assets."""

Identity = tuple[tuple[int, ...], tuple[int, ...], int]


@dataclass
class Source(ABC):
    """An open saved model; a context manager that closes its files.

    A file or folder is opened by its class, what stands in it is filled in by its format.

    Attributes:
        path: The path as the user gave it.
        size: The size of the input in bytes, all files of a folder together.
        members: The members of the archive or the files of the folder by name.
        format: The name of its row in `formats.table.FORMATS`.
        config: The bytes of its configuration, JSON.
        metadata: The bytes of its metadata, JSON; `None` where there are none.
        weights_name: The member that is the HDF5 file of the weights, or the map of several.
        weight_map: That map, if there are several.
        weights: Where its bytes lie, decompressed.
        assets: The names of the assets, `assets/...`, in the order of the input.
        carried: The names of other members that go into the result as they are.
        warnings: What the user should know about the input, one sentence each.
        beside: Path and bytes of the configuration that the user gave beside it, if any.
        stored: The bytes of the small members as they are stored, by name.
    """

    path: str
    size: int = 0
    members: dict[str, Member] = field(default_factory=dict)
    format: str = ""
    config: bytes = b""
    metadata: bytes | None = None
    weights_name: str = WEIGHTS
    weight_map: WeightMap | None = None
    weights: Extent = field(default_factory=lambda: Extent(-1, 0, 0))
    assets: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    beside: tuple[str, bytes] | None = None
    stored: dict[str, bytes] = field(default_factory=dict)
    _descriptors: list[int] = field(default_factory=list)
    _temporary: list[str] = field(default_factory=list)
    _identities: dict[str, Identity] = field(default_factory=dict)
    _hashing: Hashing | None = None

    def __post_init__(self) -> None:
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the input; maps of the weights that are in use stay valid."""
        if self._hashing is not None:
            self._hashing.close()
        while self._descriptors:
            with contextlib.suppress(OSError):  # what was read was read
                os.close(self._descriptors.pop())
        while self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary.pop())

    @abstractmethod
    def _open(self) -> None:
        """Opens the file or folder and lists its members."""

    @abstractmethod
    def read(self, name: str) -> Iterator[bytes]:
        """Yields the bytes of a member in chunks; the last step checks them.

        Raises:
            SourceError: The member is damaged or cannot be read.
        """

    @abstractmethod
    def extent(self, name: str) -> Extent:
        """Returns where the bytes of a member lie, decompressed, while the input is open.

        Raises:
            SourceError: The member is damaged or cannot be read.
            OutputError: There is no room to decompress it.
        """

    def weight_files(self) -> list[tuple[str, Extent]]:
        """Returns the names and the bytes of the HDF5 files that hold the weights."""
        shards = [(shard.name, shard.extent) for shard in self.weights.shards]
        return shards or [(self.weights_name, self.weights)]

    @abstractmethod
    def parts(self) -> Iterator[tuple[str, Extent]]:
        """Yields the files whose bytes make up the input, each open until the next one."""

    def hash_ahead(self) -> None:
        """Starts the thread that computes the SHA-256, for whoever will ask for it later."""
        if self._hashing is None:
            self._hashing = Hashing(self.parts)

    def sha256(self, tell: Callable[[int], None] | None = None) -> str:
        """Returns the SHA-256 of the input in hexadecimal.

        That is of the file, or of the folder's files joined in the order of their names.

        Args:
            tell: Called now and then with how many bytes are done.

        Raises:
            SourceError: The input cannot be read.
        """
        self.hash_ahead()
        return "" if self._hashing is None else self._hashing.result(tell)

    @abstractmethod
    def check_weights(self) -> None:
        """Reads the stored weights once and compares their CRC, where the input has one.

        Whoever writes the archive need not call this: writing checks along the way.

        Raises:
            SourceError: The weights are damaged.
        """

    def check_unchanged(self) -> None:
        """Compares size, times and inode of the input with those at its opening.

        The time of the status changes with every byte that is written, whatever other times are set
        back to, and with the permissions and links. Only where these changed, too, can the bytes be
        the same; then what was read is compared with what is there now.

        Raises:
            SourceError: The input was changed or replaced since.
        """
        for path, (before, status, status_time) in self._identities.items():
            try:
                now = {identity_of(each) for each in self._statuses(path)}
            except OSError:
                raise changed(self.path) from None
            if now == {(before, status, status_time)}:
                continue
            renewed = {identity[0] for identity in now} == {before}
            if not renewed or status in {identity[1] for identity in now} or not self._same():
                raise changed(self.path)
            self.check_weights()

    def _statuses(self, path: str) -> list[os.stat_result]:
        """Returns the status of one file of the input, in every way to reach it."""
        return [os.stat(path)]

    def _same(self) -> bool:
        """Whether what is there now is what was read: of weights only a CRC tells."""
        return False


@contextlib.contextmanager
def unchanged(path: str) -> Iterator[None]:
    """Refuses a model, read by its path within the block, that is another at the end of the block.

    Args:
        path: A file or a folder.

    Raises:
        SourceError: It was changed or replaced in the block.
    """
    before = _identities_below(path)
    yield
    if _identities_below(path) != before:
        raise changed(path)


def _identities_below(path: str) -> list[tuple[str, Identity | None]]:
    paths = [path]
    for folder, _, names in os.walk(path):
        paths += [os.path.join(folder, name) for name in sorted(names)]
    identities: list[tuple[str, Identity | None]] = []
    for each in paths:
        identity = None
        with contextlib.suppress(OSError, ValueError):  # it cannot be read: opening it says why
            identity = identity_of(os.stat(each))
        identities.append((each, identity))
    return identities


def changed(path: str) -> SourceError:
    """Returns the error for an input that is another than it was when it was opened."""
    return SourceError(
        "the file was changed, replaced or removed while it was read",
        "Try again when nothing writes to it",
        file=path,
    )


def identity_of(status: os.stat_result) -> Identity:
    """Returns what every change of a file changes, its owner and mode, and the time of both."""
    content = status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
    other = status.st_mode, status.st_uid, status.st_gid, status.st_nlink
    # On Windows it is the time of creation, or by an open file the one that is meant.
    return content, other, status.st_ctime_ns if POSIX else 0


def kind_of_file(mode: int) -> str:
    """Returns what a path with that mode is, in words."""
    words = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
    )
    return next((name for test, name in words if test(mode)), "a device")
