"""How many files this process may open."""

from __future__ import annotations

import contextlib
import errno
import os

from snconvert.errors import UnsupportedError

NEEDED = 16
"""How many files are open at once while a model is read and another written, twice over."""
COMMAND_NEEDS = 24
"""The same for a whole command, which has a child by then and reads its result again."""


def check_descriptors(needed: int = NEEDED) -> None:
    """Makes sure that there are descriptors enough, before the work begins.

    Whoever runs out of them on the way cannot tell that from a damaged file or a full disk.

    Args:
        needed: How many.

    Raises:
        UnsupportedError: The process has too few left.
    """
    opened: list[int] = []
    try:
        while len(opened) < needed:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise UnsupportedError(
                f"only {len(opened)} more files can be opened at once, {needed} are needed",
                "Raise the limit (`ulimit -n`), or close files that this process has open",
            ) from None
    finally:
        for descriptor in opened:
            with contextlib.suppress(OSError):
                os.close(descriptor)
