"""Makes `python -m snconvert` the command line."""

from __future__ import annotations

import gc
import io
import os
import sys

from snconvert.core.verbs import VERBS
from snconvert.sandbox import signals
from snconvert.sandbox.worker import Worker


def _open_streams() -> None:
    """Makes standard streams that take what is written to them.

    A closed one (`2>&-`) gets something, lest a model be opened in its place; one that cannot show
    a letter, as under `LC_ALL=C`, shows its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            while os.open(os.devnull, os.O_RDWR) < number:
                pass
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_descriptors() -> None:
    """Ends the command where it may open too few files, before it opens any."""
    from snconvert.archive.descriptors import COMMAND_NEEDS, check_descriptors  # noqa: PLC0415 - as below
    from snconvert.errors import UnsupportedError  # noqa: PLC0415 - as below

    try:
        check_descriptors(COMMAND_NEEDS)
    except UnsupportedError as error:
        sys.exit(f"error: {error}")


def main() -> None:
    """Runs the command line; one that is interrupted while it starts leaves no traceback."""
    _open_streams()
    signals.end_at_once()
    # The start makes thousands of objects that stay: looking for cycles among them is in vain.
    gc.set_threshold(100_000)
    # One BLAS thread each, as kernels are worked on side by side; to be set before numpy comes.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    if VERBS.keys() & sys.argv[1:2]:
        _check_descriptors()
        if {"-h", "--help"}.isdisjoint(sys.argv):
            Worker(VERBS[sys.argv[1]].child_modules).start_ahead()
    from snconvert.cli.commands import main as run  # noqa: PLC0415 - most of the start

    try:
        run()
    finally:
        gc.freeze()  # nor among them on the way out


if __name__ == "__main__":
    main()
