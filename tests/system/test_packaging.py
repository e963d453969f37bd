"""The distributions hold what they should, and what is built from them works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from places import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLATION = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
NEEDS_KERAS = ("keras", "tensorflow")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def test_an_index_takes_the_distributions(distributions: tuple[Path, Path]) -> None:
    """Their metadata is what an index accepts, the README renders there."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *distributions]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_source_distribution_is_the_checkout(distributions: tuple[Path, Path]) -> None:
    """It holds every file that is under version control, but those of git itself."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split("\n")
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in listed if name and (ROOT / name).is_file()} - names
    assert missing <= {".gitignore"}


def test_the_wheel_holds_the_package_only(distributions: tuple[Path, Path]) -> None:
    """Nothing but the package, all of it, the manual page, and metadata with the licence."""
    with zipfile.ZipFile(distributions[1]) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    files = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "snconvert").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    manual = {name for name in names if name.endswith(".data/data/share/man/man1/snconvert.1")}
    assert names - metadata - manual == set(files)
    assert manual
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_the_wheel_converts_a_file(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    """What it holds is enough to convert a model."""
    with zipfile.ZipFile(distributions[1]) as archive:
        archive.extractall(tmp_path / "site")  # noqa: S202 - it was just built
    command = [sys.executable, "-P", "-m", "snconvert", "apply", ROOT / "samples/moons.keras"]
    command += ["-o", tmp_path / "out.keras"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=60)
    assert (tmp_path / "out.keras").exists()


def test_the_way_without_keras_names_all_else() -> None:
    """The line of the documentation for files only installs every dependency but Keras and
    TensorFlow, in the versions that the package asks for."""
    said = re.search(r"<!-- files only -->\n```bash\npip install (.*)\n", INSTALLATION)
    needed = [x for x in PROJECT["dependencies"] if not x.startswith(NEEDS_KERAS)]
    assert said
    assert re.findall(r'"([^"]+)"', said[1]) == needed


@pytest.mark.slow
def test_an_environment_without_keras(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    """In an empty environment the documentation's lines for files only give a command line that
    converts, from the source distribution, too; they need a package index."""
    venv.create(tmp_path / "venv", with_pip=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PATH"] = f"{tmp_path / 'venv/bin'}{os.pathsep}{environment['PATH']}"
    with tarfile.open(distributions[0]) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (checkout,) = (tmp_path / "source").iterdir()
    lines = re.findall(r"<!-- files only -->\n```bash\n(.*?)```", INSTALLATION, re.DOTALL)[0]
    lines += "snconvert apply samples/moons.keras && snconvert inspect samples/moons-sn.keras\n"
    lines += "! python -c 'import keras' 2>/dev/null\n"
    shell = ["bash", "-euo", "pipefail", "-c", lines]
    subprocess.run(shell, check=True, env=environment, cwd=checkout, timeout=600)
