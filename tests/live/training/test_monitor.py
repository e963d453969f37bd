"""Sigma in the logs of `fit`."""

from __future__ import annotations

import copy
import csv
from pathlib import Path

import keras
import live_models
import numpy as np
import other_backend
import pytest
import tensorflow as tf

import snconvert
from snconvert.errors import OptionError, SelectionError

EXACT = 1e-12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8, 8, 2)).astype("float32")
Y = np.tanh(X.mean((1, 2, 3)))[:, None]


def plain() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="conv"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Flatten(),
            layers.Dense(96, "relu", name="wide"),
            layers.Dropout(0.3),
            layers.Dense(1, name="head"),
        ]
    )
    return compiled(model)


def compiled(model: keras.Model, *, eagerly: bool = True) -> keras.Model:
    """Compiles a model; two steps take less time than to trace them."""
    model.compile(keras.optimizers.Adam(3e-3), "mse", run_eagerly=eagerly)
    return model


FORMS = {
    "plain": plain,
    "hard": lambda: snconvert.apply(plain(), conv=True, bound=0.7),
    "cap": lambda: snconvert.apply(plain(), conv=True, mode="cap", bound=0.7),
    "gain": lambda: snconvert.apply(plain(), conv=True, mode="gain"),
    "operator": lambda: snconvert.apply(plain(), conv=True, norm="operator"),
    "constraint": lambda: compiled(snconvert.apply(plain(), conv=True, target="constraint")),
    "wrapper": lambda: compiled(snconvert.apply(plain(), conv=True, target="keras")),
}


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, **options) -> dict[str, list]:
    options = {"epochs": 2, "batch_size": 64, "verbose": 0, "shuffle": False, **options}
    return model.fit(X, Y, callbacks=list(callbacks), **options).history


def norms(history: dict[str, list]) -> dict[str, list]:
    return {key: values for key, values in history.items() if key.startswith("sigma")}


def reported(model: keras.Model) -> dict[str, float]:
    """What `inspect` says of the layers, by the names in the logs."""
    found = {}
    for row in snconvert.inspect(model).layers:
        for name in ("sigma", "sigma_after")[: 2 if row.status == "spectral" else 1]:
            if getattr(row, name) is not None:
                found[f"{name}/{row.path}"] = getattr(row, name)
                for kernel in row.kernels if len(row.kernels) > 1 else ():
                    found[f"{name}/{row.path}/{kernel.name}"] = getattr(kernel, name)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_as_inspect(form: str) -> None:
    """After the last epoch the exact sigmas are those of `inspect`, none left out; those that are
    followed are the same to 1e-3."""
    model = FORMS[form]()
    found = norms(fit(model, snconvert.SigmaMonitor(exact=True)))
    expected = reported(model)
    assert {"sigma/conv", "sigma/depthwise", "sigma/wide", "sigma/head"} <= found.keys()
    assert ("sigma_after/wide" in found) == (form != "plain")
    assert {key: values[-1] for key, values in found.items()} == pytest.approx(expected, rel=EXACT)
    followed = norms(fit(model, snconvert.SigmaMonitor()))
    assert {key: values[-1] for key, values in followed.items()} == pytest.approx(
        reported(model), rel=1e-3
    )


def test_raw_and_effective() -> None:
    """Sigma is that of the kernel by SVD, and sigma after that of the effective kernel, which is
    above the bound where the stored `u` is not the kernel's."""
    model = FORMS["hard"]()
    layer = model.get_layer("wide")
    layer.trainable = False
    compiled(model)
    layer.u.assign(np.roll(layer.u, 1, axis=1))
    found = fit(model, snconvert.SigmaMonitor())
    raw, effective = (np.linalg.norm(k, 2) for k in (layer.kernel, layer.effective_kernel()))
    assert effective > 1.1 * 0.7
    assert found["sigma/wide"] == pytest.approx([raw, raw], rel=1e-3)
    assert found["sigma_after/wide"] == pytest.approx([effective, effective], rel=1e-3)


