"""Trains the small classifier that is shipped as `moons.keras`: two half moons, an MLP, Adam.

Run it from anywhere: `python samples/train_moons.py [OUTPUT]`. It takes some seconds on a CPU. The
file that is shipped is from Keras 3.6: what an older Keras wrote, every newer one opens.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

SAMPLES = 1000


def moons(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (SAMPLES, 2) on two interleaved half circles with noise, and their class."""
    angle = rng.uniform(0.0, np.pi, SAMPLES)
    label = rng.integers(0, 2, SAMPLES)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lower = np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
    points = np.where(label[:, None] == 0, upper, lower)
    return (points + rng.normal(0.0, 0.1, points.shape)).astype("float32"), label


def build() -> keras.Model:
    """Returns the classifier, a residual MLP as in SNGP (arXiv:2006.10108), compiled."""
    inputs = keras.Input((2,), name="point")
    x = keras.layers.Dense(64, name="stem")(inputs)
    for i in range(3):
        update = keras.layers.Dense(64, activation="relu", name=f"block_{i}")(x)
        x = keras.layers.Add(name=f"add_{i}")([x, update])
    outputs = keras.layers.Dense(2, name="logits")(x)
    model = keras.Model(inputs, outputs, name="moons")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model


def main(output: Path) -> None:
    """Trains and saves the model."""
    keras.utils.set_random_seed(0)
    points, labels = moons(np.random.default_rng(0))
    model = build()
    history = model.fit(points, labels, batch_size=32, epochs=20, verbose=0)
    model.save(output)
    print(f"accuracy {history.history['accuracy'][-1]:.3f}, saved {output}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("moons.keras"))
