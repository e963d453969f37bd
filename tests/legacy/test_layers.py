"""Each spelling of a layer that Keras 3 knows in another way, a row each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from older_configs import Entry, given, layer, sequential

from snconvert.errors import SourceError
from snconvert.legacy import classes, layers
from snconvert.legacy.configuration import translate

GLOROT = {"class_name": "GlorotUniform", "config": {"seed": None, "dtype": "float32"}}
L2 = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.5}}
NO_TIME = {"time_major": False, "implementation": 1, "num_constants": None}
HARD = {
    "module": "builtins",
    "class_name": "function",
    "config": "snconvert>hard_sigmoid",
    "registered_name": "function",
}


def named(area: str, class_name: str, **config: Any) -> Entry:
    """An object as Keras 3 spells it."""
    entry = {"module": f"keras.{area}", "class_name": class_name, "config": config}
    return {**entry, "registered_name": None}


def cell(class_name: str, **config: Any) -> Entry:
    return layer(class_name, "c", **config)


def new(class_name: str, name: str = "c", **config: Any) -> Entry:
    """A layer as Keras 3 spells it."""
    return named("layers", class_name, name=name, trainable=True, dtype="float32", **config)


def translated(entry: Entry, version: str | None = None) -> Entry:
    """What becomes of a layer."""
    model = sequential(given(4), entry)
    return translate(model, version=version).config["config"]["layers"][1]


UNITS = {"units": 2}
FILTERS = {"filters": 2, "kernel_size": [2, 2]}
NORMAL = {"axis": [3], "fused": True, "renorm": False, "virtual_batch_size": None}

CASES: list[tuple[str, Entry, str, Entry]] = [
    ("Attention", {"causal": False, "rng_type": "stateful"}, "", {}),
    ("AdditiveAttention", {"causal": False}, "", {}),
    ("AveragePooling1D", {}, "", {"data_format": "channels_last", "pool_size": 2}),
    ("AveragePooling2D", {}, "", {"pool_size": [2, 2]}),
    ("AveragePooling3D", {}, "", {"pool_size": [2, 2, 2]}),
    ("BatchNormalization", NORMAL, "", {"axis": 3}),
    ("BatchNormalizationV1", NORMAL, "BatchNormalization", {"axis": 3}),
    ("BatchNormalizationV2", {"adjustment": None}, "BatchNormalization", {}),
    ("SyncBatchNormalization", NORMAL, "BatchNormalization", {"axis": 3, "synchronized": True}),
    (
        "Bidirectional",
        {"layer": cell("LSTM", **UNITS, time_major=False), "merge_mode": "sum", **NO_TIME},
        "",
        {
            "layer": new("LSTM", "forward_c", **UNITS),
            "merge_mode": "sum",
            "backward_layer": new("LSTM", "backward_c", **UNITS, go_backwards=True),
        },
    ),
    (
        "Bidirectional",
        {"layer": cell("LSTM", **UNITS), "backward_layer": cell("GRU", **UNITS, go_backwards=True)},
        "",
        {
            "layer": new("LSTM", "forward_c", **UNITS),
            "backward_layer": new("GRU", **UNITS, go_backwards=True, reset_after=False),
        },
    ),
    (
        "CategoryEncoding",
        {"max_tokens": 3, "output_mode": "binary"},
        "",
        {"num_tokens": 3, "output_mode": "multi_hot"},
    ),
    ("Conv1D", {"filters": 1, "kernel_size": [2]}, "", {"data_format": "channels_last"}),
    ("Conv1DTranspose", {"filters": 1, "kernel_size": [2], "groups": 1}, "", {}),
    ("Conv2D", {**FILTERS, "groups": 2}, "", {"groups": 2}),
    ("Conv2DTranspose", {**FILTERS, "groups": 1}, "", {}),
    ("Conv3DTranspose", {"filters": 1, "kernel_size": [2, 2, 2], "groups": 1}, "", {}),
    ("ConvLSTM1D", {"filters": 1, "kernel_size": [2]}, "", {"recurrent_activation": HARD}),
    ("ConvLSTM2D", {**FILTERS, "time_major": False}, "", {"recurrent_activation": HARD}),
    (
        "ConvLSTM3D",
        {"filters": 1, "kernel_size": [2, 2, 2], "recurrent_activation": "sigmoid"},
        "",
        {},
    ),
    (
        "CuDNNGRU",
        {**UNITS, "time_major": False},
        "GRU",
        {
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "use_bias": True,
            "reset_after": True,
        },
    ),
    (
        "CuDNNLSTM",
        {**UNITS, "unit_forget_bias": True},
        "LSTM",
        {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True},
    ),
    ("Dense", {**UNITS, "batch_input_shape": [None, 4], "activity_regularizer": None}, "", {}),
    (
        "Dense",
        {**UNITS, "kernel_initializer": GLOROT, "bias_initializer": "zeros"},
        "",
        {
            "kernel_initializer": named("initializers", "GlorotUniform", seed=None),
            "bias_initializer": named("initializers", "Zeros"),
        },
    ),
    (
        "Dense",
        {
            **UNITS,
            "kernel_regularizer": L2,
            "activity_regularizer": L2,
            "kernel_constraint": {"class_name": "MaxNorm", "config": {"max_value": 2, "axis": 0}},
            "bias_constraint": "nonneg",
        },
        "",
        {
            "kernel_regularizer": named("regularizers", "L1L2", l1=0.0, l2=0.5),
            "activity_regularizer": named("regularizers", "L1L2", l1=0.0, l2=0.5),
            "kernel_constraint": named("constraints", "MaxNorm", max_value=2, axis=0),
            "bias_constraint": named("constraints", "NonNeg"),
        },
    ),
    (
        "Dense",
        {**UNITS, "kernel_initializer": {"class_name": "OrthogonalInitializer", "config": {}}},
        "",
        {"kernel_initializer": named("initializers", "Orthogonal")},
    ),
    (
        "Dense",
        {**UNITS, "activation": cell("LeakyReLU", alpha=0.25)},
        "",
        {"activation": new("LeakyReLU", negative_slope=0.25)},
    ),
    ("Dense", {**UNITS, "activation": "softmax_v2"}, "", {"activation": "softmax"}),
    ("Dense", {**UNITS, "activation": "hard_sigmoid"}, "", {"activation": HARD}),
    ("Activation", {"activation": "hard_sigmoid"}, "", {"activation": HARD}),
    ("Activation", {"activation": {**HARD, "config": "hard_sigmoid"}}, "", {"activation": HARD}),
    (
        "Dense",
        {**UNITS, "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}},
        "",
        {"dtype": "mixed_float16"},
    ),
    (
        "Dense",
        {**UNITS, "dtype": {"class_name": "PolicyV1", "config": {"name": "infer"}}},
        "",
        {"dtype": None},
    ),
    (
        "DepthwiseConv1D",
        {"kernel_size": [2], "groups": 1, "kernel_initializer": GLOROT},
        "",
        {},
    ),
    (
        "DepthwiseConv2D",
        {"kernel_size": [2, 2], "kernel_regularizer": None, "depthwise_initializer": GLOROT},
        "",
        {"depthwise_initializer": named("initializers", "GlorotUniform", seed=None)},
    ),
    ("Discretization", {"bin_boundaries": [0.0]}, "", {"trainable": ...}),
    (
        "Discretization",
        {"bin_boundaries": [0.0], "dtype": "int64"},
        "",
        {"trainable": ..., "dtype": "float32"},
    ),
    ("Dropout", {"rate": 0.5, "noise_shape": None, "seed": None, "rng_type": None}, "", {}),
    ("Embedding", {"input_dim": 3, "output_dim": 2, "input_length": 7, "mask_zero": True}, "", {}),
    ("Embedding", {"input_dim": 3, "output_dim": 2, "dtype": "int32"}, "", {"dtype": "float32"}),
    ("GRU", {**UNITS, **NO_TIME}, "", {"reset_after": False}),
    ("GRU", {**UNITS, "reset_after": True}, "", {"reset_after": True}),
    ("GRUV1", UNITS, "GRU", {"reset_after": False}),
    ("GRUV2", {**UNITS, "reset_after": True}, "GRU", {}),
    ("UnifiedGRU", {**UNITS, "reset_after": True}, "GRU", {}),
    ("GRUCell", {**UNITS, "implementation": 2}, "", {"reset_after": False}),
    ("GlobalAveragePooling1D", {}, "", {"data_format": "channels_last"}),
    ("GlobalMaxPooling1D", {"data_format": "channels_first"}, "", {}),
    ("LSTM", {**UNITS, **NO_TIME, "recurrent_activation": "sigmoid"}, "", {}),
    ("LSTM", {**UNITS, "recurrent_activation": "hard_sigmoid"}, "", {"recurrent_activation": HARD}),
    ("LSTMV1", UNITS, "LSTM", {}),
    ("LSTMV2", {**UNITS, "time_major": False}, "LSTM", {}),
    ("UnifiedLSTM", UNITS, "LSTM", {}),
    ("LSTMCell", {**UNITS, "implementation": 1}, "", {}),
    ("LeakyReLU", {"alpha": {"type": "ndarray", "value": 0.25}}, "", {"negative_slope": 0.25}),
    ("Dense", {**UNITS, "other": None}, "", {"other": ...}),
    (
        "Dense",
        {**UNITS, "kernel_initializer": {"class_name": "RandomUniformV1", "config": {"seed": 1}}},
        "",
        {"kernel_initializer": named("initializers", "RandomUniform", seed=1)},
    ),
    ("Hashing", {"num_bins": 3, "salt": None}, "", {}),
    (
        "IntegerLookup",
        {"max_values": 9, "mask_value": 0, "oov_value": -1, "vocabulary": [3, 4]},
        "",
        {"max_tokens": 9, "mask_token": 0, "oov_token": -1},
    ),
    ("MaxPooling1D", {}, "", {"data_format": "channels_last"}),
    (
        "MultiHeadAttention",
        {
            "num_heads": 1,
            "key_dim": 2,
            "query_shape": {"class_name": "TensorShape", "items": [None, 3, 4]},
            "key_shape": None,
            "value_shape": [None, 3, 4],
            "softmax_robust_masking": False,
        },
        "",
        {},
    ),
    ("Normalization", {"axis": [-1], "mean": None, "variance": None}, "", {}),
    ("RNN", {"cell": cell("LSTMCell", **UNITS)}, "", {"cell": new("LSTMCell", **UNITS)}),
    (
        "RNN",
        {"cell": layer("StackedRNNCells", cells=[cell("GRUCell", **UNITS)])},
        "",
        {"cell": new("StackedRNNCells", "x", cells=[new("GRUCell", **UNITS, reset_after=False)])},
    ),
    ("ReLU", {"max_value": 6.0}, "", {}),
    ("Resizing", {"height": 2, "width": 2, "interpolation": "bicubic"}, "", {}),
    (
        "SeparableConv1D",
        {"filters": 2, "kernel_size": [2], "groups": 1, "kernel_initializer": GLOROT},
        "",
        {"data_format": "channels_last"},
    ),
    ("SeparableConv2D", {**FILTERS, "kernel_constraint": None}, "", {}),
    ("SimpleRNN", {**UNITS, **NO_TIME}, "", {}),
    ("SimpleRNNCell", UNITS, "", {}),
    ("SpatialDropout1D", {"rate": 0.5, "noise_shape": None}, "", {"trainable": ...}),
    ("SpatialDropout2D", {"rate": 0.5}, "", {"trainable": ...}),
    ("SpatialDropout3D", {"rate": 0.5}, "", {"trainable": ...}),
    (
        "SpectralNormalization",
        {"layer": cell("Dense", **UNITS), "power_iterations": 2},
        "",
        {"layer": new("Dense", **UNITS)},
    ),
    (
        "StackedRNNCells",
        {"cells": [cell("LSTMCell", **UNITS)], "reverse_state_order": False},
        "",
        {"cells": [new("LSTMCell", **UNITS)]},
    ),
    (
        "TextVectorization",
        {
            "output_mode": "tf-idf",
            "standardize": "lower",
            "split": "whitespace",
            "ngrams": None,
            "vocabulary": ["a"],
            "idf_weights": [1.0],
        },
        "",
        {"output_mode": "tf_idf"},
    ),
    ("ThresholdedReLU", {"theta": 0.25}, "ReLU", {"threshold": 0.25}),
    ("TimeDistributed", {"layer": cell("Dense", **UNITS)}, "", {"layer": new("Dense", **UNITS)}),
    ("UpSampling2D", {"size": [2, 2], "interpolation": "nearest"}, "", {}),
]
"""Class and configuration before; class, if it is another, and the keys that have other values or
are new. A key that the row of the class or of all calls silent is away afterwards."""

REFUSED: list[tuple[str, Entry, str]] = [
    *[(name, {}, what) for name, (what, _) in classes.REFUSED.items()],
    ("LSTM", {**UNITS, "time_major": True}, "`time_major: True`"),
    ("LSTM", {**UNITS, "num_constants": 2}, "`num_constants: 2`"),
    ("Conv2DTranspose", {**FILTERS, "groups": 2}, "`groups: 2`"),
    ("SeparableConv2D", {**FILTERS, "kernel_constraint": "max_norm"}, "`kernel_constraint: max_no"),
    ("SeparableConv2D", {**FILTERS, "kernel_regularizer": L2}, "`kernel_regularizer: "),
    ("SeparableConv1D", {"padding": "causal"}, "`padding: causal`"),
    ("BatchNormalization", {"renorm": True}, "`renorm: True`"),
    ("BatchNormalization", {"virtual_batch_size": 8}, "`virtual_batch_size: 8`"),
    ("BatchNormalization", {"axis": [1, 2]}, "`axis: "),
    ("Attention", {"causal": True}, "`causal: True`"),
    ("UpSampling2D", {"interpolation": "gaussian"}, "`interpolation: gaussian`"),
    ("MultiHeadAttention", {"softmax_robust_masking": True}, "`softmax_robust_masking: True`"),
    (
        "Dense",
        {**UNITS, "bias_constraint": {"class_name": "RadialConstraint", "config": {}}},
        "`RadialConstraint`",
    ),
    ("Dense", {**UNITS, "dynamic": True}, "`dynamic: True`"),
    ("Dense", {**UNITS, "other": 1}, "`other: 1`"),
    ("Discretization", {"bins": [1.0, 2.0]}, "`bins: "),  # a value on a boundary went below it
]


def name_of(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


@pytest.mark.parametrize(("class_name", "config", "name", "changes"), CASES, ids=name_of)
def test_a_layer(class_name: str, config: Entry, name: str, changes: Entry) -> None:
    """A layer becomes what Keras 3 writes: what says nothing is away, and the rest stays."""
    old = layer(class_name, **config)
    row = layers.ROWS.get(class_name, layers.Row())
    away = {*row.keys, *row.silent, *layers.ALWAYS_SILENT} - changes.keys()
    kept = {key: value for key, value in old["config"].items() if key not in away}
    kept = {key: value for key, value in {**kept, **changes}.items() if value is not ...}
    assert translated(old) == named("layers", name or class_name, **kept)


@pytest.mark.keras
@pytest.mark.parametrize(("class_name", "config", "name", "changes"), CASES, ids=name_of)
def test_keras_builds_it(class_name: str, config: Entry, name: str, changes: Entry) -> None:
    """Keras 3 makes a layer of that class, which says the same in its own configuration."""
    entry = translated(layer(class_name, **config))
    built = keras.saving.deserialize_keras_object(entry)
    assert type(built) is getattr(keras.layers, name or class_name)
    said = built.get_config()
    for key, value in changes.items():
        if isinstance(value, (bool, float, str)) and key != "dtype":
            assert said[key] == value


@pytest.mark.parametrize(("class_name", "config", "says"), REFUSED, ids=name_of)
def test_what_keras_3_has_no_word_for(class_name: str, config: Entry, says: str) -> None:
    """It is refused by layer, class and what it is, with a way out."""
    with pytest.raises(SourceError) as caught:
        translated(layer(class_name, **config))
    assert (caught.value.path, caught.value.class_name) == ("x", class_name)
    assert says in caught.value.what
    assert "tf-keras" in caught.value.fix


def test_each_row_is_tried() -> None:
    """There is a case for each class that is spelled in another way."""
    assert layers.ROWS.keys() <= {class_name for class_name, *_ in CASES} | {"InputLayer"}


@pytest.mark.keras
def test_the_known_layers_are_those_of_keras() -> None:
    """The table of Keras' layers has all of the installed version, and its aliases name them."""
    theirs = {cls.__name__ for cls in vars(keras.layers).values() if isinstance(cls, type)}
    assert theirs - {"InputSpec", "GroupedQueryAttention"} <= {*classes.KEYS}
    for row in layers.ROWS.values():
        assert row.name is None or hasattr(keras.layers, row.name)


