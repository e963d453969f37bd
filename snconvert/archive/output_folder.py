"""Where a model may be written that is a folder of files."""

from __future__ import annotations

import os
import re

from snconvert.archive.atomic import exists
from snconvert.archive.source import ASSETS, CONFIG, METADATA, PRESET_FILES
from snconvert.errors import OutputError, printable

_WEIGHTS = re.compile(r".+\.weights\.(h5|json)")


def check_folder(source: str, real: str, *, force: bool) -> None:
    """Checks that a folder may take its place: as a whole, where nothing but a model was.

    Args:
        source: The input.
        real: The output, free of links.
        force: Whether an existing folder may be replaced.

    Raises:
        OutputError: It may not.
    """
    inside = os.path.realpath(source) + os.sep
    outside = real + os.sep
    if outside != inside and (outside.startswith(inside) or inside.startswith(outside)):
        raise OutputError(
            "the input and the output folder lie inside each other", "Choose another output"
        )
    if not os.path.lexists(real):
        return
    if not os.path.isdir(real):
        raise OutputError(
            "the output is a file, but the input is a folder and so is its output",
            "Choose another output",
        )
    if not force:
        raise exists(real)
    ours = {CONFIG, METADATA, ASSETS.rstrip("/"), *PRESET_FILES}
    others = [name for name in sorted({*os.listdir(real)} - ours) if not _WEIGHTS.fullmatch(name)]
    if others:
        raise OutputError(
            f"the folder holds other files as well ({printable(others[0])})",
            "Move them away or choose another output",
        )
