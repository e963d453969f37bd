"""The file carrier imports neither keras nor a backend, nor does `import snconvert`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("keras", "tensorflow", "jax", "torch")
CODE = f"""
import sys
import snconvert
{{}}
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def loaded_after(statement: str, folder: Path) -> str:
    """Returns what of HEAVY a fresh interpreter holds after a statement."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE.format(statement)],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return result.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "snconvert.apply_file('in.keras', 'out.keras')",
        "snconvert.apply_file('in.keras', 'out.keras', verify=True, certify=True)",
        "assert snconvert.verify('in.keras', 'in.keras')",
        "snconvert.inspect('in.keras')",
        "snconvert.inspect('in.keras', html='page.html')",
        "snconvert.inspect('in.keras', spectrum=True, lipschitz=True)",
        "snconvert.apply_file('in.h5', 'out.keras', verify=True)",
        "snconvert.upgrade_file('in.h5'); assert snconvert.verify('in.h5', 'in-keras3.keras')",
        "from snconvert.cli.commands import app; app(['apply', 'in.keras'], standalone_mode=False)",
        "snconvert.RULES; snconvert.SnconvertError; dir(snconvert)",
    ],
)
def test_light(statement: str, models: Path, tmp_path: Path) -> None:
    """Neither importing nor converting, inspecting and comparing loads keras or a backend."""
    (tmp_path / "in.keras").write_bytes((models / "a02_seq_adam.keras").read_bytes())
    (tmp_path / "in.h5").write_bytes((models / "k215_seq.h5").read_bytes())
    assert loaded_after(statement, tmp_path) == "[]"


def test_this_test_can_fail(tmp_path: Path) -> None:
    """The layers do need keras, and the check sees it."""
    backend = "import os; os.environ['KERAS_BACKEND'] = 'jax'; "  # the lightest
    assert "keras" in loaded_after(f"{backend}snconvert.SpectralDense", tmp_path)


def test_numpy_comes_late(tmp_path: Path) -> None:
    """`import snconvert` does not even load numpy."""
    code = "import sys, snconvert; print('numpy' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stdout == "False\n"


def test_a_conversion_starts_without_numpy(models: Path, tmp_path: Path) -> None:
    """On the command line only the guarded process loads numpy, beside the start of this one."""
    (tmp_path / "in.keras").write_bytes((models / "a02_seq_adam.keras").read_bytes())
    code = (
        "import atexit, sys; sys.argv = ['snconvert', 'apply', 'in.keras', '-q']\n"
        "atexit.register(lambda: print('numpy' in sys.modules))\n"
        "from snconvert.__main__ import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert result.stdout.splitlines()[-1] == "False", result.stderr
    assert (tmp_path / "in-sn.keras").exists()
