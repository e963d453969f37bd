"""The spectral layers in training: gradients, state, frozen layers, dtypes, scales."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import warm
from spectral_cases import (
    EVERY,
    MODES,
    RUNNABLE,
    VARIANTS,
    Example,
    at,
    cosine,
    inputs_for,
    make,
    paths_of,
    plain,
    run,
    scale_of,
    scaled,
    sigma_of,
    state_of,
)

from snconvert import layers
from snconvert.kinds.table import RULES

DENSE: Example = ("Dense", {"units": 6}, (None, 5))
CONV: Example = ("Conv2D", {"filters": 4, "kernel_size": 3}, (None, 6, 6, 2))
GROUPED: Example = ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 2}, (None, 6, 6, 2))
EINSUM: Example = (
    "EinsumDense",
    {"equation": "abc,bcd->abd", "output_shape": (7, 3)},
    (None, 7, 2),
)


def gradients(layer: Any, x: Any, weights: Any, *, training: bool) -> list[Any]:
    """Returns the gradients of `sum(weights * layer(x))` in kernel, input and, if any, gamma, of
    the only kernel."""
    x = tf.convert_to_tensor(x)
    kernel = layer.kernel.value
    watched = [kernel, x, *([layer.gamma.value] if layer.mode == "gain" else [])]
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(layer(x, training=training), tf.float32)
        loss = tf.reduce_sum(outputs * tf.cast(weights, tf.float32))
    found: list[Any] = tape.gradient(loss, watched)
    return found


def kernel_gradients(layer: Any, x: Any, weights: Any) -> dict[str, tuple[Any, Any]]:
    """Returns, by path, the gradients of `sum(weights * layer(x))` in a training call in kernel and
    gamma (0 if there is none)."""
    kernels = {path: at(layer, path).value for path in paths_of(layer)}
    gain = layer.mode == "gain"
    gammas = {path: state_of(layer, path, "gamma").value for path in kernels if gain}
    with tf.GradientTape() as tape:
        outputs = tf.cast(run(layer, x, training=True), tf.float32)
        loss = tf.reduce_sum(outputs * tf.cast(weights, tf.float32))
    found, others = tape.gradient(loss, [kernels, gammas])
    found = {path: tf.convert_to_tensor(gradient) for path, gradient in found.items()}
    return {path: (gradient, others.get(path, 0.0)) for path, gradient in found.items()}


def differences(
    layer: Any, x: Any, weights: Any, path: str | None = None, step: float = 1e-6
) -> tuple[np.ndarray, float]:
    """Returns the float64 finite differences of the same in one kernel and its gamma, sigma by
    LAPACK.

    The loss is a function of the effective kernel `s(sigma) W`, in which the Keras layer gives its
    slope; so differences of `<slope, s(sigma(W)) W>` are those of the loss.
    """
    path = path or paths_of(layer)[0]
    twin = plain(layer, scaled(layer), dtype="float64")
    x = x if x.dtype.kind == "i" else np.asarray(x, "float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(run(twin, x) * weights)
    slope = np.asarray(tf.convert_to_tensor(tape.gradient(loss, at(twin, path).value)))
    kernel = np.asarray(at(layer, path)).astype("float64")
    gamma = float(state_of(layer, path, "gamma")) if layer.mode == "gain" else 0.0

    def loss_of(kernel: np.ndarray, gamma: float) -> float:
        return scale_of(layer, kernel, gamma, path) * float((slope * kernel).sum())

    gradient = np.zeros(kernel.shape)
    for index in np.ndindex(kernel.shape):
        kernel[index] += step
        above = loss_of(kernel, gamma)
        kernel[index] -= 2 * step
        gradient[index] = (above - loss_of(kernel, gamma)) / (2 * step)
        kernel[index] += step
    return gradient, (loss_of(kernel, gamma + step) - loss_of(kernel, gamma - step)) / (2 * step)


@pytest.mark.turns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", [*RUNNABLE, *VARIANTS])
def test_gradient(example: Example, mode: str) -> None:
    """The gradient of a training call is that of L(s(sigma(W)) W x), sigma included: the cosine to
    float64 finite differences is above 0.9999 for every kernel, and gamma's agrees to 1e-3."""
    check_gradient(make(example, mode=mode, bound=0.1), inputs_for(example))


