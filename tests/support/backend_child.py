"""What one backend computes, dumped to a file: `KERAS_BACKEND=jax python backend_child.py
FOLDER EXTENT`.

Needs what `backend_models.write` and `write_files` left in the folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import backend_models
import keras
import live_models
import numpy as np
import zoo
from backend_steps import steps
from live_models import TOPOLOGIES, outputs, train

import snconvert

TOPOLOGY = {"quick": ("subclassed",), "slow": ("attention", "task", "recurrent")}
"""Live models: of layers; of projections, of a model in a model, of cells."""


FILES = {"quick": ("many", "tokens", "mixed_float16"), "slow": ("wrapped", "recurrent")}
"""Models of the zoo: inputs and outputs, attention, half precision; wrappers, cells."""


def write_files(folder: Path, extent: str) -> dict[str, np.ndarray]:
    """Converts models of the zoo as files, and returns what TensorFlow predicts."""
    for name in FILES[extent]:
        zoo.randomize(zoo.ZOO[name]()).save(folder / "plain.keras")
        snconvert.apply_file(folder / "plain.keras", folder / f"zoo-{name}.keras", kinds="all")
    return predictions(folder, extent)


def predictions(folder: Path, extent: str) -> dict[str, np.ndarray]:
    """Returns what this backend predicts from the converted files."""
    found = {}
    for name in FILES[extent]:
        # Keras on JAX refuses its attention, whose values are wider than its keys.
        if name == "tokens" and keras.backend.backend() == "jax":
            continue
        model = keras.saving.load_model(folder / f"zoo-{name}.keras")
        given = zoo.inputs_of(model)
        predicted = model.predict(given if len(given) > 1 else given[0], verbose=0)
        for i, output in enumerate(predicted if isinstance(predicted, list) else [predicted]):
            found[f"file {name}/{i}"] = np.asarray(output, "float32")
    return found


def conversions(folder: Path, extent: str) -> dict[str, np.ndarray]:
    """Converts, trains and converts back live models; returns `live {topology}/{what}`."""
    found = {}
    for name in TOPOLOGY[extent]:
        for what, value in _there_and_back(name, folder).items():
            found[f"live {name}/{what}"] = np.array(value)
    return found


def _there_and_back(name: str, folder: Path) -> dict[str, Any]:
    model = zoo.randomize(TOPOLOGIES[name]())
    eager = keras.backend.backend() != "jax"
    model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-3), "mse", run_eagerly=eager)
    train(model, steps=1)
    model.save_weights(folder / "plain.weights.h5")
    found = {"plain": outputs(model)}
    gain = snconvert.apply(model, kinds="all", mode="gain")
    found["gain"] = outputs(gain)
    found["slots"] = _flat(gain.optimizer.variables[2:])  # behind iterations and rate
    train(gain, steps=1)
    found |= {"trained": outputs(gain), "trained weights": _flat(gain.weights)}
    found["iterations"] = int(keras.ops.convert_to_numpy(gain.optimizer.iterations.value))
    gain.save(folder / "gain.keras")
    loaded = keras.saving.load_model(folder / "gain.keras")
    found |= {"loaded": outputs(loaded), "loaded weights": _flat(loaded.weights)}
    found["slots trained"] = _flat(gain.optimizer.variables[2:])
    found["slots loaded"] = _flat(loaded.optimizer.variables[2:])
    found["baked"] = outputs(snconvert.bake(gain))
    hard = snconvert.apply(model, kinds="all", bound=0.5)
    found |= {"hard": outputs(hard), "weights": _flat(model.weights)}
    found["removed weights"] = _flat(snconvert.remove(hard).weights)
    other = snconvert.apply(TOPOLOGIES[name](), kinds="all", bound=0.5)
    snconvert.load_plain_weights(other, folder / "plain.weights.h5")
    return {**found, "put in": outputs(other)}


def _flat(variables: list[Any]) -> np.ndarray:
    """A copy of all values, in order, without the states of random generators."""
    kept = [v.value for v in variables if "seed" not in v.path]
    return np.concatenate([np.ravel(keras.ops.convert_to_numpy(value)) for value in kept])


def modules() -> dict[str, np.ndarray]:
    """Trains a copy whose layer owns a module of PyTorch; says what moved in it and the original.

    Empty on other backends.
    """
    if keras.backend.backend() != "torch":
        return {}
    import torch

    class Holder(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(6, 6)  # Keras wraps it
            self.scale = torch.ones(6)

        def call(self, inputs):
            return self.inner(inputs) * self.scale

    source = keras.Input((6,))
    model = keras.Model(source, keras.layers.Dense(6)(Holder()(source)))
    copy = snconvert.apply(model)
    copy.compile("sgd", "mse")
    own, plain = (m.layers[1].inner.module.weight for m in (copy, model))
    before = [weight.detach().clone() for weight in (own, plain)]
    alike = outputs(model)
    train(copy)
    copy.layers[1].scale.fill_(2.0)
    moved = [bool((one != two).any()) for one, two in zip((own, plain), before, strict=True)]
    listed = {id(variable.value) for variable in copy.variables}
    return {
        "modules/moved": np.array(moved),
        "modules/listed": np.array({id(value) for value in copy.parameters()} == listed),
        "modules/original": np.array_equal(outputs(model), alike),
        "modules/removed": np.array(
            list(snconvert.remove(copy).state_dict()) == list(model.state_dict())
        ),
    }


def refused() -> dict[str, np.ndarray]:
    """Says whether values narrower than keys are refused, by the plain layer and by ours."""
    found = {}
    for cls in (keras.layers.MultiHeadAttention, snconvert.SpectralMultiHeadAttention):
        try:
            cls(2, 3, value_dim=2)(live_models.X[:, :, None], live_models.X[:, :, None])
            answer = False
        except (TypeError, ValueError):
            answer = True
        found[f"refused/{cls.__name__}"] = np.array(answer)
    return found


if __name__ == "__main__":
    sys.modules["tensorflow"] = None  # Keras would import it, for seconds, to save a model
    place, extent = Path(sys.argv[1]), sys.argv[2]
    own = place / keras.backend.backend()
    own.mkdir()
    everything = [backend_models.read(place, extent), predictions(place, extent)]
    everything.append(conversions(own, extent))
    everything.append(steps(extent))
    if extent == "quick":
        everything += [refused(), modules()]
    merged = {key: value for part in everything for key, value in part.items()}
    np.savez(place / f"{keras.backend.backend()}.npz", **merged)
