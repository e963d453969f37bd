"""The command line, in processes of its own."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import handmade
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
KEYS = [
    "schema",
    "verb",
    "source",
    "output",
    "warnings",
    "target",
    "mode",
    "bound",
    "norm",
    "converted",
    "skipped",
    "bytes",
    "seconds",
    "layers",
]
LAYER_KEYS = [
    "path",
    "class",
    "kernel",
    "status",
    "reason",
    "new_class",
    "sigma",
    "sigma_after",
    "residual",
    "operator_range",
    "proved",
    "kernels",
]


@pytest.fixture
def model(models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(models / "a03_func_counter.keras", tmp_path / "model.keras"))


def one_error(result: subprocess.CompletedProcess[str]) -> str:
    """Returns the one line on stderr of a run that failed with exit code 1."""
    assert result.returncode == 1, result
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(".")
    assert "Traceback" not in result.stderr
    return line


def test_apply(snconvert: Run, model: Path) -> None:
    """apply writes MODEL-sn beside MODEL and says what it did."""
    result = snconvert("apply", model)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "SpectralDense" in result.stdout
    assert "model-sn.keras" in result.stdout
    assert sorted(os.listdir(model.parent)) == ["model-sn.keras", "model.keras"]


@pytest.mark.parametrize("command", [["apply"], ["apply", "--dry-run"], ["inspect"]])
def test_json(snconvert: Run, model: Path, command: list[str]) -> None:
    """--json prints one object of the documented shape, and nothing else."""
    result = snconvert(*command, model, "--json", "--conv")
    shape = json.loads(result.stdout)
    assert [key for key in shape if key != "dry_run"] == KEYS
    assert shape.get("dry_run", False) == ("--dry-run" in command)
    assert all(list(layer) == LAYER_KEYS for layer in shape["layers"])
    assert shape["converted"] == 5
    assert (shape["output"] is None) == (command != ["apply"])
    status = "converted" if command == ["apply"] else "convertible"
    assert {layer["status"] for layer in shape["layers"] if layer["kernel"]} == {status}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["apply", "none.keras"], "none.keras"),
        (["apply", "{model}", "--only", "x"], "matches no layer"),
        (["apply", "{model}", "-o", "none/x.keras"], "folder"),
        (["apply", "{model}", "-o", "{model}"], "same"),
        (["verify", "{model}", "none.keras"], "none.keras"),
        (["apply", "{model}", "--recipe", "none.toml"], "none.toml"),
        (["apply", "*.zip"], "matches no file"),
        (["inspect", "none.keras"], "none.keras"),
    ],
)
def test_errors(snconvert: Run, model: Path, arguments: list[str], says: str) -> None:
    """An error is one line on stderr and exit code 1, and nothing is written."""
    filled = [argument.format(model=model) for argument in arguments]
    assert says in one_error(snconvert(*filled, cwd=model.parent))
    assert os.listdir(model.parent) == ["model.keras"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply"],
        ["apply", "m.keras", "--bound", "x"],
        ["apply", "m.keras", "--bound", "-1"],
        ["apply", "m.keras", "--norm", "operator", "--target", "keras"],
        ["apply", "m.keras", "--target", "constraint", "--mode", "gain"],
        ["apply", "m.keras", "--target", "keras", "--mode", "cap"],
        ["apply", "m.keras", "--verify", "--import", "json"],
        ["apply", "m.keras", "--mode", "soft"],
        ["apply", "m.keras", "--kinds", "dens"],
        ["apply", "m.keras", "--only", "re:("],
        ["apply", "m.keras", "--in-place", "-o", "x"],
        ["apply", "m.keras", "--in-place", "--force"],
        ["apply", "m.keras", "--no-such-flag"],
        ["convert", "m.keras"],
        ["inspect", "m.keras", "--samples", "3"],
        ["inspect", "m.keras", "--lipschitz", "--samples", "0"],
        ["inspect", "--lipschitz", "3", "m.keras"],
    ],
)
def test_wrong_usage(snconvert: Run, arguments: list[str]) -> None:
    """Wrong usage is exit code 2."""
    result = snconvert(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_force_and_in_place(snconvert: Run, model: Path) -> None:
    """An output that exists is kept unless --force; --in-place replaces the model."""
    out = model.with_name("model-sn.keras")
    out.write_text("mine")
    assert "exists" in one_error(snconvert("apply", model))
    assert out.read_text() == "mine"
    assert snconvert("apply", model, "--force").returncode == 0
    converted = out.read_bytes()
    assert snconvert("apply", model, "--in-place", "-q").stdout == ""
    assert model.read_bytes() == converted


def test_several(snconvert: Run, models: Path, tmp_path: Path) -> None:
    """Several models: the output is a folder, one bad file stops none of the others."""
    for name in ("a01_seq_plain", "a03_func_counter"):
        shutil.copy(models / f"{name}.keras", tmp_path)
    (tmp_path / "bad.keras").write_text("no model")
    (tmp_path / "out").mkdir()
    result = snconvert("apply", tmp_path, "-o", tmp_path / "out", "--jobs", 2, "--json")
    assert "bad.keras" in one_error(result)
    assert sorted(os.listdir(tmp_path / "out")) == [
        "a01_seq_plain-sn.keras",
        "a03_func_counter-sn.keras",
    ]
    shapes = [json.loads(line) for line in result.stdout.splitlines()]
    assert {Path(shape["source"]).stem: "error" in shape for shape in shapes} == {
        "a01_seq_plain": False,
        "a03_func_counter": False,
        "bad": True,
    }
    again = snconvert("apply", str(tmp_path / "a*.keras"), "--dry-run")
    assert again.returncode == 0
    assert again.stdout.count("nothing was written (") == 2


def test_recipe_and_flags(snconvert: Run, model: Path, tmp_path: Path) -> None:
    """A recipe gives the options, for all layers and for single ones; flags win over both."""
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'conv = true\nbound = 2\nexclude = ["zzz"]\n[[layer]]\nmatch = "aaa"\nbound = 5'
    )

    def after(*flags: str) -> dict[str, float]:
        run = snconvert("apply", model, "--recipe", recipe, "--json", "--dry-run", *flags)
        layers = json.loads(run.stdout)["layers"]
        return {x["path"]: x["sigma_after"] for x in layers if x["status"] == "convertible"}

    others = ("b_dense", "a_dense", "out with space")
    assert after() == {"aaa": 5.0, **dict.fromkeys(others, 2.0)}
    assert after("--bound", "3") == dict.fromkeys(("aaa", *others), 3.0)


def test_rules(snconvert: Run) -> None:
    """rules lists every kind, for people and for machines."""
    from snconvert.kinds.table import RULES

    text = snconvert("rules").stdout
    listed = [row["class"] for row in json.loads(snconvert("rules", "--json").stdout)["rules"]]
    assert listed == list(RULES)
    assert all(rule.class_name in text for rule in RULES.values())
    assert "a class of that name behind Spectral" in text


def test_version_and_help(snconvert: Run) -> None:
    """--version and --help answer, and help names every command."""
    assert snconvert("--version").stdout.startswith("snconvert ")
    text = snconvert("--help").stdout
    assert all(command in text for command in ("apply", "inspect", "rules", "--install-completion"))


def on_a_terminal(*arguments: Any, columns: int = 80) -> str:
    """Returns what the command prints on a terminal of that width."""
    main, side = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "snconvert", *map(str, arguments)],
        stdin=side,
        stdout=side,
        stderr=side,
        env=environment,
    )
    os.close(side)
    text = b""
    while select.select([main], [], [], 60)[0]:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        text += block
    os.close(main)
    assert process.wait() == 0
    return text.decode()


def test_on_a_terminal(model: Path) -> None:
    """On a terminal of 80 columns the table fits."""
    text = on_a_terminal("apply", model, "--conv")
    assert "out with space" in text
    assert "SpectralConv2D" in text
    table = [line for line in text.splitlines() if str(model.parent) not in line]
    assert max(len(line) for line in table if "\x1b" not in line) <= 80


def test_bars_on_a_terminal(model: Path) -> None:
    """Where there is room `inspect` draws bars; its last line says what matters."""
    assert "\u2588" in on_a_terminal("inspect", model, columns=150)
    narrow = on_a_terminal("inspect", model, columns=60)
    assert "\u2588" not in narrow
    assert "largest norm" in " ".join(narrow.splitlines()[-2:])


def test_spectra_and_what_they_cost(snconvert: Run, tmp_path: Path) -> None:
    """Before long work a line on stderr says how long; -q and --json say nothing there."""
    path = tmp_path / "large.keras"
    handmade.chain(path, 1, units=2400)
    # Zeros take no time, whatever was said.
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        zeros = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(zeros, "r+") as weights:
        weights["layers/dense/vars/0"][...] = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        handmade.write(path, json.loads(archive.read("config.json")), zeros.getvalue())
    told = snconvert("inspect", path, "--spectrum")
    assert told.stderr == "spectra of 1 kernel, about 2 s\n"
    assert "effective rank" in told.stdout
    for flag in ("--json", "-q"):
        assert not snconvert("inspect", path, "--spectrum", flag).stderr
    assert not snconvert("inspect", path).stderr


def test_the_bound_of_the_network(snconvert: Run, model: Path) -> None:
    """`--lipschitz` tells the bound in tables and JSON; without it nothing of it is there."""
    told = snconvert("inspect", model, "--lipschitz")
    assert not told.stderr
    assert "at inference, inputs that move by a distance d move the outputs" in told.stdout
    shape = json.loads(snconvert("inspect", model, "--lipschitz", "--json").stdout)["lipschitz"]
    assert shape["bound"]["value"] > 0
    assert f"Lipschitz bound of the network: {shape['bound']['value']:.2g}"[:-1] in told.stdout
    assert "lipschitz" not in json.loads(snconvert("inspect", model, "--json").stdout)


def test_interrupted_readers(model: Path) -> None:
    """`| head -1` ends quietly."""
    command = f"{sys.executable} -m snconvert inspect {model} | head -n 1"
    result = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.stderr == ""


def test_a_terminal_without_the_letters(models: Path, tmp_path: Path) -> None:
    """Names that the terminal's encoding lacks are written as numbers, also in errors."""
    path = tmp_path / "modell-\u00e4.keras"
    shutil.copy(models / "a20_nonascii.keras", path)
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    for arguments, code in (((path,), 0), ((path, "--only", "x"), 1)):
        result = subprocess.run(
            [sys.executable, "-m", "snconvert", "inspect", *arguments],
            capture_output=True,
            check=False,
            timeout=60,
            env=environment,
        )
        assert result.returncode == code
        assert "Traceback" not in result.stderr.decode("ascii")
        assert "\\xe4" in (result.stderr if code else result.stdout).decode("ascii")


