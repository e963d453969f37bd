"""Everything works with every Keras from 3.6 to the newest pre-release."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from keras_versions import GATE, OTHERS, TOO_OLD, VARIABLE
from places import ROOT, SUPPORT

INSTALLED = keras.__version__
BACKENDS = ("tensorflow", "torch", "jax")
WITHOUT_JAX = ("3.6.0", "3.7.0", "3.8.0", "3.9.2")
"""The versions that do not run on today's JAX."""
FAST = "every_class sample every_kind_as_a_file every_kind_live compiled_training subclassed"
FAST += " weight_decay projection averages in_place"
"""What the gate checks; the rest takes half as long again, and is slow."""


def run(version: str, backend: str, *command: object) -> str:
    """Runs a command with a version of Keras; returns what it prints."""
    paths = [ROOT, SUPPORT]
    if version != INSTALLED:
        root = os.environ.get(VARIABLE)
        if root is None:
            pytest.skip(f"{VARIABLE} names no folder; tests/support/keras_versions.py fills one")
        folder = Path(root) / version
        assert (folder / "keras").is_dir(), f"python tests/support/keras_versions.py {root} all"
        paths.insert(0, folder)
    found = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | found,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("version", GATE)
def test_on_tensorflow(version: str, tmp_path: Path) -> None:
    """Files and live models with every kind of layer are converted, loaded, trained, saved, proved
    and converted back."""
    told = run(version, "tensorflow", SUPPORT / "any_keras.py", tmp_path, *FAST.split())
    assert told.startswith(f"Keras {version}, tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("version", [*GATE, *OTHERS, INSTALLED])
def test_on_every_backend(version: str, backend: str, tmp_path: Path) -> None:
    """The same by every target, with every optimizer, in every version on every backend it has."""
    if backend == "jax" and version in WITHOUT_JAX:
        pytest.skip(f"Keras {version} does not run on today's JAX")
    told = run(version, backend, SUPPORT / "any_keras.py", tmp_path, "thorough")
    assert told.startswith(f"Keras {version}, {backend}")


OLDER = """
import os, subprocess, sys, warnings
import snconvert
os.chdir(sys.argv[1])
with warnings.catch_warnings(record=True) as caught:
    import keras
(warned,) = [str(x.message) for x in caught if "snconvert" in str(x.message)]
for name in ("layers", "SpectralDense", "apply", "SpectralProjection", "constraints"):
    try:
        getattr(snconvert, name)
    except ImportError as error:
        assert isinstance(error, snconvert.SnconvertError) and str(error) in warned
    else:
        raise AssertionError(name)
activation = keras.saving.get_registered_object("snconvert>hard_sigmoid")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation)])
model.save("plain.keras")
snconvert.apply_file("plain.keras", "patched.keras", target="keras")
assert snconvert.verify("plain.keras", "patched.keras")
keras.saving.load_model("patched.keras")
command = [sys.executable, "-m", "snconvert", "apply", "plain.keras", "--import", "json"]
done = subprocess.run(command, capture_output=True, text=True)
assert done.returncode == 1
print(warned, done.stderr)
"""


@pytest.mark.slow
def test_a_keras_that_is_too_old(tmp_path: Path) -> None:
    """It works by itself beside the package and its files are converted; the layers, live models
    and `--import` say in one line which Keras they need."""
    script = tmp_path / "older.py"
    script.write_text(OLDER)
    told = run(TOO_OLD, "tensorflow", script, tmp_path)
    needed = f"need Keras 3.6 or newer, and Keras {TOO_OLD} is installed. Install it with"
    assert told.count(needed) == 2
