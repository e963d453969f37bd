"""Small models of every kind of layer, one output each; used by test_deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import steps
from keras import layers

import snconvert

MODES = ("hard", "cap", "gain")
SHAPES = {"image": (6, 6, 4), "sequence": (5, 4), "ids": (5,)}


FEW = ("einsum_gain", "lstm_hard", "embedding_hard", "dense_gain", "conv_cap")
"""One layer of each kind but attention."""

NORMS = {"hard": "matrix", "cap": "operator", "gain": "matrix"}
"""Either norm in one model, by mode."""


def build(*, few: bool = False, grouped: bool = True, unroll: bool = False) -> keras.Model:
    """Returns a model with one output for each kind of layer.

    Args:
        few: With those of `FEW` only.
        grouped: With a convolution in groups, too.
        unroll: Write the time steps of recurrent layers out, instead of a loop.
    """
    image, sequence = (keras.Input(SHAPES[name], name=name) for name in ("image", "sequence"))
    ids = keras.Input(SHAPES["ids"], name="ids", dtype="int32")
    made: list[tuple[str, keras.layers.Layer, Any]] = [
        ("einsum_gain", layers.EinsumDense("abc,bcd->abd", (5, 3), bias_axes="d"), sequence),
        ("lstm_hard", layers.LSTM(3, unroll=unroll), sequence),
        ("gru_gain", layers.GRU(3, unroll=unroll, return_sequences=True), sequence),
        ("embedding_hard", layers.Embedding(11, 4), ids),
        ("causal_cap", layers.Conv1D(3, 2, padding="causal", dilation_rate=2), sequence),
        ("transposed_gain", layers.Conv2DTranspose(3, 3, strides=2), image),
        ("depthwise_cap", layers.DepthwiseConv2D(3, depth_multiplier=2), image),
        ("separable_hard", layers.SeparableConv2D(3, 3), image),
    ]
    for mode in MODES:
        made += [
            (f"dense_{mode}", layers.Dense(5, activation="relu"), sequence),
            (f"conv_{mode}", layers.Conv2D(6, 3, strides=2, padding="same"), image),
        ]
    if grouped:
        made.append(("grouped_gain", layers.Conv2D(6, 3, groups=2), image))
    outputs = []
    if few:
        made = [row for row in made if row[0] in FEW]
    else:
        outputs.append(layers.MultiHeadAttention(2, 3, name="attention_cap")(sequence, sequence))
    for name, layer, x in made:
        layer.name = name
        outputs.append(layer(x))
    return keras.Model([image, sequence, ids], outputs, name="deployed")


def inputs(batch: int = 2) -> list[np.ndarray]:
    """Returns an image, a sequence and ids."""
    rng = np.random.default_rng(1)
    dense = [rng.normal(size=(batch, *SHAPES[name])) for name in ("image", "sequence")]
    ids = rng.integers(0, 11, size=(batch, *SHAPES["ids"]))
    return [*(x.astype("float32") for x in dense), ids.astype("int32")]


def patched(folder: Path | None = None, norm: str | None = None, **options: Any) -> keras.Model:
    """Returns the model converted, each layer in the mode that ends its name, after a training
    call, with no scale at 1.

    Args:
        folder: Where to convert a file; live otherwise.
        norm: That of every layer, rather than that of its mode.
        **options: Those of `build`.
    """
    keras.utils.set_random_seed(3)
    model = build(**options)
    if folder is None:
        for mode in MODES:
            only = [f"*_{mode}"]
            how = {"mode": mode, "bound": 0.5, "norm": norm or NORMS[mode]}
            snconvert.apply(model, kinds="all", only=only, in_place=True, **how)
    else:
        model.save(folder / "plain.keras")
        layers = [
            f'[[layer]]\nmatch = "*_{mode}"\nmode = "{mode}"\nnorm = "{norm or NORMS[mode]}"\n'
            for mode in MODES
        ]
        (folder / "recipe.toml").write_text('kinds = "all"\nbound = 0.5\n' + "".join(layers))
        snconvert.apply_file(
            folder / "plain.keras", folder / "patched.keras", recipe_file=folder / "recipe.toml"
        )
        model = keras.saving.load_model(folder / "patched.keras")
    model(inputs(), training=True)
    for variable in model.variables:
        if variable.name.endswith("gamma"):
            variable.assign(variable * 0.7)
    return model


def stepped(*, few: bool, **options: Any) -> keras.Model:
    """Returns the model converted to another target, after a step of training."""
    keras.utils.set_random_seed(3)
    model = snconvert.apply(build(few=few), kinds="all", **options)
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    x = inputs()
    steps.train(model, x, [y + 1.0 for y in outputs(model, x)])
    return model


def outputs(model: keras.Model, x: list[np.ndarray]) -> list[np.ndarray]:
    """Returns what a Keras model computes."""
    return [keras.ops.convert_to_numpy(y) for y in model(x, training=False)]


def check(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Makes sure that outputs are equal to float32 rounding: 2e-6 of the size of each."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other).max())
