"""Laws of which references a configuration may hold."""

from __future__ import annotations

import inspect
import json
import sys
import zipfile
from pathlib import Path

import keras
import pytest
from keras import layers
from keras.src import api_export
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.saving.serialization_lib import NON_MODELING_APIS
from places import DATA

from snconvert.config.references import foreign_objects, needs, problem
from snconvert.config.safety import is_builtin_layer, vet, warnings_of
from snconvert.errors import UnsafeError
from snconvert.kinds.table import SPELLINGS

CASES = DATA / "corpus" / "cases"
GENUINE = [p for p in sorted((DATA / "models").iterdir()) if p.is_dir() or zipfile.is_zipfile(p)]


def config_of(path: Path):
    if path.is_dir():
        return json.loads((path / "config.json").read_bytes())
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


def stored(thing):
    """What Keras writes for a thing, after a trip through JSON."""
    return json.loads(json.dumps(keras.saving.serialize_keras_object(thing)))


def within(part, key="part"):
    """A model with one layer `a` that has `part` in its configuration."""
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "a", key: part}}
    layer["config"]["trainable"] = True
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


# What Keras writes passes.


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.name)
def test_genuine_files_pass(path):
    """No file that Keras wrote is refused; only the one with a lambda has a finding."""
    assert [f.class_name for f in vet(config_of(path))] == (
        ["Lambda"] if path.name == "a24_lambda.keras" else []
    )


VALUES = {
    "activation": "relu", "axes": 1, "boundaries": [1, 2], "cell": lambda: layers.GRUCell(2),
    "cells": lambda: [layers.GRUCell(2), layers.LSTMCell(2)], "dataset": None, "dims": (2, 1),
    "equation": "ab,bc->ac", "factor": 0.1, "fn": lambda: keras.losses.mean_squared_error,
    "function": lambda: keras.ops.abs, "height_factor": 0.1, "width_factor": 0.1,
    "initial_learning_rate": 0.1, "inner_optimizer": keras.optimizers.Adam,
    "layer": lambda: layers.LSTM(2, return_sequences=True), "layers": lambda: [layers.Rescaling(2)],
    "optimizer_map": lambda: keras.optimizers.OptimizerMap(keras.optimizers.Adam()),
    "precision": 0.5, "rate": 0.5, "recall": 0.5, "sensitivity": 0.5, "specificity": 0.5,
    "stddev": 0.1, "target_class_ids": [1], "target_shape": (2,), "tokenizer": None,
    "values": [0.1, 0.2, 0.3], "head_dim": 2,
}  # fmt: skip
"""Values of required parameters; all others are sizes, where 2 will do."""

EXTRA = {
    "CategoryEncoding": {"num_tokens": 3},
    "BinaryIoU": {"target_class_ids": [1]},
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "HashedCrossing": {"output_mode": "one_hot"},
    "IntegerLookup": {"vocabulary": [1, 2, 3]},
    "InputLayer": {"shape": (3,)},
    "IoU": {"num_classes": 3},
    "RandomPosterization": {"factor": 3},
    "STFT": {"window": "hann"},
    "StringLookup": {"vocabulary": ["a", "b"], "idf_weights": [1, 2], "output_mode": "tf_idf"},
    "TextVectorization": {"vocabulary": ["a", "b"]},
}

OUTSIDE = {"JaxLayer", "FlaxLayer", "TFSMLayer", "TorchModuleWrapper"}
"""Layers that need other frameworks or files to be made."""


def make(cls):
    """Makes an object of a class of Keras from what its signature asks for."""
    empty = inspect.Parameter.empty
    arguments = {
        p.name: value() if callable(value := VALUES.get(p.name, 2)) else value
        for p in inspect.signature(cls).parameters.values()
        if p.default is empty and p.kind is p.POSITIONAL_OR_KEYWORD
    }
    return cls(**arguments | EXTRA.get(cls.__name__, {}))


def classes(module, base):
    named = {c.__name__: c for c in vars(module).values() if inspect.isclass(c)}
    return {n: c for n, c in named.items() if issubclass(c, base) and n not in OUTSIDE}


