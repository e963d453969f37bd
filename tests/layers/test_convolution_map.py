"""Layers with `norm="operator"`: sigma is the norm of the Keras layer's own response."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from exact_norms import exact_sigma
from operator_norm_benchmark import benchmark

from snconvert import layers
from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.kinds.table import RULES
from snconvert.layers.convolution_map import ConvolutionMap
from snconvert.linalg.convolution_apply import adjoint, forward

SIGMA = 1e-6
Case = tuple[str, dict[str, Any], tuple[int, ...]]

CASES: list[Case] = [
    ("Conv1D", {"filters": 3, "kernel_size": 3}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "same"}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "causal"}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 4, "padding": "same", "strides": 2}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 5, "strides": 3}, (11, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "causal"}, (8, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 2, "dilation_rate": 3, "padding": "causal"}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "dilation_rate": 2}, (9, 2)),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "dilation_rate": 3, "padding": "same"}, (8, 2)),
    ("Conv1D", {"filters": 4, "kernel_size": 3, "groups": 2, "padding": "same"}, (9, 6)),
    ("Conv1D", {"filters": 3, "kernel_size": 9, "padding": "same"}, (4, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 3}, (6, 7, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "same"}, (6, 7, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, (6, 7, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": (3, 2), "strides": (2, 1)}, (7, 6, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "dilation_rate": (2, 1)}, (7, 6, 2)),
    (
        "Conv2D",
        {"filters": 3, "kernel_size": (3, 2), "dilation_rate": 2, "padding": "same"},
        (6, 7, 2),
    ),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2, "padding": "same"}, (5, 6, 4)),
    ("Conv2D", {"filters": 6, "kernel_size": 2, "groups": 3, "strides": 2}, (6, 6, 3)),
    ("Conv2D", {"filters": 3, "kernel_size": 1, "strides": 2}, (5, 5, 4)),
    ("Conv2D", {"filters": 3, "kernel_size": 5, "strides": 3, "padding": "same"}, (8, 7, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 4, "strides": 4}, (8, 9, 2)),
    ("Conv2D", {"filters": 3, "kernel_size": 5, "padding": "same"}, (2, 3, 2)),
    (
        "Conv2D",
        {"filters": 3, "kernel_size": 3, "padding": "same", "data_format": "channels_first"},
        (2, 6, 5),
    ),
    (
        "Conv2D",
        {
            "filters": 4,
            "kernel_size": 3,
            "strides": 2,
            "groups": 2,
            "data_format": "channels_first",
        },
        (4, 6, 7),
    ),
    ("Conv3D", {"filters": 2, "kernel_size": 2, "padding": "same"}, (3, 4, 3, 2)),
    ("Conv3D", {"filters": 2, "kernel_size": 3, "strides": (2, 1, 1)}, (5, 4, 3, 2)),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3}, (6, 2)),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}, (5, 2)),
    (
        "Conv1DTranspose",
        {"filters": 3, "kernel_size": 4, "strides": 2, "output_padding": 1},
        (5, 2),
    ),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 2, "strides": 3}, (5, 2)),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "padding": "same"}, (4, 5, 2)),
    (
        "Conv2DTranspose",
        {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same"},
        (4, 3, 2),
    ),
    (
        "Conv2DTranspose",
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
        (4, 5, 2),
    ),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": (1, 2)}, (4, 3, 2)),
    (
        "Conv2DTranspose",
        {"filters": 3, "kernel_size": 3, "strides": 2, "data_format": "channels_first"},
        (2, 3, 4),
    ),
    (
        "Conv3DTranspose",
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"},
        (2, 3, 2, 2),
    ),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, (9, 3)),
    ("DepthwiseConv1D", {"kernel_size": 4, "strides": 2}, (9, 3)),
    ("DepthwiseConv1D", {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, (9, 3)),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, (6, 5, 3)),
    ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same"}, (7, 7, 3)),
    ("DepthwiseConv2D", {"kernel_size": (2, 3), "depth_multiplier": 3}, (5, 6, 2)),
    ("DepthwiseConv2D", {"kernel_size": 3, "dilation_rate": 2, "padding": "same"}, (6, 7, 2)),
    (
        "DepthwiseConv2D",
        {"kernel_size": 3, "padding": "same", "data_format": "channels_first"},
        (3, 5, 6),
    ),
]
"""Every convolution kind with its strides, paddings, dilation, groups and data formats."""


def response(name: str, config: dict[str, Any], shape: tuple[int, ...], kernel: Any) -> np.ndarray:
    """The matrix of the plain Keras layer, in float64, from its response to unit inputs."""
    if config.get("data_format") == "channels_first":  # TensorFlow on CPU has none
        config = {**config, "data_format": "channels_last"}
        shape = (*shape[1:], shape[0])
    layer = getattr(keras.layers, name)(**config, use_bias=False, dtype="float64")
    layer.build((None, *shape))
    layer.set_weights([kernel])
    size = math.prod(shape)
    return np.asarray(layer(np.eye(size).reshape(size, *shape))).reshape(size, -1)


def make(case: Case, seed: int = 0, **options: Any) -> Any:
    """A spectral layer with the operator norm, random kernels and a converged u."""
    name, config, shape = case
    layer = getattr(layers, RULES[name].spectral_class)(
        **config, norm="operator", use_bias=False, **options
    )
    layer.build((None, *shape))
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.normal(size=w.shape) if w.ndim > 1 else w for w in layer.get_weights()])
    layer.converge()
    return layer


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{CASES.index(case)}")
def test_sigma_is_the_norm_of_the_keras_layer(case):
    """In numpy, and in the layer at rest and in training, to 1e-6, within the free range."""
    name, config, shape = case
    layer = make(case)
    kernel = np.asarray(layer.kernel, "float64")
    exact = np.linalg.norm(response(name, config, shape, kernel), 2)
    assert exact_sigma(layer) == pytest.approx(exact, rel=SIGMA)
    assert float(layer.spectral_norms()["kernel"]) == pytest.approx(exact, rel=SIGMA)
    assert 1 / float(layer.kernel_scale("kernel", training=True)) == pytest.approx(exact, rel=SIGMA)
    (row,) = RULES[name].kernels
    conv = row.convolution_of(kernel.shape, layer.get_config(), (None, *shape))
    matrix = np.linalg.norm(row.view(kernel.shape, config).matrix(kernel), 2, axis=(1, 2)).max()
    low, high = conv.range(matrix)
    assert low * (1 - 1e-9) <= exact <= high * (1 + 1e-9)
    # And for every input size the bound holds.
    free_shape: list[int | None] = [None] * len(shape)
    free_shape[channel_axis(config)] = shape[channel_axis(config)]
    free = make((name, config, tuple(free_shape)))
    free.kernel.assign(kernel)
    free.converge()
    assert float(free.spectral_norms()["kernel"]) >= exact * (1 - SIGMA)


def channel_axis(config: dict[str, Any]) -> int:
    """Where the channels are in a shape without the batch."""
    return 0 if config.get("data_format") == "channels_first" else -1


def plain(made: Any) -> Case:
    """The Keras layer whose kernel the benchmark's case describes."""
    channelwise = "Depthwise" in made.kind or "Separable" in made.kind
    config = {"kernel_size": made.kernel.shape[: len(made.sizes)], **made.config}
    if not channelwise:
        config["filters"] = made.kernel.shape[-2 if "Transpose" in made.kind else -1]
    name = made.class_name.replace("Separable", "Depthwise")
    return name, config, (*made.sizes, made.channels)


