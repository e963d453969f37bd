"""Keras models of every topology that the file carrier opens, with random weights."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import steps
from keras import layers

RNG = np.random.default_rng(7)


def sequential() -> keras.Model:
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, activation="relu"), layers.Dense(3, use_bias=False)]
    )


def functional() -> keras.Model:
    """Two inputs, two outputs, a layer used twice, operations in the graph."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    shared = layers.Dense(5, name="shared")
    x, y = shared(a), shared(b)
    z = keras.ops.tanh(x * 2.0 + y) - 1.0
    heads = [layers.Dense(2, name="zz")(z), layers.Dense(3, name="aa")(x)]
    return keras.Model([a, b], heads, name="two_heads")


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(6), layers.Dense(6)], name="inner")
    inputs = keras.Input((6,))
    middle = keras.Model(inputs, layers.Dense(4)(inner(inputs)), name="middle")
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2)(middle(inputs)), name="outer")


def many() -> keras.Model:
    """More than ten layers of one class, so that `dense_10` sorts before `dense_2`."""
    stack = [keras.Input((5,))]
    for i in range(13):
        stack += [layers.Dense(5, name=f"d{12 - i}"), layers.Activation("tanh")]
    return keras.Sequential(stack)


def wrapped() -> keras.Model:
    inputs = keras.Input((7, 5))
    x = layers.TimeDistributed(layers.Dense(6, name="inside"))(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    cells = [layers.GRUCell(4), layers.LSTMCell(4)]
    x = layers.RNN(cells, return_sequences=True)(x)
    x = layers.RNN(layers.SimpleRNNCell(3))(x)
    return keras.Model(inputs, layers.Dense(2)(x))


def einsum() -> keras.Model:
    inputs = keras.Input((7, 6))
    x = layers.EinsumDense("abc,cde->abde", (7, 2, 3), bias_axes="de")(inputs)
    x = layers.EinsumDense("abde,def->abf", (7, 4), bias_axes="f")(x)
    x = layers.EinsumDense("...x,xy->...y", 5)(x)
    x = layers.EinsumDense("abc,bcd->abd", (7, 3))(x)
    return keras.Model(inputs, x)


def convolutional() -> keras.Model:
    inputs = keras.Input((16, 16, 6))
    x = layers.Conv2D(8, 3, groups=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(8, 3, strides=2)(x)
    x = layers.Conv2D(4, 3, dilation_rate=2, use_bias=False)(x)
    x = layers.Conv2D(4, 1)(x)
    x = layers.Reshape((9, 4))(x)
    x = layers.Conv1D(6, 3, padding="causal")(x)
    x = layers.Reshape((3, 3, 3, 2))(x)
    x = layers.Conv3D(3, 2)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def transposed() -> keras.Model:
    """The other convolutions, one of them inside TimeDistributed."""
    inputs = keras.Input((6, 6, 3))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(inputs)
    x = layers.SeparableConv2D(4, 2, padding="same", use_bias=False)(x)
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)
    x = layers.Reshape((12, 24))(x)
    x = layers.SeparableConv1D(4, 3, strides=2)(x)
    x = layers.DepthwiseConv1D(2)(x)
    x = layers.Conv1DTranspose(6, 2, strides=2)(x)
    x = layers.Reshape((2, 2, 2, 6))(x)
    x = layers.TimeDistributed(layers.Conv2DTranspose(2, 2))(x)
    x = layers.Conv3DTranspose(2, 2)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def tokens() -> keras.Model:
    """Ids, masked, through attention of both kinds and back to the vocabulary."""
    inputs = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(9, 6, mask_zero=True)
    x = layers.Add()([table(inputs), layers.Embedding(9, 6, mask_zero=True)(inputs)])
    x = layers.MultiHeadAttention(2, 3, use_gate=True)(x, x)
    x = layers.GroupQueryAttention(3, 2, 1)(x, x)
    x = layers.MultiHeadAttention(2, 2, value_dim=3, output_shape=6, use_bias=False)(x, x)
    return keras.Model(inputs, table(x, reverse=True))


def recurrent() -> keras.Model:
    """Recurrent layers, cells alone and stacked, wrapped, frozen and convolutional."""
    inputs = keras.Input((4, 5))
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True, dropout=0.1))(inputs)
    x = layers.Bidirectional(
        layers.GRU(2, return_sequences=True),
        backward_layer=layers.SimpleRNN(2, return_sequences=True, go_backwards=True),
    )(x)
    x = layers.GRU(4, return_sequences=True, reset_after=False, trainable=False)(x)
    x = layers.RNN([layers.GRUCell(4), layers.LSTMCell(4)], return_sequences=True)(x)
    x = layers.RNN(layers.SimpleRNNCell(6), return_sequences=True)(x)
    x = layers.TimeDistributed(layers.SimpleRNN(4))(layers.Reshape((4, 6, 1))(x))
    x = layers.ConvLSTM1D(2, 2, return_sequences=True)(layers.Reshape((4, 4, 1))(x))
    x = layers.ConvLSTM2D(2, 2, return_sequences=True)(layers.Reshape((4, 3, 2, 1))(x))
    x = layers.ConvLSTM3D(2, 1)(layers.Reshape((4, 2, 1, 1, 2))(x))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    model.compile("adam", "mse")
    model.run_eagerly = True  # tracing takes ten times as long
    steps.train(model, RNG.normal(size=(4, 4, 5)), RNG.normal(size=(4, 2)))
    return model