def test_names_from_files_are_escaped(snconvert: Run, tmp_path: Path, models: Path) -> None:
    """Control characters in a path or name never reach the terminal."""
    path = tmp_path / "new\nline \x1b[31m.keras"
    shutil.copy(models / "a01_seq_plain.keras", path)
    result = snconvert("inspect", path)
    assert result.returncode == 0
    assert "\x1b" not in result.stdout
    assert "\\n" in result.stdout


COLOR = re.compile(r"\x1b\[[0-9;]*3[0-7]")


def test_colors(model: Path, snconvert: Run) -> None:
    """On a terminal there are colours, which --no-color takes out wherever it stands."""
    for arguments in (["inspect", model], ["inspect", "--help"]):
        assert COLOR.search(on_a_terminal(*arguments))
        assert not COLOR.search(on_a_terminal(*arguments, "--no-color"))
    forced = os.environ | {"FORCE_COLOR": "1"}
    forced.pop("NO_COLOR", None)
    assert COLOR.search(snconvert("inspect", model, env=forced).stdout)
    for command in (["inspect", model, "--no-color"], ["inspect", model, "--json"]):
        assert "\x1b" not in snconvert(*command, env=forced).stdout
    assert "\x1b" not in snconvert("inspect", model, "--kinds", "x", env=forced).stderr