LAYERS = classes(layers, layers.Layer)
PARTS = {
    f"{module.__name__}.{name}": cls
    for module, base in (
        (keras.initializers, keras.Initializer),
        (keras.regularizers, keras.Regularizer),
        (keras.constraints, keras.constraints.Constraint),
        (keras.losses, keras.Loss),
        (keras.metrics, keras.Metric),
        (keras.optimizers, keras.Optimizer),
        (keras.optimizers.schedules, keras.optimizers.schedules.LearningRateSchedule),
        (keras.quantizers, (keras.Quantizer, keras.quantizers.QuantizationConfig)),
    )
    for name, cls in classes(module, base).items()
    if cls not in {*(base if isinstance(base, tuple) else (base,)), keras.optimizers.Optimizer}
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cls", LAYERS.values(), ids=LAYERS)
def test_every_layer_passes(cls):
    """Keras' own layers pass and are known as built in, by public and by private path."""
    entry = stored(make(cls))
    private = {**entry, "module": cls.__module__, "class_name": cls.__name__}
    for form in (entry, private, {**entry, "registered_name": entry["class_name"]}):
        assert [f.class_name for f in vet(form)] == (["Lambda"] if cls is layers.Lambda else [])
        name = form["class_name"]
        assert is_builtin_layer(form) == SPELLINGS.get(name, name)
        assert is_builtin_layer({**form, "registered_name": "evil>Dense"}) is None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PARTS)
def test_every_part_passes(name):
    """Initializers, regularizers, constraints, losses, metrics, optimizers, schedules pass."""
    entry = stored(make(PARTS[name]))
    assert vet(within(entry)) == []
    assert is_builtin_layer(entry) is None


@pytest.mark.parametrize(
    "policy", ["float32", "mixed_bfloat16", "int8_from_float32", "float8_from_mixed_bfloat16"]
)
def test_every_dtype_policy_passes(policy):
    """Dtype policies pass as objects, alone and in a map."""
    entry = stored(keras.dtype_policies.get(policy))
    assert vet(within(entry)) == vet(within(stored(keras.dtype_policies.DTypePolicyMap()))) == []


EXPORTED = dict(api_export.REGISTERED_NAMES_TO_OBJS)
MODELLING = [
    name
    for name, thing in EXPORTED.items()
    if inspect.isclass(thing) and hasattr(thing, "get_config") and "preprocessing" not in name
]
ELSEWHERE = {
    "applications", "backend", "callbacks", "config", "datasets", "distribution", "export",
    "preprocessing", "saving", "tree", "utils", "visualization", "wrappers",
}  # fmt: skip
REFUSED = {
    name
    for name in EXPORTED
    if name.replace("_legacy.", "").split(".")[1] in ELSEWHERE
    and not name.endswith(("preprocess_input", "FeatureSpace"))
}


@pytest.mark.parametrize("name", MODELLING)
def test_every_exported_class_with_a_config_passes(name):
    """The table of areas covers all that the installed Keras can write by public name."""
    module, _, class_name = name.rpartition(".")
    assert problem({"module": module, "class_name": class_name, "registered_name": None}) is None


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def test_every_private_class_passes():
    """Operations in the graph, and other classes without a public name, are written by path."""
    unexported = [
        cls
        for cls in set(subclasses(KerasSaveable))
        if cls.__module__.startswith("keras.src.")
        and api_export.get_name_from_symbol(cls) is None
        and cls.__module__.split(".")[2] not in {"trainers", "backend"}  # never serialised
    ]
    assert len(unexported) > 300
    for cls in unexported:
        entry = {"module": cls.__module__, "class_name": cls.__name__, "config": {}}
        assert problem({**entry, "registered_name": cls.__name__}) is None


@keras.saving.register_keras_serializable("pkg")
class Block(layers.Layer):
    """A custom layer whose configuration holds ordinary values under telling keys."""

    def call(self, inputs):
        """Returns its input."""
        return inputs

    def get_config(self):
        """Adds what could be mistaken for references."""
        own = {"module": "subprocess", "mode": "os.system", "vocabulary": "abc", "config": "eval"}
        return {**super().get_config(), **own}


class Unregistered(keras.losses.Loss):
    """A custom class that is known to its author alone."""


@keras.saving.register_keras_serializable("pkg")
def registered(y_true, y_pred):
    return keras.ops.mean(y_true - y_pred)


def plain(y_true, y_pred=0):
    return keras.ops.mean(y_true - y_pred)


