"""Time of a training step of spectral layers, as a ratio to the plain layer's.

    python benchmarks/training.py [--rounds N] [--threads N] [CASE ...]

A step is forward, backward and SGD on all variables, in graph mode, under XLA and eagerly. In every
round each variant takes its steps in an order that is drawn anew, and is divided by what the plain
layer took in the same round; the table has the median and the quartiles. `control` is the plain
layer a second time: how far it is from 1.00 is how far the numbers can be trusted. The built-in
wrapper (`keras.layers.SpectralNormalization`) is measured where it can do the layer, PyTorch's
`parametrizations.spectral_norm` beside its own plain layer, if torch is there. `predict` is the
forward pass alone, of the converted and of the baked layer.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf

import snconvert

Step = Callable[[], Any]
SECONDS = 0.02  # of steps in a row, at least, that one time is taken of
RATE = 1e-4


@dataclass(frozen=True)
class Case:
    """A model with one kind of layer.

    Attributes:
        make: Builds it, given what each layer is passed through.
        shape: Of the inputs, with the batch.
        wraps: Whether the built-in wrapper can do its layers.
        modes: How it is run.
    """

    make: Callable[[Callable[[Any], Any]], Any]
    shape: tuple[int, ...]
    wraps: bool = True
    modes: tuple[str, ...] = ("graph", "xla", "eager")


def one_layer(layer: Callable[[], Any], shape: tuple[int, ...], **options: Any) -> Case:
    """Returns the case of a model of a single layer."""

    def make(wrap: Callable[[Any], Any]) -> Any:
        return keras.Sequential([keras.Input(shape[1:], shape[0]), wrap(layer())])

    return Case(make, shape, **options)


def transformer(wrap: Callable[[Any], Any]) -> Any:
    """Returns a small transformer block: attention and two Dense layers, pre-norm."""
    del wrap
    inputs = keras.Input((64, 256), 8)
    x = keras.layers.LayerNormalization()(inputs)
    x = inputs + keras.layers.MultiHeadAttention(4, 64)(x, x)
    y = keras.layers.LayerNormalization()(x)
    y = keras.layers.Dense(1024, activation="gelu")(y)
    return keras.Model(inputs, x + keras.layers.Dense(256)(y))


def resnet(wrap: Callable[[Any], Any]) -> Any:
    """Returns the whole ResNet50."""
    del wrap
    return keras.applications.ResNet50(weights=None, input_shape=(96, 96, 3), classes=100)


CASES: dict[str, Case] = {
    **{
        f"dense-{n}-{batch}": one_layer(lambda n=n: keras.layers.Dense(n), (batch, n))
        for n in (1024, 4096)
        for batch in (1, 32, 256)
    },
    "conv2d": one_layer(lambda: keras.layers.Conv2D(64, 3, padding="same"), (32, 56, 56, 64)),
    "lstm": one_layer(
        lambda: keras.layers.LSTM(256), (32, 20, 256), wraps=False, modes=("graph", "eager")
    ),
    "transformer": Case(transformer, (8, 64, 256), wraps=False),
    "resnet50": Case(resnet, (8, 96, 96, 3), wraps=False, modes=("graph",)),
}


def training_step(model: Any, x: tf.Tensor, mode: str) -> Step:
    """Returns a function that does one step of training."""
    variables = model.trainable_variables

    def step(inputs: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(inputs)  # as for a layer that others are before
            outputs = model(inputs, training=True)
            loss = tf.reduce_mean(tf.square(outputs))
        gradient, *gradients = tape.gradient(loss, [inputs, *variables])
        for variable, change in zip(variables, gradients, strict=True):
            variable.value.assign_sub(RATE * change)
        return loss + gradient[(0,) * len(gradient.shape)]

    return bound(step, x, mode)


def prediction(model: Any, x: tf.Tensor, mode: str) -> Step:
    """Returns a function that does one forward pass."""
    return bound(lambda inputs: model(inputs, training=False), x, mode)


def bound(function: Callable[..., Any], x: tf.Tensor, mode: str) -> Step:
    """Returns the function of no arguments, compiled as the mode says."""
    if mode != "eager":
        function = tf.function(function, jit_compile=mode == "xla")
    return lambda: np.asarray(function(x))


def ratios(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Times all variants in turns; returns each one's ratios to `plain`, and its own times, s."""
    for step in steps.values():
        for _ in range(3):
            step()
    once = min(timed(steps["plain"], 1) for _ in range(5))
    count = max(1, round(SECONDS / once))
    found: dict[str, list[float]] = {name: [] for name in (*steps, "seconds")}
    for _ in range(rounds):
        order = random.sample(list(steps), len(steps))
        taken = {name: timed(steps[name], count) / count for name in order}
        for name in steps:
            found[name].append(taken[name] / taken["plain"])
        found["seconds"].append(taken["plain"])
    return found


