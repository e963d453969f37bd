"""Converts a layer class of one's own, with one row that says what its kernel is.

Run it with `python samples/own_kind.py`. `Affine` stands for any layer with a kernel of its own. It
takes three things to convert it:

1. its spectral class, derived from `Spectral` and the layer, whose `call` scales by `kernel_scale`;
2. a `KernelRule`: which variable is the kernel, how it is read as a matrix `(b, m, n)`, and what
   variables a saved layer holds;
3. `rules=[RULE]`, for a live model as for a file.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

import snconvert
from snconvert.layers import Spectral


@keras.saving.register_keras_serializable("own_kind")
class Affine(keras.layers.Layer):
    """Computes `x W' + b`: its kernel has shape `(out, in)`, as PyTorch's has."""

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(**options)
        self.size = size

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias."""
        self.kernel = self.add_weight(shape=(self.size, input_shape[-1]), name="kernel")
        self.bias = self.add_weight(shape=(self.size,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        """Applies the layer."""
        return self.times_kernel(inputs) + self.bias

    def times_kernel(self, inputs: Any) -> Any:
        """Returns the linear part."""
        return ops.matmul(inputs, ops.transpose(self.kernel))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "size": self.size}


def matrix(shape: tuple[int, ...], _: Mapping[str, Any]) -> snconvert.MatrixView:
    """Reads `(out, in)` as one block with the input side first."""
    out, into = shape
    return snconvert.MatrixView(split=(out, into), axes=(1, 0), shape=(1, into, out))


def variables(config: Mapping[str, Any], input_shape: Any) -> dict[str, Any]:
    """Returns the shapes of what a saved layer holds; `None` where it cannot be known."""
    into = input_shape[-1] if input_shape else None
    return {"": ((config["size"], into), (config["size"],))}


RULE = snconvert.KernelRule(
    class_name="own_kind>Affine",
    kind="dense",
    spectral_class="own_kind>SpectralAffine",
    kernels=(snconvert.Kernel("kernel", 0, matrix),),
    variables=variables,
    title="(1, in, out)",
)


@keras.saving.register_keras_serializable("own_kind")
class SpectralAffine(Spectral, Affine):
    """An `Affine` whose kernel is spectrally normalised."""

    rule = RULE

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Applies the layer with `s(sigma) W` in place of `W`."""
        return self.times_kernel(inputs) * self.kernel_scale("kernel", training) + self.bias


def main() -> None:
    """Converts a model in memory, and its file, and shows that they are the same."""
    model = keras.Sequential([keras.Input((8,)), Affine(16), keras.layers.Dense(4)])
    patched = snconvert.apply(model, rules=[RULE])
    x = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        report = snconvert.apply_file(Path(folder) / "model.keras", rules=[RULE])
        loaded = keras.saving.load_model(report.output)
    for layer in report.layers:
        print(f"{layer.path}: {layer.class_name} -> {layer.new_class}, sigma {layer.sigma:.3f}")
    for layer in patched.layers:
        print(f"{layer.name}: now {np.linalg.norm(layer.effective_kernel(), 2):.6f}")
    print("the file gives the same outputs:", np.array_equal(patched(x), loaded(x)))


if __name__ == "__main__":
    sys.exit(main())