def mixed_float16() -> keras.Model:
    policy = keras.DTypePolicy("mixed_float16")
    return keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(16, dtype=policy),
            layers.Dense(4, dtype=keras.DTypePolicy("bfloat16")),
            layers.Dense(3, dtype="float32"),
        ]
    )


def frozen() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, trainable=False),
            layers.BatchNormalization(),
            layers.Dense(4, kernel_regularizer="l2", kernel_constraint="max_norm"),
            layers.Dense(3),
        ]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.run_eagerly = True
    steps.train(model, RNG.normal(size=(8, 5)), RNG.normal(size=(8, 3)), 2)
    return model


ZOO: dict[str, Callable[[], keras.Model]] = {
    build.__name__: build
    for build in (
        sequential,
        functional,
        nested,
        many,
        wrapped,
        einsum,
        convolutional,
        transposed,
        tokens,
        recurrent,
        mixed_float16,
        frozen,
    )
}


def inputs_of(model: keras.Model, batch: int = 4) -> list[np.ndarray]:
    """Returns random inputs for a model, the same at every call."""
    rng = np.random.default_rng(3)
    return [
        rng.integers(0, 9, size=(batch, *tensor.shape[1:]))
        if "int" in tensor.dtype
        else rng.normal(size=(batch, *(size or 5 for size in tensor.shape[1:]))).astype("float32")
        for tensor in model.inputs
    ]


def predict(model: keras.Model) -> list[np.ndarray]:
    """Returns the model's outputs on `inputs_of`, as float64."""
    inputs = inputs_of(model)
    listed = isinstance(getattr(model, "_inputs_struct", None), list) or len(inputs) > 1
    outputs = model(inputs if listed else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return [np.asarray(keras.ops.cast(output, "float32"), "float64") for output in outputs]


def randomize(model: keras.Model) -> keras.Model:
    """Gives every kernel and bias values of its own, so that a wrong order shows."""
    rng = np.random.default_rng(11)
    for variable in model.weights:
        if "seed" not in variable.path and variable.dtype != "uint32":
            # Moving variances must stay positive.
            noise = np.abs(rng.normal(size=variable.shape)) * 0.5 + 0.1
            sign = rng.choice([-1.0, 1.0], size=variable.shape)
            variable.assign(noise if "variance" in variable.path else noise * sign)
    return model
