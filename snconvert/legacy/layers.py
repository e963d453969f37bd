"""How Keras 3 spells the configurations of layers: a row for each spelling."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, printable
from snconvert.legacy.classes import KEYS, OF_ALL
from snconvert.legacy.objects import Author, function, words

_ANY: Final = object()  # a key that says nothing, whatever its value


class Row(NamedTuple):
    """How the configuration of a class differs.

    Attributes:
        name: The class in Keras 3, where it has another name.
        keys: Keys that have other names there.
        silent: Keys that Keras 3 does not know -> with which values they say nothing.
        meant: What the older Keras means where a key is missing.
        known: The values of a key that Keras 3 knows, where it does not know all.
    """

    name: str | None = None
    keys: Mapping[str, str] = {}
    silent: Mapping[str, Any] = {}
    meant: Mapping[str, Any] = {}
    known: Mapping[str, tuple[Any, ...]] = {}


ALWAYS_SILENT: Mapping[str, Any] = {
    "activity_regularizer": (None,),
    "batch_input_shape": _ANY,
    "dynamic": (False, None),
    "rng_type": _ANY,
}
"""The same for all classes."""

_KEPT = ("activity_regularizer", "optional", "ragged")  # what Keras 3 knows, but need not be told

_NO_GROUPS = {"groups": (1, None)}
_NO_KERNEL = {
    **_NO_GROUPS,
    "kernel_constraint": (None,),
    "kernel_initializer": _ANY,  # the parts have their own
    "kernel_regularizer": (None,),
}
_NO_TIME_MAJOR = {
    "implementation": _ANY,
    "num_constants": (None, 0),
    "reverse_state_order": (False, None),
    "time_major": (False, None),
}
_NORMALIZATION = {
    "adjustment": (None,),
    "fused": _ANY,
    "renorm": (False, None),
    "renorm_clipping": _ANY,
    "renorm_momentum": _ANY,
    "virtual_batch_size": (None,),
}
_NO_CAUSAL = {"causal": (False, None)}
_LAST = {"data_format": "channels_last"}
_RECURRENT = Row(silent=_NO_TIME_MAJOR)
_RESET = {"reset_after": False}
_CUDNN = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
_HARD = Row(silent=_NO_TIME_MAJOR, meant={"recurrent_activation": "hard_sigmoid"})
_TRANSPOSE = Row(silent=_NO_GROUPS)
_WITHOUT_KERNEL = Row(silent=_NO_KERNEL)
_DROPOUT = Row(silent={"noise_shape": _ANY, "trainable": _ANY})  # it has no weights
_POOL_1D = Row(meant=_LAST)
_RESIZED = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")

ROWS: Mapping[str, Row] = {
    "AdditiveAttention": Row(silent=_NO_CAUSAL),
    "Attention": Row(silent=_NO_CAUSAL),
    "AveragePooling1D": Row(meant={**_LAST, "pool_size": 2}),
    "AveragePooling2D": Row(meant={"pool_size": [2, 2]}),
    "AveragePooling3D": Row(meant={"pool_size": [2, 2, 2]}),
    "BatchNormalization": Row(silent=_NORMALIZATION),
    "BatchNormalizationV1": Row("BatchNormalization", silent=_NORMALIZATION),
    "BatchNormalizationV2": Row("BatchNormalization", silent=_NORMALIZATION),
    "Bidirectional": _RECURRENT,
    "CategoryEncoding": Row(keys={"max_tokens": "num_tokens"}),
    "Conv1D": Row(meant=_LAST),
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "ConvLSTM1D": _HARD,
    "ConvLSTM2D": _HARD,
    "ConvLSTM3D": _HARD,
    "CuDNNGRU": Row("GRU", silent=_NO_TIME_MAJOR, meant={**_CUDNN, "reset_after": True}),
    "CuDNNLSTM": Row("LSTM", silent=_NO_TIME_MAJOR, meant=_CUDNN),
    "DepthwiseConv1D": _WITHOUT_KERNEL,
    "DepthwiseConv2D": _WITHOUT_KERNEL,
    "Discretization": Row(silent={"trainable": _ANY}),
    "Embedding": Row(silent={"input_length": _ANY}),
    "GRU": Row(silent=_NO_TIME_MAJOR, meant=_RESET),
    "GRUCell": Row(silent=_NO_TIME_MAJOR, meant=_RESET),
    "GRUV1": Row("GRU", silent=_NO_TIME_MAJOR, meant=_RESET),
    "GRUV2": Row("GRU", silent=_NO_TIME_MAJOR),
    "GlobalAveragePooling1D": _POOL_1D,
    "GlobalMaxPooling1D": _POOL_1D,
    "Hashing": Row(silent={"dtype": _ANY}),  # it computes integers, whatever older Keras writes
    "InputLayer": Row(silent={"optional": (False,), "ragged": (False, None)}),
    "IntegerLookup": Row(  # in TensorFlow 2.4
        keys={"mask_value": "mask_token", "max_values": "max_tokens", "oov_value": "oov_token"}
    ),
    "LSTM": _RECURRENT,
    "LSTMCell": _RECURRENT,
    "LSTMV1": Row("LSTM", silent=_NO_TIME_MAJOR),
    "LSTMV2": Row("LSTM", silent=_NO_TIME_MAJOR),
    "LeakyReLU": Row(keys={"alpha": "negative_slope"}),
    "MaxPooling1D": _POOL_1D,
    "MultiHeadAttention": Row(
        silent={
            "key_shape": _ANY,
            "query_shape": _ANY,
            "softmax_robust_masking": (False,),
            "value_shape": _ANY,
        }
    ),
    "RNN": _RECURRENT,
    "Resizing": Row(known={"interpolation": _RESIZED}),
    "SeparableConv1D": Row(silent=_NO_KERNEL, meant=_LAST, known={"padding": ("valid", "same")}),
    "SeparableConv2D": _WITHOUT_KERNEL,
    "SimpleRNN": _RECURRENT,
    "SimpleRNNCell": _RECURRENT,
    "SpatialDropout1D": _DROPOUT,
    "SpatialDropout2D": _DROPOUT,
    "SpatialDropout3D": _DROPOUT,
    "StackedRNNCells": _RECURRENT,
    "SyncBatchNormalization": Row(
        "BatchNormalization", silent=_NORMALIZATION, meant={"synchronized": True}
    ),
    # `x if x > theta else 0`, which is what Keras 3 computes for this one, too
    "ThresholdedReLU": Row("ReLU", keys={"theta": "threshold"}, meant={"theta": 1.0}),
    "UnifiedGRU": Row("GRU", silent=_NO_TIME_MAJOR),
    "UnifiedLSTM": Row("LSTM", silent=_NO_TIME_MAJOR),
    "UpSampling2D": Row(known={"interpolation": _RESIZED}),
}
"""What Keras 2 spells in another way, by the class."""

_VALUES: Mapping[str, Mapping[Any, Any]] = {
    "output_mode": {"binary": "multi_hot", "tf-idf": "tf_idf"},  # TensorFlow 2.3 to 2.5
}
_ONE_AXIS = {"BatchNormalization"}
_OF_FLOATS = {"Discretization", "Embedding"}
"""What computes with floats, though older Keras may write the type of its output, or input."""
_PLAIN = Row()


def class_in_keras_3(name: str) -> str:
    """Returns the name that Keras 3 has for a class of Keras.

    Example:
        >>> class_in_keras_3("CuDNNLSTM")
        'LSTM'
    """
    return ROWS.get(name, _PLAIN).name or name


_FROM_CORNERS = (
    "its `bilinear` is that of Keras before 2.4, which takes a pixel to lie at its corner, not in"
    " its middle: Keras 3 cannot"
)
_OWN_LAYER = (
    "Rebuild the model in Keras 3 with a layer of your own there that calls"
    " tf.compat.v1.image.resize_bilinear, copy the weights with set_weights and save that"
)


def respell(name: str, config: Mapping[str, Any], author: Author) -> dict[str, Any]:
    """Returns the configuration of a layer with the keys that Keras 3 knows.

    Args:
        name: The class, as the file names it.
        config: Its configuration.
        author: Which Keras wrote it, as this decides what a missing key means.

    Raises:
        SourceError: It holds something that Keras 3 has no word for.

    Example:
        >>> respell("LeakyReLU", {"alpha": 0.5}, Author(keras_2=True))
        {'negative_slope': 0.5}
    """
    if author.standalone and name == "UpSampling2D" and config.get("interpolation") == "bilinear":
        raise SourceError(_FROM_CORNERS, _OWN_LAYER)
    row = ROWS.get(name, _PLAIN)
    silent = {**ALWAYS_SILENT, **row.silent}
    result = {}
    for key, value in config.items():
        if key in row.known and value not in row.known[key]:
            _refuse(key, value)
        if key not in silent:
            new = row.keys.get(key, key)
            result[new] = _VALUES[key].get(value, value) if key in _VALUES else value
        elif silent[key] is not _ANY and value not in silent[key]:
            if key not in _KEPT:
                _refuse(key, value)
            result[key] = value
    if author.keras_2:
        for key, value in row.meant.items():
            result.setdefault(row.keys.get(key, key), value)
        _check_keys(class_in_keras_3(name), result)
    if name in _OF_FLOATS and str(result.get("dtype")).startswith(("int", "uint")):
        result["dtype"] = "float32"
    axis = result.get("axis")
    if class_in_keras_3(name) in _ONE_AXIS and isinstance(axis, list):
        if len(axis) != 1:
            _refuse("axis", axis)
        result["axis"] = axis[0]
    return result


def _check_keys(name: str, config: dict[str, Any]) -> None:
    """Takes out what has no value and the class does not take; anything else it refuses."""
    for key in sorted(config.keys() - OF_ALL - KEYS[name]) if name in KEYS else ():
        if config[key] is not None:
            _refuse(key, config[key])
        del config[key]


def _refuse(key: str, value: Any) -> None:
    raise SourceError(
        f"Keras 3 has no word for `{printable(key)}: {printable(value)}` of such a layer", REBUILD
    )


def lambda_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a Lambda; its code stays what it is, and is never run.

    Example:
        >>> lambda_config({"function": "twice", "function_type": "function"})["function"]["config"]
        'twice'
    """
    result = {
        key: value
        for key, value in config.items()
        if key != "module" and not key.endswith(("_type", "_module"))
    }
    for key in ("function", "output_shape", "mask"):
        kind = config.get(f"{key}_type", "lambda" if key == "function" else "raw")
        value = result.get(key)
        if kind == "lambda" and isinstance(value, list) and len(value) == _PARTS:
            code = dict(zip(("code", "defaults", "closure"), value, strict=True))
            result[key] = {"class_name": "__lambda__", "config": code}
        elif kind == "function" and isinstance(value, str):
            result[key] = function(value)
        elif value is None:
            result.pop(key, None)
    return result


_PARTS = 3  # of a function: code, defaults, closure


def both_directions(config: dict[str, Any]) -> None:
    """Writes the backward layer of a Bidirectional out, and names both as Keras 3 does."""
    forward = config["layer"]["config"]
    name = str(forward.get("name"))
    if config.get("backward_layer") is None and config["layer"]["class_name"] in _DIRECTED:
        backward = copy.deepcopy(config["layer"])
        backward["config"]["name"] = f"backward_{name.removeprefix('backward_')}"
        backward["config"]["go_backwards"] = not forward.get("go_backwards", False)
        backward.pop("shared_object_id", None)
        config["backward_layer"] = backward
    forward["name"] = f"forward_{name.removeprefix('forward_')}"


_DIRECTED = words("""
    ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU LSTM RNN SimpleRNN
""")