def timed(step: Step, count: int) -> float:
    """Returns the seconds of some steps."""
    started = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - started


def models_of(case: Case) -> dict[str, Any]:
    """Returns the plain model, itself again, converted, and with the built-in wrapper."""
    plain = case.make(lambda layer: layer)
    models = {
        "plain": plain,
        "control": case.make(lambda layer: layer),
        "snconvert": snconvert.apply(plain, kinds="all"),
    }
    if case.wraps:
        models["built-in"] = case.make(keras.layers.SpectralNormalization)
    return models


def keras_rows(name: str, case: Case, rounds: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yields a row for each mode of a case, training first."""
    x = tf.random.normal(case.shape, seed=1)
    models = models_of(case)
    for mode in case.modes:
        steps = {key: training_step(model, x, mode) for key, model in models.items()}
        yield f"{name}, {mode}", ratios(steps, rounds)
    models["baked"] = snconvert.bake(models["snconvert"])
    models.pop("built-in", None)  # it does nothing at inference
    passes = {key: prediction(model, x, "graph") for key, model in models.items()}
    yield f"{name}, predict", ratios(passes, rounds)


def torch_row(name: str, threads: int, rounds: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Yields the row of PyTorch's own spectral norm beside its plain layer, if torch is there."""
    try:
        import torch  # noqa: PLC0415 -- no dependency of the project
    except ImportError:
        return
    torch.set_num_threads(threads)
    shape = CASES[name].shape

    def layer() -> Any:
        if name.startswith("dense"):
            return torch.nn.Linear(shape[-1], shape[-1])
        return torch.nn.Conv2d(64, 64, 3, padding=1)

    def step(module: Any) -> Step:
        channels_first = (shape[0], shape[-1], *shape[1:-1])
        x = torch.randn(channels_first, requires_grad=True)
        optimizer = torch.optim.SGD(module.parameters(), RATE)

        def run() -> None:
            optimizer.zero_grad()
            x.grad = None
            module(x).square().mean().backward()
            optimizer.step()

        return run

    normed = torch.nn.utils.parametrizations.spectral_norm(layer())
    steps = {"plain": step(layer()), "control": step(layer()), "torch": step(normed)}
    yield f"{name}, torch eager", ratios(steps, rounds)


def shown(row: dict[str, list[float]], column: str) -> str:
    """Returns a cell: the median, and the quartiles."""
    if column not in row:
        return "-"
    low, middle, high = statistics.quantiles(row[column], n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    columns = ("control", "snconvert", "built-in", "torch", "baked")
    print(f"| case | plain ms | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    for name in options.cases or CASES:
        rows = [keras_rows(name, CASES[name], options.rounds)]
        if CASES[name].wraps:
            rows.append(torch_row(name, options.threads, options.rounds))
        for source in rows:
            for title, row in source:
                cells = " | ".join(shown(row, column) for column in columns)
                once = 1e3 * statistics.median(row["seconds"])
                print(f"| {title} | {once:.2f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
