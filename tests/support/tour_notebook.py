"""Runs the notebook of the samples from its first cell to its last.

`python tests/support/tour_notebook.py` stores the outputs anew, in `samples/tour.ipynb`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import nbclient
import nbformat
from nbformat import NotebookNode

SAMPLES = Path(__file__).parents[2] / "samples"
TOUR = SAMPLES / "tour.ipynb"
QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
_START_UP = re.compile(r"(?:(?:WARNING: All log messages before absl|[IW]0000 ).*\n|\n)+")
"""What TensorFlow says of the machine on its standard error, whatever it is told."""


def stored() -> NotebookNode:
    """Returns the notebook with the outputs that are stored."""
    return nbformat.read(TOUR, as_version=4)


def executed(folder: Path) -> NotebookNode:
    """Returns the notebook with the outputs that it has when it runs.

    Args:
        folder: Where the samples are copied to, so that what it writes stays there.
    """
    shutil.copytree(SAMPLES, folder / "samples")
    notebook = stored()
    for cell in notebook.cells:
        cell.metadata.clear()
    where = {"metadata": {"path": str(folder / "samples")}}
    places = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), str(folder))
    with mock.patch.dict(os.environ, QUIET | places):
        nbclient.NotebookClient(
            notebook, timeout=120, record_timing=False, resources=where
        ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [x for x in cell.outputs if not _START_UP.fullmatch(x.get("text", ""))]
    return notebook


def structure(notebook: NotebookNode) -> list[tuple[str, object]]:
    """Returns each cell's source, and its outputs without their numbers and pictures."""
    return [(cell.source, [_kept(x) for x in cell.get("outputs", ())]) for cell in notebook.cells]


def _kept(output: NotebookNode) -> tuple[object, ...]:
    if output.output_type == "stream":
        return (output.name, _without_numbers(output.text))
    texts = {kind: _without_numbers(x) for kind, x in output.data.items() if "text" in kind}
    return (output.output_type, sorted(output.data), texts)


def _without_numbers(text: str) -> str:
    return re.sub(r"[\s\-─]+", " ", re.sub(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?", "#", text))


def main() -> None:
    """Stores the outputs anew."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder))
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, TOUR)


if __name__ == "__main__":
    sys.exit(main())
