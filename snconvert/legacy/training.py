"""How a model was compiled: `training_config` of HDF5, `compile_config` of Keras 2's archives."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from snconvert.config.weight_groups import snake_case
from snconvert.errors import printable
from snconvert.legacy.objects import Author, Entry, is_foreign, of_keras, words
from snconvert.legacy.optimizers import NoWordError, optimizer

_BY_NAME = words("""
    binary_crossentropy binary_focal_crossentropy categorical_crossentropy
    categorical_focal_crossentropy categorical_hinge circle cosine_similarity ctc dice hinge huber
    kl_divergence log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error
    mean_squared_logarithmic_error poisson sparse_categorical_crossentropy squared_hinge tversky
""")
FUNCTIONS: Mapping[str, str] = {
    **{name: name for name in _BY_NAME},
    "bce": "binary_crossentropy",
    "cosine": "cosine_similarity",
    "cosine_proximity": "cosine_similarity",
    "huber_loss": "huber",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}
"""What older Keras calls a loss -> the function."""

LOSSES = words("""
    BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy
    CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
    CosineSimilarity Dice Hinge Huber KLDivergence LogCosh MeanAbsoluteError
    MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
    SparseCategoricalCrossentropy SquaredHinge Tversky
""")
METRICS = words("""
    AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy
    CategoricalCrossentropy CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score
    FBetaScore FalseNegatives FalsePositives Hinge IoU KLDivergence LogCoshError Mean
    MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanSquaredError
    MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
    PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError
    SensitivityAtSpecificity SparseCategoricalAccuracy SparseCategoricalCrossentropy
    SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
    TopKCategoricalAccuracy TrueNegatives TruePositives
""")
_SHORT = words("""
    bce mae mape mse msle
""")  # which Keras 3 knows in capitals, too
_ONLY_LOSSES = words("""
    binary_focal_crossentropy categorical_focal_crossentropy circle ctc dice huber log_cosh
    tversky
""")
_ACCURACIES = words("""
    acc accuracy binary_accuracy categorical_accuracy sparse_categorical_accuracy
    sparse_top_k_categorical_accuracy top_k_categorical_accuracy
""")
_RESOLVED = words("""
    binary_accuracy categorical_accuracy sparse_categorical_accuracy
""")  # what `accuracy` means, by the shapes of the outputs
METRIC_NAMES: Mapping[str, str] = {
    **{name: new for name, new in FUNCTIONS.items() if new not in _ONLY_LOSSES},
    **{name: name for name in (*_ACCURACIES, *_SHORT, *METRICS)},
    "log_cosh": "log_cosh_error",
    "logcosh": "log_cosh_error",
}
"""What Keras 2 calls a metric -> what Keras 3 does; others, as `precision`, are a user's own."""

_OF_KERAS_3 = {**METRIC_NAMES, **{snake_case(name): snake_case(name) for name in METRICS}}

_WAYS = ("loss", "loss_weights", "metrics", "weighted_metrics")
_MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def translate(
    training: Any, author: Author, renamed: Mapping[str, str], outputs: int
) -> tuple[dict[str, Any] | None, list[str]]:
    """Returns the `compile_config` of Keras 3, and what the user should know.

    Args:
        training: How the model was compiled.
        author: Which Keras wrote it.
        renamed: The layers that have new names.
        outputs: How many outputs the model has.

    Returns:
        No configuration where Keras 3 has no word for the optimizer or a loss.
    """
    notes: list[str] = []
    known = _Outputs(renamed, outputs, METRIC_NAMES if author.keras_2 else _OF_KERAS_3)
    try:
        return _compile_config(training, author, known, notes), notes
    except NoWordError as error:
        why = str(error)
    except _MALFORMED:
        why = "what the file says of it is damaged"
    return None, [f"How the model was compiled does not go over: {why}; compile it anew"]


class _Outputs(NamedTuple):
    """What losses and metrics are of.

    Attributes:
        names: The outputs that have new names.
        total: How many there are.
        metrics: What names mean as metrics.
    """

    names: Mapping[str, str]
    total: int
    metrics: Mapping[str, str]


def _compile_config(
    training: Entry, author: Author, outputs: _Outputs, notes: list[str]
) -> dict[str, Any]:
    value = training.get("optimizer_config", training.get("optimizer"))
    if value is None:
        raise NoWordError("the file names no optimizer")
    config = {
        "optimizer": optimizer(value, author, notes),
        **{key: training.get(key) for key in _WAYS},
        "run_eagerly": bool(training.get("run_eagerly")),
        "steps_per_execution": training.get("steps_per_execution") or 1,
        "jit_compile": training.get("jit_compile") is True,
    }
    loss = _each(config["loss"], outputs, _loss)
    if outputs.total > 1 and (isinstance(loss, str) or "class_name" in (loss or ())):
        loss = [copy.deepcopy(loss) for _ in range(outputs.total)]  # Keras 2 means all outputs
    config["loss"] = loss
    left: list[str] = []
    for key in ("metrics", "weighted_metrics"):
        config[key] = _metrics(config[key], outputs, left)
    if isinstance(config["loss_weights"], dict):
        config["loss_weights"] = _rename(config["loss_weights"], outputs)
    if left:
        names = ", ".join(printable(name) for name in dict.fromkeys(left))
        notes.append(f"Metrics that Keras 3 has not do not go over: {names}; compile with them")
    notes += _other_meanings(training, author)
    return config


