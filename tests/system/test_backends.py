"""TensorFlow, JAX and PyTorch compute, train, save and convert the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import backend_models
import keras
import numpy as np
import pytest
from backend_child import FILES, TOPOLOGY, conversions, write_files
from backend_models import CASES
from backend_steps import KINDS, steps
from places import SUPPORT

pytestmark = [
    # Keras 3.15.1 hands its variables to h5py, which asks numpy 2.4 for them in the new way.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # Keras' GroupQueryAttention says so of its projections, plain or spectral.
    pytest.mark.filterwarnings("ignore:(?s).*was passed an input with a mask"),
]

OTHERS = ("jax", "torch")
QUICK = CASES["quick"]
Results = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backends")


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    """What each backend computes."""
    return everywhere(folder, "quick")


@pytest.fixture(scope="module")
def slow_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each backend computes of the layers and models that take long."""
    return everywhere(tmp_path_factory.mktemp("slow"), "slow")


def everywhere(folder: Path, extent: str) -> Results:
    """Runs everything of that extent: TensorFlow in this process, the others in their own."""
    reference = backend_models.write(folder, extent) | write_files(folder, extent)
    found = {"tensorflow": reference | conversions(folder, extent) | steps(extent)}
    children = [  # side by side
        subprocess.Popen(
            [sys.executable, SUPPORT / "backend_child.py", folder, extent],
            env=os.environ | {"KERAS_BACKEND": backend},
            stderr=subprocess.PIPE,
            text=True,
        )
        for backend in OTHERS
    ]
    for backend, child in zip(OTHERS, children, strict=True):
        _, told = child.communicate()
        assert child.returncode == 0, told[-5000:]
        with np.load(folder / f"{backend}.npz") as stored:
            found[backend] = dict(stored)
    return found


FIXTURES = {"quick": "results", "slow": "slow_results"}


def both(names: Mapping[str, Sequence[str]]) -> list[Any]:
    """Returns all names as parameters of a test, those of the `slow` extent so marked."""
    return [
        *names["quick"],
        *(pytest.param(name, marks=pytest.mark.slow) for name in names["slow"]),
    ]


def results_with(
    request: pytest.FixtureRequest, name: str, names: Mapping[str, Sequence[str]]
) -> Results:
    """Returns the results that have that name."""
    (extent,) = (extent for extent in FIXTURES if name in names[extent])
    results: Results = request.getfixturevalue(FIXTURES[extent])
    return results


def of(results: Results, backend: str, case: str) -> dict[str, np.ndarray]:
    """Returns what a backend has about a case, by what it is."""
    stem = f"{case}/"
    values = {k.removeprefix(stem): v for k, v in results[backend].items() if k.startswith(stem)}
    assert values
    return values


def close(one: np.ndarray, two: np.ndarray, limit: float, what: str) -> None:
    """Fails unless two arrays agree to a part of the largest value."""
    scale = max(1.0, np.abs(two).max())
    np.testing.assert_allclose(one, two, rtol=0, atol=limit * scale, err_msg=what)


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("case", both(CASES))
def test_same_results(request: pytest.FixtureRequest, backend: str, case: str) -> None:
    """Outputs before and after training agree to 3e-6, the new u to 2e-6, and each variable's step
    to 3e-4 of the step and a rounding of the variable."""
    results = results_with(request, case, CASES)
    expected, found = (of(results, name, case) for name in ("tensorflow", backend))
    assert expected.keys() == found.keys()
    for what, value in expected.items():
        if what in {"forward", "after"}:
            close(found[what], value, 3e-6, what)
        elif what.endswith("u"):
            np.testing.assert_allclose(found[what], value, atol=2e-6)
        else:
            limit = 3e-4 * np.abs(value).max() + 5e-7
            np.testing.assert_allclose(found[what], value, rtol=0, atol=limit)


