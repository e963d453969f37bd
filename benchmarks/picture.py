"""Draws what `snconvert apply samples/moons.keras` prints on a terminal of 80 columns, as SVG.

    python benchmarks/picture.py docs/images/apply.svg

The picture needs no font and nothing else from elsewhere; it has a window of its own, to
be read on white pages and on black ones.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 80
COMMAND = ("apply", "moons.keras")


def printed(folder: str) -> str:
    """Returns what the command prints on a terminal, colours and all."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "snconvert", *COMMAND],
        stdin=side,
        stdout=side,
        stderr=side,
        cwd=folder,
        env=os.environ
        | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)},
    )
    os.close(side)
    parts = []
    try:
        while part := os.read(main, 65536):
            parts.append(part)
    except OSError:  # the end, on Linux
        pass
    os.close(main)
    if process.wait():
        sys.exit(b"".join(parts).decode())
    return b"".join(parts).decode().replace("\r\n", "\n")


def picture(text: str) -> str:
    """Returns the picture of a text with the colours of a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.assemble(("$ ", "green"), ("snconvert " + " ".join(COMMAND), "bold")))
    console.print(Text.from_ansi(text))
    svg = console.export_svg(title="", unique_id="apply")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts from elsewhere


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "samples" / "moons.keras", folder)
        svg = picture(printed(folder))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(svg, "utf-8")


if __name__ == "__main__":
    main()
