"""The samples do what they say."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tour_notebook
import warm
from places import SAMPLES


def test_train_moons(tmp_path: Path) -> None:
    """The script that made the shipped model trains one that classifies the moons."""
    result = warm.run(
        [sys.executable, SAMPLES / "train_moons.py", tmp_path / "moons.keras"],
        capture_output=True,
        text=True,
        modules=warm.TENSORFLOW,
        check=True,
    )
    accuracy = float(result.stdout.split()[1].rstrip(","))
    assert accuracy > 0.98
    assert (tmp_path / "moons.keras").stat().st_size > 100_000


@pytest.mark.parametrize("name", ["fit_projection.py", "custom_loop.py"])
def test_projections(name: str, tmp_path: Path) -> None:
    """Both training loops end with every kernel at norm 1, to 1 %."""
    result = warm.run(
        [sys.executable, SAMPLES / name, tmp_path / "model.keras"],
        capture_output=True,
        text=True,
        modules=warm.TENSORFLOW,
        check=True,
    )
    norms = [float(line.split()[1]) for line in result.stdout.splitlines()]
    assert norms == pytest.approx([1.0, 1.0], rel=0.01)


def test_certified_mlp() -> None:
    """No attack fools a point within its certified radius, no more points are certified than stand
    it, the bound is the one that was chosen, and it certifies what the plain one's does not."""
    result = warm.run(
        [sys.executable, SAMPLES / "certified_mlp.py"],
        capture_output=True,
        text=True,
        modules=warm.TENSORFLOW,
        check=True,
        timeout=300,
    )
    blocks = [block.splitlines() for block in re.split("(?=plain:|bounded:)", result.stdout)[-2:]]
    certified = []
    for head, *rows, last in blocks:
        accuracy = float(re.findall(r"[\d.]+", head)[0].rstrip(","))
        numbers = [[float(x) for x in re.findall(r"[\d.]+", row)] for row in rows]
        assert accuracy > 0.95
        assert all(proved <= standing for _, proved, standing in numbers)
        assert " 0 of " in last
        certified.append(numbers[-1][1])
    assert float(blocks[1][0].split()[-1]) <= 12.0
    assert certified[1] > certified[0] + 0.4


def test_dcgan(tmp_path: Path) -> None:
    """In training the converted discriminator is at the bound of 1 before the first step and
    stays near it, while the plain one leaves it; the figure and the numbers are written."""
    warm.run(
        [sys.executable, SAMPLES / "dcgan.py", tmp_path / "sigma.svg", "40"],
        modules=warm.TENSORFLOW,
        check=True,
        timeout=300,
    )
    assert (tmp_path / "sigma.svg").read_text(encoding="utf-8").count("</svg>") == 1
    numbers = json.loads((tmp_path / "sigma.json").read_text(encoding="utf-8"))
    found = {name: np.array(rows) for name, rows in numbers["sigma"].items()}
    assert {rows.shape for rows in found.values()} == {(5, 4)}
    np.testing.assert_array_equal(found["built-in"][0], found["none"][0])
    for name in ("snconvert", "snconvert, 3 iterations"):
        np.testing.assert_allclose(found[name][0], 1.0, atol=1e-5)
        assert found[name].min() > 1 - 1e-4
        assert found[name].max() < 1.25
        assert np.median(found[name]) < 1.02
    assert found["none"][-1].max() > 1.4


def test_transformer_gain(tmp_path: Path) -> None:
    """The trained transformer has the same outputs when it is converted, to 1e-4, and trains on;
    the figure is written."""
    result = warm.run(
        [sys.executable, SAMPLES / "transformer_gain.py", tmp_path / "sigma.svg", "1", "1"],
        capture_output=True,
        text=True,
        modules=warm.TENSORFLOW,
        check=True,
        timeout=300,
    )
    converted, outputs, before, after = result.stdout.splitlines()
    assert converted == "4 layers converted"
    assert float(outputs.split()[-1]) < 1e-4 * float(outputs.split()[2].rstrip(","))
    assert [line.split(":")[0] for line in (before, after)] == ["before", "after"]
    assert (tmp_path / "sigma.svg").read_text(encoding="utf-8").count("</svg>") == 1


def test_tour(tmp_path: Path) -> None:
    """The notebook runs, and what is stored in it is what it prints and draws, but for numbers; it
    is small, and tells nothing of the machine on which it was run."""
    kept = tour_notebook.stored()
    assert tour_notebook.structure(tour_notebook.executed(tmp_path)) == tour_notebook.structure(
        kept
    )
    outputs = [output for cell in kept.cells for output in cell.get("outputs", [])]
    assert not [x for x in outputs if x.output_type == "error" or x.get("name") == "stderr"]
    assert sum("image/png" in x.get("data", {}) for x in outputs) == 3
    links = re.findall(r"\]\((.*?)\)", "".join(cell.source for cell in kept.cells))
    assert len(links) > 5
    assert all((tour_notebook.TOUR.parent / link).is_file() for link in links)
    counts = [cell.execution_count for cell in kept.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    text = tour_notebook.TOUR.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not re.search(r"/(?:home|root|tmp|usr|work|Users)\b", re.sub(r'"image/png".*', "", text))
