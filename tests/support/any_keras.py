"""What the package does with the Keras that is found: `python any_keras.py FOLDER [thorough]`.

Runs every check by itself, prints a line for each, and ends with exit code 1 if one has failed. The
backend is that of KERAS_BACKEND. FOLDER is for files. Names of checks run these only.
"""

# ruff: noqa: T201 -- printing is its job

from __future__ import annotations

import functools
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import quick_variables
from kind_examples import EXAMPLES
from places import ROOT

import snconvert

quick_variables.forget_names()

FOLDER = Path(sys.argv[1])
THOROUGH = "thorough" in sys.argv
EAGER = keras.backend.backend() != "jax"
"""Whether models are run without being compiled, which takes longer than what they compute."""

X = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(8, 2)).astype("float32")
Data = list[np.ndarray]


def branch(kind: str, rng: np.random.Generator) -> tuple[Any, Any, np.ndarray]:
    """Returns input, flat output and data of a plain layer of a kind."""
    config, shape, _ = EXAMPLES[kind][0]
    # JAX refuses values narrower than keys, and Keras 3.6 a number for `output_shape`.
    left_out = {"value_dim", "output_shape"} if kind == "MultiHeadAttention" else set()
    config = {key: value for key, value in config.items() if key not in left_out}
    layer, sizes = getattr(keras.layers, kind)(**config, name=kind.lower()), shape[1:]
    if kind.endswith("Cell"):
        layer, sizes = keras.layers.RNN(layer), (3, *sizes)
    if "input_dim" in config:
        data = rng.integers(0, config["input_dim"], size=(8, *sizes)).astype("int32")
    else:
        data = rng.normal(size=(8, *sizes)).astype("float32")
    inputs = keras.Input(sizes, dtype=str(data.dtype))
    outputs = layer(inputs, inputs) if "Attention" in kind else layer(inputs)
    if kind == "ReversibleEmbedding":
        outputs = layer(outputs, reverse=True)
    return inputs, keras.layers.Flatten()(outputs), data


def kinds() -> list[str]:
    """Returns the kinds that this Keras has."""
    return [kind for kind in EXAMPLES if hasattr(keras.layers, kind)]


@functools.cache
def every_kind() -> tuple[keras.Model, Data]:
    """Returns a trained model with a layer of every kind, and its data."""
    rng = np.random.default_rng(0)
    inputs, outputs, data = map(list, zip(*(branch(kind, rng) for kind in kinds()), strict=True))
    model = keras.Model(
        inputs, keras.layers.Dense(2, name="out")(keras.layers.Concatenate()(outputs))
    )
    return trained(compiled(model), data), data


def compiled(model: keras.Model, optimizer: Any = "adam", **options: Any) -> keras.Model:
    model.compile(optimizer, "mse", **{"run_eagerly": EAGER, **options})
    return model


def trained(model: keras.Model, data: Any = X) -> keras.Model:
    model.fit(data, Y, batch_size=len(Y), verbose=0)
    return model


def small() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Reshape((3, 2)),
            keras.layers.Conv1D(4, 2),
            keras.layers.LSTM(3),
            keras.layers.Dense(2),
        ]
    )


