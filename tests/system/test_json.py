"""Every line of `--json` is what the schema says that ships with the package, and no less."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from json_shape import checked, definition_of, lines, schema
from places import CASES, MODELS, ROOT, SAMPLES
from saved_models import saved

import snconvert as package

pytestmark = pytest.mark.keras

Run = Callable[..., "subprocess.CompletedProcess[str]"]

COMMANDS = [
    "apply moons.keras",
    "apply moons.keras",
    "apply moons.keras --dry-run --lipschitz 3",
    "apply moons.keras --lipschitz 10 --force --verify",
    "verify moons.keras moons-sn.keras",
    "verify moons-sn.keras moons.keras",
    "verify moons.keras recurrent.keras",
    "verify moons.keras absent.keras",
    "inspect moons.keras --lipschitz --spectrum --certify",
    "inspect moons-sn.keras --lipschitz",
    "inspect moons.keras --no-sigma",
    "inspect moons.keras --html page.html",
    "bake moons-sn.keras --dry-run",
    "bake moons-sn.keras",
    "bake moons.keras",
    "remove moons-sn.keras -o plain.keras",
    "verify moons-sn.keras plain.keras",
    "verify moons-sn.keras moons-sn-baked.keras",
    "apply recurrent.keras --kinds all --certify",
    "inspect recurrent-sn.keras --spectrum --lipschitz",
    "apply tokens.keras --kinds all --mode gain",
    "inspect tokens-sn.keras --lipschitz --spectrum",
    "remove tokens-sn.keras",
    "apply convolutional.keras --conv --norm operator --certify --bound 2",
    "apply convolutional.keras --conv --target keras -o wrapped.keras",
    "remove wrapped.keras",
    "apply convolutional.keras --conv --target constraint -o constrained.keras",
    "inspect constrained.keras",
    "inspect lambda.keras --lipschitz",
    "upgrade older.h5",
    "upgrade older.h5 --dry-run",
    "upgrade moons.keras",
    "upgrade moons.keras older.h5",
    "apply older.h5",
    "apply moons.keras recurrent.keras damaged.keras absent.keras -o out --jobs 2",
    "inspect *.keras",
    "apply *.nothing",
    "apply moons.keras --only nothing",
    "inspect moons.keras --config net.json",
    "apply huge.keras",
    "apply moons.keras --recipe absent.toml",
    "apply moons.keras -o absent/x.keras",
    "rules",
]


def members(node: Any) -> dict[tuple[int, str], str]:
    """Returns the members that a part of the schema names, by object and name, with its words."""
    found: dict[tuple[int, str], str] = {}
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found |= members(each)
    if isinstance(node, dict) and "properties" in node and "type" in node:
        found |= {(id(node), name): f"{name}: {node}" for name in node["properties"]}
    return found


def seen(shape: Any, node: dict[str, Any]) -> set[tuple[int, str]]:
    """Returns the members of a part of the schema that an object has, as `members` names them."""
    if "$ref" in node:
        return seen(shape, schema()["$defs"][node["$ref"].rpartition("/")[2]])
    parts = [(shape, choice) for choice in node.get("anyOf", ())]
    if isinstance(shape, list):
        parts += [(each, node.get("items", {})) for each in shape]
    if isinstance(shape, dict):
        known = node.get("properties", {})
        parts += [
            (x, known.get(name, node.get("additionalProperties"))) for name, x in shape.items()
        ]
    own = {(id(node), name) for name in node.get("properties", {}) if name in (shape or ())}
    return own.union(*(seen(each, part or {}) for each, part in parts))


@pytest.fixture(scope="module")
def printed(
    snconvert: Run, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """Runs all commands; returns each with its exit code and what it has printed, checked."""
    folder = tmp_path_factory.mktemp("json")
    for name in ("recurrent", "tokens", "convolutional"):
        saved(name, folder)
    shutil.copy(SAMPLES / "moons.keras", folder)
    shutil.copy(MODELS / "a24_lambda.keras", folder / "lambda.keras")
    shutil.copy(CASES / "w_huge.keras", folder / "huge.keras")
    shutil.copy(MODELS / "k215_seq.h5", folder / "older.h5")
    (folder / "damaged.keras").write_bytes((folder / "tokens.keras").read_bytes()[:-100])
    (folder / "out").mkdir()
    (folder / "net.json").write_text("{}")
    results = []
    for command in COMMANDS:
        done = snconvert(*command.split(), "--json", cwd=folder)
        results.append((command, done.returncode, lines(done.stdout)))
    return results


def test_every_command_prints_what_the_schema_says(printed: Any) -> None:
    """A line a model, by verb; `error` where the exit code says that it failed, and only there."""
    for command, code, shapes in printed:
        assert shapes, command
        assert {shape["verb"] for shape in shapes} == {command.split()[0]}
        failed = any("error" in shape for shape in shapes)
        assert failed == (code in {1, 2}), command
        assert code in {0, 1, 2} or not shapes[0]["same"], command
    codes = {code for _, code, _ in printed}
    assert codes == {0, 1, 2, 3}


def test_a_failure_has_its_parts(printed: Any) -> None:
    """They are what the message is made of; what it does not name is null."""
    failures = {name: shapes[-1] for name, _, shapes in printed if "error" in shapes[-1]}
    for shape in failures.values():
        names = shape["file"], shape["layer"], shape["class"], shape["what"], shape["fix"] or ""
        assert all(name in shape["error"] for name in names if name)
    parts = failures["inspect moons.keras --config net.json"]
    assert (parts["file"], parts["layer"]) == ("moons.keras", None)
    assert parts["error"] == f"moons.keras: {parts['what']}. {parts['fix']}."
    parts = failures["apply huge.keras"]
    assert (parts["file"], parts["layer"], parts["class"]) == ("huge.keras", "a", "Dense")
    assert "float32 cannot hold" in parts["what"]
    assert parts["fix"].startswith("Rescale the kernel")


def test_the_schema_has_no_member_that_is_never_there(printed: Any) -> None:
    """Each member that the schema names is in some line."""
    found: set[tuple[int, str]] = set()
    for _, _, shapes in printed:
        for shape in shapes:
            found |= seen(shape, {"$ref": f"#/$defs/{definition_of(shape)}"})
    never = {words for key, words in members(schema()).items() if key not in found}
    assert not never


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 1},
        {"verb": "convert"},
        {"converted": -1},
        {"mode": "soft"},
        {"more": None},
        {"layers": [{}]},
        {"output": 3},
        {"bound": None},
        {"dry_run": False},
    ],
)
def test_the_schema_refuses_what_is_never_printed(change: dict[str, Any]) -> None:
    """A value of another kind, or a member that nobody knows, is refused."""
    shape = package.apply_file(SAMPLES / "moons.keras", dry_run=True).as_json()
    checked(shape)
    with pytest.raises(AssertionError):
        checked(shape | change)


def test_names_of_any_kind(snconvert: Run, tmp_path: Path) -> None:
    """A newline, a half of a character and one beyond ASCII in a name: one line of ASCII each."""
    for name in ("a\nb.keras", "\udcff.keras", "\xe4.keras"):
        (tmp_path / name).write_bytes(b"no model")
    done = snconvert("inspect", tmp_path, "--json")
    assert done.stdout.isascii()
    names = {Path(shape["source"]).name for shape in lines(done.stdout)}
    assert names == {"a\nb.keras", "\\udcff.keras", "\xe4.keras"}


def test_live_models_have_the_same_shape() -> None:
    """What `plan`, `inspect` and `verify` tell of models in memory is described, too."""
    import live_models

    model = live_models.subclassed()
    patched = package.apply(model)
    checked(package.plan(model, kinds="all", certify=True).as_json())
    checked(package.inspect(patched, spectrum=True).as_json())
    checked(package.verify(model, patched).as_json())


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    """What docs/json.md pipes into jq prints something there."""
    (tmp_path / "bin").mkdir()
    run = tmp_path / "bin" / "snconvert"
    run.write_text(f'#!/bin/sh\nexec {sys.executable} -m snconvert "$@"\n')
    run.chmod(0o755)
    environment = os.environ | {"PATH": f"{run.parent}:{os.environ['PATH']}"}
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "docs/json.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for line in block.splitlines():
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout or "error" in line


def test_the_schema_ships() -> None:
    """It is found where the documentation says, and its version is what lines have."""
    shipped = json.loads((files("snconvert") / "schema.json").read_text("utf-8"))
    assert shipped["$defs"]["schema"]["const"] == 2
    assert shipped["$schema"] == "https://json-schema.org/draft/2020-12/schema"
