"""How models were compiled, in the words of Keras 2 and of Keras 3."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from older_configs import Entry, called, functional, given, layer, leaf, sequential

from snconvert.legacy import training as compiled
from snconvert.legacy.configuration import Translated, translate

NEW = {"is_legacy_optimizer": False, "jit_compile": True}


def of_keras(module: str, class_name: str, **config: Any) -> Entry:
    own = {"module": f"keras.{module}", "class_name": class_name, "config": config}
    return {**own, "registered_name": None}


def optimizer(class_name: str, **config: Any) -> Entry:
    return {"class_name": class_name, "config": config}


def trained(training: Entry, version: str | None = None) -> Translated:
    """A model of two inputs to one output, compiled like that."""
    return translate(sequential(given(2), layer("Dense", units=1)), training, version)


def compiled_with(**training: Any) -> Entry:
    result = trained({"optimizer_config": optimizer("SGD"), "loss": "mse", **training})
    return result.config["compile_config"]


SCHEDULE = {"initial_learning_rate": 0.5, "decay_steps": 10, "decay_rate": 0.5}
INVERSE = of_keras(
    "optimizers.schedules",
    "InverseTimeDecay",
    initial_learning_rate=0.5,
    decay_steps=1,
    decay_rate=0.25,
    staircase=False,
)
SGD = of_keras("optimizers", "SGD", learning_rate=0.5)

OPTIMIZERS: list[tuple[Any, str, Entry]] = [
    (optimizer("Adam", lr=0.5, decay=0.0, epsilon=None), "Adam", {"learning_rate": 0.5}),
    (optimizer("Custom>Adam", learning_rate=0.5, **NEW), "Adam", {"learning_rate": 0.5}),
    (
        optimizer("Custom>AdamW", learning_rate=0.5, weight_decay=0.25, use_ema=True, **NEW),
        "AdamW",
        {"learning_rate": 0.5, "weight_decay": 0.25, "use_ema": True},
    ),
    (
        optimizer("SGD", learning_rate=0.5, momentum=0.25, nesterov=True, clipnorm=1.0),
        "SGD",
        {"learning_rate": 0.5, "clipnorm": 1.0, "momentum": 0.25, "nesterov": True},
    ),
    (optimizer("SGD", lr=0.5, decay=0.25), "SGD", {"learning_rate": INVERSE}),
    (
        optimizer("SGD", learning_rate=optimizer("ExponentialDecay", **SCHEDULE, name=None)),
        "SGD",
        {"learning_rate": of_keras("optimizers.schedules", "ExponentialDecay", **SCHEDULE)},
    ),
    (optimizer("sgd", lr=0.5), "SGD", {"learning_rate": 0.5}),
    ("adagrad", "Adagrad", {"learning_rate": 0.001}),
    ("sgd", "SGD", {"learning_rate": 0.01}),
    ("lion", "Lion", {"learning_rate": 0.0001}),
    (
        optimizer("Adagrad", lr=0.5),
        "Adagrad",
        {"learning_rate": 0.5, "initial_accumulator_value": 0.0},
    ),
    (optimizer("Adadelta", lr=1.0, rho=0.5), "Adadelta", {"learning_rate": 1.0, "rho": 0.5}),
    (optimizer("Adamax", lr=0.5, beta_1=0.5), "Adamax", {"learning_rate": 0.5, "beta_1": 0.5}),
    (
        optimizer("Nadam", lr=0.5, decay=0.004, schedule_decay=0.004),
        "Nadam",
        {"learning_rate": 0.5},
    ),
    (
        optimizer("Ftrl", learning_rate=0.5, beta=0.25),
        "Ftrl",
        {"learning_rate": 0.5, "beta": 0.25},
    ),
    (
        optimizer("RMSprop", lr=0.5, rho=0.25, momentum=0.5, centered=True),
        "RMSprop",
        {"learning_rate": 0.5, "rho": 0.25, "momentum": 0.5, "centered": True},
    ),
    (
        optimizer("Custom>Adafactor", learning_rate=0.5, clip_threshold=2.0, **NEW),
        "Adafactor",
        {"learning_rate": 0.5, "clip_threshold": 2.0},
    ),
    *[
        (
            optimizer(name, **inner, **scale),
            "LossScaleOptimizer",
            {
                "name": "loss_scale_optimizer",
                "inner_optimizer": SGD,
                "initial_scale": 8.0,
                "dynamic_growth_steps": 3,
            },
        )
        for name, inner, scale in (
            (
                "LossScaleOptimizerV3",
                {"inner_optimizer": optimizer("Custom>SGD", learning_rate=0.5, **NEW)},
                {"dynamic": True, "initial_scale": 8.0, "dynamic_growth_steps": 3},
            ),
            (
                "LossScaleOptimizer",
                {"optimizer": optimizer("SGD", lr=0.5)},
                {
                    "loss_scale": optimizer(
                        "DynamicLossScale", initial_loss_scale=8.0, increment_period=3
                    )
                },
            ),
        )
    ],
    (
        optimizer(
            "LossScaleOptimizer",
            inner_optimizer=optimizer("SGD", lr=0.5),
            dynamic=False,
            initial_scale=8.0,
        ),
        "SGD",
        {"learning_rate": 0.5, "loss_scale_factor": 8.0},
    ),
]
"""What the file says; class and configuration in Keras 3."""

NO_WORD: list[tuple[Any, str]] = [
    (optimizer("Addons>LAMB", lr=0.5), "the optimizer Addons>LAMB is not of Keras"),
    (optimizer("TFOptimizer"), "no optimizer TFOptimizer"),
    (optimizer("SGD", learning_rate=optimizer("Mine")), "no schedule Mine"),
    (optimizer("SGD", lr=0.5, other=1), "no `other` for SGD"),
    (optimizer("SGD", clipnorm=1.0, clipvalue=1.0), "in one way at a time"),
    (
        optimizer("SGD", learning_rate=optimizer("ExponentialDecay", **SCHEDULE), decay=0.5),
        "no `decay` beside a schedule",
    ),
    (None, "names no optimizer"),
    (optimizer("SGD", lr=0.5)["config"], "damaged"),
]

LOSSES: list[tuple[Any, Any]] = [
    ("mse", "mse"),
    ("MAE", "MAE"),
    ("binary_crossentropy", "binary_crossentropy"),
    ("kld", "kl_divergence"),
    ("KLD", "kl_divergence"),
    ("kullback_leibler_divergence", "kl_divergence"),
    ("logcosh", "log_cosh"),
    ("huber_loss", "huber"),
    ("cosine_proximity", "cosine_similarity"),
    ("MeanSquaredError", "MeanSquaredError"),
    (None, None),
    (
        optimizer("Huber", reduction="auto", name="huber_loss", delta=2.0, fn="huber"),
        of_keras("losses", "Huber", reduction="sum_over_batch_size", name="huber_loss", delta=2.0),
    ),
    (
        optimizer("BinaryCrossentropy", reduction="sum", from_logits=True),
        of_keras("losses", "BinaryCrossentropy", reduction="sum", from_logits=True),
    ),
    (optimizer("LossFunctionWrapper", fn="mean_squared_error"), "mean_squared_error"),
    (
        {"module": "builtins", "class_name": "function", "config": "cosine_similarity"},
        "cosine_similarity",
    ),
]

WRAPPED, MAE = "MeanMetricWrapper", "mean_absolute_error"
METRICS: list[tuple[Any, Any]] = [
    (None, None),
    ([], []),
    (["accuracy", "mae", "acc"], ["accuracy", "mae", "acc"]),
    ([["mse"]], [["mse"]]),
    (["logcosh", "KLD", "MSE"], ["log_cosh_error", "kl_divergence", "MSE"]),
    ([optimizer("AUC", name="auc", fn="x")], [of_keras("metrics", "AUC", name="auc")]),
    (
        [
            optimizer(WRAPPED, name="mae", fn=MAE),
            optimizer(WRAPPED, name="accuracy", fn="binary_accuracy"),
            optimizer(WRAPPED, name="weighted_acc", fn="sparse_categorical_accuracy"),
            optimizer(WRAPPED, name="mine", fn="mean_squared_error"),
            optimizer(WRAPPED, name="top", fn="top_k_categorical_accuracy"),
        ],
        ["mae", "accuracy", "acc", "mean_squared_error", "top_k_categorical_accuracy"],
    ),
]


@pytest.mark.parametrize(("old", "name", "config"), OPTIMIZERS)
def test_an_optimizer(old: Any, name: str, config: Entry) -> None:
    """An optimizer becomes what Keras 3 writes."""
    made = compiled_with(optimizer_config=old)["optimizer"]
    assert without_names(made) == without_names(of_keras("optimizers", name, **config))


def without_names(optimizer: Entry) -> Entry:
    """Leaves out the name that an optimizer has got, which Keras would count up else."""
    config = dict(optimizer["config"])
    assert config.pop("name", "") in {"", optimizer["class_name"].lower(), "loss_scale_optimizer"}
    if "inner_optimizer" in config:
        config["inner_optimizer"] = without_names(config["inner_optimizer"])
    return {**optimizer, "config": config}


@pytest.mark.keras
@pytest.mark.parametrize(("old", "name", "config"), OPTIMIZERS)
def test_keras_builds_the_optimizer(old: Any, name: str, config: Entry) -> None:
    """Keras 3 makes that optimizer, which takes a step."""
    model = keras.saving.deserialize_keras_object(trained({"optimizer_config": old}).config)
    assert type(model.optimizer) is getattr(keras.optimizers, name)
    rate = config.get("learning_rate", 0.5)
    if isinstance(rate, float):
        assert float(model.optimizer.learning_rate) == pytest.approx(rate)
    model.optimizer.apply([np.ones((2, 1), "float32"), np.ones(1, "float32")])


@pytest.mark.parametrize(("old", "says"), NO_WORD)
def test_what_keras_3_has_no_word_for(old: Any, says: str) -> None:
    """Then the model is not compiled, and a note says why and what to do."""
    config, (note,) = trained({"optimizer_config": old, "loss": "mse"})
    assert "compile_config" not in config
    assert says in note
    assert "compile it anew" in note


@pytest.mark.parametrize(("old", "loss"), LOSSES)
def test_a_loss(old: Any, loss: Any) -> None:
    """A loss becomes what Keras 3 knows, alone and in lists and objects."""
    assert compiled_with(loss=old)["loss"] == loss
    assert compiled_with(loss=[old, old])["loss"] == [loss, loss]
    assert compiled_with(loss={"a": old})["loss"] == {"a": loss}


@pytest.mark.parametrize(
    "old", ["mine", optimizer("Mine"), optimizer("Mine>Huber"), {"a": "mine"}, ["mse", "mine"]]
)
def test_a_custom_loss(old: Any) -> None:
    """Without its loss the model is not compiled."""
    config, (note,) = trained({"optimizer_config": optimizer("SGD"), "loss": old})
    assert "compile_config" not in config
    assert "is not of Keras" in note


@pytest.mark.parametrize(("old", "metrics"), METRICS)
def test_metrics(old: Any, metrics: Any) -> None:
    """Metrics become what Keras 3 knows."""
    config = compiled_with(metrics=old, weighted_metrics=old)
    assert config["metrics"] == config["weighted_metrics"] == metrics


def test_custom_metrics() -> None:
    """They are left out and named; the rest goes over."""
    metrics = [
        "mae",
        "mine",
        "precision",
        optimizer(WRAPPED, name="f", fn="f1"),
        optimizer("Mine>Recall"),
    ]
    training = {"optimizer_config": optimizer("SGD"), "loss": "mse", "metrics": metrics}
    config, (note,) = trained(training)
    assert config["compile_config"]["metrics"] == ["mae"]
    assert ": mine, precision, f1, Mine>Recall;" in note


@pytest.mark.keras
@pytest.mark.parametrize("kind", [LOSSES, METRICS], ids=["losses", "metrics"])
def test_keras_takes_them(kind: list[tuple[Any, Any]]) -> None:
    """Keras 3 compiles with each of them and evaluates."""
    data = np.ones((2, 2)), np.ones((2, 1))
    for old, _ in kind:
        parts = {"metrics": old} if kind is METRICS else {"loss": old}
        training = {"optimizer_config": optimizer("SGD"), "loss": "mse", **parts}
        model = keras.saving.deserialize_keras_object(trained(training).config)
        if kind is METRICS and any("top_k" in str(it) for it in old or ()):
            continue  # it is none for one output
        if parts.get("loss", "") is not None:
            assert np.isfinite(model.evaluate(*data, verbose=0)).all()


def test_the_keys_of_keras_3() -> None:
    """The configuration has the keys that Keras 3 writes, in its order."""
    config = compiled_with(sample_weight_mode=None, loss_weights=[2.0], run_eagerly=None)
    assert list(config.items())[1:] == [
        ("loss", "mse"),
        ("loss_weights", [2.0]),
        ("metrics", None),
        ("weighted_metrics", None),
        ("run_eagerly", False),
        ("steps_per_execution", 1),
        ("jit_compile", False),
    ]


def test_notes_on_formulas() -> None:
    """What an optimizer computes in another way is told, of the API before Keras 2.11 only."""
    inside = "inside the root"
    for name, says in {"RMSprop": inside, "Adagrad": inside, "Nadam": "another formula"}.items():
        (note,) = trained({"optimizer_config": optimizer(name, lr=0.5)}).notes
        assert says in note
        assert name in note
        assert trained({"optimizer_config": optimizer(f"Custom>{name}", **NEW)}).notes == ()
    fused = optimizer("RMSprop", lr=0.5, momentum=0.5)  # this operation adds it inside, too
    assert trained({"optimizer_config": fused}).notes == ()


@pytest.mark.parametrize(
    ("training", "version", "says"),
    [
        ({"loss": "hinge"}, "2.2.4", ("labels of 0 and 1",)),
        ({"loss": {"d": "mse"}, "metrics": ["squared_hinge"]}, "2.2.4", ("labels of 0 and 1",)),
        ({"loss": "hinge"}, "2.3.1", ()),
        ({"loss": "hinge"}, "2.2.4-tf", ()),
        ({"loss": "cosine_proximity"}, "2.2.4", ()),
        ({"loss": "cosine_proximity"}, "2.0.5", ("sum over the last axis",)),
        ({"loss": "mse", "metrics": ["cosine"]}, "2.2.4", ("the other sign",)),
        ({"loss": "mse", "metrics": ["cosine"]}, "2.0.5", ("the other sign", "sum over the last")),
        ({"loss": "mse", "metrics": ["cosine_proximity"]}, "2.3.1", ()),
    ],
)
def test_other_meanings(training: Entry, version: str, says: tuple[str, ...]) -> None:
    """What losses and metrics of Keras before 2.3 meant is told where the model has them."""
    notes = trained({"optimizer_config": optimizer("SGD"), **training}, version).notes
    assert len(notes) == len(says)
    assert all(part in note for part, note in zip(says, notes, strict=True))


@pytest.mark.parametrize(
    ("version", "key"),
    [("2.3.1", "global_clipnorm"), ("2.2.4-tf", "clipnorm"), ("2.4.0", "clipnorm")],
)
def test_clipnorm(version: str, key: str) -> None:
    """Before Keras was part of TensorFlow, it clipped by the norm of all gradients."""
    config, _ = trained({"optimizer_config": optimizer("SGD", lr=0.5, clipnorm=1.0)}, version)
    clipped = config["compile_config"]["optimizer"]["config"]
    assert {name: clipped[name] for name in clipped if "clip" in name} == {key: 1.0}


def test_of_keras_3() -> None:
    """What Keras 3 wrote into HDF5 goes over as it is, also what only Keras 3 has."""
    own = {"name": "muon", "learning_rate": 0.5, "decay": 0.25}
    training = {
        "optimizer_config": optimizer("Muon", **own),
        "loss": optimizer("Dice", name="dice"),
        "metrics": [optimizer("PearsonCorrelation", name="p")],
        "jit_compile": True,
    }
    model = sequential(given(2), layer("Dense", units=1))
    config, notes = translate(model, training, "3.9.0")
    assert notes == ()
    compiled_as = config["compile_config"]
    assert compiled_as["optimizer"] == of_keras("optimizers", "Muon", **own)
    assert compiled_as["loss"] == of_keras("losses", "Dice", name="dice")
    assert compiled_as["metrics"] == [of_keras("metrics", "PearsonCorrelation", name="p")]
    assert compiled_as["jit_compile"] is True


def test_outputs() -> None:
    """One list of metrics means those of each output; names with slashes are followed."""
    dense = layer("Dense", "a/b", units=1), layer("Dense", "c", units=1)
    layers = [called(given(2)), *(called(it, [leaf("i")]) for it in dense)]
    model = functional(layers, [["a/b", 0, 0], ["c", 0, 0]])
    training = {"optimizer_config": optimizer("SGD"), "loss": {"a/b": "mse", "c": "mae"}}
    more = {"metrics": ["mae", "mse"], "loss_weights": {"a/b": 1.0, "c": 2.0}}
    config = translate(model, training | more).config["compile_config"]
    assert config["loss"] == {"a_b": "mse", "c": "mae"}
    assert config["loss_weights"] == {"a_b": 1.0, "c": 2.0}
    assert config["metrics"] == [["mae", "mse"], ["mae", "mse"]]
    each = {"metrics": [["mae", "mse"], [optimizer(WRAPPED, name="c_mae", fn=MAE)]]}
    config = translate(model, training | each).config["compile_config"]
    assert config["metrics"] == [["mae", "mse"], ["mae"]]
    none = {"metrics": [["mse"], [None]], "loss": "mse"}
    config = translate(model, training | none).config["compile_config"]
    assert (config["metrics"], config["loss"]) == ([["mse"], []], ["mse", "mse"])
    config = translate(model, training | {"metrics": {"a/b": ["mae"]}}).config["compile_config"]
    assert config["metrics"] == {"a_b": ["mae"]}


@pytest.mark.keras
def test_keras_has_them() -> None:
    """The tables name what Keras 3 has."""
    assert all(hasattr(keras.losses, name) for name in compiled.LOSSES)
    assert all(hasattr(keras.metrics, name) for name in compiled.METRICS)
    for name in compiled.FUNCTIONS.values():
        assert callable(keras.losses.get(name))
    for name in {compiled.METRIC_NAMES.get(name, "mse") for name in compiled.FUNCTIONS}:
        assert isinstance(keras.metrics.get(name), keras.metrics.Metric)
