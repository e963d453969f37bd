"""The samples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
