"""`verify` finds errors of all kinds that `benchmarks/verify.py` plants, and blames no other."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import planted_models
import planting
import planting_live
import pytest
import warm
from planting_contents import REWRITES, rewrite

import snconvert

SOURCES = (
    "adam-optimizer",
    "sgd-optimizer",
    "adagrad-optimizer",
    "norms",
    "everything",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("planting")
    planted_models.build(folder, list(SOURCES))
    return {name: folder / f"{name}.keras" for name in SOURCES}


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_errors_in_files(step: int, sources: dict[str, Path], tmp_path: Path) -> None:
    """An error of each sixth kind, or of every one, is found, and the files without are sound."""
    command = [sys.executable, planting.__file__, tmp_path, str(step), *sources.values()]
    run = warm.run(command, capture_output=True, text=True, check=True)
    tally: dict[str, Any] = json.loads(run.stdout)
    assert tally["failures"] == []
    assert tally["planted"] == dict.fromkeys(list(planting.PLANTERS)[::step], 1)


@pytest.mark.parametrize(("way", "verbs"), [("gain", planting.VERBS), ("constraint", ("apply",))])
def test_errors_in_live_models(way: str, verbs: tuple[str, ...]) -> None:
    """Errors of some kinds are found in live models, and are gone when they are taken back."""
    tally = planting.Tally()
    kinds = list(planting_live.PLANTERS)[len(way) :: 9]
    planted_models.plant("norms", way, verbs, 2, 0, kinds, tally)
    assert tally.failures == []
    assert tally.planted.total() == 2 * len(verbs)


@pytest.mark.parametrize("number", range(3))
def test_what_means_nothing(number: int, sources: dict[str, Path], tmp_path: Path) -> None:
    """A file that was written in another way, or loaded and saved by Keras, is the same model."""
    source, patched = sources["norms"], tmp_path / "norms.keras"
    way = planting.WAYS[("gain", "keras", "constraint")[number]]
    snconvert.apply_file(source, patched, kinds="all", **way)
    for kind in REWRITES[number::3]:
        other = rewrite(kind, patched, tmp_path / "rewritten.keras", Random(0))
        assert planting.differences(source, other) == []
    (tmp_path / "again").mkdir()
    planted_models.again(tmp_path / "again", [str(patched)])
    other = tmp_path / "again" / "norms.keras"
    assert planting.differences(source, other) == []
    assert planting.differences(patched, other) == []


def test_an_error_that_is_not_found_is_told() -> None:
    """Where `verify` tells no difference, a planted error is counted as missed."""
    tally = planting.Tally()
    assert not tally.error("a kind", "where it is", [])
    assert tally.pair("a pair", "which one", [])
    assert not tally.pair("a pair", "another one", ["a difference"])
    assert tally.failures == [
        "missed, a kind: where it is",
        "blamed, a pair: another one: a difference",
    ]
    assert (tally.planted.total(), tally.found.total()) == (1, 0)
