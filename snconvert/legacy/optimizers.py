"""Optimizers and learning-rate schedules, as Keras 3 spells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snconvert.errors import printable
from snconvert.legacy.objects import Author, Entry, is_of_keras, of_keras, words


class NoWordError(ValueError):
    """Keras 3 has no word for how a model was compiled; the text says for what."""


_SHARED = words("""
    name learning_rate weight_decay clipnorm global_clipnorm clipvalue use_ema ema_momentum
    ema_overwrite_frequency loss_scale_factor gradient_accumulation_steps
""")
_OWN: Mapping[str, Sequence[str]] = {
    "Adadelta": words("rho epsilon"),
    "Adafactor": words("beta_2_decay epsilon_1 epsilon_2 clip_threshold relative_step"),
    "Adagrad": words("initial_accumulator_value epsilon"),
    "Adam": words("beta_1 beta_2 epsilon amsgrad"),
    "AdamW": words("beta_1 beta_2 epsilon amsgrad"),
    "Adamax": words("beta_1 beta_2 epsilon"),
    "Ftrl": words("""
        learning_rate_power initial_accumulator_value l1_regularization_strength
        l2_regularization_strength l2_shrinkage_regularization_strength beta
    """),
    "Lion": words("beta_1 beta_2"),
    "Nadam": words("beta_1 beta_2 epsilon"),
    "RMSprop": words("rho momentum epsilon centered"),
    "SGD": words("momentum nesterov"),
}
"""The optimizers that both have, and the keys of each, beside those that all have."""

_OF_KERAS_3 = (*_OWN, *words("Lamb LossScaleOptimizer Muon MultiOptimizer ScheduleFreeAdamW"))
_CLASSES = {name.lower(): name for name in _OWN}
_CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")
_RATES = {"SGD": 0.01, "Lion": 0.0001}
_RATE = 0.001  # of the others, where none is given; in Keras 3 those of some are others
_SCHEDULES = words("""
    CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay
    PolynomialDecay
""")
_SILENT: Mapping[str, tuple[Any, ...]] = {
    "adaptive_epsilon": (False, None),
    "epsilon": (None,),
}
_SPEAKS_NEVER = ("is_legacy_optimizer", "jit_compile", "schedule_decay")
_NADAM = "Keras 3 computes Nadam by another formula than the Keras that saved the model"
_EPSILON = (
    "{} adds its epsilon inside the root in Keras 3, and outside it in the Keras that saved the"
    " model"
)
_SCALERS = frozenset({"LossScaleOptimizer", "LossScaleOptimizerV1", "LossScaleOptimizerV3"})


def optimizer(value: Any, author: Author, notes: list[str]) -> Entry:
    """Returns an optimizer as Keras 3 spells it.

    Args:
        value: Its entry, or its name, which means default values.
        author: Which Keras wrote it.
        notes: Gets what the user should know.

    Raises:
        NoWordError: Keras 3 has no word for it.

    Example:
        >>> adam = {"class_name": "Adam", "config": {"lr": 0.1, "decay": 0.0}}
        >>> optimizer(adam, Author(keras_2=True), [])["config"]
        {'name': 'adam', 'learning_rate': 0.1}
    """
    if isinstance(value, str):
        value = {"class_name": value, "config": {"is_legacy_optimizer": False}}
    name, config = value["class_name"].removeprefix("Custom>"), value["config"]
    if not is_of_keras(value) or ">" in name:
        raise NoWordError(f"the optimizer {printable(name)} is not of Keras")
    if not author.keras_2 and name in _OF_KERAS_3:
        return of_keras("keras.optimizers", name, config)
    if name in _SCALERS:
        return _scaler(config, author, notes)
    if name.lower() not in _CLASSES:
        raise NoWordError(f"Keras 3 has no optimizer {printable(name)}")
    name = _CLASSES[name.lower()]
    old = author.keras_2 and "is_legacy_optimizer" not in config  # the API before Keras 2.11
    if old:
        notes += _other_formulas(name, config)
    result = {key: item for key, item in config.items() if key not in _SPEAKS_NEVER}
    result.setdefault("name", name.lower())  # else Keras counts: `adam_1`
    result["learning_rate"] = _rate(name, result)
    if author.standalone and (norm := result.pop("clipnorm", None)):
        result["global_clipnorm"] = norm  # which it meant there
    if old and name == "Adagrad":
        result.setdefault("initial_accumulator_value", 0.0)
    for key, silent in _SILENT.items():
        if key in result and result[key] in silent:
            del result[key]
    keys = [*_SHARED, *_OWN[name]]
    unknown = [key for key in result if key not in keys]
    if unknown:
        raise NoWordError(f"Keras 3 has no `{printable(unknown[0])}` for {name}")
    if sum(result.get(key) is not None for key in _CLIPS) > 1:
        raise NoWordError("Keras 3 clips gradients in one way at a time")
    ordered = {key: result[key] for key in keys if key in result}
    return of_keras("keras.optimizers", name, ordered)


def _other_formulas(name: str, config: Entry) -> list[str]:
    """Returns in what an optimizer of the API before Keras 2.11 computes something else."""
    if name == "Nadam":
        return [_NADAM]
    # With a momentum, RMSprop was an operation of TensorFlow, which added it inside.
    outside = name == "Adagrad" or (name == "RMSprop" and not config.get("momentum"))
    return [_EPSILON.format(name)] if outside else []


def _rate(name: str, config: Entry) -> Any:
    """Returns the learning rate or its schedule; takes out what says it in the configuration."""
    rate = config.pop("lr", config.get("learning_rate", _RATES.get(name, _RATE)))
    decay = config.pop("decay", None)
    if decay and name != "Nadam":  # where it is that of the momentum, in the old formula
        if isinstance(rate, dict):
            raise NoWordError("Keras 3 has no `decay` beside a schedule of the learning rate")
        names = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")
        steps = dict(zip(names, (rate, 1, decay, False), strict=True))
        return of_keras("keras.optimizers.schedules", "InverseTimeDecay", steps)
    return _schedule(rate) if isinstance(rate, dict) else rate


def _scaler(config: Entry, author: Author, notes: list[str]) -> Entry:
    inner = optimizer(config.get("inner_optimizer", config.get("optimizer")), author, notes)
    scale = config.get("loss_scale")  # of TensorFlow 2.0 to 2.3
    if isinstance(scale, dict):
        old = scale["config"]
        fixed = old.get("loss_scale_value")
        first, steps = old.get("initial_loss_scale"), old.get("increment_period")
    else:
        first, steps = config.get("initial_scale"), config.get("dynamic_growth_steps")
        fixed = first if config.get("dynamic") is False else None
    if fixed is not None:
        inner["config"]["loss_scale_factor"] = fixed
        return inner
    scaler = {
        "name": "loss_scale_optimizer",
        "inner_optimizer": inner,
        "initial_scale": first,
        "dynamic_growth_steps": steps,
    }
    scaler = {key: value for key, value in scaler.items() if value is not None}
    return of_keras("keras.optimizers", "LossScaleOptimizer", scaler)


def _schedule(value: Entry) -> Entry:
    name, config = value["class_name"], value["config"]
    if not is_of_keras(value) or name not in _SCHEDULES:
        raise NoWordError(f"Keras 3 has no schedule {printable(name)} of the learning rate")
    config = {key: item for key, item in config.items() if key != "name" or item is not None}
    return of_keras("keras.optimizers.schedules", name, config)
