"""A training loop of one's own: `snconvert.project` after each step of the optimizer."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import snconvert


def main() -> None:
    """Trains, and prints the norm of each kernel."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(1024, 8)), "float32")
    y = tf.tanh(x[:, :1] - x[:, 1:2])
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients)
        # The same step of the graph; `u` is remembered between the calls.
        snconvert.project(model, bound=1.0)
        return loss

    for batch in range(64):
        rows = slice(batch % 16 * 64, (batch % 16 + 1) * 64)
        step(x[rows], y[rows])
    for layer in model.layers:
        print(f"{layer.name} {np.linalg.norm(layer.kernel.numpy(), 2):.4f}")


if __name__ == "__main__":
    main()
