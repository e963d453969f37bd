"""The attributes of HDF5 files that older versions of Keras wrote; runs in the guarded process.

Each is looked up by its name, and its type checked before it is read: to walk over the attributes
of a damaged file makes libhdf5 crash or hang.
"""

from __future__ import annotations

import codecs
from typing import Any

import numpy as np
from h5py import h5a, h5g, h5o, h5s, h5t

from snconvert.core.system import little_memory
from snconvert.errors import SourceError, printable
from snconvert.weights.contents import Attributes
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import OverlayFile
from snconvert.weights.reading import opened, translated

ROOT_ATTRIBUTES = ("model_config", "training_config", "keras_version", "backend", "layer_names")
"""The attributes that Keras writes at the root of a file."""

_MOST_BYTES = 64 << 20
_LITTLE = 64 << 20
_MOST_NAMES = 1_000_000
_MOST_PARTS = 10_000
_RESAVE = "Save the model again with Keras"


def read_attributes(extent: Extent) -> Attributes:
    """Returns what the attributes of a whole model, or of weights only, say.

    Args:
        extent: The bytes of an HDF5 file that `scan` has accepted.

    Raises:
        SourceError: One is damaged, too large, or of a type that Keras does not write.
    """
    codecs.lookup("ascii")  # its module is a file, and no file can be opened below
    reader = _Reader()
    # A damaged length of a text would be allocated before it turns out that nothing is so long.
    memory = little_memory(_LITTLE + 4 * min(extent.size, _MOST_BYTES))
    with memory, opened(OverlayFile(extent), "r") as file, translated("the root"):
        root = h5g.open(file.id, b"/")
        config, training, version, backend = (
            reader.text(root, name, "") for name in ROOT_ATTRIBUTES[:4]
        )
        base, holder = "", root
        if root.links.exists(b"model_weights"):
            base, holder = "model_weights/", _group(root, "model_weights")
            version = version or reader.text(holder, "keras_version", base)
            backend = backend or reader.text(holder, "backend", base)
        names = reader.names(holder, "layer_names", base)
        layers = None
        if names is not None:
            layers = tuple((name, reader.paths(root, f"{base}{name}")) for name in names)
        return Attributes(
            config,
            training,
            version,
            backend,
            layers,
            reader.paths(root, f"{base}top_level_model_weights"),
            reader.paths(root, "optimizer_weights"),
        )


def _parts(item: Any, name: str) -> list[str]:
    """Returns the names of the attributes that hold a list: it, or the parts of a long one."""
    if h5a.exists(item, name.encode()):
        return [name]
    parts: list[str] = []
    while h5a.exists(item, f"{name}{len(parts)}".encode()):
        parts.append(f"{name}{len(parts)}")
        if len(parts) > _MOST_PARTS:
            raise SourceError(f"its attribute {name} has too many parts", _RESAVE)
    return parts


class _Reader:
    """Reads texts, up to a number of bytes and of names in all."""

    def __init__(self) -> None:
        self._bytes = _MOST_BYTES
        self._names = _MOST_NAMES

    def text(self, item: Any, name: str, path: str) -> str | None:
        """Returns one text; `None` if there is no such attribute."""
        if not h5a.exists(item, name.encode()):
            return None
        values = self._read(item, name, path)
        if len(values) != 1:
            raise _unexpected(name, path, f"holds {len(values)} texts, but one is expected")
        return values[0]

    def names(self, item: Any, name: str, path: str) -> list[str] | None:
        """Returns a list of names, `None` if there is none."""
        parts = _parts(item, name)
        if not parts:
            return None
        names = [text for part in parts for text in self._read(item, part, path)]
        for text in names:
            if not text.isprintable() or not {"", ".", ".."}.isdisjoint(text.split("/")):
                raise _unexpected(name, path, f"holds {printable(text)!r}, which is no plain name")
        return names

    def paths(self, root: Any, group: str) -> tuple[str, ...]:
        """Returns the paths of the weights that a group lists, none if it is not there."""
        if not _is_there(root, group):
            return ()
        names = self.names(_group(root, group), "weight_names", group) or ()
        return tuple(f"{group}/{name}" for name in names)

    def _read(self, item: Any, name: str, path: str) -> list[str]:
        attribute = h5a.open(item, name.encode())
        space, kind = attribute.get_space(), attribute.get_type()
        if space.get_simple_extent_type() == h5s.NULL:
            return []
        shape = space.get_simple_extent_dims()
        count = int(np.prod(shape, dtype=object)) if shape else 1
        if count == 0:  # as which type an empty list is written differs
            return []
        if kind.committed() or kind.get_class() != h5t.STRING or len(shape) > 1:
            raise _unexpected(name, path, "is no text, but text is expected")
        self._names -= count
        self._bytes -= count * kind.get_size()
        self._check(name, path)
        values = np.empty(shape, attribute.dtype)
        attribute.read(values)
        texts = [
            bytes(value)
            if isinstance(value, bytes)
            else str(value).encode("utf-8", "surrogateescape")
            for value in values.ravel().tolist()
        ]
        if kind.is_variable_str():
            self._bytes -= sum(map(len, texts))
            self._check(name, path)
        try:
            return [text.decode() for text in texts]
        except UnicodeDecodeError:
            raise _unexpected(name, path, "is no text in UTF-8") from None

    def _check(self, name: str, path: str) -> None:
        if self._bytes < 0 or self._names < 0:
            raise _unexpected(name, path, "makes too much text")


def _is_there(root: Any, path: str) -> bool:
    """Whether every group on the way exists, and none is a link elsewhere (`scan` has seen to)."""
    place = ""
    for name in path.split("/"):
        place = f"{place}/{name}".lstrip("/")
        if not root.links.exists(place.encode()):
            return False
    return True


def _group(root: Any, path: str) -> Any:
    item = h5o.open(root, path.encode())
    if not isinstance(item, h5g.GroupID):
        raise SourceError(f"{printable(path)} is an array, but a group is expected", _RESAVE)
    return item


def _unexpected(name: str, path: str, what: str) -> SourceError:
    where = printable(path.rstrip("/") or "the root")
    return SourceError(f"the attribute {name} of {where} {what}", _RESAVE)