@pytest.mark.parametrize(
    "order", [(0, 1, 2), pytest.param((2, 0, 1), marks=pytest.mark.slow), (1, 2, 0)], ids=str
)
def test_readers(order: tuple[int, ...], tmp_path: Path) -> None:
    """`History`, `CSVLogger` and `TensorBoard` have the same numbers for each epoch, wherever the
    monitor stands; nothing is said of the validation."""
    pytest.importorskip("tensorboard")  # TensorFlow 2.21 does without
    callbacks = [
        snconvert.SigmaMonitor(every=2),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board"),
    ]
    model = FORMS["hard"]()
    options = {"epochs": 3, "validation_split": 0.25}
    history = fit(model, *(callbacks[i] for i in order), **options)
    found = norms(history)
    assert len(found) == 8
    assert not [key for key in history if key.startswith("val_sigma")]
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    board: dict[str, list[float]] = {}
    for path in (tmp_path / "board/train").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                if "sigma" in value.tag:
                    number = float(tf.make_ndarray(value.tensor))
                    board.setdefault(value.tag, []).append(number)
    for key, values in found.items():
        assert [float(row[key]) for row in rows] == values
        assert board[f"epoch_{key}"] == pytest.approx(values, rel=1e-6)


def test_other_callbacks_can_go_by_it() -> None:
    """`EarlyStopping` stops by the sigma of a layer."""
    stop = keras.callbacks.EarlyStopping("sigma/wide", mode="min", min_delta=1e9, patience=1)
    assert len(fit(plain(), stop, snconvert.SigmaMonitor(), epochs=9)["loss"]) == 2


@pytest.mark.parametrize("form", ["plain", "hard", "gain", "constraint", "wrapper"])
def test_nothing_changes(form: str) -> None:
    """A fit with the monitor gives the losses, weights, `u` and optimizer of one without, bit for
    bit, dropout and all, and leaves the random numbers of numpy and Python where they were."""
    results = []
    for callbacks in ([], [snconvert.SigmaMonitor(exact=form == "gain")]):
        model = compiled(FORMS[form](), eagerly=form != "hard")
        keras.utils.set_random_seed(3)
        history = fit(model, *callbacks, shuffle=True, batch_size=32 if form == "hard" else 64)
        variables = [*model.variables, *model.optimizer.variables]
        values = [np.array(variable) for variable in variables]
        drawn = [np.random.random(), keras.random.uniform((1,)).numpy()[0]]  # noqa: NPY002
        results.append([history["loss"], drawn, *values])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "measured"),
    [
        ({"every": 1, "epochs": 3}, [0, 1, 2]),
        ({"every": 3, "epochs": 8}, [0, 0, 2, 2, 2, 5, 5, 7]),
        ({"every": 3, "epochs": 8, "initial_epoch": 3}, [3, 3, 5, 5, 7]),
        ({"every": 50, "epochs": 3}, [0, 0, 2]),
    ],
)
def test_every(options: dict[str, int], measured: list[int]) -> None:
    """The first epoch of a fit is measured, each `every`-th, and the last; others repeat."""
    every = options.pop("every")
    kernels: dict[int, np.ndarray] = {}
    model = plain()
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: kernels.setdefault(epoch, model.get_layer("wide").kernel + 0)
    )
    monitor = snconvert.SigmaMonitor(every, exact=True, only=["wide"])
    found = norms(fit(model, note, monitor, **options))
    expected = [np.linalg.norm(np.float64(kernels[epoch]), 2) for epoch in measured]
    assert list(found) == ["sigma/wide"]
    assert found["sigma/wide"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("topology", ["shared", "subclassed", "nested_subclassed", "attention"])
@pytest.mark.parametrize("convert", [False, True])
def test_topologies(topology: str, convert: bool) -> None:
    """Layers in layers of one's own, shared ones and those with several kernels have the paths and
    the numbers of `inspect`, each once."""
    model = live_models.TOPOLOGIES[topology]()
    if convert:
        model = snconvert.apply(model, kinds="all", bound=0.9)
    compiled(model)
    x, y = live_models.X, live_models.targets(model)
    monitor = snconvert.SigmaMonitor(exact=True)
    found = norms(model.fit(x, y, verbose=0, callbacks=[monitor]).history)
    assert {key: values[-1] for key, values in found.items()} == pytest.approx(
        reported(model), rel=EXACT
    )
    if topology == "attention":
        heads = [values[0] for key, values in found.items() if key.startswith("sigma/mha/")]
        assert len(heads) == 4
        assert found["sigma/mha"] == [max(heads)]


class Lazy(keras.Model):
    """A model whose layers are made when it is built."""

    def build(self, _):
        self.head = keras.layers.Dense(1)
        self.head.build((None, 128))

    def call(self, inputs):
        return self.head(keras.ops.reshape(inputs, (-1, 128)))


def test_layers_that_come_later() -> None:
    """Layers are found that `fit` builds, and the state of those that a callback converts."""
    model = compiled(Lazy())
    turn = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, _: epoch == 1 and snconvert.apply(model, in_place=True)
    )
    rows = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: rows.append(dict(logs)))
    fit(model, turn, note, snconvert.SigmaMonitor())
    assert norms(rows[0]).keys() == {"sigma/head"}
    assert norms(rows[1]).keys() == {"sigma/head", "sigma_after/head"}
    assert rows[1]["sigma_after/head"] == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("exact", [False, True])
