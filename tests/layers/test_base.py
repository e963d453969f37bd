"""The spectral layers as Keras layers: outputs, variables, configuration, saving, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spectral_cases import (
    EVERY,
    FIELDS,
    MODES,
    RUNNABLE,
    VARIANTS,
    Example,
    at,
    inputs_for,
    make,
    paths_of,
    plain,
    run,
    scaled,
    sigma_of,
    stack_of,
    state_of,
)

from snconvert import layers
from snconvert.core.matrix_view import MatrixView
from snconvert.errors import OptionError, UnsupportedError
from snconvert.kinds.table import RULES
from snconvert.layers.initial_u import _EXACT, warm_u

# Keras 3.15.1 hands its variables to h5py, which asks numpy 2.4 for them in the new way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.turns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", [*RUNNABLE, *VARIANTS])
def test_outputs_are_those_of_the_scaled_kernel(example: Example, mode: str) -> None:
    """The layer computes what the Keras layer does with `s(sigma) W`, sigma being LAPACK's."""
    layer, x = make(example, mode=mode, bound=0.7), inputs_for(example)
    expected = run(plain(layer, scaled(layer)), x)
    for training in (None, False, True):
        np.testing.assert_allclose(run(layer, x, training=training), expected, rtol=3e-5, atol=3e-5)


@pytest.mark.turns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", EVERY)
def test_variables(example: Example, mode: str) -> None:
    """Behind the variables of the Keras layer (or of the part that owns the kernels) come its
    gammas, scalars, and then its us, one row a block: all float32, gamma trainable, u not."""
    layer = make(example, mode=mode)
    paths = paths_of(layer)
    for owner in {path.rpartition("/")[0]: None for path in paths}:
        part = at(layer, owner) if owner else layer
        names = [path.rpartition("/")[2] for path in paths if path.rpartition("/")[0] == owner]
        added = [part._prefix(name) + "gamma" for name in names] if mode == "gain" else []
        added += [part._prefix(name) + "u" for name in names]
        twin = plain(layer)
        theirs = [variable.name for variable in (at(twin, owner) if owner else twin).weights]
        assert [variable.name for variable in part.weights] == theirs + added
    for path in paths:
        u = state_of(layer, path, "u")
        blocks, _, columns = stack_of(layer, at(layer, path), path).shape
        assert tuple(u.shape) == (blocks, columns)
        assert u.dtype == "float32"
        assert not u.trainable
        if mode == "gain":
            gamma = state_of(layer, path, "gamma")
            assert tuple(gamma.shape) == ()
            assert gamma.dtype == "float32"
            assert gamma.trainable


@pytest.mark.parametrize("example", EVERY)
def test_configuration(example: Example) -> None:
    """The configuration is that of the Keras layer and then the four options, and builds an equal
    layer; output shapes are those of the Keras layer."""
    layer = make(example, mode="cap", bound=2, power_iterations=3)
    config = layer.get_config()
    assert list(config) == [*plain(layer).get_config(), *FIELDS]
    assert [config[field] for field in FIELDS] == ["cap", 2.0, 3, "matrix"]
    assert type(layer).from_config(config).get_config() == config
    if not isinstance(layer, layers.recurrent.SpectralCell):
        shapes = input_shapes(layer, example[2])
        expected = plain(layer).compute_output_shape(*shapes)
        assert layer.compute_output_shape(*shapes) == expected
    entry = keras.saving.serialize_keras_object(layer)
    assert entry["module"] == "snconvert.layers"
    assert entry["class_name"] == RULES[example[0]].spectral_class
    assert entry["registered_name"] == f"snconvert>{entry['class_name']}"


def test_every_rule_has_a_class() -> None:
    """Each row's spectral class is exported, a subclass of the Keras layer, and knows its row."""
    for rule in RULES.values():
        cls = getattr(layers, rule.spectral_class)
        assert rule.spectral_class in layers.__all__
        assert issubclass(cls, getattr(keras.layers, rule.class_name))
        assert cls.rule is rule


