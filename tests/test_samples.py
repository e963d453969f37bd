"""The samples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent.parent / "samples"


def test_train_moons(tmp_path: Path) -> None:
    """The script that made the shipped model trains one that classifies the moons."""
    result = subprocess.run(
        [sys.executable, SAMPLES / "train_moons.py", tmp_path / "moons.keras"],
        capture_output=True,
        text=True,
        check=True,
    )
    accuracy = float(result.stdout.split()[1].rstrip(","))
    assert accuracy > 0.98
    assert (tmp_path / "moons.keras").stat().st_size > 100_000


@pytest.mark.parametrize("name", ["fit_projection.py", "custom_loop.py"])
def test_projections(name: str, tmp_path: Path) -> None:
    """Both training loops end with every kernel at norm 1, to 1 %."""
    result = subprocess.run(
        [sys.executable, SAMPLES / name, tmp_path / "model.keras"],
        capture_output=True,
        text=True,
        check=True,
    )
    norms = [float(line.split()[1]) for line in result.stdout.splitlines()]
    assert norms == pytest.approx([1.0, 1.0], rel=0.01)