def test_degenerate_kernels_in_the_layers():
    """By `converge()`, and by a step of training from there, sigma is that of the Keras layer.

    So is that of the matrices which `benchmarks/operator_norm.py` writes out by itself.
    """
    seen = set()
    for made in benchmark().cases(13, 106):
        if "Transpose" in made.kind and max(made.config["dilation_rate"]) > 1:
            continue  # TensorFlow on CPU refuses it
        name, config, shape = plain(made)
        kernel = made.kernel / np.abs(made.kernel).max()
        exact = np.linalg.norm(response(name, config, shape, kernel), 2)
        matrices = [
            benchmark().matrix(made, taps)
            for taps in benchmark().blocks(made._replace(kernel=kernel))
        ]
        assert max(map(benchmark().norm_of, matrices)) == pytest.approx(exact, rel=1e-9)
        spectral = getattr(layers, RULES[name].spectral_class)
        layer = spectral(**config, norm="operator", use_bias=False)
        layer.build((None, *shape))
        layer.kernel.assign(kernel)
        layer.converge()
        assert float(layer.spectral_norms()["kernel"]) == pytest.approx(exact, rel=SIGMA)
        if exact:
            scale = 1 / float(layer.kernel_scale("kernel", training=True))
            assert scale == pytest.approx(exact, rel=SIGMA)
        seen.add(made.kind)
    assert seen == set(benchmark().KINDS)