@keras.saving.register_keras_serializable("any_keras")
class Subclassed(keras.Model):
    """A model whose layers no configuration holds."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stack = [keras.layers.Dense(6, activation="relu"), keras.layers.Dense(6)]
        self.heads = {"out": keras.layers.Dense(2)}

    def call(self, inputs):
        x = inputs
        for layer in self.stack:
            x = layer(x)
        return self.heads["out"](x)


def outputs_of(model: keras.Model, data: Any = X) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(data, training=False)))


def numbers(variables: Any) -> Data:
    values = [v.value for v in variables if "seed" not in v.path]
    return [np.array(keras.ops.convert_to_numpy(value)) for value in values]


def same(one: Data, two: Data) -> None:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def spectral(model: keras.Model) -> list[Any]:
    return [x for x in model._flatten_layers() if isinstance(x, snconvert.layers.Spectral)]


def scattered(model: keras.Model) -> list[Any]:
    """Gives every `u` that a step moves another direction, and returns them."""
    vectors = [v for v in model.variables if v.name == "u" or v.name.endswith("_u")]
    # One number cannot move, nor can the u of an orthogonal kernel, as recurrent ones begin.
    vectors = [v for v in vectors if v.shape[-1] > 1 and not v.name.startswith("recurrent")]
    for vector in vectors:
        vector.assign(np.full(vector.shape, vector.shape[-1] ** -0.5))
    return vectors


def has_moved(vector: Any, value: np.ndarray) -> bool:
    """Whether a `u` is another one than `scattered` has made it."""
    return np.abs(value - vector.shape[-1] ** -0.5).max() > 1e-6


def there_and_back(model: keras.Model, data: Any, **options: Any) -> keras.Model:
    """Converts a live model, trains, saves, loads and verifies it, bakes and removes; returns the
    converted one."""
    before = outputs_of(model, data)
    patched = snconvert.apply(model, kinds="all", **options)
    target, gain = options.get("target", "layer"), options.get("mode") == "gain"
    verdict = snconvert.verify(model, patched)
    assert verdict, verdict.differences
    if gain:
        np.testing.assert_allclose(outputs_of(patched, data), before, rtol=1e-4, atol=1e-5)
    if target == "layer":
        same(numbers(snconvert.remove(patched).weights), numbers(model.weights))
    vectors = scattered(patched) if target == "layer" and not gain else []
    trained(patched, data)
    after = numbers(vectors)
    assert all(map(has_moved, vectors, after))
    moved = outputs_of(patched, data)
    same(numbers(vectors), after)
    assert np.abs(moved - before).max() > 1e-6
    patched.save(FOLDER / "live.keras")
    loaded = keras.saving.load_model(FOLDER / "live.keras")
    np.testing.assert_array_equal(outputs_of(loaded, data), moved)
    same(numbers(loaded.optimizer.variables), numbers(patched.optimizer.variables))
    baked = snconvert.bake(loaded)
    assert not spectral(baked)
    np.testing.assert_allclose(outputs_of(baked, data), moved, rtol=1e-4, atol=1e-5)
    if data is X:
        trained(baked)
    return patched


def converted(model: keras.Model, data: Any, **options: Any) -> keras.Model:
    """Converts the file of a model, loads, trains, saves and loads it, verifies, bakes and removes;
    returns the converted one."""
    plain, patched = FOLDER / "plain.keras", FOLDER / "patched.keras"
    model.save(plain)
    snconvert.apply_file(plain, patched, kinds="all", verify=True, force=True, **options)
    loaded = keras.saving.load_model(patched)
    if options.get("mode") == "gain":
        before = outputs_of(model, data)
        np.testing.assert_allclose(outputs_of(loaded, data), before, rtol=1e-4, atol=1e-5)
    moved = outputs_of(trained(loaded, data), data)
    loaded.save(FOLDER / "again.keras")
    again = keras.saving.load_model(FOLDER / "again.keras")
    np.testing.assert_array_equal(outputs_of(again, data), moved)
    snconvert.bake_file(FOLDER / "again.keras", FOLDER / "baked.keras", force=True)
    baked = keras.saving.load_model(FOLDER / "baked.keras")
    np.testing.assert_allclose(outputs_of(baked, data), moved, rtol=1e-4, atol=1e-5)
    if options.get("target", "layer") == "layer":
        snconvert.remove_file(patched, FOLDER / "removed.keras", force=True)
        verdict = snconvert.verify(plain, FOLDER / "removed.keras")
        assert verdict, verdict.differences
        removed = keras.saving.load_model(FOLDER / "removed.keras")
        same(numbers(removed.weights), numbers(model.weights))
    return loaded


def check_kinds(model: keras.Model) -> None:
    """Makes sure that a layer of every kind was converted."""
    plain = set(kinds()) - {layer.rule.class_name for layer in spectral(model)}
    assert not plain, plain


def sample() -> None:
    """The sample that the README begins with."""
    path = shutil.copy(ROOT / "samples" / "moons.keras", FOLDER)
    snconvert.apply_file(path, FOLDER / "moons-sn.keras", force=True)
    model = keras.saving.load_model(FOLDER / "moons-sn.keras")
    points, classes = np.array([[0.5, 0.25], [1.0, -0.5]]), np.array([0, 1])
    model.fit(points, classes, verbose=0)
    model.save(FOLDER / "moons-trained.keras")
    snconvert.remove(snconvert.apply(keras.saving.load_model(path), exclude=["logits"]))


def every_kind_as_a_file() -> None:
    model, data = every_kind()
    check_kinds(converted(model, data, mode="gain"))


def every_kind_live() -> None:
    model, data = every_kind()
    check_kinds(there_and_back(model, data))


def targets_as_files() -> None:
    for options in ({"target": "keras"}, {"target": "constraint", "mode": "cap"}):
        converted(trained(compiled(small())), X, **options)


def targets_live() -> None:
    for options in ({"mode": "cap"}, {"target": "keras"}, {"target": "constraint"}):
        there_and_back(trained(compiled(small())), X, **options)


def compiled_training() -> None:
    """Steps that are compiled, with and without XLA."""
    for jit in (False, True) if THOROUGH else (False,):
        model = compiled(
            snconvert.apply(small(), kinds="dense"), jit_compile=jit, run_eagerly=False
        )
        trained(model)
        model.predict(X, verbose=0)


def subclassed() -> None:
    there_and_back(trained(compiled(Subclassed())), X, mode="gain")


def optimizers() -> None:
    """Optimizers of one's own, and around others: `gamma` gets slots of its own."""
    built = [keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())]
    if THOROUGH:
        built += [keras.optimizers.SGD(momentum=0.9), keras.optimizers.Lion(use_ema=True)]
    if hasattr(keras.optimizers, "MultiOptimizer"):
        table = {".*bias": keras.optimizers.SGD(momentum=0.9)}
        choice = keras.optimizers.OptimizerMap(keras.optimizers.Adam(), table)
        built.append(keras.optimizers.MultiOptimizer(choice))
    for optimizer in built:
        there_and_back(trained(compiled(small(), optimizer)), X, mode="gain")


