"""Time of a training step of spectral layers, or of inference, as a ratio to the plain layer's.

    python benchmarks/training.py [--inference] [--rounds N] [--threads N] [CASE ...]

A step is forward, backward and SGD on all variables, at `--inference` the forward pass alone; in
graph mode, under XLA and eagerly. Ratios are of the same round (`rounds.py`); the table has the
median and the quartiles. `control` is the plain layer a second time: how far it is from 1.00 is how
far the numbers can be trusted. The built-in wrapper (`keras.layers.SpectralNormalization`) is
measured where it can do the layer (at inference it does nothing), PyTorch's
`parametrizations.spectral_norm` beside its own plain layer, if torch is there; `baked` is the
converted model after `bake`.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np
import tensorflow as tf
from rounds import head, ratios, row, shown, steps_in_turns

import snconvert

Step = Callable[[], Any]
Taken = dict[str, list[float]]
COLUMNS = ("control", "snconvert", "built-in", "torch", "baked")
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


def step_of(model: Any, x: tf.Tensor, mode: str, *, inference: bool) -> Step:
    """Returns a function that does one step of what is measured."""
    return (prediction if inference else training_step)(model, x, mode)


def keras_rows(name: str, rounds: int, *, inference: bool) -> Iterator[tuple[str, Taken]]:
    """Yields the times of each mode of a case."""
    case = CASES[name]
    x = tf.random.normal(case.shape, seed=1)
    models = models_of(case)
    if inference:
        models["baked"] = snconvert.bake(models["snconvert"])
    for mode in case.modes:
        steps = {key: step_of(m, x, mode, inference=inference) for key, m in models.items()}
        yield f"{name}, {mode}", steps_in_turns(steps, rounds)


def torch_rows(name: str, threads: int, rounds: int) -> Iterator[tuple[str, Taken]]:
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
    yield f"{name}, torch eager", steps_in_turns(steps, rounds)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--inference", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    print(head("case", "plain ms", *COLUMNS))
    for name in options.cases or CASES:
        sources = [keras_rows(name, options.rounds, inference=options.inference)]
        if CASES[name].wraps and not options.inference:
            sources.append(torch_rows(name, options.threads, options.rounds))
        for title, taken in itertools.chain(*sources):
            cells = [shown(ratios(taken, column)) for column in COLUMNS]
            once = 1e3 * statistics.median(taken["plain"])
            print(row([title, f"{once:.2f}", *cells]), flush=True)


if __name__ == "__main__":
    main()
