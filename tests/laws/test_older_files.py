"""What older versions of Keras saved computes the same in Keras 3, and trains on in the same way.

`tests/data/older/KERAS-VERSION.zip` holds files that `tests/support/older_models.py` wrote with
that version, each with what it computed: predictions, and those after one more step of training.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_older import Keras3, Older, apart, listed, older_files, upgrade, use
from places import TESTS

pytestmark = pytest.mark.keras

BUNDLES = sorted((TESTS / "data" / "older").glob("*.zip"))
ROUNDING = 1e-5
"""Relative to the largest number: float32, summed in another order."""

HALF = {"model_mixed": 2e-3}
"""Half precision has 11 bits."""

BACKENDS = ("keras-2.0.5", "keras-2.2.4")
"""Keras of several backends: epsilons stood outside of roots."""

OTHERWISE = (
    *("state_frozen", "state_unfrozen"),  # trains as it was compiled, after loading as it stands
    *("layer_time_distributed", "model_wrapped_model"),  # Keras 3 normalises each step by itself
    *("layer_batch_normalization_variants", "model_residual"),  # gradients that are but noise
    *("layer_images", "layer_random_brightness"),  # chance
)
"""What trains in another way in Keras 3."""

REFUSED = {
    "arithmetic": "operation of TensorFlow",
    "locally_connected": "no such layer",
}
"""What Keras 3 has no word for."""

ENVIRONMENT = "SNCONVERT_OLDER_PYTHON"


def files(bundle: Path) -> list[str]:
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
    return sorted(n for n in names if n.endswith((".h5", ".keras")))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    for bundle in BUNDLES:
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(folder / bundle.stem)
    return folder


@pytest.fixture(scope="module")
def keras3() -> Keras3:
    return Keras3()


def the_file(folder: Path, name: str) -> Older:
    (older,) = older_files(folder, [name])
    return older


def stem(older: Older) -> str:
    return older.values.stem


def trains_alike(older: Older) -> bool:
    kind, version = stem(older), older.file.parents[1].name
    old = kind.startswith("legacy") or version in BACKENDS
    if kind.startswith("legacy") and older.file.suffix == ".keras":
        return False  # such an archive holds no state
    return not ("nadam" in kind or ("rmsprop" in kind and old) or kind in OTHERWISE)


def check(older: Older, keras3: Keras3) -> None:
    """Keras 3 computes what the old Keras did, before and after one step."""
    assert not older.refusal
    values = dict(np.load(older.values))
    model = keras3.load(older.output)
    tolerance = HALF.get(stem(older), ROUNDING)
    own = keras3.predictions(model, listed(values, "input"))
    assert apart(listed(values, "output"), own) < tolerance
    if "target 0" in values and not older.config:
        assert model.compiled, older.notes
        if trains_alike(older):
            differences = keras3.trained_apart(model, values)
            if older.file.parents[1].name in BACKENDS:  # statistics of batches had another formula
                del differences[0]
            assert max(differences, default=0.0) < tolerance


@pytest.mark.parametrize(
    ("version", "name"),
    [pytest.param(bundle.stem, name) for bundle in BUNDLES for name in files(bundle)],
)
def test_it_computes_the_same(
    version: str, name: str, unpacked: Path, keras3: Keras3, tmp_path: Path
) -> None:
    """A file of an older Keras predicts as it did there, and the next step of training is the
    same."""
    older = the_file(unpacked / version, name)
    upgrade(older, tmp_path)
    check(older, keras3)


VERBS = [
    ("tf_keras-2.21", "h5/model_nested_twice.h5"),
    ("tf_keras-2.21", "h5/layer_cells.h5"),
    ("tf_keras-2.21", "h5/legacy_amsgrad.h5"),
    ("tf_keras-2.21", "weights/model_functional.h5"),
    ("keras-2.13", "keras/model_attention.keras"),
    ("keras-2.0.5", "h5/model_functional_in_sequential.h5"),
]


@pytest.mark.parametrize(("version", "name"), VERBS)
def test_the_verbs_know_it(version: str, name: str, unpacked: Path, tmp_path: Path) -> None:
    """`apply` converts it, `verify` proves that against the old and the upgraded file, and `remove`
    gives what `upgrade` gives."""
    older = the_file(unpacked / version, name)
    upgrade(older, tmp_path)
    use(older, tmp_path)
    assert older.wrong == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with all that an older Keras here can save."""
    python = os.environ.get(ENVIRONMENT)
    if not python:
        pytest.skip(f"{ENVIRONMENT} names no Python with tf-keras, or another Keras before 3")
    folder = tmp_path_factory.mktemp("written")
    script = TESTS / "support" / "older_models.py"
    subprocess.run([python, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.slow
def test_all_that_an_older_keras_saves(written: Path, keras3: Keras3, tmp_path: Path) -> None:
    """Every kind of layer, topology, optimizer and loss, in every form of file."""
    wrong: dict[str, Any] = {}
    for older in older_files(written, []):
        if stem(older) == "layer_lambda":  # Keras 3 opens none in safe mode
            continue
        upgrade(older, tmp_path)
        why = [text for name, text in REFUSED.items() if name in stem(older)]
        if why:
            assert why[0] in older.refusal, older.name
            continue
        try:
            check(older, keras3)
        except Exception as error:  # noqa: BLE001 - all are tried, and told together
            wrong[older.name] = error
        use(older, tmp_path)
        if older.wrong:
            wrong[older.name] = older.wrong
        older.output.unlink(missing_ok=True)
    assert wrong == {}
