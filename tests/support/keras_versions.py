"""Puts other versions of Keras, each alone, into folders: `python keras_versions.py FOLDER [all]`.

Each takes 2 MB to fetch; the libraries that they use are those of the environment. What is there
already stays as it is. SNCONVERT_KERAS names the folder for the tests.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GATE = ("3.6.0", "3.16.0.dev2026102704")
"""The versions that the gate tries beside the newest release, with which all other tests run: the
oldest, and the newest pre-release. Those between are slow."""

OTHERS = ("3.7.0", "3.8.0", "3.9.2", "3.10.0", "3.11.3", "3.12.0", "3.13.0", "3.14.0")
TOO_OLD = "3.5.0"
"""The newest minor version on which the layers do not run."""

VARIABLE = "SNCONVERT_KERAS"


def install(folder: Path, version: str) -> None:
    """Puts one version into the folder of that name, whole or not at all."""
    package = "keras-nightly" if "dev" in version else "keras"
    part, target = folder / f"{version}.part", folder / version
    if target.is_dir():
        return
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*command, "--target", part, f"{package}=={version}"], check=True)
    part.rename(target)


if __name__ == "__main__":
    place, *extent = sys.argv[1:]
    for each in (*GATE, *OTHERS, TOO_OLD) if extent == ["all"] else GATE:
        install(Path(place), each)