def test_keras_3_means_what_it_says() -> None:
    """In a file of Keras 3, `hard_sigmoid` and missing keys mean what they mean there."""
    old = layer("GRU", **UNITS, recurrent_activation="hard_sigmoid")
    assert translated(old, "3.4.1")["config"] == old["config"]


def test_bilinear_of_standalone_keras() -> None:
    """It sampled in another way than Keras 3, and is refused; that of TensorFlow is not."""
    old = layer("UpSampling2D", size=[2, 2], interpolation="bilinear")
    with pytest.raises(SourceError, match="pixel to lie at its corner"):
        translated(old, "2.2.4")
    for version in ("2.2.4-tf", "2.4.0"):
        assert translated(old, version)["config"] == old["config"]
    assert translated(layer("UpSampling2D", interpolation="nearest"), "2.2.4")


@pytest.mark.keras
def test_thresholded_relu_computes_the_same() -> None:
    """The ReLU that takes its place is zero up to and at the threshold."""
    built = keras.saving.deserialize_keras_object(translated(layer("ThresholdedReLU", theta=0.5)))
    assert built(np.array([[-1.0, 0.25, 0.5, 0.75, 7.0]])).numpy().tolist() == [
        [0.0, 0.0, 0.0, 0.75, 7.0]
    ]


