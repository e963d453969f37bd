"""Makes `python -m snconvert` the command line."""

from __future__ import annotations

import os
import sys

from snconvert import signals

_ON_FILES = {"apply", "bake", "inspect", "remove", "verify"}


def _open_streams() -> None:
    """Gives closed standard streams (`2>&-`) something, lest a model be opened in their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            while os.open(os.devnull, os.O_RDWR) < number:
                pass
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w"))


def main() -> None:
    """Runs the command line; one that is interrupted while it starts leaves no traceback."""
    _open_streams()
    signals.end_at_once()
    # One BLAS thread each, as kernels are worked on side by side; to be set before numpy comes.
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    for verb in sys.argv[1:2]:
        if verb in _ON_FILES:
            from snconvert.archive.guard import start_ahead  # noqa: PLC0415 - --help needs none
            from snconvert.tasks import IN_CHILD  # noqa: PLC0415 - as above

            start_ahead(IN_CHILD[verb])
    from snconvert.cli import main as run  # noqa: PLC0415 - most of the start

    run()


if __name__ == "__main__":
    main()
