"""Random damage: a short part of `benchmarks/fuzz.py`, and the JSON walker by itself."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from places import BENCHMARKS, MODELS

from snconvert.config import strict_json
from snconvert.config.parsing import model_root, parse
from snconvert.config.safety import vet
from snconvert.config.versions import newer_than_tried
from snconvert.config.weight_groups import group_paths
from snconvert.errors import SnconvertError
from snconvert.files.inventory import take_inventory
from snconvert.files.targets import TARGETS, already
from snconvert.formats.table import open_model
from snconvert.kinds.table import RULES
from snconvert.planning.plan import make_plan
from snconvert.planning.recipe import recipe
from snconvert.weights.contents import Contents
from snconvert.weights.reading import scan

FUZZ = BENCHMARKS / "fuzz.py"
GENUINE = sorted(path for path in (MODELS).glob("*.keras"))
LAX = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


@cache
def fuzz() -> ModuleType:
    """Returns the benchmark as a module."""
    spec = importlib.util.spec_from_file_location("fuzz", FUZZ)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What a few mutants of each kind come to, all of them in one process: each that judges
    imports TensorFlow."""
    folder = tmp_path_factory.mktemp("mutants")
    code = f"""
import sys; sys.path.insert(0, {str(BENCHMARKS)!r})
import argparse, json, os, tempfile, fuzz
there = tempfile.gettempdir()
for how in {FEW!r}:
    os.environ["TMPDIR"] = tempfile.tempdir = there
    options = argparse.Namespace(**how, first=0, seed=6, jobs=1, keep={str(folder)!r})
    print(json.dumps(fuzz.work(0, options)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


FEW = [
    {"count": 40, "older": False, "lipschitz": False},
    {"count": 20, "older": True, "lipschitz": False},
    {"count": 12, "older": False, "lipschitz": True},
]


@pytest.mark.parametrize("number", range(len(FEW)))
def test_few_mutants(number: int, few: list[dict[str, Any]]) -> None:
    """Every mutant of a seeded few ends cleanly, converted faithfully or refused with one line."""
    assert few[number]["failures"] == []
    counts = few[number]["counts"]
    assert sum(counts.values()) == FEW[number]["count"]
    for verdict in ("converted", "refused"):
        assert any(verdict in kind for kind in counts), counts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "flags"), [(2000, ["--lipschitz"]), (2000, []), (3000, ["--older"])]
)
def test_mutants(count: int, flags: list[str], tmp_path: Path) -> None:
    """So does every one of many."""
    command = [sys.executable, str(FUZZ), "--count", str(count), "--seed", "6", *flags]
    result = subprocess.run(
        [*command, "--keep", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{count} mutants, seed 6: 0 failures" in result.stdout
    assert " converted " in result.stdout
    assert " refused " in result.stdout


def test_the_benchmark_runs(tmp_path: Path) -> None:
    """The command makes its parts, and prints what they come to; of two that are refused, so that
    TensorFlow is not imported."""
    command = [sys.executable, str(FUZZ), "--count", "2", "--jobs", "2", "--keep", str(tmp_path)]
    command += ["--seed", "6", "--first", "4"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "2 mutants, seed 6: 0 failures" in result.stdout


def test_mutants_are_the_same_every_time() -> None:
    """What fails once can be looked at again, and there are all kinds."""
    made = [fuzz().mutant(index, 3) for index in range(40)]
    assert made == [fuzz().mutant(index, 3) for index in range(40)]
    assert len({kind for _, kind, _ in made}) == 6
    assert len({source for source, _, _ in made}) == 5
    made = [fuzz().older_mutant(index, 3) for index in range(40)]
    assert made == [fuzz().older_mutant(index, 3) for index in range(40)]
    assert len({kind for _, kind, _ in made}) == 5
    assert len({source for source, _, _ in made}) == 4


@pytest.mark.parametrize(
    ("code", "err", "wrong"),
    [
        (0, "", ""),
        (0, "warning: x.\n", ""),
        (1, "error: x. y.\n", ""),
        (2, "error: x. y.\n", "exit code 2"),
        (-11, "", "exit code -11"),
        (1, "", "exit code 1 with 0 errors"),
        (0, "error: x. y.\n", "exit code 0 with 1 errors"),
        (1, "Traceback\nerror: x. y.\n", "stderr is not clean"),
        (1, "error: \x1b[31m. y.\n", "stderr is not clean"),
    ],
)
def test_the_fuzzer_sees_faults(code: int, err: str, wrong: str) -> None:
    """Its verdict on a run depends on exit code and stderr."""
    outcome = fuzz().Outcome(code, "", err, seconds=0.1, megabytes=40.0, timeout=False)
    assert fuzz().fault(outcome) == wrong


def test_the_fuzzer_sees_time_and_memory() -> None:
    """A run that takes too long or too much is a fault."""
    make = fuzz().Outcome
    assert "s" in fuzz().fault(make(0, "", "", seconds=11.0, megabytes=1.0, timeout=False))
    assert "MB" in fuzz().fault(make(0, "", "", seconds=1.0, megabytes=301.0, timeout=False))


def walk(config: bytes, metadata: bytes = b"{}", contents: Contents | None = None) -> str:
    """Goes through a configuration as `convert` does; returns how far it came."""
    stage, said = "read", None
    try:
        tree = strict_json.loads(config, "config.json")
        about = strict_json.loads(metadata, "metadata.json")
        stage = "vetted"
        vet(tree)
        root = model_root(parse(tree))
        newer_than_tried(about)
        stage = "planned"
        plan = make_plan(root, recipe(kinds="all"), RULES, already, lenient=True)
        stage = "found"
        take_inventory(root, group_paths(root), contents or Contents(), RULES)
        stage = "written"
        for step in plan.steps:
            TARGETS["layer"].wrap(step.node, step.rule, step.settings, None, ())
        strict_json.dumps(root.entry)
    except SnconvertError as error:
        said = str(error)
    assert said is None or (said and said.isprintable())
    return stage


CLASSES = ("Dense", "Conv2D", "Sequential", "Functional", "TimeDistributed", "InputLayer", "Lambda",
           "Bidirectional", "LSTM", "EinsumDense", "Embedding", "MultiHeadAttention")  # fmt: skip
MODULES = ("keras.layers", "keras", "keras.src.models.functional", "builtins", None, "custom")
KEYS = (
    "module",
    "class_name",
    "config",
    "registered_name",
    "name",
    "layers",
    "layer",
    "cell",
    "units",
    "filters",
    "kernel_size",
    "trainable",
    "dtype",
    "build_config",
    "input_shape",
    "inbound_nodes",
    "shared_object_id",
    "cells",
    "forward_layer",
    "backward_layer",
    "equation",
    "batch_shape",
    "use_bias",
    "groups",
    "lora_rank",
    "compile_config",
    "optimizer",
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 8)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(("a", "a/b", "", "..", "float32", "a,b->c", "same", *CLASSES))
    | st.text(max_size=4)
)


def layers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Returns a strategy for what looks like a layer, more or less."""
    config = st.dictionaries(st.sampled_from(KEYS), inner, max_size=6)
    return st.fixed_dictionaries(
        {"class_name": st.sampled_from(CLASSES), "config": config},
        optional={
            "module": st.sampled_from(MODULES),
            "registered_name": st.sampled_from((None, "Dense", "custom>Dense")),
            "build_config": st.fixed_dictionaries({"input_shape": inner}),
            "name": inner,
        },
    )


