"""Trains converted models on several devices; test_distribution starts it in processes of its own.

`python distributed.py KIND FOLDER NAMES` writes `FOLDER/KIND-MODEL-REPLICA.npz`: the weights after
training of each replica that the process has, by their paths; and the same of one device: of the
models of those names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import numpy as np

import snconvert

BATCH = 8
OTHERS: dict[str, dict[str, Any]] = {
    "operator": {"norm": "operator", "bound": 0.9},
    "constraint": {"target": "constraint", "bound": 0.9},
    "wrapper": {"target": "keras"},
}


def build() -> keras.Model:
    """Returns a plain model of convolution and dense layers."""
    layers = [
        keras.Input((6, 6, 2)),
        keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
        keras.layers.Flatten(),
        keras.layers.Dense(8, activation="tanh", name="dense"),
        keras.layers.Dense(4, name="head"),
    ]
    return keras.Sequential(layers)


def convert(folder: Path) -> None:
    """Writes a plain model, and two conversions of it."""
    keras.utils.set_random_seed(0)
    model = build()
    for variable in model.trainable_variables:
        variable.assign(variable * 1.5)
    model.save(folder / "plain.keras")
    for mode in ("hard", "gain"):
        snconvert.apply_file(
            folder / "plain.keras", folder / f"{mode}.keras", kinds="all", mode=mode, bound=0.9
        )


def models(folder: Path, strategy: Any = None) -> dict[str, keras.Model]:
    """Returns those of `names` among two models from converted files, one converted live and, with
    a strategy, one converted in place, compiled before."""
    sources = {"hard": "hard", "gain": "gain", "live": "plain"}
    if strategy:
        sources["in_place"] = "plain"
    with strategy.scope() if strategy else nullcontext():
        found = {
            name: keras.saving.load_model(folder / f"{source}.keras")
            for name, source in sources.items()
            if name in names
        }
        for model in found.values():
            model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse", metrics=["mae"])
    # Outside of the scope: a conversion makes its variables where the model has its own.
    options: dict[str, Any] = {"kinds": "all", "mode": "cap", "bound": 0.9}
    for name in [name for name in ("live", "in_place") if name in found]:
        found[name] = snconvert.apply(found[name], in_place=name == "in_place", **options)
    return found


def others(folder: Path, strategy: Any = None) -> dict[str, keras.Model]:
    """Returns those of `names` among models, converted live, with the operator norm, with
    constraints, and in Keras' wrapper."""
    found = {}
    for name in [name for name in OTHERS if name in names]:
        with strategy.scope() if strategy else nullcontext():
            model = keras.saving.load_model(folder / "plain.keras")
            model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse")
        found[name] = snconvert.apply(model, kinds="all", **OTHERS[name])
    return found


def data() -> tuple[np.ndarray, np.ndarray]:
    """Returns two batches."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2 * BATCH, 6, 6, 2)), rng.normal(size=(2 * BATCH, 4))
    return x.astype("float32"), y.astype("float32")


def train(
    folder: Path,
    kind: str,
    copies: Callable[[Any], Sequence[Any]],
    strategy: Any = None,
    fit: Callable[[keras.Model], None] | None = None,
    made: Callable[..., dict[str, keras.Model]] = models,
) -> None:
    """Trains the models for some steps, and writes each copy of their weights, and of what their
    constraints remember."""
    for name, model in made(folder, strategy).items():
        (fit or fit_on_arrays)(model)
        weights = {v.path: copies(v.value) for v in model.variables if "seed" not in v.path}
        for v in model.variables:
            for _, memory in getattr(v.constraint, "_known", ()):
                weights |= {f"{v.path} {u.name}": copies(u.value) for u in memory.vectors}
        for i in range(min(map(len, weights.values()))):
            values = {path: np.asarray(found[i]) for path, found in weights.items()}
            np.savez(folder / f"{kind}-{name}-{i}.npz", **values)


def fit_on_arrays(model: keras.Model) -> None:
    """Trains by Keras' own loop."""
    x, y = data()
    model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0)


def mirrored(folder: Path) -> None:
    """Trains on one device, and on two of one process."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for made in (models, others):
        train(folder, "one", lambda value: [value], made=made)
        train(folder, "mirrored", strategy.experimental_local_results, strategy, made=made)


def worker(folder: Path) -> None:
    """Trains as one of the processes that TF_CONFIG says there are."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = strategy.cluster_resolver.task_id
    dataset = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)

    def loop(model: keras.Model) -> None:
        # Keras' own `fit` refuses the values of other processes, for plain models too.
        @tf.function
        def step(batch: Any) -> None:
            strategy.run(on_replica, args=(batch,))

        def on_replica(batch: Any) -> None:
            x, y = batch
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
                loss /= strategy.num_replicas_in_sync
            gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
            model.optimizer.apply(gradients, model.trainable_variables)

        for _ in range(2):
            for batch in strategy.experimental_distribute_dataset(dataset):
                step(batch)

    for made in (models, others):
        train(folder, f"worker{index}", strategy.experimental_local_results, strategy, loop, made)


def jax(folder: Path) -> None:
    """Trains on one device, then the data and then data and kernels divided among four."""
    divided: list[bool] = []

    def whole(value: Any) -> list[Any]:
        """Returns what each device has of an array; where that is a part, the whole."""
        parts = [shard.data for shard in value.addressable_shards]
        divided.extend(part.shape != value.shape for part in parts)
        return [part if part.shape == value.shape else value for part in parts]

    train(folder, "one", whole)
    distribution = keras.distribution
    distribution.set_distribution(distribution.DataParallel())
    train(folder, "data", whole)
    assert not any(divided)
    mesh = distribution.DeviceMesh((2, 2), ["batch", "model"], distribution.list_devices())
    layouts = distribution.LayoutMap(mesh)
    layouts["dense/kernel"] = (None, "model")
    layouts["dense/bias"] = ("model",)
    layouts["head/kernel"] = ("model", None)
    layouts["conv/kernel"] = (None, None, None, "model")
    parallel = distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
    distribution.set_distribution(parallel)
    train(folder, "model", whole)
    assert any(divided)


if __name__ == "__main__":
    kind, folder, *names = sys.argv[1:]
    if kind == "jax":
        sys.modules["tensorflow"] = None  # Keras would import it, for seconds
    else:
        import tensorflow as tf
    {"convert": convert, "mirrored": mirrored, "worker": worker, "jax": jax}[kind](Path(folder))
