"""What is easily got wrong in a Lipschitz bound, one by one."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.initializers import Constant, Identity
from random_networks import jacobian

import snconvert
from snconvert.core.network_bound import NetworkBound

pytestmark = pytest.mark.keras


def bound_of(model: keras.Model, folder: Path) -> NetworkBound:
    """Saves a model and bounds the file."""
    path = folder / "model.keras"
    model.save(path)
    network = snconvert.inspect(path, lipschitz=True).lipschitz
    assert network is not None
    return network


def less(branch: Any) -> Callable[[Any], Any]:
    """Subtracts from a tensor what a layer makes of its positive part."""
    return lambda x: x - branch(ops.relu(x))


TURNED = {"equation": "abc,cd->adb", "output_shape": (4, 4)}
SAME: dict[str, Any] = {"padding": "same"}
NEAR = abs(np.subtract.outer(range(9), range(9))) <= 1
AVERAGE = float(np.linalg.norm(NEAR / NEAR.sum(axis=1, keepdims=True), 2))

CONSTANTS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any], float]] = {
    "broadcasting": ((1, 1, 3), lambda x: layers.Add()([x, 0.0 * ops.repeat(x, 4, 1)]), 2.0),
    "same average": ((9, 9, 1), layers.AveragePooling2D(3, 1, **SAME), AVERAGE**2),
    "overlapping maxima": ((6, 6, 2), layers.MaxPooling2D(3, 1, **SAME), 3.0),
    "maxima with strides": ((7, 7, 2), layers.MaxPooling2D(3, 2), 2.0),
    "gelu": ((3,), layers.Activation("gelu"), 1.12899307),
    "softmax": ((3,), layers.Activation("softmax"), 0.5),
    "log_softmax": ((5,), layers.Activation("log_softmax"), 5**0.5),
    "layer normalisation": ((6,), layers.LayerNormalization(epsilon=1e-3), 1e-3**-0.5),
    "mean square": ((6,), layers.RMSNormalization(epsilon=1e-6), 1e3),
    "called twice": ((4,), lambda x: TWICE(TWICE(x)), 9.0),
    "an operation": ((4,), lambda x: x + 2.0 * x, 3.0),
    "a constant first": ((4,), lambda x: 1.0 - 3.0 * x, 3.0),
    "dropout in training": ((4,), lambda x: layers.Dropout(0.75)(x, training=True), 4.0),
    "steep sides": ((3,), layers.LeakyReLU(negative_slope=3.0), 3.0),
    "what is subtracted": ((4,), less(layers.Dense(4, kernel_initializer=Identity(-1.0))), 2.0),
    "half is left": ((4,), less(layers.Dense(4, kernel_initializer=Identity(1.0))), 1.0),
    "turned": ((4, 4), less(layers.EinsumDense(**TURNED, kernel_initializer=Identity(1.0))), 2.0),
    "unused parts": ((2, 3), lambda x: ops.split(x, 3, axis=-1)[1], 1.0),
}
"""Sizes of an input, what is made of it, and its Lipschitz constant, which is reached."""

TWICE = layers.Dense(4, kernel_initializer=Identity(3.0))

NONE: dict[str, tuple[tuple[int, ...], Callable[[Any], Any], str]] = {
    "threshold": ((3,), layers.ReLU(threshold=0.5), "jumps"),
    "whole numbers": ((3,), lambda x: ops.cast(ops.cast(x, "int32"), "float32"), "rounds"),
    "truth": ((3,), lambda x: ops.cast(ops.cast(x, "bool"), "float32"), "rounds"),
    "gates": ((3,), lambda x: x * ops.sigmoid(x), "multiplies two tensors"),
    "statistics": ((3,), lambda x: layers.BatchNormalization()(x, training=True), "the batch"),
}


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> NetworkBound:
    """The bounds of a model of which each branch is a pitfall."""
    inputs, outputs = [], {}
    for name, (sizes, make, _) in {**CONSTANTS, **NONE}.items():
        inputs.append(keras.Input(sizes))
        outputs[name] = make(inputs[-1])
    return bound_of(keras.Model(inputs, outputs), tmp_path_factory.mktemp("branches"))


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(name: str, branches: NetworkBound) -> None:
    """The bound is the constant, neither below nor far above."""
    bound = {output.name: output.bound for output in branches.outputs}[name]
    assert bound is not None
    assert bound.value == pytest.approx(CONSTANTS[name][2], rel=2e-6)


@pytest.mark.parametrize("name", NONE)
def test_no_constant(name: str, branches: NetworkBound) -> None:
    """What jumps, multiplies tensors or mixes samples has no bound, and is named."""
    assert {output.name: output.bound for output in branches.outputs}[name] is None
    assert any(NONE[name][2] in layer.reason for layer in branches.unbounded)


def test_the_norm_of_its_matrix_is_no_bound_of_a_convolution(tmp_path: Path) -> None:
    """Ones on 3x3 have the matrix norm 3 and make a map of nearly 9."""
    conv = layers.Conv2D(1, 3, padding="same", use_bias=False, kernel_initializer=Constant(1.0))
    model = keras.Sequential([keras.Input((12, 12, 1)), conv])
    reached = np.linalg.norm(jacobian(model, [np.zeros((12, 12, 1), "float32")])[0], 2)
    bound = bound_of(model, tmp_path).bound
    assert bound is not None
    assert bound.value is not None
    assert reached > 8.5
    assert reached * (1 - 1e-5) <= bound.value <= 9.00001


def test_sizes_are_inferred(tmp_path: Path) -> None:
    """Sizes that a Sequential model does not store are known, and overlap counts without any."""
    for size in (6, None):
        stack = [layers.MaxPooling2D(2, 1), layers.ReLU(), layers.MaxPooling2D(2)]
        model = keras.Sequential([keras.Input((size, size, 1)), *stack, layers.UpSampling2D()])
        bound = bound_of(model, tmp_path).bound
        assert bound is not None
        assert bound.value == pytest.approx(4.0)


def test_a_branch_on_other_axes(tmp_path: Path) -> None:
    """Kernels on different axes are not added, though they have the same sizes."""
    kernel = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    inputs = keras.Input((4, 4))
    beside = layers.EinsumDense("abc,bd->adc", (4, 4))
    behind = layers.Dense(4)
    model = keras.Model(inputs, beside(inputs) + behind(ops.relu(inputs)))
    beside.set_weights([-kernel])
    behind.set_weights([kernel, np.zeros(4)])
    points = np.random.default_rng(1).normal(size=(200, 4, 4)).astype("float32")
    reached = max(np.linalg.norm(jacobian(model, [point])[0], 2) for point in points)
    bound = bound_of(model, tmp_path).bound
    assert bound is not None
    assert bound.value is not None
    assert reached <= bound.value * (1 + 1e-5)


def test_convolutions_of_different_ranks_are_no_chain(tmp_path: Path) -> None:
    """A convolution of one axis, step by step, stands before one of two axes."""
    model = keras.Sequential(
        [
            keras.Input((4, 5, 2)),
            layers.TimeDistributed(layers.Conv1D(3, 2, padding="same")),
            layers.ReLU(),
            layers.Conv2D(2, 2),
        ]
    )
    bound = bound_of(model, tmp_path)
    assert bound.bound is not None
    assert bound.product is not None


def test_a_batch_normalisation_of_the_first_axis(tmp_path: Path) -> None:
    """Scales belong to the axis that the layer names, behind a kernel of another one."""
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Dense(4, kernel_initializer=Identity(2.0)),
            layers.BatchNormalization(axis=1, epsilon=0.0625),
        ]
    )
    gammas = np.array([0.0, -3.0, 1.0])
    model.layers[1].set_weights([gammas, np.zeros(3), np.ones(3), np.full(3, 0.9375)])
    bound = bound_of(model, tmp_path).bound
    assert bound is not None
    assert bound.value == pytest.approx(6.0, rel=2e-6)


def test_what_comes_before_a_last_softmax_is_told(tmp_path: Path) -> None:
    """The bound of the logits stands beside that of the probabilities, of each named output."""
    inputs = keras.Input((4,))
    logits = layers.Dense(4, kernel_initializer=Identity(8.0))(inputs)
    outputs = {"class": layers.Softmax()(logits), "risk": layers.Activation("sigmoid")(logits)}
    found = {o.name: o for o in bound_of(keras.Model(inputs, outputs), tmp_path).outputs}
    for name, share in (("class", 0.5), ("risk", 0.25)):
        output = found[name]
        assert output.bound is not None
        assert output.logits is not None
        assert output.bound.value == pytest.approx(8 * share, rel=2e-6)
        assert output.logits.value == pytest.approx(8.0, rel=2e-6)


def test_code_of_its_own_is_named(tmp_path: Path) -> None:
    """A Lambda has no bound, and is told by its path."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Lambda(ops.square, name="squared")(inputs))
    result = bound_of(model, tmp_path)
    assert result.bound is None
    assert [layer.path for layer in result.unbounded] == ["squared"]