def check_gradient(layer: Any, x: Any) -> None:
    """Compares the gradients of all kernels and gammas with finite differences; in mode `cap` of
    kernels above the bound."""
    weights = np.random.default_rng(2).normal(size=run(layer, x).shape)
    for path, (kernel, by_gamma) in kernel_gradients(layer, x, weights).items():
        assert layer.mode != "cap" or scale_of(layer, at(layer, path), path=path) < 1
        expected, gamma = differences(layer, x, weights, path)
        assert cosine(kernel, expected) > 0.9999
        np.testing.assert_allclose(np.linalg.norm(kernel), np.linalg.norm(expected), rtol=1e-3)
        if layer.mode == "gain":
            np.testing.assert_allclose(by_gamma, gamma, rtol=1e-3, atol=1e-3)


CONVOLUTIONS: list[Example] = [
    (
        "Conv1D",
        {"filters": 3, "kernel_size": 2, "padding": "causal", "dilation_rate": 2},
        (None, 6, 2),
    ),
    (
        "Conv2D",
        {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"},
        (None, 5, 4, 2),
    ),
    ("Conv2D", {"filters": 4, "kernel_size": 2, "groups": 2}, (None, 4, 4, 4)),
    ("Conv3D", {"filters": 2, "kernel_size": 2, "padding": "same"}, (None, 3, 3, 2, 2)),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2}, (None, 4, 2)),
    (
        "Conv2DTranspose",
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"},
        (None, 3, 3, 2),
    ),
    ("Conv3DTranspose", {"filters": 2, "kernel_size": 2}, (None, 2, 3, 2, 2)),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, (None, 6, 3)),
    ("DepthwiseConv2D", {"kernel_size": 2, "padding": "same"}, (None, 4, 4, 3)),
    ("SeparableConv1D", {"filters": 3, "kernel_size": 3, "depth_multiplier": 2}, (None, 6, 2)),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 2}, (None, 4, 4, 2)),
    ("ConvLSTM1D", {"filters": 2, "kernel_size": 3, "strides": 2}, (None, 2, 6, 2)),
    ("ConvLSTM2D", {"filters": 1, "kernel_size": 2}, (None, 2, 4, 3, 2)),
    ("ConvLSTM3D", {"filters": 1, "kernel_size": 2}, (None, 2, 3, 3, 2, 2)),
]
"""Small ones of every row, whose maps are small matrices."""


@pytest.mark.turns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", CONVOLUTIONS, ids=lambda example: example[0])
def test_gradient_under_the_operator_norm(example: Example, mode: str) -> None:
    """So it is when sigma is the norm of a convolution as a map, of every row that has one."""
    layer = make(example, mode=mode, bound=0.8, norm="operator")
    check_gradient(layer, inputs_for(example))


def test_all_convolutions_are_tried() -> None:
    """A row that has a map has its example above."""
    rows = {name for name, rule in RULES.items() if any(k.convolution for k in rule.kernels)}
    assert rows == {name for name, *_ in CONVOLUTIONS}


@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED, EINSUM])
def test_gradient_of_cap_below_the_bound(example: Example) -> None:
    """Below the bound cap has the gradient of the plain layer, to 1e-6."""
    layer, x = make(example, mode="cap", bound=100.0), inputs_for(example)
    weights = tf.constant(np.random.default_rng(2).normal(size=layer(x).shape), tf.float32)
    twin = plain(layer)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(twin(x) * weights)
    expected = tape.gradient(loss, twin.kernel.value)
    found, *_ = gradients(layer, x, weights, training=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED, EINSUM])
def test_training_moves_u_as_power_iteration_does(example: Example) -> None:
    """A training call stores the u of that many rounds from the old one, in float64 to 1e-5, and
    nothing else; calling twice moves it twice."""
    for rounds in (1, 3):
        layer, x = make(example, power_iterations=rounds), inputs_for(example)
        kernel = np.asarray(layer.kernel)
        view = layer.rule.kernels[0].view(kernel.shape, layer.get_config())
        matrix = view.matrix(kernel.astype("float64"))
        u = np.random.default_rng(5).normal(size=layer.u.shape)
        layer.u.assign(u / np.linalg.norm(u, axis=-1, keepdims=True))
        for _ in range(2):
            layer(x, training=True)
            for _ in range(rounds):
                v = np.einsum("bmn,bn->bm", matrix, u)
                u = np.einsum("bmn,bm->bn", matrix, v)
                u /= np.linalg.norm(u, axis=-1, keepdims=True)
            np.testing.assert_allclose(layer.u, u, atol=1e-5)
        np.testing.assert_array_equal(layer.kernel, kernel)


