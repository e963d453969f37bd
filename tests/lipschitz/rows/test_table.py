"""What each layer and operation of Keras does, against Keras itself.

All cases are branches of one model, so that it is saved and bounded once. The norms are those of
Jacobians by differences in float64, of the branch alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from places import ROOT

from snconvert.core.network_bound import NetworkBound
from snconvert.files.lipschitz import bound_of, network_read
from snconvert.files.model import describe, open_source, open_weights
from snconvert.kinds.table import RULES
from snconvert.lipschitz.network import Network
from snconvert.lipschitz.network import Unbounded as NoConstant
from snconvert.lipschitz.rows.operations import OPERATIONS
from snconvert.lipschitz.rows.table import OPENED, ROWS, TABLE

RNG = np.random.default_rng(11)
SMALL = 1e-6  # step where it is not
BELOW = 1 - 1e-5  # how far a norm by differences may be above the true one
TIGHT = 1 + 1e-5  # how far a bound of what is linear may be above its norm


class Case(NamedTuple):
    """A branch: sizes of its input, what it computes, and what it must hold."""

    sizes: tuple[int, ...]
    make: Callable[[Any], Any]
    tight: bool = True  # whether the bound is the norm; it is linear, then
    step: float = 1.0  # of the differences; 1 where it is linear
    none: str | None = None  # part of the reason why it has no constant


FIRST: dict[str, Any] = {"data_format": "channels_first"}


def merged(layer: layers.Layer) -> Callable[[Any], Any]:
    """Joins an image, twice it, and its first channel, which is repeated."""
    return lambda x: layer([x, ops.multiply(x, 2.0), x[:, :1, :1, :]])


def linear_cases() -> Iterator[tuple[str, Case]]:
    image, line, volume = (6, 5, 4), (7, 3), (4, 5, 4, 2)
    yield "Dense", Case((5,), layers.Dense(4))
    yield "Dense by position", Case(line, layers.Dense(4))
    yield "EinsumDense", Case((4, 3), layers.EinsumDense("abc,cde->abde", (4, 2, 3)))
    yield "EinsumDense blocks", Case((4, 3), layers.EinsumDense("abc,bcd->abd", (4, 5)))
    yield "EinsumDense ellipsis", Case((4, 3), layers.EinsumDense("...c,cd->...d", (5,)))
    yield "EinsumDense behind", Case((4, 3), layers.EinsumDense("ab...,bc->ac...", (2,)))
    for padding in ("valid", "same"):
        options: dict[str, Any] = {"padding": padding}
        yield f"Conv1D {padding}", Case(line, layers.Conv1D(2, 3, **options))
        yield f"Conv2D {padding}", Case(image, layers.Conv2D(4, 3, groups=2, **options))
        yield f"Conv2D strides {padding}", Case(image, layers.Conv2D(2, 3, strides=2, **options))
        yield (
            f"Conv2DTranspose {padding}",
            Case((3, 2, 2), layers.Conv2DTranspose(3, 3, 2, **options)),
        )
        yield f"Conv3D {padding}", Case(volume, layers.Conv3D(2, 2, **options))
        yield (
            f"DepthwiseConv2D {padding}",
            Case(image, layers.DepthwiseConv2D((3, 2), depth_multiplier=2, **options)),
        )
        yield f"AveragePooling2D {padding}", Case(image, layers.AveragePooling2D(3, 1, **options))
    yield "Conv1D causal", Case(line, layers.Conv1D(2, 3, padding="causal", dilation_rate=2))
    yield "Conv1DTranspose", Case(line, layers.Conv1DTranspose(2, 3, strides=2, output_padding=1))
    yield "Conv3DTranspose", Case((2, 2, 3, 2), layers.Conv3DTranspose(2, 2, strides=2))
    yield "DepthwiseConv1D", Case(line, layers.DepthwiseConv1D(3))
    yield "AveragePooling1D", Case(line, layers.AveragePooling1D(3, 2))
    yield "AveragePooling3D", Case(volume, layers.AveragePooling3D(2, dtype="float32"))


def shape_cases() -> Iterator[tuple[str, Case]]:
    image, line, volume = (6, 5, 4), (7, 3), (4, 5, 4, 2)
    yield "AdaptiveAveragePooling1D", Case(line, layers.AdaptiveAveragePooling1D(4))
    yield "AdaptiveAveragePooling2D", Case(image, layers.AdaptiveAveragePooling2D((4, 2)))
    yield "GlobalAveragePooling1D", Case(line, layers.GlobalAveragePooling1D())
    yield "GlobalAveragePooling2D", Case(image, layers.GlobalAveragePooling2D(keepdims=True))
    yield "GlobalAveragePooling2D first", Case(image, layers.GlobalAveragePooling2D(**FIRST))
    yield "UpSampling1D", Case(line, layers.UpSampling1D(3))
    yield "UpSampling2D", Case(image, layers.UpSampling2D((2, 3)))
    yield "UpSampling3D", Case((2, 1, 3, 2), layers.UpSampling3D(2))
    yield "UpSampling2D first", Case(image, layers.UpSampling2D((2, 3), **FIRST))
    yield "RepeatVector", Case((4,), layers.RepeatVector(5))
    yield "Flatten", Case(image, layers.Flatten())
    yield "Reshape", Case(image, layers.Reshape((-1, 2, 3)))
    yield "Permute", Case(image, layers.Permute((3, 1, 2)))
    yield "Cropping1D", Case(line, layers.Cropping1D((1, 2)))
    yield "Cropping2D", Case(image, layers.Cropping2D(((1, 0), (2, 1))))
    yield "Cropping3D first", Case((2, 4, 5, 3), layers.Cropping3D(((1, 0), 2, 0), **FIRST))
    yield "ZeroPadding1D", Case(line, layers.ZeroPadding1D(2))
    yield "ZeroPadding2D first", Case(image, layers.ZeroPadding2D((1, 2), **FIRST))
    yield "ZeroPadding3D", Case(volume, layers.ZeroPadding3D(((1, 0), (0, 1), (2, 2))))


def affine_cases() -> Iterator[tuple[str, Case]]:
    image, line = (6, 5, 4), (7, 3)
    yield "BatchNormalization", Case(image, layers.BatchNormalization())
    yield "BatchNormalization axis", Case(image, layers.BatchNormalization(axis=1, scale=False))
    yield "BatchNormalization renorm", Case(image, layers.BatchNormalization(renorm=True))
    given = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 0.25, 1.0])
    yield "Normalization", Case(line, given)
    yield "Normalization stored", Case(image, layers.Normalization(axis=(1, 3)))
    yield (
        "Normalization inverted",
        Case(line, layers.Normalization(variance=9.0, mean=1.0, invert=True, axis=None)),
    )
    yield "LayerScale", Case(line, LayerScale(0.5, 3))
    yield "StochasticDepth", Case(line, StochasticDepth(0.5))
    yield "Rescaling", Case(line, layers.Rescaling([0.5, -3.0, 1.0], offset=2.0))
    yield "Dropout", Case(line, layers.Dropout(0.5))
    yield "RandomFlip", Case(image, layers.RandomFlip())
    yield "CenterCrop", Case(image, layers.CenterCrop(3, 2))
    yield "Resizing", Case(image, layers.Resizing(9, 11), tight=False)
    yield "Resizing nearest", Case(image, layers.Resizing(4, 7, "nearest"), tight=False)
    yield (
        "UpSampling2D bilinear",
        Case(image, layers.UpSampling2D(2, interpolation="bilinear"), tight=False),
    )
    yield "CustomScaleLayer", Case(line, lambda x: CustomScaleLayer(0.3)([x, x]))
    yield "Add", Case(image, merged(layers.Add()), tight=False)
    yield "Average", Case(image, merged(layers.Average()), tight=False)
    yield (
        "Add broadcast",
        Case(image, lambda x: layers.Add()([x, layers.Flatten()(x[:, 0, 0, :])]), tight=False),
    )
    yield "Subtract", Case(line, lambda x: layers.Subtract()([x, ops.negative(x)]))
    yield "Concatenate", Case(line, lambda x: layers.Concatenate(axis=1)([x, x]))
    yield "Concatenate last", Case(line, lambda x: layers.Concatenate()([x, x, x]))
    yield "TimeDistributed", Case((3, 5, 4), layers.TimeDistributed(layers.Conv1D(2, 3)))
    yield (
        "TimeDistributed twice",
        Case((3, 5, 4), layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2)))),
    )
    yield "SpectralNormalization", Case((5,), layers.SpectralNormalization(layers.Dense(4)))


def other_cases() -> Iterator[tuple[str, Case]]:
    image, line = (6, 5, 4), (7, 3)
    for name in ("relu", "gelu", "silu", "mish", "selu", "softmax", "log_softmax", "hard_silu"):
        yield f"Activation {name}", Case(line, layers.Activation(name), tight=False, step=SMALL)
    yield (
        "Activation in Dense",
        Case((5,), layers.Dense(4, activation="swish"), tight=False, step=SMALL),
    )
    yield (
        "layer in Dense",
        Case((5,), layers.Dense(4, activation=layers.LeakyReLU(3.0)), tight=False, step=SMALL),
    )
    yield (
        "ReLU",
        Case(line, layers.ReLU(negative_slope=1.5, max_value=0.5), tight=False, step=SMALL),
    )
    yield "LeakyReLU", Case(line, layers.LeakyReLU(1.7), tight=False, step=SMALL)
    yield "ELU", Case(line, layers.ELU(2.0), tight=False, step=SMALL)
    yield (
        "PReLU",
        Case(
            line, layers.PReLU(alpha_initializer="normal", shared_axes=[1]), tight=False, step=SMALL
        ),
    )
    yield "Softmax", Case(image, layers.Softmax(axis=[1, 2]), tight=False, step=SMALL)
    for padding in ("valid", "same"):
        yield (
            f"MaxPooling2D {padding}",
            Case(image, layers.MaxPooling2D(3, 2, padding), tight=False, step=SMALL),
        )
    yield "MaxPooling1D", Case(line, layers.MaxPooling1D(2), tight=False, step=SMALL)
    yield (
        "MaxPooling3D",
        Case((4, 4, 3, 2), layers.MaxPooling3D(2, 1, dtype="float32"), tight=False, step=0.02),
    )
    yield (
        "AdaptiveMaxPooling2D",
        Case(image, layers.AdaptiveMaxPooling2D((4, 3)), tight=False, step=SMALL),
    )
    yield "GlobalMaxPooling2D", Case(image, layers.GlobalMaxPooling2D(), tight=False, step=SMALL)
    yield (
        "SeparableConv2D",
        Case(
            image, layers.SeparableConv2D(3, 3, padding="same", strides=2), tight=False, step=SMALL
        ),
    )
    yield (
        "SeparableConv1D",
        Case(line, layers.SeparableConv1D(4, 3, depth_multiplier=2), tight=False, step=SMALL),
    )
    yield (
        "LayerNormalization",
        Case(image, layers.LayerNormalization(axis=[1, 3]), tight=False, step=SMALL),
    )
    yield "GroupNormalization", Case(image, layers.GroupNormalization(2), tight=False, step=SMALL)
    yield "RMSNormalization", Case(line, layers.RMSNormalization(), tight=False, step=SMALL)
    yield "UnitNormalization", Case(line, layers.UnitNormalization(), tight=False, step=SMALL)
    yield "Maximum", Case(image, merged(layers.Maximum()), tight=False, step=SMALL)
    yield "Minimum", Case(image, merged(layers.Minimum()), tight=False, step=SMALL)
    yield (
        "SimpleRNN",
        Case(line, layers.SimpleRNN(4, return_sequences=True), tight=False, step=SMALL),
    )
    yield "LSTM", Case((3, 2), layers.LSTM(2), tight=False, step=SMALL)
    yield "GRU", Case((3, 2), layers.GRU(2, reset_after=False), tight=False, step=SMALL)
    yield (
        "Bidirectional",
        Case(
            (3, 2), layers.Bidirectional(layers.GRU(2), merge_mode="ave"), tight=False, step=SMALL
        ),
    )
    yield (
        "Bidirectional sequences",
        Case((3, 2), layers.Bidirectional(layers.SimpleRNN(2, return_sequences=True)), tight=False),
    )
    yield (
        "RNN",
        Case(
            (3, 2),
            layers.RNN([layers.SimpleRNNCell(3), layers.LSTMCell(2)]),
            tight=False,
            step=SMALL,
        ),
    )


def operation_cases() -> Iterator[tuple[str, Case]]:
    image, line = (6, 5, 4), (7, 3)
    matrix = np.random.default_rng(11).normal(size=(3, 4)).astype("float32")
    yield "x + 1", Case(line, lambda x: x + 1.0)
    yield "1 - x", Case(line, lambda x: 1.0 - x)
    yield "x * c", Case(line, lambda x: x * np.array([1.0, -4.0, 2.0]))
    yield "x * -2", Case(line, lambda x: x * -2.0)
    yield "x / -3", Case(line, lambda x: x / -3.0)
    yield "x - 2 (x - 3 x)", Case(line, lambda x: x + -2.0 * (x - x * 3.0), tight=False)
    yield "x / c", Case(line, lambda x: x / np.array([0.5, -4.0, 2.0]))
    yield "x * c repeated", Case((7, 1), lambda x: x * np.array([[[2.0, 2.0, 2.0]]]))
    yield "x + c repeated", Case((7, 1), lambda x: x + np.ones((1, 1, 5)))
    yield "x @ c", Case(line, lambda x: ops.matmul(x, matrix), tight=False, step=SMALL)
    yield "x + y", Case(line, lambda x: x + x[:, ::-1])
    yield "maximum(x, 0)", Case(line, lambda x: ops.maximum(x, 0.0), tight=False, step=SMALL)
    yield "maximum(x, y)", Case(line, lambda x: ops.maximum(x, -x), tight=False, step=SMALL)
    yield "clip", Case(line, lambda x: ops.clip(x, -0.5, 0.5), tight=False, step=SMALL)
    yield "abs", Case(line, ops.abs, tight=False, step=SMALL)
    yield "sin", Case(line, ops.sin, tight=False, step=SMALL)
    yield "leaky_relu", Case(line, lambda x: ops.leaky_relu(x, 0.3), tight=False, step=SMALL)
    yield (
        "relu with slope",
        Case(line, lambda x: keras.activations.relu(x, 0.4, 1.0), tight=False, step=SMALL),
    )
    yield "squareplus", Case(line, ops.squareplus, tight=False, step=SMALL)
    yield "mean", Case(image, lambda x: ops.mean(x, axis=[1, 2]))
    yield "sum", Case(image, lambda x: ops.sum(x, axis=-2, keepdims=True))
    yield "max", Case(image, lambda x: ops.max(x, axis=(1, 3)), tight=False, step=SMALL)
    yield "logsumexp", Case(line, lambda x: ops.logsumexp(x, axis=1), tight=False, step=SMALL)
    yield "norm", Case(line, lambda x: ops.norm(x, axis=2), tight=False, step=SMALL)
    yield "reshape", Case(image, lambda x: ops.reshape(x, (-1, 10, 12)))
    yield "transpose", Case(image, lambda x: ops.transpose(x, (0, 3, 1, 2)))
    yield "swapaxes", Case(image, lambda x: ops.swapaxes(x, 1, -1))
    yield "expand_dims", Case(line, lambda x: ops.expand_dims(x, 2))
    yield "squeeze", Case((1, 4), lambda x: ops.squeeze(x, 1))
    yield "x[:, 1:]", Case(line, lambda x: x[:, 1:])
    yield "x[..., None, ::2]", Case(line, lambda x: x[..., None, ::2])
    yield "x[:, 0]", Case(image, lambda x: x[:, 0])
    yield "split", Case(line, lambda x: ops.split(x, [2, 3], axis=1)[2])
    yield "unstack", Case(line, lambda x: ops.unstack(x, axis=1)[4])
    yield "stack", Case(line, lambda x: ops.stack([x, x], axis=1))
    yield "concatenate", Case(line, lambda x: ops.concatenate([x, x], axis=1))
    yield "cast", Case(line, lambda x: ops.cast(x, "float32"))
    yield "repeat", Case(line, lambda x: ops.repeat(x, 3, axis=1))
    yield "max_pool", Case(image, lambda x: ops.max_pool(x, 2), tight=False, step=SMALL)
    yield "average_pool", Case(image, lambda x: ops.average_pool(x, 3, 1, "same"))


def unbounded_cases() -> Iterator[tuple[str, Case]]:
    image, line = (6, 5, 4), (7, 3)
    yield "Multiply", Case(line, lambda x: layers.Multiply()([x, x]), none="multiplies two tensors")
    offset = layers.Rescaling(1.0, offset=[1.0, 2.0])
    yield "Rescaling by offset", Case((3, 1), offset, none="`offset` does not fit")
    yield "Dot", Case(line, lambda x: layers.Dot(1)([x, x]), none="multiplies two tensors")
    yield "Attention", Case(line, lambda x: layers.Attention()([x, x]), none="attention multiplies")
    yield (
        "MultiHeadAttention",
        Case(line, lambda x: layers.MultiHeadAttention(2, 2)(x, x), none="attention multiplies"),
    )
    yield "exponential", Case(line, layers.Activation("exponential"), none="no limit")
    yield "glu", Case((4,), layers.Activation("glu"), none="two halves")
    yield "sparsemax", Case(line, layers.Activation("sparsemax"), none="jumps")
    yield "ReLU threshold", Case(line, layers.ReLU(threshold=1.0), none="jumps at its threshold")
    yield "Masking", Case(line, layers.Masking(2.0), none="jumps at its `mask_value`")
    yield "mask", Case(line, lambda x: layers.LSTM(2)(layers.Masking()(x)), none="mask")
    yield (
        "mask of pooling",
        Case(line, lambda x: layers.GlobalAveragePooling1D()(layers.Masking()(x)), none="mask"),
    )
    yield "LSTM relu", Case(line, layers.LSTM(2, activation="relu"), none="state has no limit")
    yield (
        "LSTM state",
        Case(line, lambda x: layers.LSTM(2, return_state=True)(x)[1], none="its state"),
    )
    yield "LSTM long", Case((10**9, 2), layers.LSTM(2), none="more than are gone through")
    yield "ConvLSTM1D", Case((3, 4, 2), layers.ConvLSTM1D(2, 2), none="convolutional recurrent")
    yield (
        "Bidirectional mul",
        Case(line, layers.Bidirectional(layers.SimpleRNN(2), merge_mode="mul"), none="multiplies"),
    )
    yield "Discretization", Case(line, layers.Discretization([0.0, 1.0]), none="jumps")
    yield "AutoContrast", Case(image, layers.AutoContrast(), none="contrast")
    yield "Resizing antialias", Case(image, layers.Resizing(3, 3, antialias=True), none="antialias")
    yield (
        "EinsumDense diagonal",
        Case((4, 3), layers.EinsumDense("abc,bd->abd", (4, 5)), none="no matrix product"),
    )
    yield "x * y", Case(line, lambda x: x * x, none="multiplies two tensors")
    yield "x / y", Case(line, lambda x: 1.0 / x, none="divides by a tensor")
    yield "mean of all", Case(line, lambda x: x - ops.mean(x), none="samples of a batch")
    yield "x + batch", Case((3,), lambda x: x + ops.ones((4, 3)), none="samples of a batch")
    yield "exp", Case(line, ops.exp, none="no limit")
    yield "cast", Case(line, lambda x: ops.cast(x, "int32") + 1, none="rounds to int32")
    yield "cumsum", Case(line, lambda x: ops.cumsum(x, axis=1), none="operation Cumsum")
    yield (
        "BatchNormalization training",
        Case(line, lambda x: layers.BatchNormalization()(x, training=True), none="uses the batch"),
    )
    yield (
        "GaussianDropout training",
        Case(line, lambda x: layers.GaussianDropout(0.5)(x, training=True), none="noise"),
    )


@contextmanager
def in_float64() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def all_cases(*kinds: Callable[[], Iterator[tuple[str, Case]]]) -> dict[str, Case]:
    """New layers for each model: Keras gives names that no other layer has since the last
    `clear_session`, and other tests may call that."""
    with in_float64():
        return dict(case for cases in kinds for case in cases())


FINITE = (linear_cases, shape_cases, affine_cases, other_cases, operation_cases)
BOUNDED, UNBOUNDED = all_cases(*FINITE), all_cases(unbounded_cases)


class Judged(NamedTuple):
    """A model with a branch for each case, its network and the bound of it."""

    model: keras.Model
    network: Network
    bound: NetworkBound


def judged(cases: dict[str, Case], folder: Path) -> Judged:
    """Builds a model of all cases, gives all weights numbers, and reads its file."""
    with in_float64():
        inputs = [keras.Input(case.sizes, dtype="float64") for case in cases.values()]
        outputs = [case.make(x) for case, x in zip(cases.values(), inputs, strict=True)]
    names = [f"output_{place}" for place in range(len(cases))]
    model = keras.Model(inputs, dict(zip(names, outputs, strict=True)))
    for variable in model.variables:
        if "seed" not in variable.path:
            value = RNG.normal(size=variable.shape) * 0.6
            positive = "variance" in variable.path or "stddev" in variable.path
            variable.assign(abs(value) + 0.2 if positive else value)
    path = str(folder / "model.keras")
    model.save(path)
    with open_source("inspect", path, None) as (source, worker):
        opened = open_weights(describe(source), RULES, worker)
        return Judged(keras.models.load_model(path), network_read(opened), bound_of(opened))


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(all_cases(*FINITE), tmp_path_factory.mktemp("bounded"))


@pytest.fixture(scope="module")
def unbounded(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(all_cases(unbounded_cases), tmp_path_factory.mktemp("unbounded"))


@pytest.mark.parametrize("name", BOUNDED)
def test_sizes_are_those_of_keras(name: str, bounded: Judged) -> None:
    """The sizes of an output are those that Keras infers."""
    place = list(BOUNDED).index(name)
    found = dict(bounded.network.outputs)[f"output_{place}"]
    shape = bounded.model.output[f"output_{place}"].shape
    assert bounded.network.operations[found].sizes == tuple(shape[1:])


@pytest.mark.parametrize("name", BOUNDED)
def test_the_bound_holds(name: str, bounded: Judged) -> None:
    """No Jacobian is larger than the bound; that of what is linear is as large."""
    place, case = list(BOUNDED).index(name), BOUNDED[name]
    outputs = {output.name: output.bound for output in bounded.bound.outputs}
    bound = outputs[f"output_{place}"]
    assert bound is not None
    assert bound.value is not None
    branch = keras.Model(bounded.model.inputs[place], bounded.model.output[f"output_{place}"])
    points = (0.0,) if case.step == 1.0 else (0.01, 1.0, 4.0)
    lower = max(jacobian_norm(branch, case, scale) for scale in points)
    assert bound.value >= lower * BELOW
    if case.tight:
        assert bound.value <= lower * TIGHT


def jacobian_norm(model: keras.Model, case: Case, scale: float) -> float:
    """Returns the norm of the Jacobian at a random point, by differences."""
    point = RNG.normal(size=case.sizes) * scale
    count, step = point.size, case.step * (scale or 1.0)
    moved = point + step * np.eye(count).reshape(count, *case.sizes)
    values = np.asarray(model(np.concatenate([moved, point[None]]), training=False), "float64")
    return float(np.linalg.norm((values[:-1] - values[-1]).reshape(count, -1), 2) / step)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_has_no_constant_says_why(name: str, unbounded: Judged) -> None:
    """There is no bound of an output that a layer without a constant makes, and a reason."""
    place, case = list(UNBOUNDED).index(name), UNBOUNDED[name]
    outputs = {output.name: output.bound for output in unbounded.bound.outputs}
    assert outputs[f"output_{place}"] is None
    reasons = list(reasons_before(unbounded.network, f"output_{place}"))
    assert case.none is not None
    assert [reason for reason in reasons if case.none in reason], reasons
    assert {layer.reason for layer in unbounded.bound.unbounded} >= set(reasons)


def reasons_before(network: Network, output: str) -> Iterator[str]:
    """Yields why operations that an output depends on have no constant."""
    waiting = [dict(network.outputs)[output]]
    while waiting:
        operation = network.operations[waiting.pop()]
        waiting += operation.inputs
        if isinstance(operation.does, NoConstant):
            yield operation.does.reason


def test_every_layer_of_keras_is_known() -> None:
    """Each class of `keras.layers` has a row, or is opened."""
    opened = {name for names in OPENED for name in names.split(", ")}
    classes = {
        value.__name__
        for value in vars(layers).values()
        if inspect.isclass(value) and issubclass(value, layers.Layer)
    }
    spellings = {"GroupedQueryAttention": "GroupQueryAttention"}
    missing = {spellings.get(name, name) for name in classes} - TABLE.keys() - opened
    assert missing == set()
    others = {"LayerScale", "StochasticDepth", "CustomScaleLayer"}  # of applications
    assert TABLE.keys() - {spellings.get(name, name) for name in classes} == others


def test_the_page_is_what_the_rows_say() -> None:
    """The table of the documentation has each row, and its list each operation."""
    page = (ROOT / "docs" / "lipschitz-layers.md").read_text(encoding="utf-8")
    rows = [(row.classes, row.constant) for row in ROWS]
    rows += [(tuple(names.split(", ")), constant) for names, constant in OPENED.items()]
    table = [f"| {', '.join(map(_code, classes))} | {constant} |" for classes, constant in rows]
    assert [line for line in page.splitlines() if line.startswith("| `")] == table
    listed = page.rpartition(":\n")[2].rstrip(".\n").replace("\n", " ")
    assert listed == ", ".join(map(_code, sorted(OPERATIONS)))


def _code(name: str) -> str:
    return f"`{name}`"