def test_a_kernel_that_leaves_zero():
    """Training finds the strongest frequency of a kernel that was zero, on a torus."""
    layer = make(("Conv1D", {"filters": 1, "kernel_size": 3}, (None, 1)))
    layer.kernel.assign(np.zeros((3, 1, 1)))
    layer.converge()
    layer.kernel.assign(np.array([1.0, -2.0, 1.0])[:, None, None])  # nothing at frequency 0
    for _ in range(20):
        layer.kernel_scale("kernel", training=True)
    assert float(layer.spectral_norms()["kernel"]) == pytest.approx(exact_sigma(layer), rel=0.02)


@pytest.mark.parametrize(
    ("name", "part", "config", "shape"),
    [
        ("SeparableConv1D", "DepthwiseConv1D", {"dilation_rate": 2}, (9, 3)),
        ("SeparableConv1D", "DepthwiseConv1D", {"padding": "same", "strides": 2}, (9, 3)),
        ("SeparableConv2D", "DepthwiseConv2D", {"depth_multiplier": 2}, (5, 6, 2)),
    ],
)
def test_the_depthwise_part_of_a_separable_convolution(name, part, config, shape):
    """Its sigma is that of the depthwise layer; the pointwise kernel has one norm."""
    layer = make((name, {"filters": 4, "kernel_size": 3, **config}, shape))
    kernel = np.asarray(layer.depthwise_kernel, "float64")
    matrix = response(part, {"kernel_size": 3, **config}, shape, kernel)
    found = {key: float(value) for key, value in layer.spectral_norms().items()}
    assert found["depthwise_kernel"] == pytest.approx(np.linalg.norm(matrix, 2), rel=SIGMA)
    point = np.asarray(layer.pointwise_kernel, "float64").reshape(-1, 4)
    assert found["pointwise_kernel"] == pytest.approx(np.linalg.norm(point, 2), rel=SIGMA)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_both_convolutions_of_a_convlstm(rank):
    """The input convolution as the layer does it, the recurrent one with padding same."""
    config = {"kernel_size": 3, "strides": 2, "padding": "same"}
    shape = (6, 5, 4)[:rank]
    layer = getattr(layers, f"SpectralConvLSTM{rank}D")(2, norm="operator", **config)
    layer(np.zeros((1, 2, *shape, 2), "float32"))
    cell = layer.cell
    rng = np.random.default_rng(rank)
    for name in ("kernel", "recurrent_kernel"):
        vars(cell)[name].assign(rng.normal(size=vars(cell)[name].shape))
    layer.converge()
    conv = f"Conv{rank}D"
    kernel = np.asarray(vars(cell)["kernel"], "float64")
    along = np.asarray(vars(cell)["recurrent_kernel"], "float64")
    matrices = {
        "cell/kernel": response(conv, {"filters": 8, **config}, (*shape, 2), kernel),
        "cell/recurrent_kernel": response(
            conv,
            {"filters": 8, **config, "strides": 1},
            (*(-(-n // 2) for n in shape), 2),
            along,
        ),
    }
    for path, sigma in layer.spectral_norms().items():
        assert float(sigma) == pytest.approx(np.linalg.norm(matrices[path], 2), rel=SIGMA)


GRADIENTS = [CASES[i] for i in (6, 13, 16, 17, 28, 41)] + [
    ("Conv2D", {"filters": 3, "kernel_size": 3, "strides": 2}, (None, None, 2))
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", GRADIENTS, ids=lambda case: case[0])
def test_the_gradient_flows_through_sigma(case, training):
    """In training and at rest it is that of finite differences in float64."""
    layer = make(case, seed=3)
    kernel = np.asarray(layer.kernel, "float64")
    with tf.GradientTape() as tape:
        sigma = 1 / layer.kernel_scale("kernel", training=training)
    gradient = np.asarray(tape.gradient(sigma, layer.kernel.value), "float64")
    rng = np.random.default_rng(4)
    for _ in range(3):
        step = rng.normal(size=kernel.shape)
        step /= np.linalg.norm(step)
        up, down = (exact_sigma(layer, kernel + sign * 1e-4 * step) for sign in (1, -1))
        assert np.vdot(gradient, step) == pytest.approx((up - down) / 2e-4, rel=2e-3, abs=2e-3)


def test_training_keeps_sigma_at_the_bound():
    """After Adam steps the effective kernel's operator norm is the bound to 2 %, and u follows."""
    rng = np.random.default_rng(0)
    layer = layers.SpectralConv2D(6, 3, padding="same", norm="operator", bound=2.0)
    model = keras.Sequential([keras.Input((8, 8, 3)), layer, keras.layers.Flatten()])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    x, y = rng.normal(size=(16, 8, 8, 3)), rng.normal(size=(16, 384)) * 5
    before = np.asarray(layer.kernel).copy()
    model.fit(x, y, epochs=30, batch_size=16, verbose=0)
    assert np.linalg.norm(np.asarray(layer.kernel) - before) > 0.05 * np.linalg.norm(before)
    assert exact_sigma(layer, layer.effective_kernel()) == pytest.approx(2.0, rel=0.02)
    u = np.asarray(layer.u).copy()
    model.predict(x, verbose=0)
    assert np.array_equal(np.asarray(layer.u), u)
    assert u.shape == (1, 8, 8, 6)
    assert np.linalg.norm(u) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("mode", ["hard", "cap", "gain"])
def test_modes(mode):
    """The operator norm of what the layer computes with is the bound, or at most it, or gamma."""
    case = ("Conv2D", {"filters": 3, "kernel_size": 3, "padding": "same"}, (6, 7, 2))
    for size in (0.001, 1.0):
        layer = make(case, mode=mode, bound=3.0)
        layer.kernel.assign(layer.kernel * size)
        layer.converge()
        raw = exact_sigma(layer)
        if mode == "gain":
            layer.gamma.assign(raw)
        norm = exact_sigma(layer, layer.effective_kernel())
        expected = {"hard": 3.0, "cap": min(raw, 3.0), "gain": raw}[mode]
        assert norm == pytest.approx(expected, rel=1e-5)


def test_a_kernel_of_zeros():
    """It stays zero, with finite gradients, and may leave zero."""
    layer = make(CASES[12])
    layer.kernel.assign(layer.kernel * 0)
    with tf.GradientTape() as tape:
        outputs = layer(np.ones((1, 6, 7, 2), "float32"), training=True)
    assert not np.asarray(outputs).any()
    assert np.isfinite(np.asarray(tape.gradient(outputs, layer.kernel.value))).all()
    assert np.isfinite(np.asarray(layer.u)).all()


@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_the_map_of_the_layers_is_that_of_the_files(strides):
    """Both formulas for the map and its adjoint agree, on the plane and on the torus."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 4, 2, 3)).astype("float32")
    view = MatrixView.of(kernel.shape)
    plane = Convolution((3, 4), strides, (1, 1), (1, 2), (7, 9), (3, 3))
    for conv in (plane, Convolution.over_all_sizes((3, 4), strides, (1, 1))):
        mapped = ConvolutionMap(view.matrix(kernel)[0], view, conv)
        x = rng.normal(size=(1, *conv.inputs, 2)).astype("float32")
        y = rng.normal(size=(1, *conv.outputs, 3)).astype("float32")
        taps = kernel.reshape(12, 2, 3)
        image = np.asarray(mapped.onto_columns(x.reshape(1, -1)))
        np.testing.assert_allclose(image, forward(x, taps, conv).reshape(1, -1), atol=1e-4)
        back = np.asarray(mapped.onto_rows(y.reshape(1, -1)))
        np.testing.assert_allclose(back, adjoint(y, taps, conv).reshape(1, -1), atol=1e-4)


@pytest.mark.parametrize("size", [24, None])
@pytest.mark.parametrize("options", [{}, {"dilation_rate": 2}, {"strides": 2}])
def test_a_fresh_large_layer(size, options):
    """Without the time to converge, u comes from a wave: sigma is at most 6 % low."""
    layer = layers.SpectralConv2D(64, 3, padding="same", norm="operator", **options)
    layer.build((None, size, size, 32))
    exact = exact_sigma(layer)
    assert 0.94 * exact <= float(layer.spectral_norms()["kernel"]) <= exact * (1 + 1e-5)
    np.testing.assert_allclose(np.linalg.norm(layer.u), 1, rtol=1e-5)


def test_other_layers_have_one_norm():
    """Dense and pointwise layers take the option and keep their u."""
    dense = layers.SpectralDense(3, norm="operator")
    dense.build((None, 4))
    assert tuple(dense.u.shape) == (1, 3)
    with pytest.raises(ValueError, match="norm is 'frobenius'"):
        layers.SpectralDense(3, norm="frobenius")


_ELSEWHERE = """
import json, sys
import numpy as np
import keras
import snconvert
from snconvert import layers
sys.modules["tensorflow"] = None  # Keras would import it, for seconds
cases, kernels = json.load(sys.stdin)
found = []
for (name, config, shape), kernel in zip(cases, kernels):
    layer = getattr(layers, "Spectral" + name)(**config, norm="operator", use_bias=False)
    layer.build((None, *shape))
    layer.kernel.assign(np.asarray(kernel, "float32"))
    layer.converge()
    layer(np.zeros((1, *(8 if n is None else n for n in shape)), "float32"), training=True)
    found.append(float(layer.spectral_norms()["kernel"]))
model = keras.Sequential([keras.Input((6, 6, 2)), layers.SpectralConv2D(
    3, 3, strides=2, padding="same", norm="operator"), keras.layers.Flatten()])
model.compile("sgd", "mse")
before = np.asarray(keras.ops.convert_to_numpy(model.layers[0].u)).copy()
model.fit(np.ones((4, 6, 6, 2)), np.ones((4, 27)), epochs=2, verbose=0)
moved = bool((before != keras.ops.convert_to_numpy(model.layers[0].u)).any())
print(json.dumps([keras.backend.backend(), found, moved]))
"""


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_the_same_sigma_on_every_backend(backend):
    """Strided, dilated, grouped, transposed, and of unknown size; and they train."""
    pytest.importorskip(backend)
    cases = [CASES[i] for i in (3, 16, 18, 28)] + [
        ("Conv1D", {"filters": 3, "kernel_size": 2}, (None, 2))
    ]
    made = [make(case) for case in cases]
    kernels = [np.asarray(layer.kernel).tolist() for layer in made]
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        input=json.dumps([cases, kernels]),
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    name, found, moved = json.loads(done.stdout.strip().splitlines()[-1])
    assert name == backend
    assert moved
    assert found == pytest.approx([exact_sigma(layer) for layer in made], rel=2e-6)
