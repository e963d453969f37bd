"""Trains a small transformer, converts it with `gain`, and trains on, with sigma in a plot.

The task is to say how often the first token of a sequence occurs in it. Converting with
`mode="gain"` (sigma-reparam, Zhai et al. 2023) changes no output: each kernel becomes `gamma /
sigma` times itself, with `gamma` a weight that starts at its sigma. The plot has sigma of the
kernels with which the layers compute, before and after the conversion, as `snconvert.SigmaMonitor`
puts it into the history. Run it from anywhere: `python samples/transformer_gain.py [FIGURE
[EPOCHS [BLOCKS]]]`. It takes half a minute on a CPU, and needs matplotlib (`pip install
".[samples]"`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import keras
import matplotlib.pyplot as plt
import numpy as np

import snconvert

TOKENS, LENGTH, WIDTH = 8, 12, 32


def sequences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns tokens `(count, LENGTH)`, and how often the first of each sequence occurs in it."""
    tokens = np.random.default_rng(seed).integers(0, TOKENS, (count, LENGTH))
    return tokens, np.minimum((tokens == tokens[:, :1]).sum(1) - 1, 4)


@keras.saving.register_keras_serializable("samples")
class Positions(keras.layers.Layer):
    """Adds a trained vector to each position."""

    def build(self, shape: tuple[int, ...]) -> None:
        """Makes the vectors."""
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, inputs: Any) -> Any:
        """Adds them."""
        return inputs + self.table


def transformer(blocks: int) -> keras.Model:
    """Returns an encoder of so many blocks with a classifier on its first position."""
    layers = keras.layers
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = Positions(name="positions")(layers.Embedding(TOKENS, WIDTH, name="tokens")(tokens))
    for i in range(blocks):
        normal = layers.LayerNormalization(name=f"norm_{i}_1")(x)
        heads = layers.MultiHeadAttention(4, WIDTH // 4, name=f"attention_{i}")(normal, normal)
        x = layers.Add(name=f"add_{i}_1")([x, heads])
        normal = layers.LayerNormalization(name=f"norm_{i}_2")(x)
        hidden = layers.Dense(2 * WIDTH, "gelu", name=f"expand_{i}")(normal)
        x = layers.Add(name=f"add_{i}_2")([x, layers.Dense(WIDTH, name=f"contract_{i}")(hidden)])
    first = layers.LayerNormalization(name="norm")(x[:, 0])
    return keras.Model(tokens, layers.Dense(5, name="logits")(first))


def train(model: keras.Model, epochs: int) -> dict[str, list[float]]:
    """Trains a model, compiled if it is not; returns its history, with sigma."""
    monitor = snconvert.SigmaMonitor(kinds=["dense", "attention"])
    x, y = sequences(4096, seed=0)
    history: dict[str, list[float]] = model.fit(
        x, y, 64, epochs, verbose=0, callbacks=[monitor], validation_data=sequences(1024, seed=1)
    ).history
    return history


def in_use(history: dict[str, list[float]]) -> dict[str, list[float]]:
    """Returns sigma of the kernels with which each layer computes, by its path."""
    found = {key: values for key, values in history.items() if key.startswith("sigma/")}
    after = {key.removeprefix("sigma/"): history.get(f"sigma_after{key[5:]}") for key in found}
    return {path: after[path] or found[f"sigma/{path}"] for path in after}


def plot(before: dict[str, list[float]], after: dict[str, list[float]], figure: Path) -> None:
    """Draws accuracy, and sigma of the attention's kernels and of the Dense layers."""
    count = len(before["loss"])
    drawing, panels = plt.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
    accuracy = before["val_accuracy"] + after["val_accuracy"]
    panels[0].plot(range(1, len(accuracy) + 1), accuracy, color="black")
    panels[0].set(title="validation accuracy", ylim=(0, 1.02))
    first, second = in_use(before), in_use(after)
    for path, values in first.items():
        layer, _, kernel = path.partition("/")
        if kernel or not layer.startswith("attention"):  # of attention each kernel by itself
            every = values + second[path]
            label = path.removesuffix("_dense/kernel")
            panels[1 if kernel else 2].plot(range(1, len(every) + 1), every, label=label)
    panels[1].set(title="sigma, attention")
    panels[2].set(title="sigma, Dense")
    for panel in panels:
        panel.axvline(count + 0.5, color="gray", linestyle=":")
        panel.set_xlabel("epoch (dotted: converted)")
    for panel in panels[1:]:
        panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    drawing.savefig(figure, dpi=80)


def main(figure: Path, epochs: int, blocks: int) -> None:
    """Trains, saves, converts the file, compares the outputs, trains on, and draws."""
    keras.utils.set_random_seed(0)
    model = transformer(blocks)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(2e-3), loss, metrics=["accuracy"])
    before = train(model, epochs)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "trained.keras")
        model.save(saved)
        converted = Path(folder, "converted.keras")
        report = snconvert.apply_file(saved, converted, kinds="dense,attention", mode="gain")
        patched = keras.saving.load_model(converted)
    x, _ = sequences(1024, seed=2)
    one, two = (each.predict(x, verbose=0) for each in (model, patched))
    print(f"{report.converted} layers converted")
    print(
        f"largest output {np.abs(one).max():.2f}, largest difference {np.abs(one - two).max():.1e}"
    )
    after = train(patched, epochs)
    for name, history in (("before", before), ("after", after)):
        largest = max(values[-1] for values in in_use(history).values())
        print(f"{name}: accuracy {history['val_accuracy'][-1]:.3f}, largest sigma {largest:.2f}")
    plot(before, after, figure)


if __name__ == "__main__":
    arguments = dict(enumerate(sys.argv))
    main(
        Path(arguments.get(1, Path(__file__).with_suffix(".png"))),
        int(arguments.get(2, "12")),
        int(arguments.get(3, "2")),
    )