@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED, EINSUM])
def test_inference_changes_nothing(example: Example) -> None:
    """No call but a training call writes a variable: calls, predict, evaluate, a traced function,
    the validation in fit, a stateless call."""
    layer, x = make(example, mode="gain"), inputs_for(example)
    layer.u.assign(layer.u[:, ::-1])  # where a round would move it
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    y = np.zeros(model.output_shape[1:])[None].repeat(len(x), 0)
    before = [variable.numpy() for variable in layer.variables]

    def unchanged() -> None:
        for variable, value in zip(layer.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)

    layer(x)
    layer(x, training=False)
    layer(x, training=None)
    model.predict(x, verbose=0)
    model.evaluate(x, y, verbose=0)
    tf.function(layer)(x)
    unchanged()
    states = model.trainable_variables, model.non_trainable_variables
    _, new = model.stateless_call(*states, x, training=False)
    np.testing.assert_array_equal(new[0], before[-1])
    unchanged()
    _, new = model.stateless_call(*states, x, training=True)
    assert not np.allclose(new[0], before[-1])
    unchanged()
    trained = [layer.u.numpy()]

    class Watch(keras.callbacks.Callback):
        def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
            trained.append(layer.u.numpy())

        def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002
            trained.append(layer.u.numpy())

    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[Watch()])
    assert not np.allclose(trained[0], trained[1])
    np.testing.assert_array_equal(trained[1], trained[2])


