"""What a live model is: whether it can be converted, what to do with any other, and its graph."""

from __future__ import annotations

import json
import os
from typing import Any

import keras

from snconvert.config.parsing import parse
from snconvert.core.graph import Graph
from snconvert.core.verbs import VERBS
from snconvert.errors import OptionError
from snconvert.live.internals.walk import Layer, has_graph
from snconvert.page import model_graph

_KERAS_2 = ("tf_keras", "tensorflow.python.keras")
_OTHERS = {
    "torch.optim.swa_utils.AveragedModel": (
        "PyTorch's average of a model",
        "Give its module (`averaged.module`)",
    ),
    "torch.nn.modules.module.Module": (
        "a module of PyTorch",
        "For it PyTorch has torch.nn.utils.parametrizations.spectral_norm; here give a keras.Model",
    ),
    "tensorflow.python.trackable.autotrackable.AutoTrackable": (
        "an object of TensorFlow without Keras layers",
        "Give the keras.Model that it was made or exported from",
    ),
}
_FILES_TOO = ("inspect", "verify")
"""What takes files as well."""


def check_model(model: Any, verb: str, kind: type = keras.layers.Layer) -> None:
    """Sees to it that an object is a live model of Keras 3, or a layer.

    Args:
        model: What a caller gives.
        verb: What it is given to: `apply`, `bake` and so on.
        kind: What is taken: models and layers, or models only.

    Raises:
        OptionError: It is something else; the message says what it is, and what to do.
    """
    if isinstance(model, kind):
        return
    cls = type(model)
    names = [f"{base.__module__}.{base.__name__}" for base in cls.__mro__]
    article = "an" if cls.__name__[:1] in "AEIOUaeiou" else "a"
    what, fix = f"{article} {cls.__name__} is no Keras model", "Give a keras.Model"
    if verb in _FILES_TOO:
        fix += " or a path"
    if isinstance(model, str | os.PathLike):
        what = f"{os.fspath(model)!r} is a path, not a model"
        row = VERBS.get(verb)
        file = f"it to snconvert.{row.function}, or " if row is not None and row.writes else ""
        fix = f"Give {file}the model that keras.saving.load_model returns"
    elif isinstance(model, type) and issubclass(model, kind):
        what = f"{model.__name__} is a class, and no model"
        fix = "Give an object of it that is built"
    elif package := next((p for p in _KERAS_2 if any(n.startswith(f"{p}.") for n in names)), None):
        what = f"the {cls.__name__} is of Keras 2 ({package}), and no model of Keras 3"
        fix = (
            "Save it with model.save as a .keras or .h5 file, and give that to"
            " snconvert.apply_file, which writes it for Keras 3"
        )
    elif isinstance(model, keras.layers.Layer):
        what, fix = f"the {cls.__name__} is a layer, and no model", "Give a keras.Model around it"
    elif not names[0].startswith("keras."):
        known = next((name for name in names if name in _OTHERS), None)
        if known is not None:
            other, fix = _OTHERS[known]
            what = f"{article} {cls.__name__} is {other}, and no Keras model"
    raise OptionError(what, fix)


def graph_of(model: Layer) -> Graph | None:
    """Returns the layers of a Functional or Sequential model and which feeds which.

    Args:
        model: A live model.

    Returns:
        The graph; `None` of a model without one, or one that Keras cannot serialise.
    """
    if not has_graph(model):
        return None
    try:
        return model_graph.graph_of(parse(json.loads(model.to_json())))
    except Exception:  # noqa: BLE001 - `get_config` is code of other people; the page does without
        return None


def size_of(model: Layer) -> int:
    """Returns how many bytes the weights of a model take."""
    return sum(
        int(keras.ops.size(variable)) * _bytes_of(variable.dtype) for variable in model.weights
    )


def _bytes_of(dtype: str) -> int:
    bits = {"bool": 8, "bfloat16": 16}.get(dtype) or int("".join(filter(str.isdigit, dtype)) or 8)
    return max(1, bits // 8)
