"""Trains a classifier whose Lipschitz bound is chosen, and certifies what it says of test points.

If the logits' bound is `L`, and the largest logit is `m` above the second, no change of the point
shorter than `m / (sqrt(2) L)` changes the class: the points within that radius are certified. An
attack by gradient steps (Madry et al. 2018, arXiv:1706.06083) looks for such a change all the same.
The plain classifier beside it shows what the chosen bound is worth.

Run it from anywhere: `python samples/certified_mlp.py`. It takes some seconds on a CPU.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from train_moons import moons

import snconvert

BOUND = 12.0
RADII = (0.05, 0.1, 0.2)
STEPS = 20


def build() -> keras.Model:
    """Returns an MLP of two hidden layers, whose outputs are logits."""
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    return keras.Sequential([keras.Input((2,)), *hidden, keras.layers.Dense(2)])


def train(model: keras.Model, points: np.ndarray, labels: np.ndarray) -> None:
    """Trains a classifier."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss)
    model.fit(points, labels, batch_size=100, epochs=15, verbose=0)


def margins(model: keras.Model, points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns by how much the logit of each point's class is above the other one."""
    logits = model.predict(points, verbose=0)
    rows = np.arange(len(labels))
    return logits[rows, labels] - logits[rows, 1 - labels]


@tf.function
def attacked(
    model: keras.Model, points: tf.Tensor, labels: tf.Tensor, radii: tf.Tensor
) -> tf.Tensor:
    """Returns points within the radii, (n, 1), at which the model is to err."""
    moved = points
    for _ in tf.range(STEPS):
        with tf.GradientTape() as tape:
            tape.watch(moved)
            loss = keras.losses.sparse_categorical_crossentropy(labels, model(moved), True)
        step = tf.math.l2_normalize(tape.gradient(loss, moved), axis=1) * radii / 4.0
        moved = points + tf.clip_by_norm(moved + step - points, radii, axes=1)
    return moved


def main() -> None:
    """Trains both, and prints which part of the test points is certified, and which stands."""
    points, labels = moons(np.random.default_rng(0))
    test, truth = moons(np.random.default_rng(1))
    plain, bounded = build(), snconvert.apply(build(), lipschitz=BOUND)
    for name, model in (("plain", plain), ("bounded", bounded)):
        train(model, points, labels)
        if model is bounded:
            snconvert.converge(model)  # training leaves `u` a little behind the kernels
        bound = snconvert.inspect(model, lipschitz=True).lipschitz.bound.value
        safe = margins(model, test, truth) / (np.sqrt(2.0) * bound)
        print(f"{name}: accuracy {np.mean(safe > 0):.3f}, Lipschitz bound {bound:.3f}")
        for radius in RADII:
            there = tf.fill((len(test), 1), tf.constant(radius, tf.float32))
            moved = attacked(model, tf.constant(test), tf.constant(truth), there)
            stands = np.argmax(model.predict(moved, verbose=0), axis=1) == truth
            certified, standing = np.mean(safe > radius), np.mean(stands)
            print(f"  within {radius}: {certified:.3f} certified, {standing:.3f} stand the attack")
        inside = tf.constant(np.maximum(0.0, safe * 0.999)[:, None], tf.float32)
        moved = attacked(model, tf.constant(test), tf.constant(truth), inside)
        fooled = (np.argmax(model.predict(moved, verbose=0), axis=1) != truth) & (safe > 0)
        print(f"  fooled within their certified radius: {np.sum(fooled)} of {np.sum(safe > 0)}")


if __name__ == "__main__":
    main()