@pytest.mark.parametrize("example", [DENSE, CONV])
def test_a_frozen_layer_does_not_move(example: Example) -> None:
    """With trainable=False a training call equals inference, in outputs and state; unfrozen, u
    moves again."""
    layer, x = make(example, mode="cap", bound=0.5, trainable=False), inputs_for(example)
    layer.u.assign(layer.u[:, ::-1])
    u = layer.u.numpy()
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    model.fit(x, np.zeros((len(x), *model.output_shape[1:])), epochs=2, verbose=0)
    np.testing.assert_array_equal(layer.u, u)
    layer.trainable = True
    layer(x, training=True)
    assert not np.allclose(layer.u, u)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_keeps_to_the_bound(jit_compile: bool) -> None:
    """After many steps of a real optimizer the norm by LAPACK is within 0.1 % of the bound, with
    and without XLA, and the raw kernel has moved freely. With ten times the learning rate two of 30
    seeds end 8 % above: one round a step lags behind a kernel that moves so fast."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(256, 8)), rng.normal(size=(256, 2))
    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.SpectralDense(16, activation="relu"),
            layers.SpectralDense(2, mode="cap", bound=2.0),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse", jit_compile=jit_compile)
    before = sigma_of(model.layers[0], model.layers[0].kernel)
    model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    hard, cap = model.layers
    np.testing.assert_allclose(sigma_of(hard, hard.effective_kernel()), 1.0, rtol=1e-3)
    assert sigma_of(cap, cap.effective_kernel()) < 2.0 * 1.001
    assert abs(sigma_of(hard, hard.kernel) - before) > 1e-2


@pytest.mark.turns
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED, EINSUM])
def test_half_precision(example: Example, policy: str) -> None:
    """In half precision u stays float32, sigma is that of the stored kernel, gain gives the plain
    layer's output bit by bit, and gradients point where float32's do."""
    layer, x = make(example, mode="gain", dtype=policy), inputs_for(example)
    sigma = sigma_of(layer, tf.cast(layer.kernel.value, "float32"))
    np.testing.assert_allclose(layer.spectral_norms()["kernel"], sigma, rtol=1e-5)
    half = layer(x)
    assert keras.backend.standardize_dtype(half.dtype) == layer.compute_dtype
    assert bool(tf.reduce_all(half == plain(layer)(x)))
    layer(x, training=True)
    assert layer.u.dtype == "float32"
    single = plain(layer, dtype="float32")
    full = make(example, mode="gain")
    full.kernel.assign(single.kernel)
    full.converge()
    weights = np.random.default_rng(2).normal(size=half.shape)
    ours, theirs = (gradients(any_, x, weights, training=True)[0] for any_ in (layer, full))
    assert cosine(tf.cast(ours, "float32"), theirs) > 0.999


@pytest.mark.turns
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED, EINSUM])
def test_mixed_precision_iterates_on_the_stored_kernel(example: Example, policy: str) -> None:
    """Under mixed precision a training call moves u as in float32, to 1e-6, and inference in hard
    mode takes the float32 sigma, even of a kernel that half precision could not hold."""
    mixed, full, x = make(example, dtype=policy), make(example), inputs_for(example)
    for layer in (mixed, full):
        layer.u.assign(np.ones(layer.u.shape) / layer.u.shape[-1] ** 0.5)
        layer(x, training=True)
    np.testing.assert_allclose(mixed.u, full.u, atol=1e-6)
    if example is DENSE:
        mixed.kernel.assign(mixed.kernel * 1e-9)
        seen = []
        mixed.activation = lambda y: seen.append(float(mixed.kernel_scale("kernel"))) or y
        mixed(x)
        assert seen == [pytest.approx(1 / float(mixed.spectral_norms()["kernel"]), rel=1e-6)]


@pytest.mark.turns
@pytest.mark.parametrize("policy", ["float32", "float64"])
@pytest.mark.parametrize("example", RUNNABLE)
def test_gain_changes_no_output(example: Example, policy: str) -> None:
    """With gamma at sigma, outputs are those of the plain layer to 1e-5 of their size."""
    layer, x = make(example, mode="gain", dtype=policy), inputs_for(example)
    before = np.asarray(run(plain(layer), x))
    for training in (False, True):
        after = np.asarray(run(layer, x, training=training))
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


@pytest.mark.turns
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("example", [DENSE, CONV, GROUPED])
def test_scales(example: Example, size: float, mode: str) -> None:
    """Kernels of zero, 1e-30 and 1e30 give the right outputs and finite gradients, in the
    direction that float64 gives; a kernel of zeros gives outputs of zero."""
    layer, x = make(example, mode=mode), inputs_for(example)
    usual = np.asarray(layer.kernel)
    layer.kernel.assign(usual * size)
    layer.bias.assign(np.zeros(layer.bias.shape))
    layer.converge()
    if mode == "gain":
        layer.gamma.assign(layer.spectral_norms()["kernel"])
    weights = np.random.default_rng(2).normal(size=layer(x).shape)
    if size:
        kernel = np.asarray(layer.kernel).astype("float64")
        twin = plain(layer, kernel * scale_of(layer, kernel), dtype="float64")
        expected = np.asarray(twin(x.astype("float64")))
        limit = 1e-5 * np.abs(expected).max()
        for training in (False, True):
            np.testing.assert_allclose(layer(x, training=training), expected, atol=limit)
        step = 1e-6 * size
        expected, _ = differences(layer, x, weights, step=step)
        found = gradients(layer, x, weights, training=True)
        assert cosine(found[0] / np.abs(found[0]).max(), expected / np.abs(expected).max()) > 0.9999
    else:
        found = gradients(layer, x, weights, training=True)
        np.testing.assert_array_equal(layer(x, training=True), 0.0)
    assert all(np.isfinite(gradient).all() for gradient in found)
    np.testing.assert_allclose(np.linalg.norm(layer.u.numpy(), axis=-1), 1.0, rtol=1e-5)


def test_two_replicas_agree_on_u() -> None:
    """On two replicas a step moves u once, to the same value as on one device."""
    script = (
        "import keras, numpy as np, tensorflow as tf, snconvert\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "strategy = tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])\n"
        "with strategy.scope():\n"
        "    layer = snconvert.SpectralDense(4)\n"
        "    model = keras.Sequential([keras.Input((5,)), layer])\n"
        "    model.compile(keras.optimizers.SGD(0.0), 'mse')\n"
        "alone = snconvert.SpectralDense(4)\n"
        "alone.build((None, 5))\n"
        "u = np.full((1, 4), 0.5, 'float32')\n"
        "alone.set_weights([layer.kernel.numpy(), layer.bias.numpy(), u])\n"
        "layer.u.assign(u)\n"
        "model.fit(np.ones((4, 5)), np.ones((4, 4)), verbose=0)\n"
        "alone(np.ones((1, 5)), training=True)\n"
        "assert strategy.num_replicas_in_sync == 2\n"
        "for value in strategy.experimental_local_results(layer.u.value):\n"
        "    np.testing.assert_allclose(value, alone.u.numpy(), atol=1e-6)\n"
    )
    warm.run([sys.executable, "-c", script], modules=warm.TENSORFLOW, check=True, timeout=120)


@pytest.mark.parametrize("example", EVERY)
def test_graph_is_traced(example: Example) -> None:
    """Every kind, channels_first too, can be traced for training."""
    layer, x = make(example), inputs_for(example, batch=2)
    spec = tf.TensorSpec(x.shape, x.dtype)
    traced = tf.function(lambda x: run(layer, x, training=True)).get_concrete_function(spec)
    twin = plain(layer)
    expected = tf.function(lambda x: run(twin, x)).get_concrete_function(spec)
    assert traced.structured_outputs.shape == expected.structured_outputs.shape


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("example", [CONV, GROUPED, CONVOLUTIONS[0]])
def test_scaling_around_a_convolution_is_scaling_its_kernel(
    example: Example, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution gives the same outputs, gradients and u, to float32, whichever it scales."""
    x, found = inputs_for(example), []
    for large in (False, True):
        for cls in (layers.SpectralConv1D, layers.SpectralConv2D):
            monkeypatch.setattr(cls, "_has_large_kernel", lambda *_, large=large: large)
        layer = make(example, mode=mode, bound=0.1)
        weights = np.random.default_rng(2).normal(size=layer(x).shape)
        slopes = gradients(layer, x, weights, training=True)
        found.append([layer(x), layer(x, training=True), layer.u.numpy(), *slopes])
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize("size", [1e-32, 1e36])
def test_scaling_around_a_convolution_stays_in_float32(size: float) -> None:
    """Where a convolution scales inputs and outputs, kernels of 1e-32 and 1e36 give the outputs and
    the slope of the inputs that the kernel itself does, to 1e-5."""
    x = np.random.default_rng(1).normal(size=(1, 2, 2, 16)).astype("float32")
    layer = layers.SpectralConv2D(16, 3, padding="same")
    layer.build(x.shape)
    assert layer._has_large_kernel(x)
    usual, found = np.asarray(layer.kernel), []
    for kernel in (usual, usual * np.float32(size)):
        layer.kernel.assign(kernel)
        _, slope = gradients(layer, x, np.full((1, 2, 2, 16), 0.01), training=True)
        found.append((layer(x, training=True), layer(x), 100 * slope))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_what_is_few() -> None:
    """A convolution scales inputs and outputs where they are fewer numbers than the kernel, in
    float32 alone; a Dense adds a row to few rows, by the size of its kernel."""
    late = layers.SpectralConv2D(64, 3, strides=2, padding="same")
    late.build((None, 7, 7, 64))
    half = layers.SpectralConv2D(64, 3, dtype="mixed_float16")
    half.build((None, 7, 7, 64))
    for shape, large in (
        ((7, 8, 8, 64), True),  # 64 * 9 * 64 = 36864 numbers, more than 7 * 64 * (8 * 8 + 4 * 4)
        ((8, 8, 8, 64), False),
        ((None, 4, 3, 64), True),
        ((None, 4, 4, 64), False),
        ((8, None, 8, 64), False),
    ):
        inputs = keras.KerasTensor(shape)
        assert late._has_large_kernel(inputs) is large
        assert not half._has_large_kernel(keras.KerasTensor(shape, "float16"))
    small, large = layers.SpectralDense(8), layers.SpectralDense(1280)
    small.build((None, 8))
    large.build((None, 1280))
    for layer, limit in ((small, 128), (large, 160)):
        size = layer.kernel.shape[0]
        for rows, few in ((limit, True), (limit + 1, False), (None, True)):
            assert layer._has_few_rows(keras.KerasTensor((rows, size))) is few
