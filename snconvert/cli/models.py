"""Several models in one call: which files are meant, and where their results go."""

from __future__ import annotations

import contextlib
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from snconvert.address import Address
from snconvert.archive.atomic import writing
from snconvert.core.foreign import HDF5_SUFFIXES, WEIGHTS_SUFFIX
from snconvert.core.verbs import VERBS
from snconvert.errors import OptionError, SourceError, printable
from snconvert.formats.table import is_model_folder


def means_several(model: str) -> bool:
    """Whether one argument stands for any number of models: a glob, or a folder of models."""
    if isinstance(model, Address):  # which may look like a glob
        return False
    if not os.path.lexists(model):
        return glob.has_magic(model)
    return os.path.isdir(model) and not is_model_folder(model)


def expand(models: Sequence[str], verb: str = "apply") -> list[str]:
    """Returns the model files and folders that the arguments mean.

    A folder that is an unzipped model stands for itself, any other for the `.keras` and HDF5 files
    in it, but for weights alone. Results of an earlier run (`x-sn.keras` beside `x.keras`) are left
    out, unless one only looks: among names, too, as it is the shell that mostly writes those.

    Raises:
        SourceError: A glob or a folder holds no model.
    """
    sources: list[str] = []
    for model in models:
        if not means_several(model):
            sources.append(model)
        elif not os.path.isdir(model):
            matches = sorted(glob.glob(model, recursive=True))
            if not matches:
                raise SourceError("the pattern matches no file", "Check it", file=model)
            sources += matches
        else:
            inside = sorted(str(path) for path in Path(model).iterdir() if _is_model(path))
            if not inside:
                raise SourceError(
                    "the folder holds no .keras or .h5 file and is no unzipped model",
                    "Give a model file, or the folder that model.save(..., zipped=False) wrote",
                    file=model,
                )
            sources += inside
    return _without_results(list(dict.fromkeys(sources)), verb)


def _is_model(path: Path) -> bool:
    """Whether a file is a model by its name."""
    if path.suffix in HDF5_SUFFIXES:
        return not path.stem.endswith(WEIGHTS_SUFFIX)
    return path.suffix == ".keras"


def _without_results(paths: Sequence[str], verb: str) -> list[str]:
    if not VERBS[verb].writes:
        return list(paths)
    # What `apply` has made is what the ways back are for.
    verbs = [
        each
        for each in VERBS.values()
        if each.writes and (VERBS[verb].converts or not each.converts)
    ]
    results = {
        each.default_output(path, apart=apart)
        for path in paths
        for each in verbs
        for apart in (False, True)
    }
    return [path for path in paths if path not in results]


def outputs(sources: Sequence[str], folder: str | None, verb: str = "apply") -> list[str]:
    """Returns where each result goes: beside its source, or in `folder`.

    Where `m.h5` and `m.keras` would both become `m-sn.keras`, the first becomes `m-h5-sn.keras`.

    Raises:
        OptionError: `folder` is a file, or named like one; or two results would have the same name
            all the same.
    """
    if not (folder is None or isinstance(folder, Address) or os.path.isdir(folder)):
        place = folder.rstrip(os.sep)
        exists, slash = os.path.lexists(place), folder.endswith(os.sep)
        if exists or (_is_model(Path(folder)) and not slash):
            several = len(sources) > 1
            raise OptionError(
                f"{'several models are written to' if several else 'a slash at the end means'} a"
                f" folder, and {printable(place)!r} {'is' if exists else 'names'} a file",
                "Name a folder (it is made where it is missing), or convert one model at a time"
                if several
                else "Leave out the slash, or name a folder",
            )
    placed = [_placed(source, folder, verb) for source in sources]
    shared = _shared(placed)
    placed = [
        _placed(source, folder, verb, apart=True) if os.path.normcase(path) in shared else path
        for source, path in zip(sources, placed, strict=True)
    ]
    for name in _shared(placed):
        first, second, *_ = (
            f"{printable(source)!r}"
            for source, path in zip(sources, placed, strict=True)
            if os.path.normcase(path) == name
        )
        raise OptionError(
            f"{first} and {second} would both be written to {printable(name)!r}",
            "Convert them in two calls, each with an output of its own (-o)",
        )
    return placed


def _placed(source: str, folder: str | None, verb: str, *, apart: bool = False) -> str:
    path = VERBS[verb].default_output(source, apart=apart)
    if folder is None:
        return path
    name = os.path.basename(path)
    if isinstance(folder, Address):
        return (
            folder.beside(name)
            if folder.endswith("/")
            else Address(f"{folder.whole}/").beside(name)
        )
    return os.path.join(folder, name)


def _shared(paths: Sequence[str]) -> list[str]:
    """Returns the names that several paths have, as they are compared."""
    return [name for name, count in Counter(map(os.path.normcase, paths)).items() if count > 1]


@contextlib.contextmanager
def made(folder: str | None) -> Iterator[None]:
    """Makes a folder for results; at the end of the block it goes again if none is in it.

    Args:
        folder: The folder, which may be there; `None`: the results need none.

    Raises:
        OutputError: It cannot be made.
    """
    if isinstance(folder, Address):  # where a name makes folders enough
        yield
        return
    missing: list[str] = []
    place = os.path.abspath(folder or "")
    while folder is not None and not os.path.lexists(place):
        missing.append(place)
        place = os.path.dirname(place)
    try:
        if missing and folder is not None:
            with writing(folder):
                os.makedirs(folder, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            for one in missing:
                os.rmdir(one)


def size_of(model: str) -> int:
    """Returns the bytes of a model's files, as far as they can be seen."""
    with contextlib.suppress(OSError):
        if not os.path.isdir(model):
            return os.path.getsize(model)
        paths = (os.path.join(place, name) for place, _, names in os.walk(model) for name in names)
        return sum(map(os.path.getsize, paths))
    return 0