def graph():
    """Operations, activations of every kind, policies by layer, shared objects."""
    inputs = keras.Input((6,), name="a")
    ones = keras.initializers.Ones()
    x = layers.Dense(5, activation="leaky_relu", kernel_initializer=ones)(inputs)
    x = layers.Dense(5, activation=layers.LeakyReLU(), bias_initializer=ones)(x)
    x = layers.Dense(5, activation=keras.activations.gelu, bias_regularizer="L1L2")(x * 2 - 1)
    x = layers.Dense(5, activation=registered, kernel_constraint="max_norm")(x)
    x = keras.ops.concatenate([keras.ops.abs(x), x[:, 1:3], keras.ops.reshape(x, (-1, 5))], -1)
    x = keras.ops.where(keras.ops.max(x, axis=-1, keepdims=True) > 0, x, keras.ops.sum(x))
    x = layers.Dense(4, dtype="mixed_bfloat16")(x)
    return keras.Model(inputs, [layers.Dense(2, name="zz")(x), Block()(x)])


def compiled(loss):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    metrics = [plain, registered, "accuracy", keras.metrics.AUC(), keras.losses.log_cosh]
    wrapped = [keras.metrics.MeanMetricWrapper(registered, name="w")]
    model.compile(keras.optimizers.AdamW(decay), loss, metrics=metrics, weighted_metrics=wrapped)
    return model


def features():
    kinds = keras.utils.FeatureSpace
    columns = {"a": kinds.float_normalized(), "b": kinds.string_categorical()}
    columns |= {"c": kinds.integer_hashed(num_bins=4), "d": kinds.float_discretized(num_bins=3)}
    return kinds(columns, crosses=[kinds.cross(["b", "c"], 8)])


def quantized():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4), layers.EinsumDense("ab,bc->ac", 2)]
    )
    model.quantize("int8")
    return model


MODELS = {
    "graph": graph,
    "registered loss": lambda: compiled(registered),
    "custom loss": lambda: compiled(Unregistered()),
    "built-in loss": lambda: compiled(keras.losses.Huber()),
    "features": features,
    "quantized": quantized,
    "text": lambda: layers.TextVectorization(standardize=plain, split=plain),
    "custom": lambda: keras.Sequential([Block(), layers.TimeDistributed(Block())]),
    "convnext": lambda: keras.applications.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3)),
    "inception": lambda: keras.applications.InceptionResNetV2(weights=None),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_models_pass(build):
    """Graphs, compile configs, vocabularies, quantization, custom and private classes pass."""
    assert vet(stored(build())) == []


@pytest.mark.parametrize(
    "thing",
    [
        keras.ops.abs,
        keras.ops.max,
        keras.applications.resnet50.preprocess_input,
        Block().call,
        registered,
        plain,
        sum,
        float,
        slice(1, None),
        ...,
    ],
    ids=lambda thing: getattr(thing, "__name__", str(thing)),
)
def test_plain_things_pass(thing):
    """Functions by bare name pass, also where a harmless builtin has the same name."""
    assert vet(within(stored(thing))) == []


@pytest.mark.parametrize(
    "entry",
    [
        {"module": None, "class_name": "B", "config": {}, "registered_name": "pkg>B"},
        {
            "module": "my.layers",
            "class_name": "Dense",
            "config": {},
            "registered_name": "pkg>Dense",
        },
        {"module": "keras_hub.layers", "class_name": "B", "registered_name": "keras_nlp>B"},
        {"module": "keras_nlp.src.models.x", "class_name": "B", "registered_name": "keras_nlp>B"},
        {"module": "keras.mixed_precision", "class_name": "Policy", "config": {"name": "float32"}},
        {"module": "keras.src.engine.functional", "class_name": "Functional"},
        {"module": "tf_keras.src.engine.functional", "class_name": "Functional"},
        {"module": "keras.optimizers.experimental", "class_name": "SGD"},
        {"module": "keras._legacy.layers", "class_name": "ThresholdedReLU"},
        {"module": "keras.src.backend.torch.optimizers.torch_adam", "class_name": "Adam"},
        {"class_name": "Dense", "config": {"units": 3}},
        {"class_name": "__lambda__x", "config": {}},
        {"class_name": 7, "module": "os"},
        {"module": "os", "config": {"class": "system"}},
        function("tensorflow.python.ops.gen_nn_ops", "relu"),
        {
            "class_name": "__typespec__",
            "spec_name": "TensorSpec",
            "module": "tensorflow.python.framework.tensor",
            "config": [[None], "float32", None],
            "registered_name": None,
        },
    ],
    ids=str,
)
def test_other_genuine_entries_pass(entry):
    """What older versions, other packages and users write passes."""
    assert vet(within(entry)) == []


