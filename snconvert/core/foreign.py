"""What a file really is that holds no model of a known format, by its first bytes.

The extension says nothing: Keras 2.12 wrote HDF5 under the name `.keras`, downloads end as HTML
pages. Nothing is parsed here, so nothing can go wrong in a parser: signatures, and names.
"""

from __future__ import annotations

from collections.abc import Collection

from snconvert.errors import SourceError

HDF5 = b"\x89HDF\r\n\x1a\n"
HDF5_SUFFIXES = (".h5", ".hdf5")
WEIGHTS_SUFFIX = ".weights"
"""What stands before the suffix of weights alone."""
ZIP = b"PK\x03\x04"
SAVED_MODEL = "saved_model.pb"

HEAD = 1 << 20
"""How much of a file is enough to tell what it is."""
REBUILD = (
    "Load it with the package tf-keras, rebuild the model in Keras 3, copy the weights with"
    " set_weights and save that"
)
"""The way to Keras 3 that is always there, for what Keras 2 wrote."""

_NEEDED = "A model that keras.Model.save wrote is needed, as .keras or .h5"
_SIGNATURES: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x1f\x8b", 0, "a gzip file, not a zip archive", "Unpack it with gunzip first"),
    (b"BZh", 0, "a bzip2 file, not a zip archive", "Unpack it first"),
    (b"\xfd7zXZ\x00", 0, "an xz file, not a zip archive", "Unpack it first"),
    (b"\x28\xb5\x2f\xfd", 0, "a zstandard file, not a zip archive", "Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip file, not a zip archive", "Unpack it first"),
    (b"Rar!", 0, "a RAR file, not a zip archive", "Unpack it first"),
    (b"ustar", 257, "a tar file, not a zip archive", "Unpack it first"),
    (b"\x93NUMPY", 0, "a numpy array, not a model", _NEEDED),
    (b"TFL3", 4, "a TensorFlow Lite model, not a .keras archive", _NEEDED),
    (b"version https://git-lfs", 0, "a Git LFS pointer, not the model", "Run `git lfs pull`"),
    (b"%PDF", 0, "a PDF document, not a model", _NEEDED),
)


def unknown_file(head: bytes, size: int) -> SourceError:
    """Returns the error for a file of no known format, which says what the file is.

    Args:
        head: The first bytes of the file, a mebibyte at most.
        size: The size of the file in bytes.
    """
    if size == 0:
        return SourceError("the file is empty, not a .keras archive (zip)", "Save the model again")
    if any(head[start : start + 8] == HDF5 for start in (512, 1024, 2048)):
        return SourceError(
            "this is an HDF5 file with a block of other data before it, which Keras does not write",
            "Cut it off with h5unjam, of the HDF5 tools",
        )
    for signature, start, what, fix in _SIGNATURES:
        if head[start : start + len(signature)] == signature:
            return SourceError(f"this is {what}", fix)
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:  # noqa: PLR2004 - pickle protocols
        return SourceError(
            "this is a pickle, not a zip archive; it is not opened, since that could run code",
            _NEEDED,
        )
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < size:
        return SourceError(
            "this is a safetensors file: arrays, not a Keras model",
            "Build the model, assign the arrays and save it as .keras",
        )
    if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x3a") and b"\x0a" in head[:512]:
        return SourceError("this is an ONNX model, not a Keras model", _NEEDED)
    if ZIP.startswith(head[:4]) or head[:4] in (b"PK\x05\x06", b"PK\x07\x08"):
        return SourceError(
            "this is not a complete zip archive: it is truncated or empty",
            "Copy or download it again",
        )
    return _text(head)


def weights_only(groups: Collection[str], *, listed: bool) -> SourceError:
    """Returns the error for an HDF5 file that holds no model, but perhaps its weights.

    Args:
        groups: The paths of its groups.
        listed: Whether it lists the layers whose weights it holds.
    """
    if not listed and not holds_variables(groups):
        return SourceError("this is an HDF5 file of another program, not a Keras model", _NEEDED)
    writer = "`save_weights` of Keras 2" if listed else "`save_weights` of Keras 3, .weights.h5"
    return SourceError(
        f"these are weights only ({writer}): the configuration of the model that they belong to is"
        " not in the file",
        "Give it beside them with --config FILE.json: what `model.to_json()`"
        " returns, or the config.json out of a .keras file",
    )


def holds_variables(groups: Collection[str]) -> bool:
    """Whether an HDF5 file has groups as Keras 3 writes them, one for the variables of each layer.

    Args:
        groups: The paths of its groups.
    """
    return any(group.rpartition("/")[2] == "vars" for group in groups)


def _text(head: bytes) -> SourceError:
    text = head[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return SourceError(
            "this is an HTML page, not a zip archive", "Download the file again, without the page"
        )
    if text.startswith((b"{", b"[")):
        if b'"weight_map"' in head:
            return SourceError(
                "this is the map of sharded weights, not a model",
                "Name the folder that holds it beside config.json, or give that with --config",
            )
        if b'"class_name"' in head:
            return SourceError(
                "this is a model's configuration (JSON) without weights, not a .keras archive",
                "Give the file of the weights, and this one with --config",
            )
        return SourceError("this is a JSON file, not a zip archive", _NEEDED)
    return SourceError("this is not a zip archive, which every .keras file is", _NEEDED)


def unknown_members(names: list[str]) -> SourceError | None:
    """Returns the error for an archive or folder of another kind, None if it may be Keras' own.

    Args:
        names: The members' names: paths with `/`, relative to the archive's or folder's root.
    """
    members = set(names)
    if "model.weights.npz" in members:
        return SourceError(
            "the weights are stored as npz (model.weights.npz), which Keras cannot load back",
            "Save the model again with zipped=True, or with HDF5 weights",
        )
    if "model.weights.json" in members:
        return SourceError(
            "the weights are sharded (model.weights.json)",
            "Load the model with Keras and save it without max_shard_size",
        )
    if SAVED_MODEL in members or "saved_model.pbtxt" in members:
        return SourceError(
            "this is a TensorFlow SavedModel, not a Keras model file",
            "Save the model that it was exported from as .keras",
        )
    orbax = ("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt", "checkpoint.orbax")
    if members & set(orbax) or any("orbax" in name for name in members):
        return SourceError(
            "this is an Orbax checkpoint, not a Keras model file",
            "Restore it into the model with Keras and save that as .keras",
        )
    if "checkpoint" in members or any(name.endswith(".index") for name in members):
        return SourceError(
            "this is a TensorFlow checkpoint: weights only, not a Keras model file",
            "Build the model, load_weights into it and save it as .keras",
        )
    if "config.json" in members:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return SourceError("this is an npz file of arrays, not a Keras model file", _NEEDED)
    if any(name.endswith("/data.pkl") for name in members):
        return SourceError("this is a PyTorch file, not a Keras model file", _NEEDED)
    return None


def unknown_weights(head: bytes) -> SourceError | None:
    """Returns the error for weights that are not HDF5, None if they begin as HDF5 does.

    Args:
        head: The first bytes of `model.weights.h5`.
    """
    if head.startswith(HDF5):
        return None
    kind = "empty" if not head else "npz or another zip" if head.startswith(b"PK") else "other data"
    return SourceError(
        f"model.weights.h5 is not an HDF5 file but {kind}", "Save the model again with Keras"
    )