@pytest.mark.parametrize("extent", ["quick", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_step_is_larger_than_what_is_tolerated(
    request: pytest.FixtureRequest, extent: str
) -> None:
    """Every kernel takes a step of five times what is tolerated above, or more."""
    results = request.getfixturevalue(FIXTURES[extent])
    for case in CASES[extent]:
        for what, value in of(results, "tensorflow", case).items():
            if "kernel" in what and not what.endswith(("u", "gamma")):
                assert np.abs(value).max() > 2.5e-6, (case, what)


@pytest.mark.parametrize("backend", OTHERS)
def test_what_one_saves_another_loads(results: Results, folder: Path, backend: str) -> None:
    """TensorFlow loads the model that another backend trained and saved, and predicts the same;
    the others have loaded the one that TensorFlow saved."""
    model = keras.saving.load_model(folder / f"{backend}.keras", compile=False)
    with np.load(folder / "data.npz") as stored:
        data = dict(zip(QUICK, stored.values(), strict=True))
    for name in QUICK:
        if not _on_tensorflow(model.get_layer(name)):
            continue
        tensor = model.get_layer(f"{name}-flat").output
        source = model.inputs[QUICK.index(name)]
        found = keras.Model(source, tensor)(data[name], training=False)
        close(np.array(found), results[backend][f"{name}/after"], 3e-6, name)


def _on_tensorflow(layer: keras.layers.Layer) -> bool:
    """TensorFlow on CPU has no channels_first convolution."""
    return getattr(layer, "data_format", None) != "channels_first"


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("name", both(FILES))
def test_converted_files(request: pytest.FixtureRequest, backend: str, name: str) -> None:
    """A file that the file carrier converted predicts the same on every backend, to 1e-5; half
    precision to its rounding."""
    results = results_with(request, name, FILES)
    if (name, backend) == ("tokens", "jax"):
        refusals = of(results, backend, "refused")
        assert refusals == {"MultiHeadAttention": True, "SpectralMultiHeadAttention": True}
        return
    limit = 1e-2 if "16" in name else 1e-5
    expected, found = (of(results, each, f"file {name}") for each in ("tensorflow", backend))
    assert expected.keys() == found.keys()
    for i, value in expected.items():
        close(found[i], value, limit, i)


@pytest.mark.parametrize("backend", ["tensorflow", *OTHERS])
@pytest.mark.parametrize("name", both(TOPOLOGY))
def test_live_conversion(request: pytest.FixtureRequest, backend: str, name: str) -> None:
    """On each backend, and as on TensorFlow: a conversion with gain changes no output and keeps the
    optimizer going, saving and loading gives the same bits, baking the same outputs, removing the
    same weights, and plain weights can be put in."""
    results = results_with(request, name, TOPOLOGY)
    expected, found = (of(results, each, f"live {name}") for each in ("tensorflow", backend))
    assert expected.keys() == found.keys()
    # Of its embedding, plain as it is then, Keras' Adam makes another step on TensorFlow: there the
    # gradient is sparse, with repeated rows.
    limit = 2e-2 if name == "recurrent" else 1e-4
    for what, value in expected.items():
        close(found[what], value, limit, what)
    for one, two in (("plain", "gain"), ("trained", "baked"), ("hard", "put in")):
        close(found[one], found[two], 1e-5, two)
    for one, two in (("trained", "loaded"), ("slots trained", "slots loaded")):
        np.testing.assert_array_equal(found[one], found[two], err_msg=two)
    np.testing.assert_array_equal(found["trained weights"], found["loaded weights"])
    np.testing.assert_array_equal(found["weights"], found["removed weights"])
    assert found["iterations"] == 2
    assert np.abs(found["trained"] - found["gain"]).max() > 1e-3


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("kind", both(KINDS))
def test_a_discriminator_step(request: pytest.FixtureRequest, backend: str, kind: str) -> None:
    """Called twice in one step, with a gradient penalty, layers of every backend have the gradients
    and the u of TensorFlow's, to 1e-4: no in-place change of u disturbs PyTorch's backward pass."""
    results = results_with(request, kind, KINDS)
    expected, found = (of(results, each, f"step {kind}") for each in ("tensorflow", backend))
    assert expected.keys() == found.keys()
    largest = max(np.abs(value).max() for value in expected.values())
    assert largest > 1e-1
    for what, value in expected.items():
        np.testing.assert_allclose(found[what], value, rtol=1e-4, atol=1e-4, err_msg=what)


def test_a_copy_owns_its_modules(results: Results) -> None:
    """What PyTorch knows of a copy, its parameters and the modules in its layers, is the copy's:
    training it moves them, and nothing of the original."""
    found = of(results, "torch", "modules")
    assert found.pop("moved").tolist() == [True, False]
    assert all(found.values()), found


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("kind", both(KINDS))
def test_converged(request: pytest.FixtureRequest, backend: str, kind: str) -> None:
    """Sigma by a u of another length, after two rounds of `converge` and after all of them is that
    of TensorFlow to 2e-6, and grows."""
    results = results_with(request, kind, KINDS)
    expected, found = (of(results, each, f"converged {kind}") for each in ("tensorflow", backend))
    assert expected.keys() == found.keys()
    for what, value in expected.items():
        np.testing.assert_allclose(found[what], value, rtol=2e-6, err_msg=what)
    stages = np.reshape([*found.values()], (3, -1))
    assert (np.diff(stages, axis=0) > -1e-6 * stages[:2]).all()
    assert stages[0].min() > 0