def test_the_applications_layer_that_keras_2_registered_passes():
    """`Custom>CustomScaleLayer` is Keras' own; the same prefix on other classes is not."""
    entry = {"module": "keras.src.applications.inception_resnet_v2", "config": {}}
    entry |= {"class_name": "CustomScaleLayer", "registered_name": "Custom>CustomScaleLayer"}
    assert vet(entry) == []
    entry = {"module": "keras.src.layers.core.dense", "class_name": "Dense"}
    with pytest.raises(UnsafeError, match="foreign registered_name `Custom>Dense`"):
        vet({**entry, "registered_name": "Custom>Dense"})


# What no model needs is refused.


@pytest.mark.parametrize("name", sorted(REFUSED | NON_MODELING_APIS))
def test_the_rest_of_keras_is_refused(name):
    """Downloaders, readers, switches and the like are refused, as classes and as functions."""
    module, _, short = name.rpartition(".")
    for entry in (
        {"module": module, "class_name": short, "config": {}, "registered_name": None},
        {"module": module.replace("keras.", "keras.src.", 1), "class_name": short, "config": {}},
        function(module, short),
    ):
        if problem(entry) is None and entry["class_name"] != "function":
            pytest.fail(f"{entry} passes")
        with pytest.raises(UnsafeError, match=short):
            vet(within(entry))


@pytest.mark.parametrize("module", ["keras.activations", "keras.losses", "keras.layers"])
def test_gates_in_modelling_areas_are_refused(module):
    """`deserialize` and the like stand in modelling areas, but make objects from other files."""
    for name in ("deserialize", "get", "serialize"):
        with pytest.raises(UnsafeError, match=rf"{module}\.{name}"):
            vet(within(function(module, name)))


@pytest.mark.parametrize("module", sorted(sys.stdlib_module_names - {"builtins"}))
def test_every_module_of_python_is_refused(module):
    """A configuration never names Python's own modules, nor what is below them."""
    for entry in (
        function(module, "f"),
        {"module": f"{module}.sub", "class_name": "C", "config": {}, "registered_name": "pkg>C"},
        {"class_name": "__typespec__", "spec_name": "Popen", "module": module, "config": []},
    ):
        with pytest.raises(UnsafeError, match=f"of Python's own module `{module}`"):
            vet(within(entry))


