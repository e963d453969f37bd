"""What stands in the configurations of layers, as Keras 3 spells it.

Initializers, regularizers, constraints, activations, dtype policies; and what older Keras writes
for tuples, shapes and arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from snconvert.config.weight_groups import snake_case
from snconvert.errors import SourceError

Entry = dict[str, Any]

HARD_SIGMOID = "snconvert>hard_sigmoid"
"""The activation of this package that computes what `hard_sigmoid` means to Keras 2."""


class Author(NamedTuple):
    """Which Keras wrote a configuration.

    Attributes:
        keras_2: Whether Keras 2 or an older one, so that its meanings hold.
        standalone: Its version, where it was no part of TensorFlow: those before 2.4.
    """

    keras_2: bool
    standalone: tuple[int, int] | None = None

    def standalone_before(self, version: tuple[int, int]) -> bool:
        """Whether it was a Keras before a version, and no part of TensorFlow."""
        return self.standalone is not None and self.standalone < version


def words(text: str) -> tuple[str, ...]:
    """Returns the words of a text."""
    return tuple(text.split())


def _spellings(classes: str, **aliases: str) -> Mapping[str, str]:
    names = words(classes)
    return {**{snake_case(name): name for name in names}, **aliases, **{it: it for it in names}}


KNOWN: Mapping[str, Mapping[str, str]] = {
    "initializers": _spellings(
        "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform"
        " Ones Orthogonal RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros",
        IdentityInitializer="Identity",
        OrthogonalInitializer="Orthogonal",
        normal="RandomNormal",
        one="Ones",
        uniform="RandomUniform",
        zero="Zeros",
    ),
    "regularizers": _spellings("L1 L1L2 L2 OrthogonalRegularizer", l1_l2="L1L2"),
    "constraints": _spellings(
        "MaxNorm MinMaxNorm NonNeg UnitNorm",
        maxnorm="MaxNorm",
        nonneg="NonNeg",
        unitnorm="UnitNorm",
    ),
}
"""The areas of Keras, and in each the names that stand for its classes."""

ACTIVATIONS = words("""
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
    softmax softplus softsign sparse_plus sparsemax squareplus swish tanh tanh_shrink threshold
""")
"""The activations that Keras 3 knows by these names."""

_SAME_ACTIVATION = {"softmax_v2": "softmax"}
_POLICIES = {
    "_infer": None,
    "infer": None,
    "float16_with_float32_vars": "mixed_float16",
    "infer_float32_vars": "mixed_float16",
}
"""Names of dtype policies in TensorFlow 2.0 to 2.3; none means that of the process."""


def plain(value: Any) -> Any:
    """Returns a copy, with lists for the tuples and shapes of older Keras, and for its arrays.

    Example:
        >>> plain({"class_name": "__tuple__", "items": [1, 2]})
        [1, 2]
        >>> plain({"type": "ndarray", "value": 0.3})
        0.3
    """
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"class_name", "items"} and value["class_name"] in {
        "__tuple__",
        "TensorShape",
    }:
        return plain(value["items"])
    if value.keys() == {"type", "value"} and value["type"] == "ndarray":
        return plain(value["value"])
    return {key: plain(item) for key, item in value.items()}


def is_of_keras(entry: Mapping[str, Any]) -> bool:
    """Whether an entry names no module, or one of Keras under any of its names."""
    module = entry.get("module")
    if module is None:
        return "module" not in entry
    return isinstance(module, str) and (
        module.partition(".")[0] in {"keras", "tf_keras"}
        or module.startswith(("tensorflow.keras", "tensorflow.python.keras"))
    )


def is_foreign(entry: Mapping[str, Any]) -> bool:
    """Whether an entry names a class that is not of Keras."""
    name, registered = entry["class_name"], entry.get("registered_name")
    return ">" in name or not is_of_keras(entry) or registered not in {None, "", name}


def foreign(entry: Entry) -> Entry:
    """Returns the entry of a user's class as Keras 3 writes it; its configuration stays."""
    if "module" in entry:
        return entry
    name = entry["class_name"]
    rest = {key: value for key, value in entry.items() if key not in {"class_name", "config"}}
    return {
        "module": None,
        "class_name": name.rpartition(">")[2],
        "config": entry.get("config"),
        "registered_name": name,
        **rest,
    }


