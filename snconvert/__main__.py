"""Makes `python -m snconvert` the command line."""

from __future__ import annotations

from snconvert import signals


def main() -> None:
    """Runs the command line; one that is interrupted while it starts leaves no traceback."""
    signals.end_at_once()
    from snconvert.cli import main as run  # noqa: PLC0415 - most of the start

    run()


if __name__ == "__main__":
    main()