@pytest.mark.parametrize(
    "entry",
    [
        *(function("builtins", name) for name in ("eval", "exec", "open", "__import__", "getattr")),
        *(function("builtins", name) for name in ("get_file", "load_model", "deserialize", "os.x")),
        {"module": "builtins", "class_name": "eval", "config": {}, "registered_name": None},
        {"module": "builtins", "class_name": "function", "config": {"x": 1}},
        {"module": "builtins", "class_name": "type", "config": "compile"},
        function("numpy", "load"),
        function("numpy", "loadtxt"),
        function("tensorflow", "load_op_library"),
        function("torch", "load"),
        function("keras_hub.utils", "get_file"),
        function("joblib", "anything"),
        {"module": "keras", "class_name": "name_scope", "config": {}},
        {"module": "keras", "class_name": "StatelessScope", "config": {}},
        {"module": "keras.layers", "class_name": "Evil>Dense", "config": {}},
        {"module": "keras..layers", "class_name": "Dense", "config": {}},
        {"module": "keras.src.backend.torch.trainer", "class_name": "TorchTrainer", "config": {}},
        {"module": "keras.src.export.tfsm_layer", "class_name": "TFSMLayer", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": ["x"]},
    ],
    ids=str,
)
def test_other_references_are_refused(entry):
    """Builtins that run or open things, loaders of libraries, and malformed paths are refused."""
    with pytest.raises(UnsafeError):
        vet(within(entry))


@pytest.mark.parametrize("key", ["vocabulary", "idf_weights"])
@pytest.mark.parametrize("cls", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_vocabularies_are_lists_or_assets(cls, key):
    """Text as a vocabulary is a path or URL that Keras would open."""
    for form in ({"module": "keras.layers"}, {"module": f"keras.src.layers.{cls}"}, {}):
        entry = {**form, "class_name": cls, "config": {key: "/etc/passwd"}}
        with pytest.raises(UnsafeError, match=f"reads its {key} from the path or URL `/etc/pass"):
            vet(within(entry))
        for value in (None, ["a", "/etc/passwd"], {"class_name": "__numpy__", "config": {}}):
            assert vet(within({**entry, "config": {key: value}})) == []


@pytest.mark.parametrize("place", ["compile_config", "build_config", "metadata", "shared"])
def test_no_place_is_left_out(place):
    """References are found anywhere in the JSON, also where Keras does not look."""
    bad = {"deep": [[{"x": [1, {"y": function("os", "system")}]}]]}
    with pytest.raises(UnsafeError, match=rf"`{place}\.deep\[0\]\[0\]\.x\[1\]\.y` refers to") as e:
        vet({"class_name": "Sequential", "config": {}, place: bad})
    assert (e.value.path, e.value.class_name) == (None, "Sequential")


def test_errors_name_the_layer_and_the_key():
    """Path and class are those of the nearest layer, the key is that within the layer."""
    inner = {"class_name": "Dense", "config": {"name": "d", "trainable": True}}
    inner["config"]["kernel_initializer"] = function("pickle", "loads")
    block = {"class_name": "TimeDistributed", "config": {"name": "td", "layer": inner}}
    block["config"]["trainable"] = True
    model = {"class_name": "Functional", "config": {"name": "root", "layers": [block]}}
    with pytest.raises(UnsafeError) as caught:
        vet(model)
    assert str(caught.value).startswith(
        "td/d (Dense): `kernel_initializer` refers to `pickle.loads`, of Python's own module"
        " `pickle`, which no model needs. Do not open this file with Keras"
    )


def test_optimizers_are_no_layers():
    """The name of an optimizer or metric is not taken for a layer's."""
    optimizer = {"class_name": "Adam", "config": {"name": "adam", "learning_rate": {}}}
    optimizer["config"]["learning_rate"] = function("os", "system")
    with pytest.raises(UnsafeError) as caught:
        vet({"class_name": "Sequential", "compile_config": {"optimizer": optimizer}})
    assert caught.value.path is None
    assert "`compile_config.optimizer.learning_rate` refers" in caught.value.what


def test_hostile_names_do_not_reach_the_screen():
    """Whatever names hold, the message is one line without control characters."""
    bad = {"module": "os\n\x1b[2J", "class_name": "x\r", "config": {"name": "y\n"}}
    bad |= {"module": "os.\n\x1b[2J"}
    with pytest.raises(UnsafeError) as caught:
        vet(within({"\x1b]0;": bad}, key="k\n"))
    assert str(caught.value).isprintable()


# What runs code of its own is told.


@pytest.mark.parametrize("name", ["Lambda", *sorted(OUTSIDE)])
def test_layers_that_run_code_are_found_once(name):
    """Lambda and the like give one finding that names the layer, however they are written."""
    for form in ({"module": "keras.layers", "registered_name": None}, {}):
        config = {"name": "lam", "trainable": True, "function": {"class_name": "__lambda__"}}
        findings = vet(within({**form, "class_name": name, "config": config}))
        assert [(f.path, f.class_name) for f in findings] == [("a/lam", name)]
        assert str(findings[0]).startswith(f"a/lam ({name}): this ")
        assert str(findings[0]).endswith("safe_mode=False only")


def test_findings_come_in_the_order_of_the_file():
    """Warnings read as the model does."""
    names = ["c", "a", "b"]
    model = keras.Sequential([layers.Lambda(keras.ops.abs, name=name) for name in names])
    assert [f.path for f in vet(stored(model))] == names


def test_lambdas_elsewhere_are_found():
    """A lambda as an activation or a loss is told with its place."""
    dump = {"class_name": "__lambda__", "config": {"value": ["4wEAAA==", None, None]}}
    assert str(vet(within(dump, "activation"))[0]).startswith("a (Dense): its `activation` is a la")
    found = vet({"class_name": "Sequential", "compile_config": {"loss": dump}})
    assert str(found[0]).startswith("model: its `compile_config.loss` is a lambda")


def test_a_custom_class_called_lambda_is_no_finding():
    """What a name means depends on its module."""
    entry = {
        "module": "pkg.x",
        "class_name": "Lambda",
        "config": {},
        "registered_name": "pkg>Lambda",
    }
    assert vet(within(entry)) == []
    assert is_builtin_layer(entry) is None


def test_any_depth_and_any_json():
    """Nothing recurses, and what is no model is for others to refuse."""
    tree = function("os", "system")
    for level in range(100_000):
        tree = {"config": tree, "class_name": "Sequential"} if level % 2 else [tree]
    with pytest.raises(UnsafeError, match=r"os\.system"):
        vet(tree)
    assert vet(None) == vet(3) == vet("os.system") == vet([]) == vet({}) == []


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"module": "keras", "class_name": "Sequential"}, "Sequential"),
        ({"module": "keras", "class_name": "Dense"}, None),
        ({"module": "keras.src.models.functional", "class_name": "Functional"}, "Functional"),
        ({"module": "keras.src.engine.functional", "class_name": "Functional"}, "Functional"),
        ({"module": "keras._legacy.layers", "class_name": "RandomWidth"}, "RandomWidth"),
        ({"module": "keras.src.applications.convnext", "class_name": "LayerScale"}, "LayerScale"),
        ({"module": "keras.layers", "class_name": "dense"}, None),
        ({"module": "keras.layers", "class_name": "add"}, None),
        ({"module": "keras.optimizers", "class_name": "Adam"}, None),
        ({"module": "keras.src.ops.numpy", "class_name": "Add"}, None),
        ({"module": "kerasx.layers", "class_name": "Dense"}, None),
        ({"module": None, "class_name": "Dense"}, None),
        ({"class_name": "Dense"}, None),
        ({"module": "keras.layers"}, None),
    ],
    ids=str,
)
def test_what_a_builtin_layer_is(entry, name):
    """Only layers and models of Keras have a built-in class name."""
    assert is_builtin_layer(entry) == name