CODE = ["4wEAAAA=", None, None]


@pytest.mark.parametrize(
    ("config", "becomes"),
    [
        (
            {"function": CODE, "function_type": "lambda", "module": "__main__"},
            {
                "function": {
                    "class_name": "__lambda__",
                    "config": {"code": CODE[0], "defaults": None, "closure": None},
                }
            },
        ),
        (
            {
                "function": "twice",
                "function_type": "function",
                "output_shape": [3],
                "output_shape_type": "raw",
                "output_shape_module": None,
                "arguments": {"k": 2},
            },
            {"function": {**HARD, "config": "twice"}, "output_shape": [3], "arguments": {"k": 2}},
        ),
    ],
)
def test_a_lambda(config: Entry, becomes: Entry) -> None:
    """The code of a Lambda goes over as it is, in the words of Keras 3."""
    assert translated(layer("Lambda", **config)) == new("Lambda", "x", **becomes)


@pytest.mark.parametrize("said", [False, True])
def test_an_input(said: bool) -> None:
    """That an input is ragged or optional is said only if it is."""
    more = {"ragged": said, "optional": said, "sparse": False}
    model = sequential(given(4, **more), layer("Dense", **UNITS))
    config = translate(model).config["config"]["layers"][0]["config"]
    own = {"batch_shape": [None, 4], "dtype": "float32", "sparse": False, "name": "i"}
    assert config == ({**own, "ragged": True, "optional": True} if said else own)


def test_a_layer_of_an_application() -> None:
    """ConvNeXt's own layer, which Keras 2 registers as a custom one, is Keras' in Keras 3."""
    entry = translated(layer("Custom>LayerScale", init_values=1e-6, projection_dim=4))
    assert entry["module"] == "keras.src.applications.convnext"
    assert entry["class_name"] == entry["registered_name"] == "LayerScale"


@pytest.mark.parametrize("class_name", ["Mine", "my_package>Mine"])
def test_a_custom_layer(class_name: str) -> None:
    """A user's layer keeps its configuration, but for what Keras' base class writes into it."""
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    old = layer(class_name, depth=[1, {"time_major": True}], batch_input_shape=[None, 4])
    old["config"]["dtype"] = policy
    own = {"name": "x", "trainable": True, "dtype": "mixed_float16"}
    assert translated(old) == {
        "module": None,
        "class_name": "Mine",
        "config": {**own, "depth": [1, {"time_major": True}]},
        "registered_name": class_name,
    }