def of_keras(module: str, class_name: str, config: Any) -> Entry:
    """Returns the entry of a class of Keras as Keras 3 writes it."""
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def function(name: str) -> Entry:
    """Returns the entry of a user's function as Keras 3 writes it."""
    return {
        "module": "builtins",
        "class_name": "function",
        "config": name,
        "registered_name": "function",
    }


def named(value: Any, area: str) -> Any:
    """Returns an initializer, regularizer or constraint as Keras 3 spells it.

    Args:
        value: What stands in the configuration: a name, an object or nothing.
        area: The part of Keras: `initializers`, `regularizers` or `constraints`.

    Example:
        >>> named("zeros", "initializers")["class_name"]
        'Zeros'
    """
    known = KNOWN[area]
    if isinstance(value, str):
        return of_keras(f"keras.{area}", known[value], {}) if value in known else function(value)
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return value
    name = value["class_name"].removesuffix("V1")  # of the mode of TensorFlow 1
    if name == "RadialConstraint" and not is_foreign(value):
        raise SourceError("it has a `RadialConstraint`, which Keras 3 has not", _WITHOUT)
    if is_foreign(value) or name not in known:
        return value if name in {"function", "__lambda__"} else foreign(value)
    config = value.get("config")
    if area == "initializers" and isinstance(config, dict):
        config = {key: item for key, item in config.items() if key != "dtype"}
    return of_keras(f"keras.{area}", known[name], config or {})


_WITHOUT = (
    "Load it with the package tf-keras, take the constraint out of the layer and save the model"
    " again"
)


def policy(value: Any) -> Any:
    """Returns a dtype policy as Keras 3 reads it.

    Example:
        >>> policy({"class_name": "Policy", "config": {"name": "mixed_float16"}})
        'mixed_float16'
    """
    if isinstance(value, dict) and value.get("class_name") in {"Policy", "PolicyV1"}:
        value = value["config"]["name"]
    return _POLICIES.get(value, value) if isinstance(value, str) else value


def activation(name: str, *, keras_2: bool) -> Any:
    """Returns an activation that a name stands for, as Keras 3 spells it.

    Args:
        name: The name.
        keras_2: Whether it is meant as Keras 2 means it.
    """
    name = _SAME_ACTIVATION.get(name, name)
    if name == "hard_sigmoid" and keras_2:
        return function(HARD_SIGMOID)
    return name if name in ACTIVATIONS else function(name)


def is_function(value: Any, name: str) -> bool:
    """Whether a value is the entry of a function of Keras, and no user's, by a name."""
    if not isinstance(value, dict) or value.get("class_name") != "function":
        return False
    ours = value.get("module") == "builtins" or is_of_keras(value)
    names = (value.get("config"), value.get("registered_name"))
    return ours and names in {(name, None), (name, "function"), (name, name)}


def names_hard_sigmoid(config: Any) -> bool:
    """Whether the name stands anywhere in a configuration."""
    if isinstance(config, list | dict):
        return any(map(names_hard_sigmoid, config if isinstance(config, list) else config.values()))
    return isinstance(config, str) and config == "hard_sigmoid"


def unique(names: Iterable[str]) -> list[str]:
    """Returns the names as Keras 3 allows them: without slashes, and each once.

    Args:
        names: The names before; an empty one is that of a nameless Sequential model.

    Example:
        >>> unique(["conv1/bn", "conv1_bn", "", ""])
        ['conv1_bn_1', 'conv1_bn', 'sequential', 'sequential_1']
    """
    originals = list(names)
    used, result = {name for name in originals if name and "/" not in name}, []
    for name in originals:
        new = name
        if not name or "/" in name:
            new = base = name.replace("/", "_") or "sequential"
            count = 0
            while new in used:
                count += 1
                new = f"{base}_{count}"
            used.add(new)
        result.append(new)
    return result