CORPUS = {
    case["id"]: case
    for case in json.loads((DATA / "corpus" / "manifest.json").read_bytes())["cases"]
    if case["cat"] in {"code", "ok", "weights", "config"} and zipfile.is_zipfile(CASES / case["id"])
}


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
def test_corpus(case):
    """The collected attacks are refused in the manifest's words; all else passes."""
    config = config_of(CASES / case["id"])
    hostile = case["cat"] == "code" or case["id"] == "cfg_hijack_registered.keras"
    if hostile and case["verdict"] == "reject":
        with pytest.raises(UnsafeError, match=f"(?i){case['says']}"):
            vet(config)
    else:
        said = " ".join(map(str, vet(config)))
        assert bool(said) == hostile
        assert not hostile or "td/lam (Lambda): this lambda layer" in said


def test_what_is_neither_keras_nor_ours():
    """Classes and functions of users are named with their module, those of Keras are not."""
    model = keras.Sequential([keras.layers.Dense(2, activation="gelu", kernel_regularizer="l2")])
    assert list(foreign_objects(stored(model))) == []
    spectral = {"module": "snconvert.layers", "class_name": "SpectralDense", "config": {}}
    assert list(foreign_objects(spectral | {"registered_name": "snconvert>SpectralDense"})) == []
    patched = {"module": "snconvert.live", "class_name": "Net", "config": {}}
    own = {"module": "my.net", "class_name": "Net", "config": {}, "registered_name": "my>Net"}
    patched |= {"registered_name": "snconvert>Patched", "config": {"object": own}}
    config = {"layers": [patched, function("builtins", "my>act"), function("other", "loss")]}
    found = [("my>Net", "my.net"), ("my>act", None), ("loss", "other")]
    assert list(foreign_objects(config)) == found
    assert needs(config) == (
        "`import snconvert`",
        "`import my.net`",
        "the code that registers my>act",
        "`import other`",
    )


def test_a_finding_is_told_once():
    """Layers of one kind that need trust are one sentence with their number."""
    entry = {"module": "keras.layers", "class_name": "Lambda"}
    layers = [entry | {"config": {"name": f"l{i}", "trainable": True}} for i in range(3)]
    findings = vet({"module": "keras", "class_name": "Sequential", "config": {"layers": layers}})
    (sentence,) = warnings_of(findings)
    assert sentence.startswith("l0 (Lambda): this lambda layer")
    assert sentence.endswith("safe_mode=False only (2 more of the kind)")
