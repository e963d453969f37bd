"""Two models with every kind of layer in every mode, which TensorFlow writes and each backend runs.

Each case is a branch of its own, so that one compilation serves all of them; the outputs stand side
by side. JAX compiles for a minute what the others run in seconds, hence one example of each kind
only in the modes `hard` and `cap`; and the `quick` model has one example of each family, the modes
taking turns, the `slow` one the rest.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from spectral_cases import EVERY, MODES, Example, inputs_for, is_state, make, run

from snconvert.layers.recurrent import SpectralCell

NARROW = "MultiHeadAttention-0"
"""Keras on JAX refuses attention whose values are narrower than its keys: this one."""

_FIRST = {param.values[0][0]: param.id for param in reversed(EVERY) if param.id != NARROW}
_ALL = [
    f"{mode}-{param.id}"
    for mode in MODES
    for param in EVERY
    if param.id != NARROW and (mode == "gain" or param.id in _FIRST.values())
]
_FAMILIES = ("Dense", "DepthwiseConv1D", "MultiHeadAttention", "LSTM", "Embedding")
_TURNS = zip(itertools.cycle(MODES), _FAMILIES, strict=False)
_QUICK = {f"{mode}-{_FIRST[kind]}" for mode, kind in _TURNS}
CASES = {
    "quick": [case for case in _ALL if case in _QUICK],
    "slow": [case for case in _ALL if case not in _QUICK],
}
"""`{mode}-{kind}-{number of the example}`, by model."""


@keras.saving.register_keras_serializable("backend_models")
def total(expected: Any, outputs: Any) -> Any:
    """The squared distance, a loss in which every branch trains as if it were alone."""
    return keras.ops.sum(keras.ops.square(outputs - expected), axis=-1)


def branch(name: str, example: Example, mode: str, *, native: bool) -> tuple[Any, Any, np.ndarray]:
    """Returns input, flat output and data of one case.

    TensorFlow on CPU has no channels_first convolution: unless `native`, the channels are moved
    around the channels_last layer, whose kernels are the same.
    """
    kind, config, shape = example
    x = inputs_for(example)
    moved = config.get("data_format") == "channels_first" and not native
    if moved:
        axes = [*range(1, x.ndim - 3), x.ndim - 2, x.ndim - 1, x.ndim - 3]
        shape = (None, *(shape[axis] for axis in axes))
        example = kind, {**config, "data_format": "channels_last"}, shape
    layer = make(example, mode=mode, bound=0.8, name=name)
    for variable in layer.weights:
        if is_state(variable.name) and len(variable.shape) == 2:  # u, where a round moves it
            u = np.random.default_rng(5).normal(size=variable.shape)
            variable.assign(u / np.linalg.norm(u, axis=-1, keepdims=True))
    if isinstance(layer, SpectralCell):
        layer, x = keras.layers.RNN(layer, name=name), np.stack([x, -x], axis=1)
    inputs = keras.Input(x.shape[1:], dtype=str(x.dtype))
    outputs = run(layer, keras.layers.Permute(axes)(inputs) if moved else inputs)
    if moved:
        outputs = keras.layers.Permute((3, 1, 2))(outputs)
    return inputs, keras.layers.Flatten(name=f"{name}-flat")(outputs), x


def assembled(cases: list[str], *, native: bool) -> tuple[keras.Model, list[np.ndarray]]:
    """Returns the model of the cases and its data."""
    by_id = {param.id: param.values[0] for param in EVERY}
    branches = []
    for name in cases:
        mode, _, identity = name.partition("-")
        branches.append(branch(name, by_id[identity], mode, native=native))
    inputs, outputs, data = map(list, zip(*branches, strict=True))
    return keras.Model(inputs, keras.layers.Concatenate()(outputs)), data


def weights_of(model: keras.Model, name: str) -> dict[str, np.ndarray]:
    """Returns copies of a case's variables by number and name."""
    variables = enumerate(model.get_layer(name).weights)
    # A copy, as PyTorch changes its tensors in place.
    return {f"{i}-{v.name}": np.array(keras.ops.convert_to_numpy(v.value)) for i, v in variables}


def measure(model: keras.Model, data: list[np.ndarray], cases: list[str]) -> dict[str, np.ndarray]:
    """Runs a model and takes a step with SGD; returns `{case}/{what}`.

    What the step did to the variables is given as the difference that it made.
    """
    # TensorFlow's other ways to run are tested elsewhere, and compiling takes long.
    eager = keras.backend.backend() != "jax"
    flat = [model.get_layer(f"{name}-flat").output for name in cases]
    apart = keras.Model(model.inputs, flat)
    apart.compile(run_eagerly=eager)
    found = {f"{name}/forward": y for name, y in zip(cases, predict(apart, data), strict=True)}
    before = {name: weights_of(model, name) for name in cases}
    model.compile(keras.optimizers.SGD(1e-3), total, run_eagerly=eager)
    width = sum(found[f"{name}/forward"].shape[1] for name in cases)
    target = np.full((len(data[0]), width), 0.25, "float32")
    model.fit(data, target, batch_size=len(target), verbose=0)
    for name in cases:
        for variable, value in weights_of(model, name).items():
            step = value if variable.endswith("u") else value - before[name][variable]
            found[f"{name}/{variable}"] = step
    after = zip(cases, predict(apart, data), strict=True)
    return found | {f"{name}/after": y for name, y in after}


def predict(model: keras.Model, data: list[np.ndarray]) -> list[np.ndarray]:
    outputs: list[np.ndarray] = model.predict(data, verbose=0)
    return outputs


def write(folder: Path, extent: str) -> dict[str, np.ndarray]:
    """Writes model and data for the other backends, and returns what TensorFlow measures."""
    model, data = assembled(CASES[extent], native=True)
    model.save(folder / "layers.keras")
    np.savez(folder / "data.npz", *data)
    return measure(*assembled(CASES[extent], native=False), CASES[extent])


def read(folder: Path, extent: str) -> dict[str, np.ndarray]:
    """Loads what `write` wrote, returns what this backend measures, and saves what it trained."""
    stored = np.load(folder / "data.npz")
    model = keras.saving.load_model(folder / "layers.keras")
    found = measure(model, [stored[name] for name in stored.files], CASES[extent])
    model.save(folder / f"{keras.backend.backend()}.keras")
    return found