_HINGES = {"hinge", "squared_hinge"}
_COSINES = {"cosine", "cosine_proximity"}


def _other_meanings(training: Entry, author: Author) -> list[str]:
    """Returns what losses and metrics of Keras before 2.3 meant, where it is something else."""
    metrics = {*_words([training.get("metrics"), training.get("weighted_metrics")])}
    names = {*_words(training.get("loss")), *metrics}
    early, first = author.standalone_before((2, 3)), author.standalone_before((2, 2))
    notes = {
        "`hinge` and `squared_hinge` take labels of 0 and 1 for -1 and 1 in Keras 3, but as they"
        " are in the Keras that saved the model": early and names & _HINGES,
        "the metric `cosine_proximity` has the other sign in Keras 3": early and metrics & _COSINES,
        "`cosine_proximity` is a sum over the last axis in Keras 3, and was the mean in early"
        " versions of Keras 2": first and names & _COSINES,
    }
    return [note for note, holds in notes.items() if holds]


def _words(value: Any) -> Iterator[str]:
    """Yields the names in a loss or metrics, of whatever structure."""
    if isinstance(value, list | dict):
        for item in value if isinstance(value, list) else value.values():
            yield from _words(item)
    elif isinstance(value, str):
        yield value


def _rename(value: Entry, outputs: _Outputs) -> Entry:
    return {outputs.names.get(key, key): item for key, item in value.items()}


def _each(value: Any, outputs: _Outputs, change: Any) -> Any:
    """Applies a function to each loss of a list or of an object with one for each output."""
    if isinstance(value, list):
        return [_each(item, outputs, change) for item in value]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _each(item, outputs, change) for key, item in _rename(value, outputs).items()}
    return change(value)


def _name_of(value: Any) -> str | None:
    """Returns the name of a function of Keras or a user's, or `None` for another object."""
    if isinstance(value, dict) and value["class_name"] == "function":
        value = value["config"]
    return value if isinstance(value, str) else None


def _known(name: str, table: Iterable[str]) -> str | None:
    return next((spelling for spelling in (name, name.lower()) if spelling in table), None)


def _loss(value: Any) -> Any:
    if value is None:
        return None
    name = _name_of(value)
    if name is None and value["class_name"] == "LossFunctionWrapper":
        name = _name_of(value["config"].get("fn"))
    if name is not None:
        spelling = _known(name, (*FUNCTIONS, *LOSSES))
        if spelling is None:
            raise NoWordError(f"the loss {printable(name)} is not of Keras")
        known = spelling in _SHORT or spelling in LOSSES
        return name if known else FUNCTIONS[spelling]
    name = value["class_name"]
    if is_foreign(value) or name not in LOSSES:
        raise NoWordError(f"the loss {printable(name)} is not of Keras")
    config = {key: item for key, item in value["config"].items() if key != "fn"}
    if config.get("reduction") == "auto":
        config["reduction"] = "sum_over_batch_size"
    return of_keras("keras.losses", name, config)


def _metrics(value: Any, outputs: _Outputs, left: list[str]) -> Any:
    """Returns metrics as Keras 3 takes them; those of a user's own are left out and named."""
    one = outputs._replace(names={}, total=1)
    if isinstance(value, list):
        flat = not any(isinstance(item, list) or item is None for item in value)
        inner = [_metrics(item, one, left) for item in value]
        if outputs.total > 1 and not flat:
            return inner  # one entry for each output
        kept = [item for item in inner if item is not None]
        # One list means the metrics of each output to Keras 2.
        return kept if outputs.total == 1 else [list(kept) for _ in range(outputs.total)]
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _metrics(item, one, left) for key, item in _rename(value, outputs).items()}
    if value is None:
        return None
    name = _name_of(value)
    if name is not None:
        spelling = _known(name, outputs.metrics)
        if spelling is not None:
            return name if spelling in _SHORT else outputs.metrics[spelling]
        left.append(name)
        return None
    name, config = value["class_name"], value["config"]
    if name == "MeanMetricWrapper":
        return _wrapped(config, left)
    if is_foreign(value) or name not in METRICS:
        left.append(name)
        return None
    return of_keras("keras.metrics", name, {k: v for k, v in config.items() if k != "fn"})


def _wrapped(config: Entry, left: list[str]) -> str | None:
    """Returns the name by which a user asked for a function as a metric."""
    name, function = str(config.get("name")), _name_of(config.get("fn"))
    spelling = None if function is None else _known(function, METRIC_NAMES)
    if spelling is None:
        left.append(name if function is None else function)
        return None
    meant = METRIC_NAMES[spelling]
    asked = name.rpartition("_")[2]  # behind the output's name, or `weighted`
    if asked in {"acc", "accuracy"} and meant in _RESOLVED:
        return asked
    return asked if FUNCTIONS.get(asked) == meant and asked in _SHORT else meant
