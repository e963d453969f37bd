"""Where the result of one model goes."""

from __future__ import annotations

import os
from typing import Any

from snconvert.address import Address, place_of
from snconvert.archive.output import Destination
from snconvert.archive.remote_output import refuse_read_only
from snconvert.core.verbs import VERBS, StrPath
from snconvert.errors import OptionError, UnsupportedError
from snconvert.formats.table import is_model_folder


def destination_of(
    verb: str,
    source: StrPath,
    output: StrPath | None,
    *,
    dry_run: bool = False,
    force: bool = False,
    in_place: bool = False,
) -> Destination | None:
    """Returns where the result of a verb goes by what was said; `None`: nowhere.

    Into an output that is a folder, under the name that it would have beside the source.

    Raises:
        OptionError: Two places are given, or the source is no path.
    """
    if not isinstance(source, str | os.PathLike):
        raise OptionError(
            f"a {type(source).__name__} is no path of a file",
            f"Give a path, or a keras.Model to snconvert.{verb}",
        )
    source, output = place_of(source), None if output is None else place_of(output)
    if in_place and output is not None:
        raise OptionError("both an output and in_place are given", "Give one of them")
    if dry_run:
        return None
    if in_place:
        output = source
    elif output is None:
        output = VERBS[verb].default_output(source)
    elif is_place(output, source):
        name = os.path.basename(VERBS[verb].default_output(source))
        path = os.path.join(output, name)
        output = output.beside(name) if isinstance(output, Address) else path
    if isinstance(output, Address):
        refuse_read_only(output)
    return Destination(os.fspath(output), force, in_place)


def refuse_urls(*places: StrPath | Any) -> None:
    """Raises an error for a URL where Keras is to load or save the model.

    Args:
        *places: Paths, URLs or live models.

    Raises:
        UnsupportedError: One is a URL.
    """
    for place in places:
        where = place_of(place) if isinstance(place, str | os.PathLike) else None
        if isinstance(where, Address):
            raise UnsupportedError(
                "Keras has to open this model, and it opens files of this machine only",
                "Download the file, and give the path of the copy",
                file=where,
            )


def is_place(output: StrPath, source: StrPath) -> bool:
    """Whether an output is the folder that the result of a file goes into, by its name or as it is.

    An unzipped model is a folder itself, and so is its result.
    """
    path = os.fspath(output)
    if os.path.isdir(source):
        return False
    if isinstance(path, Address):
        return path.endswith("/")
    if os.path.isdir(path):
        return not is_model_folder(path)
    return path.endswith((os.sep, os.altsep or os.sep))