def test_positional_arguments_are_those_of_keras() -> None:
    """Arguments before the options are taken by position, as Keras does."""
    assert layers.SpectralDense(3, "relu", False).use_bias is False
    conv = layers.SpectralConv2D(4, 3, (2, 2), "same", mode="cap")
    assert (conv.strides, conv.padding, conv.mode) == ((2, 2), "same", "cap")


@pytest.mark.parametrize("example", EVERY)
def test_built_from_a_shape_without_values(example: Example) -> None:
    """A layer joins a Functional graph, channels_first too."""
    name, config, shape = example
    if name.endswith("Cell"):
        pytest.skip("a cell takes its states, which make no graph")
    dtype = "int32" if RULES[name].kind == "embedding" else "float32"
    inputs = keras.Input(shape[1:], dtype=dtype)
    layer = getattr(layers, RULES[name].spectral_class)(**config)
    outputs = layer(inputs, inputs) if RULES[name].kind == "attention" else layer(inputs)
    assert tuple(outputs.shape) == tuple(layer.compute_output_shape(*input_shapes(layer, shape)))
    for path, sigma in layer.spectral_norms().items():
        np.testing.assert_allclose(sigma, sigma_of(layer, at(layer, path), path), rtol=1e-5)


def input_shapes(layer: Any, shape: Any) -> list[Any]:
    """Returns the shape once for each argument of a layer that was called on itself."""
    return [shape] * (2 if layer.rule.kind == "attention" else 1)


