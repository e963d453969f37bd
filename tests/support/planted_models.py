"""The models that errors are planted in, and Keras' part of it, in a process of its own.

    python tests/support/planted_models.py build FOLDER NAME ...   saves these models
    python tests/support/planted_models.py again FOLDER FILE ...   loads these files and saves them
    python tests/support/planted_models.py convert FOLDER NAME WAY ...   converts in memory
    python tests/support/planted_models.py live FOLDER EACH SEED KIND NAME WAY ...  plants live

What plants in files and verifies them stays without a backend: its guarded process is there at
once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import keras
import live_models
import numpy as np
from keras import layers
from live_models import TOPOLOGIES, train
from optimizer_examples import MAKE, plain
from planting import VERBS, WAYS, Tally, differences
from planting_live import PLANTERS, planted
from zoo import ZOO, randomize

import snconvert

Build = Callable[[], keras.Model]


def of_type(dtype: str) -> keras.Model:
    """A model that computes and stores in another type."""
    stack = [layers.Conv1D(6, 3), layers.Flatten(), layers.Dense(6, "tanh"), layers.Dense(3)]
    for layer in stack:
        layer.dtype_policy = keras.DTypePolicy(dtype)
    return keras.Sequential([keras.Input((6, 1)), *stack])


def trained(optimizer: str) -> keras.Model:
    """A model with the state of an optimizer."""
    model = plain(b=True)
    model.compile(MAKE[optimizer](), "mse", run_eagerly=True)
    train(model, steps=2)
    return model


def words() -> keras.Model:
    """A vocabulary that is an asset."""
    inputs = keras.Input((), dtype="string")
    text = layers.TextVectorization(output_sequence_length=4)
    text.adapt(["a b c"])
    x = layers.Embedding(5, 4, name="table")(text(inputs))
    x = layers.GRU(3, name="gru")(x)
    return keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2")(x))


def shared() -> keras.Model:
    """Initializers and a layer that several places share."""
    one, two = (keras.initializers.RandomNormal(seed=seed) for seed in (1, 2))
    inputs = keras.Input((4,))
    x = layers.Dense(4, kernel_initializer=one, name="a")(inputs)
    twice = layers.Dense(4, kernel_initializer=one, name="twice")
    x = layers.Dense(4, kernel_initializer=two, name="b")(twice(twice(x)))
    x = layers.Dense(4, kernel_initializer=two, name="c")(x)
    return keras.Model(inputs, layers.Dense(4, name="d")(x))


def everything() -> keras.Model:
    """A layer of most kinds, with most of the arguments that there are."""
    one, two = (keras.initializers.RandomNormal(seed=seed) for seed in (1, 2))
    inputs = keras.Input((), dtype="string")
    text = layers.TextVectorization(output_sequence_length=6)
    text.adapt(["a b c"])
    ids = text(inputs)
    x = layers.Embedding(5, 4)(ids) + layers.ReversibleEmbedding(5, 4)(ids)
    x = layers.MultiHeadAttention(2, 2)(x, x)
    x = layers.GroupQueryAttention(2, 2, 1)(x, x)
    x = layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x)
    x = layers.SeparableConv1D(4, 2, depth_multiplier=2)(
        layers.Conv1DTranspose(4, 2)(layers.Conv1D(4, 2)(x))
    )
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x)
    x = layers.GRU(4, return_sequences=True)(x)
    x = layers.BatchNormalization()(layers.Dropout(0.25, seed=1)(x))
    x = layers.Flatten()(layers.Reshape((10, 2))(x))
    x = layers.Dense(4, kernel_initializer=one)(x)
    for initializer in (one, two, two, two, two):
        x = layers.Dense(4, kernel_initializer=initializer)(x)
    return keras.Model(inputs, x)


def norms() -> keras.Model:
    """Layers with scales that no rule covers, and settings that are not the usual ones."""
    model = keras.Sequential(
        [
            keras.Input((8, 4)),
            layers.Conv1D(4, 3, activation="relu", kernel_regularizer="l2", name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.PReLU(name="prelu"),
            layers.LayerNormalization(name="ln"),
            layers.Flatten(),
            layers.Dropout(0.25, seed=1),
            layers.Dense(4, bias_constraint="non_neg", activity_regularizer="l1", name="one"),
            layers.Dense(4, activation="softmax", name="two"),
        ]
    )
    model.compile("rmsprop", "mse", metrics=["mae"], loss_weights=2.0, run_eagerly=True)
    model.train_on_batch(np.ones((2, 8, 4)), np.ones((2, 4)))
    return model


def _called(topology: Build) -> keras.Model:
    model = topology()
    live_models.outputs(model)
    return model


MODELS: dict[str, Build] = {
    **{name: lambda build=build: randomize(build()) for name, build in ZOO.items()},
    **{
        dtype: lambda dtype=dtype: randomize(of_type(dtype))
        for dtype in ("float16", "bfloat16", "float64", "mixed_bfloat16")
    },
    **{f"{name.replace(' ', '-')}-optimizer": lambda name=name: trained(name) for name in MAKE},
    "words": lambda: randomize(words()),
    "shared": lambda: randomize(shared()),
    "everything": lambda: randomize(everything()),
    "norms": norms,
}
"""Every model that errors are planted in."""

LIVE: dict[str, Build] = {
    **{
        name: lambda build=TOPOLOGIES[name]: _called(build)
        for name in ("subclassed", "task", "attention")
    },
    **{
        name: MODELS[name]
        for name in ("norms", "nested", "frozen", "mixed_float16", "adam-optimizer")
    },
    **{name: MODELS[name] for name in ("many-options-optimizer", "float16", "transposed")},
}
"""Those that are tried in memory, too."""


def build(folder: Path, names: list[str]) -> None:
    """Saves models."""
    for name in names:
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        MODELS[name]().save(folder / f"{name}.keras")


def again(folder: Path, paths: list[str]) -> None:
    """Loads models and saves them again.

    Those that this backend does not load are left out, or not in their types, as JAX float64.
    """
    for path in map(Path, paths):
        keras.utils.clear_session(free_memory=False)
        try:
            model = keras.saving.load_model(path)
        except Exception as error:  # noqa: BLE001 - whatever Keras raises, it does not load it
            sys.stderr.write(f"{path.name}: {type(error).__name__}: {error}\n")
            continue
        if all(keras.backend.standardize_dtype(x.value.dtype) == x.dtype for x in model.weights):
            model.save(folder / path.name)


def convert(folder: Path, arguments: list[str]) -> None:
    """Converts files in memory, and back in both ways, and saves what comes of it."""
    for path, way in zip(arguments[::2], arguments[1::2], strict=True):
        keras.utils.clear_session(free_memory=False)
        try:
            model = snconvert.apply(keras.saving.load_model(path), kinds="all", **WAYS[way])
        except Exception as error:  # noqa: BLE001 - as above
            sys.stderr.write(f"{path}, {way}: {type(error).__name__}: {error}\n")
            continue
        name = f"{Path(path).stem}-{way}"
        model.save(folder / f"{name}.keras")
        for verb in ("bake", "remove"):
            with contextlib.suppress(snconvert.SnconvertError):
                getattr(snconvert, verb)(model).save(folder / f"{name}-{verb}.keras")


def plant(
    name: str,
    way: str,
    verbs: Iterable[str],
    each: int,
    seed: int,
    kinds: Iterable[str],
    tally: Tally,
) -> None:
    """Converts a model in memory, and back, and plants in each result.

    Args:
        name: One of `LIVE`.
        way: How it is converted.
        verbs: Which results are wanted: of `apply`, `bake`, `remove`.
        each: In how many ways each of them is changed.
        seed: Chooses these.
        kinds: The kinds of errors to choose from.
        tally: Counts.
    """
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(1)
    model = LIVE[name]()
    for verb in verbs:
        try:
            patched = snconvert.apply(model, kinds="all", **WAYS[way])
            before, after = model, patched
            if verb != "apply":
                before, after = patched, getattr(snconvert, verb)(patched)
        except snconvert.SnconvertError:  # there is no such conversion, or no such way back
            continue
        where, left = f"{name}-{way}, {verb}", each
        tally.pair("live", where, differences(before, after))
        for kind in tally.order(kinds, Random(f"{where} {seed}"), "live, {}"):
            if left:
                tally.tried[f"live, {kind}"] += 1
                with planted(kind, after, seed) as place:
                    if place is not None:
                        told = differences(before, after)
                        if told or not kind.startswith("kernel: ") or not makes(after, before, way):
                            tally.error(f"live, {kind}", f"{where}: {place}", told)
                            left -= 1
        tally.pair("live, when errors were taken back", where, differences(before, after))


def makes(plain: keras.Model, converted: keras.Model, way: str) -> bool:
    """Whether a plain model becomes a converted one, so that it may well be its original.

    Of what Keras' wrapper has divided a kernel by, no live model has a record.
    """
    new = snconvert.apply(plain, kinds="all", **WAYS[way])
    pairs = zip(new.weights, converted.weights, strict=True)
    return all(
        np.array_equal(*map(keras.ops.convert_to_numpy, pair))
        for pair in pairs
        if pair[0].name != "vector_u"  # which is right to the last bit or so
    )


def live(each: int, seed: int, text: str, arguments: list[str]) -> Tally:
    """Plants errors in live models, of the kinds that a text is part of."""
    tally = Tally()
    kinds = [kind for kind in PLANTERS if text in kind]
    for name, way in zip(arguments[::2], arguments[1::2], strict=True):
        plant(name, way, VERBS, each, seed, kinds, tally)
    return tally


if __name__ == "__main__":
    task, place, *rest = sys.argv[1:]
    if task == "live":
        counts = live(int(rest[0]), int(rest[1]), rest[2], rest[3:])
        Path(place, "live.json").write_text(json.dumps(vars(counts)))
    else:
        {"build": build, "again": again, "convert": convert}[task](Path(place), rest)