def weight_decay() -> None:
    """A gamma does not decay where its kernel does not."""
    optimizer = keras.optimizers.SGD(1e-9, weight_decay=1e8)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    patched = snconvert.apply(compiled(small(), optimizer), mode="gain", kinds="all")
    layer = patched.layers[0]
    before, bias = numbers([layer.gamma]), numbers([layer.bias])
    layer.bias.assign(bias[0] + 1.0)
    trained(patched)
    np.testing.assert_allclose(numbers([layer.gamma]), before, rtol=1e-5)
    assert np.abs(numbers([layer.bias])[0] - bias[0] - 1.0).min() > 0.05


def half_precision() -> None:
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = trained(compiled(small()))
        patched = trained(snconvert.apply(model, kinds="all", mode="gain"))
        patched.save(FOLDER / "half.keras")
        loaded = keras.saving.load_model(FOLDER / "half.keras")
    finally:
        keras.mixed_precision.set_global_policy(policy)
    np.testing.assert_array_equal(outputs_of(loaded), outputs_of(patched))
    same(numbers(loaded.optimizer.variables), numbers(patched.optimizer.variables))


def masks() -> None:
    """Masks, a frozen layer, a wrapper, ids."""
    ids = np.array([[3, 7, 0, 0], [1, 2, 3, 0]])
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            keras.layers.Embedding(9, 6, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.GRU(4, dropout=0.1)),
            keras.layers.Dense(2, trainable=False),
        ]
    )
    model = compiled(model)
    patched = snconvert.apply(model, kinds="all", mode="gain")
    np.testing.assert_allclose(outputs_of(patched, ids), outputs_of(model, ids), atol=1e-5)
    patched.fit(ids, Y[:2], verbose=0)


def projection() -> None:
    """The callback, and the function."""
    model = compiled(small())
    model.fit(X, Y, verbose=0, callbacks=[snconvert.SpectralProjection(mode="cap", bound=0.5)])
    kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    assert np.linalg.norm(kernel, 2) < 0.51
    snconvert.project(model, bound=0.1, mode="hard")


def averages() -> None:
    """Kernels assigned by hand, and weights of before the conversion."""
    model = small()
    model.save_weights(FOLDER / "plain.weights.h5")
    patched = snconvert.apply(small(), kinds="all")
    snconvert.load_plain_weights(patched, FOLDER / "plain.weights.h5")
    other = snconvert.apply(model, kinds="all")
    np.testing.assert_allclose(outputs_of(patched), outputs_of(other), atol=1e-5)
    snconvert.converge(patched)
    snconvert.converge(patched, rounds=1)


def in_place() -> None:
    """A conversion by a callback of a running `fit`."""

    class Convert(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, _=None):
            if epoch == 1:
                snconvert.apply(self.model, kinds="all", mode="gain", in_place=True)

    model = compiled(small())
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[Convert()])
    assert spectral(model)


def every_class() -> None:
    """There is a spectral class of each kind that Keras has, and no other."""
    for kind, rule in snconvert.RULES.items():
        assert hasattr(snconvert, rule.spectral_class) == hasattr(keras.layers, kind), kind


CHECKS: list[Callable[[], Any]] = [
    every_class,
    sample,
    every_kind_as_a_file,
    every_kind_live,
    targets_as_files,
    targets_live,
    compiled_training,
    subclassed,
    optimizers,
    weight_decay,
    half_precision,
    masks,
    projection,
    averages,
    in_place,
]


def main(names: set[str]) -> int:
    print(f"Keras {keras.__version__}, {keras.backend.backend()}, {len(kinds())} kinds", flush=True)
    failed = 0
    for check in CHECKS:
        if names and check.__name__ not in names:
            continue
        start = time.process_time()
        try:
            check()
        except Exception:  # noqa: BLE001 -- the rest is run all the same
            failed += 1
            told = traceback.format_exc(limit=-6)
            print(f"{check.__name__}: failed\n{told[:3000]}", flush=True)
        else:
            print(f"{check.__name__}: ok, {time.process_time() - start:.1f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main({*sys.argv[2:]} - {"thorough"}))
