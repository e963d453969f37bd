"""Bounded cost: many layers, deep nesting, long chains, a large configuration."""

from __future__ import annotations

import cProfile
import itertools
import json
import pkgutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pytest
from keras_judge import Judge
from limited import run_all

from snconvert import api
from snconvert.core import system
from snconvert.sandbox.worker import Worker

LIMIT = {"seconds": 60}


def convert(*sources: Path) -> list[dict[str, Any]]:
    """Converts each through the command line; returns the outcomes."""
    command = [sys.executable, "-m", "snconvert", "apply", "--json"]
    outcomes = run_all([{"command": [*command, str(source)]} | LIMIT for source in sources])
    for outcome in outcomes:
        assert (outcome["code"], outcome["stderr"]) == (0, "")
        outcome["report"] = json.loads(outcome["stdout"])
    return outcomes


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Converts what is deep, long and wide."""
    folder = tmp_path_factory.mktemp("shapes")
    makers: dict[str, Callable[[Path], None]] = {
        "nested": lambda path: handmade.nested(path, 240),
        "chain": lambda path: handmade.chain(path, 1000),
        "functional": lambda path: handmade.functional_chain(path, 1000),
        "wide": lambda path: handmade.wide(path, 63 << 20),
    }
    paths = [folder / f"{name}.keras" for name in makers]
    for path, make in zip(paths, makers.values(), strict=True):
        make(path)
    return dict(zip(makers, convert(*paths), strict=True))


@pytest.mark.parametrize(
    ("name", "layers"), [("nested", 240), ("chain", 1000), ("functional", 1000), ("wide", 1)]
)
def test_deep_long_and_wide_models(
    name: str, layers: int, shapes: dict[str, dict[str, Any]]
) -> None:
    """240 nested models, chains of 1000 layers and a config.json of 63 MiB: all is converted,
    within 600 MB, and no recursion limit is met."""
    outcome = shapes[name]
    assert outcome["report"]["converted"] == layers
    assert outcome["megabytes"] < 600
    with zipfile.ZipFile(outcome["report"]["output"]) as archive:
        assert archive.read("config.json").count(b'"SpectralDense"') == layers


def test_a_configuration_beyond_the_limit(tmp_path: Path) -> None:
    """More than 64 MiB of configuration are refused unread, with both numbers."""
    source = tmp_path / "model.keras"
    handmade.wide(source, 66 << 20)
    command = [sys.executable, "-m", "snconvert", "apply", str(source)]
    (outcome,) = run_all([{"command": command} | LIMIT])
    assert outcome["code"] == 1
    assert "config.json is too large" in outcome["stderr"]
    assert str(64 << 20) in outcome["stderr"]
    assert outcome["megabytes"] < 100


def test_keras_loads_what_is_deep_and_long(tmp_path: Path) -> None:
    """As far as Keras itself gets, it loads the conversion: 60 nested models, 100 layers."""
    handmade.nested(tmp_path / "nested.keras", 60)
    handmade.functional_chain(tmp_path / "functional.keras", 100)
    with Judge() as judge:
        for path in (tmp_path / "nested.keras", tmp_path / "functional.keras"):
            output = tmp_path / f"{path.stem}-sn.keras"
            api.apply_file(path, output)
            assert judge.load(output) == ""
            assert judge.ask(path, output) == ""


def direct(_: Worker, name: str, *args: Any, **options: Any) -> Any:
    """Does in this process what else the guarded one does."""
    function = pkgutil.resolve_name(name)
    progress = options.get("progress")
    return function(*args, report=progress) if progress else function(*args)


def work(source: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Returns how many calls a conversion makes, and how many bytes it reads."""
    count = 0
    preadv = system.preadv

    def counting(*args: Any) -> int:
        nonlocal count
        done = preadv(*args)
        count += done
        return done

    monkeypatch.setattr(Worker, "call", direct)
    monkeypatch.setattr(system, "preadv", counting)
    profile = cProfile.Profile()
    profile.runcall(api.apply_file, source, source.with_suffix(".out"))
    monkeypatch.undo()
    calls = sum(entry.callcount for entry in profile.getstats())
    return calls, count


@pytest.mark.parametrize("shape", [handmade.chain, handmade.functional_chain])
def test_cost_grows_linearly(
    shape: Callable[[Path, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the layers are about twice the calls and the bytes read, not four times."""
    found = []
    for layers in (200, 400, 800):
        source = tmp_path / f"{layers}.keras"
        shape(source, layers)
        found.append(work(source, monkeypatch))
    for (calls, read), (more_calls, more_read) in itertools.pairwise(found):
        assert more_calls < 2.6 * calls, found
        assert more_read < 2.6 * read, found