def test_numbers_that_are_none(exact: bool) -> None:
    """A kernel that is not finite has the sigma NaN, and the others have theirs."""
    model = plain()
    model.get_layer("wide").trainable = model.get_layer("conv").trainable = False
    compiled(model)
    kernel = model.get_layer("wide").kernel
    kernel.assign(kernel + np.inf)
    found = fit(model, snconvert.SigmaMonitor(exact=exact))
    assert np.isnan(found["sigma/wide"]).all()
    exact_norm = np.linalg.norm(np.float64(model.get_layer("conv").kernel).reshape(-1, 4), 2)
    assert found["sigma/conv"] == pytest.approx([exact_norm, exact_norm], rel=1e-6)


def test_a_u_that_is_none() -> None:
    """A `u` that is not finite leaves sigma, and no number for what the layer computes with."""
    model = FORMS["cap"]()
    layer = model.get_layer("wide")
    layer.trainable = False
    broken = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: layer.u.assign(np.nan * layer.u)
    )
    found = fit(compiled(model), broken, snconvert.SigmaMonitor())
    assert np.isnan(found["sigma_after/wide"]).tolist() == [False, True]
    assert np.isfinite(found["sigma/wide"]).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
def test_dtypes(policy: str) -> None:
    """Sigma is that of the numbers that the variable holds, whatever their type."""
    with keras.DTypePolicy(policy) and keras.device("cpu:0"):
        layer = keras.layers.Dense(200, dtype=policy, name="wide")
        model = compiled(keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten(), layer]))
        found = fit(model, snconvert.SigmaMonitor(), epochs=1)
    kernel = np.float64(keras.ops.convert_to_numpy(keras.ops.cast(layer.kernel, "float64")))
    assert found["sigma/wide"] == pytest.approx([np.linalg.norm(kernel, 2)], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        ({}, ["conv", "depthwise", "wide", "head"]),
        ({"kinds": "conv"}, ["conv", "depthwise"]),
        ({"kinds": ["dense"], "exclude": ["head"]}, ["wide"]),
        ({"conv": True, "only": ["w*", "conv"]}, ["conv", "wide"]),
        ({"select": lambda path, name: name.endswith("Dense") and path != "head"}, ["wide"]),
    ],
)
@pytest.mark.parametrize("form", ["plain", "hard"])
def test_selection(form: str, options: dict, paths: list[str]) -> None:
    """Layers are chosen by the options of `apply`, converted ones too; all kinds without them."""
    monitor = snconvert.SigmaMonitor(**options)
    found = fit(FORMS[form](), monitor, epochs=1)
    assert sorted(x.split("/")[1] for x in found if x.startswith("sigma/")) == sorted(paths)


