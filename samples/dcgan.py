"""Trains the discriminator of a small DCGAN four ways, and plots sigma of its layers.

Without normalisation, with `keras.layers.SpectralNormalization` and converted by
`snconvert.apply`, with one and with three rounds of power iteration, from the same weights, on
shapes that the script draws itself. Run it from anywhere: `python samples/dcgan.py [FIGURE
[STEPS]]`. It takes a minute or two on a CPU, and needs matplotlib (`pip install ".[samples]"`).
Beside the figure it writes the numbers as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import snconvert

SIZE, CODE, BATCH, EVERY = 16, 32, 64, 10
LAYERS = ("conv_1", "conv_2", "conv_3", "logit")


def shapes(count: int = 2048) -> np.ndarray:
    """Returns discs, squares and crosses, `(count, SIZE, SIZE, 1)` from -1 to 1."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE][:, None] - rng.uniform(5, SIZE - 6, (2, count, 1, 1))
    radius = rng.uniform(2.5, 5, (count, 1, 1))
    outside = np.maximum(np.abs(x), np.abs(y))
    distance = np.choose(
        rng.integers(0, 3, (count, 1, 1)),
        [np.hypot(x, y), outside, np.where(np.minimum(np.abs(x), np.abs(y)) < 1, outside, SIZE)],
    )
    return np.clip(2 * (radius - distance), -1, 1)[..., None].astype("float32")


def generator() -> keras.Model:
    """Returns a generator of images from codes."""
    return keras.Sequential(
        [
            keras.Input((CODE,)),
            keras.layers.Dense(4 * 4 * 64, activation="relu"),
            keras.layers.Reshape((4, 4, 64)),
            keras.layers.Conv2DTranspose(32, 4, strides=2, padding="same", activation="relu"),
            keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
        ]
    )


def discriminator(wrap: Any = lambda layer: layer) -> keras.Model:
    """Returns a discriminator, each layer with a kernel given to `wrap`."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 1)),
            wrap(keras.layers.Conv2D(32, 4, strides=2, padding="same", name="conv_1")),
            keras.layers.LeakyReLU(0.1),
            wrap(keras.layers.Conv2D(64, 4, strides=2, padding="same", name="conv_2")),
            keras.layers.LeakyReLU(0.1),
            wrap(keras.layers.Conv2D(64, 3, padding="same", name="conv_3")),
            keras.layers.LeakyReLU(0.1),
            keras.layers.Flatten(),
            wrap(keras.layers.Dense(1, name="logit")),
        ]
    )


def candidates() -> dict[str, tuple[keras.Model, list[Any]]]:
    """Returns the discriminators by name, all with the same weights, and their layers."""
    plain = discriminator()
    wrapped = discriminator(
        lambda layer: keras.layers.SpectralNormalization(layer, name=layer.name)
    )
    once, thrice = (snconvert.apply(plain, conv=True, power_iterations=n) for n in (1, 3))
    for name in LAYERS:
        wrapped.get_layer(name).layer.set_weights(plain.get_layer(name).get_weights())
    return {
        "none": (plain, [plain.get_layer(name) for name in LAYERS]),
        "built-in": (wrapped, [wrapped.get_layer(name).layer for name in LAYERS]),
        "snconvert": (once, [once.get_layer(name) for name in LAYERS]),
        "snconvert, 3 iterations": (thrice, [thrice.get_layer(name) for name in LAYERS]),
    }


def sigmas(layers: list[Any]) -> list[float]:
    """Returns the exact sigma of the kernels that the layers compute with at inference."""
    found = []
    for layer in layers:
        spectral = hasattr(layer, "effective_kernel")
        kernel = np.asarray(layer.effective_kernel() if spectral else layer.kernel)
        matrix = kernel.reshape(-1, kernel.shape[-1]).astype("float64")
        found.append(float(np.linalg.norm(matrix, 2)))
    return found


def train(judge: keras.Model, layers: list[Any], steps: int) -> list[list[float]]:
    """Trains a discriminator against a fresh generator; returns sigma by time and layer."""
    keras.utils.set_random_seed(1)
    maker, images = generator(), shapes()
    optimizers = [keras.optimizers.Adam(1e-3, beta_1=0.5) for _ in range(2)]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(real: Any, codes: Any) -> None:
        with tf.GradientTape() as tape:
            fake = maker(codes, training=True)
            logits = judge(tf.concat([real, fake], 0), training=True)
            labels = tf.repeat([[1.0], [0.0]], BATCH, 0)
            cost = loss(labels, logits)
        variables = judge.trainable_variables
        slopes = tape.gradient(cost, [variable.value for variable in variables])
        optimizers[0].apply(slopes, variables)
        with tf.GradientTape() as tape:
            logits = judge(maker(codes, training=True), training=True)
            cost = loss(tf.ones_like(logits), logits)
        variables = maker.trainable_variables
        slopes = tape.gradient(cost, [variable.value for variable in variables])
        optimizers[1].apply(slopes, variables)

    rng = np.random.default_rng(2)
    found = [sigmas(layers)]
    for i in range(1, steps + 1):
        codes = rng.normal(size=(BATCH, CODE)).astype("float32")
        step(images[rng.integers(0, len(images), BATCH)], codes)
        if i % EVERY == 0:
            found.append(sigmas(layers))
    return found


def plot(found: dict[str, list[list[float]]], figure: Path) -> None:
    """Draws sigma over the steps, one panel for each layer."""
    mpl.rcParams["svg.hashsalt"] = "snconvert"  # the same numbers give the same file
    drawing, panels = plt.subplots(1, len(LAYERS), figsize=(12, 3.2), layout="constrained")
    for i, (name, panel) in enumerate(zip(LAYERS, panels, strict=True)):
        for label, rows in found.items():
            times = [EVERY * j for j in range(len(rows))]
            panel.plot(times, [row[i] for row in rows], label=label)
        panel.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
        panel.set(title=name, xlabel="step")
    panels[0].set_ylabel("sigma of the kernel")
    panels[1].legend(fontsize="small")
    drawing.savefig(figure, metadata={"Date": None} if figure.suffix == ".svg" else None)


def main(figure: Path, steps: int) -> None:
    """Trains, draws, writes the numbers, and prints the range of sigma from step 100 on."""
    keras.utils.set_random_seed(0)
    found = {name: train(judge, layers, steps) for name, (judge, layers) in candidates().items()}
    plot(found, figure)
    numbers = {"every": EVERY, "layers": LAYERS, "sigma": found}
    figure.with_suffix(".json").write_text(json.dumps(numbers), encoding="utf-8")
    for name, rows in found.items():
        late = np.array(rows[min(100 // EVERY, len(rows) - 1) :])
        ranges = zip(LAYERS, late.min(0), late.max(0), strict=True)
        print(name, *(f"{layer} {low:.2f}..{high:.2f}" for layer, low, high in ranges), sep="  ")


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(
        Path(arguments.get(1, Path(__file__).with_suffix(".png"))),
        int(arguments.get(2, "400")),
    )
