"""Time that `snconvert.SigmaMonitor` adds to an epoch of `fit`.

    python benchmarks/monitor.py [--rounds N] [CASE ...]

All times are the processor's, of one thread, so that what else the machine does counts little. In
every round each variant trains for five epochs, in an order that is drawn anew. `ratio` is the
median of what it took, divided by what `fit` without a monitor took in the same round; `control` is
`fit` without one a second time: how far it is from 1.000 is how far ratios can be trusted. The
monitor works at the end of an epoch only, so that its `share` of the epoch is measured by itself:
the median over all epochs but the first, in parentheses that of the first, which finds the vectors.
`off` is the largest relative error of the sigma of a Dense layer in any epoch, by numpy's SVD.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

import snconvert

EPOCHS, BATCH = 5, 32


def mlp(*widths: int) -> Any:
    """Returns an MLP of these widths."""
    layers = [keras.layers.Dense(width, "relu") for width in widths[1:]]
    return keras.Sequential([keras.Input((widths[0],)), *layers])


def convolutions(*, width: int = 32) -> Any:
    """Returns a small CNN on images of 32x32."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.Conv2D(2 * width, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(4 * width, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )


def transformer(blocks: int = 4, width: int = 128) -> Any:
    """Returns a transformer encoder on sequences of 32 vectors."""
    layers = keras.layers
    source = x = keras.Input((32, width))
    for _ in range(blocks):
        heads = layers.MultiHeadAttention(4, width // 4)(*[layers.LayerNormalization()(x)] * 2)
        x = layers.Add()([x, heads])
        hidden = layers.Dense(4 * width, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(hidden)])
    return keras.Model(source, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def converted(model: Any) -> Any:
    """Returns a model with every kernel normalised."""
    return snconvert.apply(model, kinds="all")


CASES: dict[str, tuple[Callable[[], Any], int]] = {
    "MLP 64-128-64-32-10": (lambda: mlp(64, 128, 64, 32, 10), 1797),
    "the same, converted": (lambda: converted(mlp(64, 128, 64, 32, 10)), 1797),
    "MLP 784-256-256-10": (lambda: mlp(784, 256, 256, 10), 10_000),
    "MLP 512-3x1024-10": (lambda: mlp(512, 1024, 1024, 1024, 10), 4_000),
    "MLP 2x2048-10": (lambda: mlp(2048, 2048, 2048, 10), 2_000),
    "CNN 32-64-128": (convolutions, 1_000),
    "the same CNN, converted": (lambda: converted(convolutions()), 1_000),
    "transformer, 4 blocks of 128": (transformer, 1_000),
    "the same transformer, converted": (lambda: converted(transformer()), 1_000),
}


class Watch:
    """Takes the time of the epochs of a callback, and of the callback in them."""

    def __init__(self, callback: Any) -> None:
        self.callback, self.inside, self.epochs, self.off = callback, [0.0], [0.0], 0.0
        self.aside = 0.0
        self._end = callback.on_epoch_end
        callback.on_epoch_begin = self._begin
        callback.on_epoch_end = self._measured

    def _begin(self, *_: Any, **__: Any) -> None:
        self._started = time.process_time()

    def _measured(self, epoch: int, logs: Any = None) -> None:
        started = time.process_time()
        self._end(epoch, logs)
        now = time.process_time()
        self.inside.append(now - started)
        self.epochs.append(now - self._started)
        self.off = max(self.off, *errors(self.callback.model, logs))
        self.aside += time.process_time() - now

    def share(self) -> str:
        """Returns the part of an epoch that the callback took."""
        shares = [a / b for a, b in zip(self.inside[1:], self.epochs[1:], strict=True)]
        return f"{statistics.median(shares[1:]):.2%} ({shares[0]:.1%})"


def errors(model: Any, logs: Any) -> list[float]:
    """Returns the relative errors of the sigmas of Dense layers."""
    dense = [x for x in model.layers if isinstance(x, keras.layers.Dense)]
    exact = [np.linalg.norm(keras.ops.convert_to_numpy(x.kernel).astype(float), 2) for x in dense]
    return [abs(logs[f"sigma/{x.name}"] / s - 1) for x, s in zip(dense, exact, strict=True)]


def measure(name: str, rounds: int) -> None:
    """Prints the row of a case."""
    make, count = CASES[name]
    rng = np.random.default_rng(0)
    models = {}
    for variant in ("none", "control", "default", "exact"):
        keras.utils.set_random_seed(0)
        models[variant] = make()
        models[variant].compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
    x = rng.normal(size=(count, *models["none"].input_shape[1:])).astype("float32")
    y = x.reshape(count, -1)[:, :10].argmax(-1)
    taken: dict[str, list[float]] = {variant: [] for variant in models}
    watches = {
        "default": Watch(snconvert.SigmaMonitor()),
        "exact": Watch(snconvert.SigmaMonitor(exact=True)),
    }

    def fit(variant: str, epochs: int) -> None:
        callbacks = [watches[variant].callback] if variant in watches else []
        models[variant].fit(x, y, BATCH, epochs, verbose=0, callbacks=callbacks)

    for variant in models:
        fit(variant, 1)
    for _ in range(rounds):
        for variant in random.sample(list(models), len(models)):
            watch = watches.get(variant)
            before = watch.aside if watch else 0.0
            started = time.process_time()
            fit(variant, EPOCHS)
            aside = watch.aside - before if watch else 0.0
            taken[variant].append(time.process_time() - started - aside)
    ratios = [
        f"{statistics.median(a / b for a, b in zip(taken[v], taken['none'], strict=True)):.3f}"
        for v in ("control", "default", "exact")
    ]
    epoch = 1e3 * statistics.median(taken["none"]) / EPOCHS
    shares = [watch.share() for watch in watches.values()]
    off = [f"{watch.off:.0e}" for watch in watches.values()]
    cells = [name, f"{epoch:.0f}", *ratios, *shares, *off]
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], metavar="CASE")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    heads = ["model", "epoch, ms", "control", "ratio", "ratio, exact", "share", "share, exact"]
    heads += ["off", "off, exact"]
    print(f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", sep="\n")
    for name in arguments.cases or CASES:
        measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