@pytest.mark.parametrize("mode", ["hard", "cap"])
def test_a_kernel_that_has_moved_on_counts_as_it_is_used(mode: str, tmp_path: Path) -> None:
    """With a `u` that is behind the kernel, the bound is that of the kernel in use."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    model = snconvert.apply(model, mode=mode)
    model.layers[0].kernel.assign(np.diag([1.0, 1.0, 1.0, 30.0]))
    reached = np.linalg.norm(jacobian(model, [np.zeros(4, "float32")])[0], 2)
    bound = bound_of(model, tmp_path).bound
    assert bound is not None
    assert reached > 1.01
    assert bound.value == pytest.approx(reached, rel=1e-5)


def test_beyond_float64(
    tmp_path: Path, snconvert: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """A bound above 1e308 is told as such, in words, as JSON and on the page."""
    blocks: list[Any] = []
    for _ in range(60):
        blocks += [layers.Dense(4, kernel_initializer=Constant(1e6)), layers.BatchNormalization()]
        blocks.append(layers.Activation("gelu"))
    path, page = tmp_path / "deep.keras", tmp_path / "page.html"
    keras.Sequential([keras.Input((4,)), *blocks]).save(path)
    text = snconvert("inspect", path, "--lipschitz", "--html", page).stdout
    assert ">1e308" in text
    assert "&gt;1e308" in page.read_text(encoding="utf-8")
    found = snconvert("inspect", path, "--lipschitz", "--json").stdout
    told = json.loads(found, parse_constant=pytest.fail)["lipschitz"]
    assert told["bound"]["value"] is None
    assert 308 < told["bound"]["log10"] < 500
    shown = re.sub(
        "<(script|style).*?</(script|style)>", "", page.read_text("utf-8"), flags=re.DOTALL
    )
    assert not re.search(r"\b(inf|nan|infinity)\b", text + shown, re.IGNORECASE)