def test_saved_and_loaded_where_only_snconvert_is_imported(tmp_path: Path) -> None:
    """A model of all kinds and modes, saved by Keras, opens in a fresh interpreter after `import
    snconvert`, with the same outputs and the same variables bit for bit."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            layers.SpectralConv2D(4, 3, groups=2, mode="gain"),
            keras.layers.Reshape((8, 8)),
            layers.SpectralConv1D(6, 3, mode="cap", padding="causal"),
            layers.SpectralEinsumDense("abc,bcd->abd", (8, 3), bias_axes="d", mode="gain"),
            keras.layers.Reshape((2, 2, 2, 3)),
            layers.SpectralConv3D(2, 2, mode="hard"),
            keras.layers.Flatten(),
            layers.SpectralDense(2, mode="gain", kernel_regularizer="l2"),
        ]
    )
    model.compile("adam", "mse", run_eagerly=True)
    x = np.random.default_rng(0).normal(size=(5, 6, 6, 4)).astype("float32")
    model.fit(x, np.ones((5, 2)), epochs=2, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    np.savez(tmp_path / "x.npz", x=x)
    script = (
        "import sys, snconvert\n"
        "assert 'keras' not in sys.modules\n"
        "import keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "x = np.load(sys.argv[2])['x']\n"
        "values = {str(i): v.numpy() for i, v in enumerate(model.weights)}\n"
        "np.savez(sys.argv[3], y=model.predict(x, verbose=0), **values)\n"
    )
    arguments = [path, tmp_path / "x.npz", tmp_path / "y.npz"]
    command = [sys.executable, "-c", script, *arguments]
    subprocess.run(command, check=True, timeout=120)
    loaded = np.load(tmp_path / "y.npz")
    assert len(loaded) == len(model.weights) + 1
    for i, variable in enumerate(model.weights):
        np.testing.assert_array_equal(loaded[str(i)], variable.numpy())
    np.testing.assert_array_equal(loaded["y"], model.predict(x, verbose=0))


def test_entry_in_the_file(tmp_path: Path) -> None:
    """The entry that the file carrier must write is the one that Keras writes."""
    model = keras.Sequential([keras.Input((3,)), layers.SpectralDense(2, mode="cap", bound=3)])
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        entry = json.loads(archive.read("config.json"))["config"]["layers"][1]
    keys = ["module", "class_name", "config", "registered_name", "build_config"]
    assert list(entry) == keys
    assert entry["module"] == "snconvert.layers"
    assert entry["class_name"] == "SpectralDense"
    assert entry["registered_name"] == "snconvert>SpectralDense"
    assert list(entry["config"])[-4:] == list(FIELDS)
    assert entry["config"]["bound"] == 3.0


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "soft"},
        {"mode": None},
        {"bound": 0.0},
        {"bound": -1},
        {"bound": float("nan")},
        {"bound": float("inf")},
        {"bound": "1"},
        {"bound": True},
        {"power_iterations": 0},
        {"power_iterations": 1.0},
        {"power_iterations": True},
    ],
)
def test_invalid_options(options: dict[str, Any]) -> None:
    """An option that cannot work is an OptionError and a ValueError that names layer and value."""
    with pytest.raises(
        OptionError, match=f"head .SpectralDense.: {next(iter(options))} is"
    ) as info:
        layers.SpectralDense(3, name="head", **options)
    assert isinstance(info.value, ValueError)


@pytest.mark.parametrize(
    "make_it",
    [
        lambda: layers.SpectralDense(3, lora_rank=2),
        lambda: layers.SpectralConv2D(3, 3, lora_rank=2),
        lambda: layers.SpectralEinsumDense("ab,bc->ac", 3, lora_rank=2),
        lambda: layers.SpectralDense(3, dtype="int8_from_float32"),
        lambda: layers.SpectralDense(
            3, quantization_config=keras.quantizers.Int8QuantizationConfig()
        ),
        lambda: make(("Dense", {"units": 4}, (None, 5))).quantize("int8"),
        lambda: make(("Dense", {"units": 4}, (None, 5))).enable_lora(2),
        lambda: make(("Conv1D", {"filters": 4, "kernel_size": 3}, (None, 9, 2))).enable_lora(2),
    ],
)
def test_adapters_are_refused(make_it: Any) -> None:
    """LoRA and quantization of a spectral layer are errors that say to bake it first."""
    with pytest.raises(UnsupportedError, match="Bake the layer first"):
        make_it()


def test_a_dtype_policy_set_later_is_refused_too() -> None:
    """A quantized policy assigned before the layer is built does not slip through."""
    layer = layers.SpectralDense(3)
    layer.dtype_policy = "int8_from_float32"
    with pytest.raises(UnsupportedError):
        layer.build((None, 4))


def test_quantizing_a_model_passes_over_it() -> None:
    """`Model.quantize` quantizes the plain layers and warns about the spectral one, which stays."""
    model = keras.Sequential(
        [keras.Input((4,)), layers.SpectralDense(4), keras.layers.Dense(3, name="plain")]
    )
    before = model.layers[0].kernel.numpy()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.quantize("int8")
    assert any("Bake the layer first" in str(warning.message) for warning in caught)
    assert model.get_layer("plain").quantization_mode == "int8"
    np.testing.assert_array_equal(model.layers[0].kernel, before)
    assert np.isfinite(model(np.ones((2, 4)))).all()


@settings(max_examples=25, deadline=None)
@given(
    m=st.integers(1, 12),
    n=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    exponent=st.integers(-30, 30),
    bound=st.floats(0.01, 100.0),
)
def test_bound(m: int, n: int, seed: int, exponent: int, bound: float) -> None:
    """With a converged u the effective kernel's norm is the bound for hard, at most the bound for
    cap, and that of the kernel for gain, to 1e-5 and at every scale."""
    for mode in MODES:
        layer = layers.SpectralDense(n, mode=mode, bound=bound)
        layer.build((None, m))
        kernel = np.random.default_rng(seed).normal(size=(m, n)) * 10.0**exponent
        layer.kernel.assign(kernel.astype("float32"))
        layer.converge()
        sigma = sigma_of(layer, layer.kernel)
        if mode == "gain":
            layer.gamma.assign(sigma)
        after = sigma_of(layer, layer.effective_kernel())
        expected = {"hard": bound, "cap": min(bound, sigma), "gain": sigma}[mode]
        np.testing.assert_allclose(after, expected, rtol=1e-5)


@pytest.mark.parametrize("example", EVERY)
def test_bound_of_every_kind(example: Example) -> None:
    """The largest singular value over the blocks of the effective kernel is the bound."""
    layer = make(example, bound=3.0)
    for path in paths_of(layer):
        sigma = sigma_of(layer, layer.effective_kernel(path), path)
        np.testing.assert_allclose(sigma, 3.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "tolerance"), [((40, 30), 1e-6), ((_EXACT // 256 + 1, 256), 2e-2)]
)
def test_a_fresh_layer_is_normalised(shape: tuple[int, int], tolerance: float) -> None:
    """A layer built by hand has the sigma of its kernel before its first call, a large one to 2 %,
    and gain starts as the plain layer."""
    layer = layers.SpectralDense(shape[1], mode="gain")
    layer.build((None, shape[0]))
    sigma = sigma_of(layer, layer.kernel)
    np.testing.assert_allclose(layer.spectral_norms()["kernel"], sigma, rtol=tolerance)
    np.testing.assert_allclose(layer.kernel_scale("kernel"), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(layer.u.numpy()), 1.0, rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e30, float("nan")])
@pytest.mark.parametrize("shape", [(3, 8, 5), (3, _EXACT // 90, 31)])
def test_a_warm_u_at_every_scale(shape: tuple[int, int, int], size: float) -> None:
    """Unit rows for kernels of zeros, NaN, 1e-30 and 1e30, small and large; right ones if there
    are any."""
    rng = np.random.default_rng(3)
    decay = np.linspace(1.0, 0.1, shape[2])
    kernel = (rng.normal(size=shape) * decay * size).astype("float32")
    u = warm_u(kernel, MatrixView(shape, (0, 1, 2), shape))
    assert u.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(u, axis=-1), 1.0, rtol=1e-5)
    if size > 0:
        image = np.einsum("bmn,bn->bm", kernel.astype("float64"), u)
        sigma = np.sqrt(np.linalg.eigvalsh(np.einsum("bmi,bmj->bij", *[kernel.astype("f8")] * 2)))
        np.testing.assert_allclose(np.linalg.norm(image, axis=-1), sigma[:, -1], rtol=2e-2)


def test_a_subclassed_model_is_normalised_from_the_start() -> None:
    """Where Keras builds the layers in a scope without values, u and gamma are found afterwards."""

    class Model(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.SpectralDense(7, mode="gain")
            self.last = layers.SpectralDense(1)

        def call(self, x: Any, training: bool | None = None) -> Any:
            return self.last(self.first(x, training=training), training=training)

    model = Model()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(np.ones((4, 5)), np.ones((4, 1)), verbose=0)
    for layer in (model.first, model.last):
        np.testing.assert_allclose(
            layer.spectral_norms()["kernel"], sigma_of(layer, layer.kernel), rtol=1e-3
        )
    np.testing.assert_allclose(model.first.gamma, sigma_of(model.first, model.first.kernel), 1e-5)


def test_masks_and_losses_are_those_of_the_plain_layer() -> None:
    """A mask passes through, kernel regularizers see the raw kernel, activity regularizers the
    output, and constraints stay with the kernel."""
    inputs = keras.layers.Masking()(np.ones((2, 4, 3), "float32"))
    layer = layers.SpectralDense(
        2, kernel_regularizer="l2", activity_regularizer="l1", kernel_constraint="non_neg"
    )
    outputs = layer(inputs)
    assert outputs._keras_mask is not None
    kernel, activity = np.asarray(layer.kernel), np.abs(outputs).sum() / 2
    assert np.isclose(sum(layer.losses), 0.01 * (kernel**2).sum() + 0.01 * activity, rtol=1e-5)
    assert isinstance(layer.kernel.constraint, keras.constraints.NonNeg)


def test_exported_to_a_saved_model(tmp_path: Path) -> None:
    """`Model.export` freezes the layer as inference sees it."""
    import tensorflow as tf

    model = keras.Sequential([keras.Input((4,)), layers.SpectralDense(3, bound=2.0)])
    model.export(str(tmp_path / "saved"), verbose=False)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(loaded.serve(x), model.predict(x, verbose=0), rtol=1e-6)


def test_a_kernel_that_is_not_finite_can_be_built() -> None:
    """Building does not fail on NaN; u is a unit vector, and finite."""
    layer = layers.SpectralDense(3, kernel_initializer=keras.initializers.Constant(float("nan")))
    layer.build((None, 4))
    np.testing.assert_allclose(np.linalg.norm(layer.u.numpy()), 1.0, rtol=1e-6)
    layer(np.ones((1, 4)), training=True)
    assert np.isfinite(layer.u.numpy()).all()