@pytest.mark.parametrize(
    ("options", "error", "what"),
    [
        ({"every": 0}, OptionError, "every is 0. Give a whole number of epochs"),
        ({"every": True}, OptionError, "every is True"),
        ({"every": "batch"}, OptionError, "every is 'batch'"),
        ({"exact": 1}, OptionError, "exact is 1"),
        ({"kinds": "dens"}, OptionError, "kinds"),
        ({"norm": "frobenius"}, OptionError, "norm"),
    ],
)
def test_wrong_options(options: dict, error: type[Exception], what: str) -> None:
    """An option that cannot work is refused at once."""
    with pytest.raises(error, match=what):
        snconvert.SigmaMonitor(**options)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"only": ["nothing"]}, "'nothing' matches no layer. The layers are"),
        ({"kinds": "embedding"}, "no layer of .* is selected that has a kernel"),
    ],
)
def test_wrong_selection(options: dict, what: str) -> None:
    """A selection without a layer is refused before the first step."""
    model = plain()
    before = model.get_weights()
    with pytest.raises(SelectionError, match=what):
        fit(model, snconvert.SigmaMonitor(**options))
    for one, two in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_other_uses() -> None:
    """A monitor can be copied, and used for one model after the other; evaluating and predicting
    have no sigma; without logs and parameters, in a loop of one's own, it does no harm."""
    monitor = copy.deepcopy(snconvert.SigmaMonitor(only=["wide"]))
    one, two = plain(), FORMS["hard"]()
    assert norms(fit(one, monitor, epochs=1)).keys() == {"sigma/wide"}
    found = norms(fit(two, monitor, epochs=1))
    assert found.keys() == {"sigma/wide", "sigma_after/wide"}
    assert found["sigma/wide"] == pytest.approx([reported(two)["sigma/wide"]], rel=1e-3)
    result = two.evaluate(X, Y, verbose=0, return_dict=True, callbacks=[monitor])
    assert result.keys() == {"loss"}
    two.predict(X, verbose=0, callbacks=[monitor])
    own = snconvert.SigmaMonitor()
    own.set_model(one)
    own.on_train_begin()
    logs: dict[str, float] = {}
    own.on_epoch_end(0, logs)
    own.on_epoch_end(1)
    assert logs["sigma/wide"] == pytest.approx(reported(one)["sigma/wide"], rel=1e-3)


def test_a_strategy() -> None:
    """Under a `tf.distribute` strategy sigma is that of the variables."""
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = FORMS["hard"]()
    found = fit(model, snconvert.SigmaMonitor(exact=True))
    assert {key: values[-1] for key, values in norms(found).items()} == pytest.approx(
        reported(model), rel=EXACT
    )


CODE = """
    import keras, numpy as np
    import snconvert
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 100)).astype("float32")
    y = x[:, :1]
    results = []
    for monitored in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(90, name="wide")])
        model = snconvert.apply(model)
        model.add(keras.layers.Dense(1, name="head"))
        model.compile(keras.optimizers.Adam(3e-3), "mse")
        callbacks = [snconvert.SigmaMonitor()] if monitored else []
        found = model.fit(x, y, epochs=2, verbose=0, callbacks=callbacks).history
        results.append([keras.ops.convert_to_numpy(v) for v in model.variables])
    assert all(map(np.array_equal, *results))
    rows = {row.path: row for row in snconvert.inspect(model).layers}
    for path in ("wide", "head"):
        assert abs(found[f"sigma/{path}"][-1] / rows[path].sigma - 1) < 1e-3, found
    assert abs(found["sigma_after/wide"][-1] / rows["wide"].sigma_after - 1) < 1e-3, found
    assert "sigma_after/head" not in found
"""


@pytest.mark.parametrize("backend", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_backends(backend: str) -> None:
    """JAX and PyTorch have the same numbers, and train the same with the monitor, to the bit."""
    other_backend.run(CODE, backend)