TREES = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
        | layers(inner)
    ),
    max_leaves=30,
)


@LAX
@example(tree={"class_name": "\x1f"}, about=None)  # was printed as it is
@given(TREES | layers(TREES), TREES)
def test_any_json_is_walked_or_refused(tree: Any, about: Any) -> None:
    """Whatever JSON there is in the two members: the walker raises nothing but its own errors."""
    walk(json.dumps(tree).encode(), json.dumps(about).encode())


@cache
def genuine(path: Path) -> tuple[bytes, bytes, Contents]:
    """Returns configuration, metadata and contents of a genuine file."""
    with zipfile.ZipFile(path) as archive:
        metadata = archive.read("metadata.json")
    with open_model(path) as source:
        return source.config, metadata, scan(source.weights)


def readable(path: Path) -> bool:
    try:
        genuine(path)
    except (SnconvertError, zipfile.BadZipFile):
        return False
    return True


@LAX
@given(st.data(), st.integers(0, 2**32))
def test_a_changed_configuration_is_walked_or_refused(data: st.DataObject, seed: int) -> None:
    """So it is for genuine configurations with values replaced, swapped, dropped or renamed."""
    path = data.draw(st.sampled_from([path for path in GENUINE if readable(path)]))
    config, metadata, contents = genuine(path)
    changed = fuzz().mutate_tree(config, random.Random(seed))
    walk(changed, metadata, contents)


@pytest.mark.parametrize("value", [["float32"], {"config": {"name": []}}, 7, {}])
def test_a_dtype_may_be_anything(value: Any) -> None:
    """Found by the test above: a policy that is a list was looked up in a set."""
    config, metadata, contents = genuine(MODELS / "a01_seq_plain.keras")
    tree = json.loads(config)
    tree["config"]["layers"][1]["config"]["dtype"] = value
    walk(json.dumps(tree).encode(), metadata, contents)


@pytest.mark.parametrize("path", [path for path in GENUINE if readable(path)], ids=lambda p: p.stem)
def test_the_walk_goes_to_the_end(path: Path) -> None:
    """An unchanged file gets through, or to the refusal that is due to it, so that the walks above
    reach every stage."""
    config, metadata, contents = genuine(path)
    stage = walk(config, metadata, contents)
    assert stage == "written" or path.stem in {"k215_func", "k2.13.1_seq"}, stage
