"""Trains a critic by `fit` whose kernels all stay at norm 1, and saves it as a plain model."""

from __future__ import annotations

import sys

import keras
import numpy as np

import snconvert


def main(output: str) -> None:
    """Trains, prints the norm of each kernel, and saves."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1024, 8)).astype("float32")
    y = np.tanh(x[:, :1] - x[:, 1:2])
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    projection = snconvert.SpectralProjection(bound=1.0, exclude=["dense_2"])
    model.fit(x, y, batch_size=64, epochs=5, verbose=0, callbacks=[projection])
    for layer in model.layers[:-1]:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        print(f"{layer.name} {np.linalg.norm(kernel, 2):.4f}")
    model.save(output)


if __name__ == "__main__":
    main(sys.argv[1])
