"""Examples of each command: they can be copied, and do what they say."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
from places import MODELS, SAMPLES

from snconvert.api import apply_file
from snconvert.cli.commands import app
from snconvert.cli.help.examples import EXAMPLES, example_lines

COMMANDS = typer.main.get_command(app).commands
ALL = [command for examples in EXAMPLES.values() for command, _ in examples]


def test_every_command_has_examples() -> None:
    """Each command, and the program, has examples, of that command."""
    assert EXAMPLES.keys() == {"", *COMMANDS}
    for name, examples in EXAMPLES.items():
        assert examples
        assert all(command.startswith(f"snconvert {name}".strip()) for command, _ in examples)


@pytest.mark.parametrize("command", dict.fromkeys(ALL))
def test_an_example_is_understood(command: str) -> None:
    """Its options exist."""
    _, verb, *arguments = shlex.split(command.partition(" >")[0])
    COMMANDS[verb].make_context(verb, arguments)


def test_lines_are_short() -> None:
    """No example is wider than a terminal of 80 columns."""
    lines = [line for examples in EXAMPLES.values() for line in example_lines(examples)]
    assert max(map(len, lines)) <= 80


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "models").mkdir()
    for name in ("model.keras", "models/a.keras", "models/b.keras"):
        shutil.copy(SAMPLES / "moons.keras", folder / name)
    apply_file(folder / "model.keras", folder / "model-sn.keras")
    shutil.copy(MODELS / "k215_seq.h5", folder / "model.h5")
    with zipfile.ZipFile(folder / "model.keras") as archive:
        (folder / "net.json").write_bytes(archive.read("config.json"))
        (folder / "net.weights.h5").write_bytes(archive.read("model.weights.h5"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", dict.fromkeys(ALL))
def test_an_example_runs(command: str, files: Path, tmp_path: Path) -> None:
    """It ends with exit code 0."""
    folder = tmp_path / "files"
    shutil.copytree(files, folder)
    if " -o " not in command and " apply " in command:
        (folder / "model-sn.keras").unlink()
    if "patched/" in command:
        (folder / "patched").mkdir()
    line = command.replace("snconvert", f"{sys.executable} -m snconvert", 1)
    line = line.replace("head", "logits")
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
