"""Layers as older versions of Keras know them, each in a Sequential model: shape of the input, and
a function of `keras.layers` that makes the stack. A shape with a name is of tokens or of texts.

Runs in Python 3.6 and any Keras before 3; what a version does not have fails by its name.
"""

TOKENS, TEXTS = "tokens", "texts"

LAYERS = {
    "dense": ((5,), lambda k: [k.Dense(4, activation="relu"), k.Dense(3, use_bias=False)]),
    "dense_middle_axes": ((3, 2, 5), lambda k: [k.Dense(4, activation="tanh")]),
    "einsum_dense": (
        (7, 6),
        lambda k: [
            _late(k, "EinsumDense")("abc,cde->abde", (None, 2, 3), bias_axes="de"),
            _late(k, "EinsumDense")("abde,def->abf", (None, 4)),
        ],
    ),
    "conv1d": ((9, 2), lambda k: [k.Conv1D(4, 3, padding="causal", dilation_rate=2)]),
    "conv2d": ((8, 7, 3), lambda k: [k.Conv2D(4, (3, 2), strides=2, padding="same")]),
    "conv2d_groups": ((8, 7, 4), lambda k: [k.Conv2D(6, 3, groups=2, activation="elu")]),
    "conv3d": ((4, 4, 4, 3), lambda k: [k.Conv3D(2, 2)]),
    "conv1d_transpose": ((5, 2), lambda k: [k.Conv1DTranspose(4, 3, strides=2)]),
    "conv2d_transpose": (
        (5, 5, 2),
        lambda k: [k.Conv2DTranspose(4, (3, 2), strides=2, padding="same")],
    ),
    "conv3d_transpose": ((3, 3, 3, 2), lambda k: [k.Conv3DTranspose(2, 2)]),
    "depthwise_conv1d": ((7, 3), lambda k: [k.DepthwiseConv1D(3, depth_multiplier=2)]),
    "depthwise_conv2d": ((7, 7, 3), lambda k: [k.DepthwiseConv2D((3, 2), depth_multiplier=2)]),
    "separable_conv1d": ((7, 3), lambda k: [k.SeparableConv1D(4, 3, depth_multiplier=2)]),
    "separable_conv2d": ((7, 7, 3), lambda k: [k.SeparableConv2D(4, 3, depth_multiplier=2)]),
    "pooling": (
        (8, 8, 3),
        lambda k: [
            k.ZeroPadding2D(((1, 2), (0, 1))),
            k.MaxPooling2D(2, padding="same"),
            k.UpSampling2D(2, interpolation="bilinear"),
            k.Cropping2D(((0, 1), (1, 0))),
            k.AveragePooling2D((2, 1)),
            k.Conv2D(3, 1),
            k.GlobalAveragePooling2D(),
            k.Dense(2),
        ],
    ),
    "reshaping": (
        (6, 4),
        lambda k: [
            k.Permute((2, 1)),
            k.Flatten(),
            k.RepeatVector(2),
            k.Reshape((4, -1)),
            k.MaxPooling1D(2),
            k.GlobalMaxPooling1D(),
            k.Dense(2),
        ],
    ),
    "pooling3d": (
        (4, 4, 4, 2),
        lambda k: [k.MaxPooling3D(2), k.UpSampling3D(2), k.GlobalMaxPooling3D(), k.Dense(2)],
    ),
    "keepdims": ((8, 8, 3), lambda k: [k.GlobalAveragePooling2D(keepdims=True), k.Conv2D(2, 1)]),
    "regularised": (
        (5,),
        lambda k: [
            k.Dense(
                4,
                kernel_regularizer="l2",
                kernel_constraint="max_norm",
                bias_constraint="non_neg",
                kernel_initializer="he_uniform",
                bias_initializer="ones",
            ),
            k.Dense(4, kernel_initializer="orthogonal", activity_regularizer="l1"),
            k.Dense(4, kernel_initializer="lecun_normal", kernel_constraint="unit_norm"),
            k.ActivityRegularization(l1=0.01, l2=0.02),
            k.Dense(4, kernel_initializer="glorot_normal", kernel_regularizer="l1_l2"),
        ],
    ),
    "dropouts": (
        (6, 4),
        lambda k: [
            k.Dropout(0.5),
            k.SpatialDropout1D(0.5),
            k.GaussianNoise(0.5),
            k.GaussianDropout(0.5),
            k.AlphaDropout(0.5),
            k.Dense(3),
        ],
    ),
    "activations": (
        (5,),
        lambda k: [k.Dense(5, activation=name) for name in ACTIVATIONS],
    ),
    "gelu": ((5,), lambda k: [k.Dense(5, activation="gelu"), k.Dense(4, activation="swish")]),
    "activation_layers": (
        (5,),
        lambda k: [
            k.Dense(5),
            k.LeakyReLU(alpha=0.2),
            k.Dense(5),
            k.ELU(alpha=0.5),
            k.Dense(5),
            k.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.2),
            k.Dense(5),
            k.Softmax(axis=-1),
            k.Activation("tanh"),
            k.Activation("hard_sigmoid"),
        ],
    ),
    "leaky_relu": ((5,), lambda k: [k.Dense(5), k.LeakyReLU(), k.Dense(2)]),
    "prelu": ((6, 4), lambda k: [k.PReLU(), k.PReLU(shared_axes=[1]), k.Dense(3)]),
    "hard_sigmoid": ((5,), lambda k: [k.Dense(4, activation="hard_sigmoid"), k.Dense(3)]),
    "batch_normalization": ((5, 3), lambda k: [k.BatchNormalization(), k.Dense(3)]),
    "batch_normalization_variants": (
        (5, 4, 3),
        lambda k: [
            k.BatchNormalization(scale=False),
            k.BatchNormalization(center=False, epsilon=0.01, momentum=0.9),
            k.BatchNormalization(scale=False, center=False),
            k.BatchNormalization(axis=1),
            k.BatchNormalization(axis=-2),
            k.Dense(3),
        ],
    ),
    "layer_normalization": (
        (5, 3),
        lambda k: [
            k.LayerNormalization(),
            k.LayerNormalization(scale=False),
            k.LayerNormalization(axis=[1, 2]),
            k.LayerNormalization(center=False, epsilon=0.01),
            k.Dense(2),
        ],
    ),
    "group_normalization": ((5, 6), lambda k: [k.GroupNormalization(3), k.Dense(2)]),
    "unit_normalization": ((5, 6), lambda k: [k.UnitNormalization(), k.Dense(2)]),
    "embedding": ((6, TOKENS), lambda k: [k.Embedding(9, 4, input_length=6), k.Flatten()]),
    "embedding_masked": (
        (6, TOKENS),
        lambda k: [k.Embedding(9, 4, mask_zero=True), k.LSTM(3), k.Dense(2)],
    ),
    "masking": ((6, 3), lambda k: [k.Masking(0.5), k.GRU(3), k.Dense(2)]),
    "simple_rnn": ((4, 3), lambda k: [k.SimpleRNN(4, return_sequences=True), k.SimpleRNN(2)]),
    "lstm": (
        (4, 3),
        lambda k: [
            k.LSTM(4, return_sequences=True),
            k.LSTM(3, unit_forget_bias=False, activation="relu", go_backwards=True),
            k.Dense(2),
        ],
    ),
    "lstm_hard_sigmoid": (
        (4, 3),
        lambda k: [k.LSTM(3, recurrent_activation="hard_sigmoid"), k.Dense(2)],
    ),
    "lstm_no_bias": ((4, 3), lambda k: [k.LSTM(3, use_bias=False, unroll=True), k.Dense(2)]),
    "lstm_dropout": (
        (4, 3),
        lambda k: [k.LSTM(3, dropout=0.5, recurrent_dropout=0.5), k.Dense(2)],
    ),
    "gru": ((4, 3), lambda k: [k.GRU(4, return_sequences=True), k.GRU(2, use_bias=False)]),
    "gru_reset_before": ((4, 3), lambda k: [k.GRU(4, reset_after=False), k.Dense(2)]),
    "gru_reset_after": ((4, 3), lambda k: [k.GRU(4, reset_after=True), k.Dense(2)]),
    "gru_hard_sigmoid": (
        (4, 3),
        lambda k: [k.GRU(4, recurrent_activation="hard_sigmoid", reset_after=True), k.Dense(2)],
    ),
    "cells": (
        (4, 3),
        lambda k: [
            k.RNN(k.LSTMCell(4), return_sequences=True),
            k.RNN([k.GRUCell(3), k.SimpleRNNCell(4), k.GRUCell(2)], return_sequences=True),
            k.RNN(k.StackedRNNCells([k.LSTMCell(3), k.LSTMCell(2)])),
            k.Dense(2),
        ],
    ),
    "one_cell": ((4, 3), lambda k: [k.RNN(k.GRUCell(4, reset_after=False)), k.Dense(2)]),
    "bidirectional": (
        (4, 3),
        lambda k: [
            k.Bidirectional(k.LSTM(3, return_sequences=True)),
            k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="sum"),
            k.Bidirectional(k.SimpleRNN(2), merge_mode="ave"),
            k.Dense(2),
        ],
    ),
    "bidirectional_two": (
        (4, 3),
        lambda k: [
            k.Bidirectional(
                k.LSTM(3, return_sequences=True),
                backward_layer=k.GRU(3, return_sequences=True, go_backwards=True),
            ),
            k.Bidirectional(k.RNN(k.LSTMCell(2))),
            k.Dense(2),
        ],
    ),
    "time_distributed": (
        (4, 6, 6, 2),
        lambda k: [
            k.TimeDistributed(k.Conv2D(3, 3)),
            k.TimeDistributed(k.Flatten()),
            k.TimeDistributed(k.BatchNormalization()),
            k.TimeDistributed(k.Dense(2)),
        ],
    ),
    "conv_lstm1d": ((3, 5, 2), lambda k: [k.ConvLSTM1D(2, 3), k.Flatten(), k.Dense(2)]),
    "conv_lstm2d": (
        (3, 4, 4, 2),
        lambda k: [
            k.ConvLSTM2D(2, 2, return_sequences=True, padding="same"),
            k.Bidirectional(k.ConvLSTM2D(2, 2, recurrent_activation="sigmoid")),
            k.Flatten(),
            k.Dense(2),
        ],
    ),
    "conv_lstm3d": ((2, 3, 3, 3, 2), lambda k: [k.ConvLSTM3D(1, 2), k.Flatten(), k.Dense(2)]),
    "rescaling": ((6, 6, 3), lambda k: [_late(k, "Rescaling")(1 / 127.5, -1.0), k.Conv2D(2, 3)]),
    "images": (
        (6, 6, 3),
        lambda k: [
            _late(k, "Resizing")(8, 8),
            _late(k, "CenterCrop")(6, 6),
            _late(k, "RandomFlip")("horizontal"),
            _late(k, "RandomRotation")(0.1),
            _late(k, "RandomZoom")(0.1),
            _late(k, "RandomTranslation")(0.1, 0.1),
            _late(k, "RandomContrast")(0.1),
            k.Conv2D(2, 3),
        ],
    ),
    "random_brightness": (
        (6, 6, 3),
        lambda k: [k.RandomBrightness(0.1, value_range=(0.0, 1.0)), k.Conv2D(2, 3)],
    ),
    "normalization": ((4, 3), lambda k: [_normalization(k), k.Dense(2)]),
    "normalization_given": (
        (4, 3),
        lambda k: [k.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]), k.Dense(2)],
    ),
    "discretization": (
        (4,),
        lambda k: [
            k.Discretization(bin_boundaries=[-1.0, 0.0, 1.0]),
            k.Embedding(4, 2),
            k.Flatten(),
            k.Dense(2),
        ],
    ),
    "category_encoding": (
        (1, TOKENS),
        lambda k: [k.CategoryEncoding(9, output_mode="multi_hot"), k.Dense(2)],
    ),
    "integer_lookup": (
        (4, TOKENS),
        lambda k: [k.IntegerLookup(vocabulary=[1, 3, 5]), k.Embedding(4, 2)],
    ),
    "string_lookup": (
        (4, TEXTS),
        lambda k: [k.StringLookup(vocabulary=["a", "b b", "ü"]), k.Embedding(4, 2)],
    ),
    "string_lookup_adapted": (
        (4, TEXTS),
        lambda k: [_adapted(k.StringLookup()), k.Embedding(9, 2)],
    ),
    "text_vectorization": (
        (1, TEXTS),
        lambda k: [_adapted(k.TextVectorization(output_sequence_length=4)), k.Embedding(9, 2)],
    ),
    "hashing": ((4, TEXTS), lambda k: [k.Hashing(9), k.Embedding(9, 2)]),
    "thresholded_relu": ((5,), lambda k: [k.Dense(3), k.ThresholdedReLU(0.5)]),
    "locally_connected": ((6, 2), lambda k: [k.LocallyConnected1D(3, 2), k.Flatten()]),
    "lambda": ((5,), lambda k: [k.Lambda(lambda x: x * 2.0), k.Dense(3)]),
}

ACTIVATIONS = (
    *("relu", "elu", "selu", "softplus", "softsign"),
    *("tanh", "sigmoid", "exponential", "linear", "softmax"),
)


def _late(layers, name):
    """A class that was experimental for some versions."""
    if hasattr(layers, name):
        return getattr(layers, name)
    return getattr(layers.experimental.preprocessing, name)


def _adapted(layer):
    layer.adapt(["a b", "b c", "c ü", "a a"])
    return layer


def _normalization(layers):
    import numpy as np

    layer = _late(layers, "Normalization")()
    layer.adapt(np.random.RandomState(1).normal(2.0, 3.0, size=(20, 4, 3)).astype("float32"))
    return layer
