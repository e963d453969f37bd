"""Which Python objects a serialised object may name, decided without importing any of them.

Keras looks up the `module` and `class_name` of every serialised object, so a file can make it
call what no model needs (`keras.utils.get_file` in a layer, CVE-2025-8747; `os.system` as a
loss). The rule: under `keras` only the areas that hold modelling objects, elsewhere only what
can be a user's own package. Written after `keras/src/saving/serialization_lib.py` of 3.15.1 and
checked against the files that Keras 2.15 to 3.15.1 and tf-keras 2.21 write.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from snconvert.config.strict_json import objects
from snconvert.errors import printable
from snconvert.kinds.table import SPELLINGS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KERAS = _words("keras tf_keras")
_HUB = _words("keras_cv keras_hub keras_nlp")

_TOP_LEVEL = _words("""
    DTypePolicy FloatDTypePolicy Function Initializer InputSpec KerasTensor Layer Loss Metric Model
    Operation Optimizer Quantizer Regularizer Sequential Variable
""")
"""What may be named in the module `keras` itself."""

_CLASS_AREAS = _words("""
    activations constraints distillation dtype_policies engine experimental initializers layers
    losses metrics mixed_precision models ops optimizers quantizers random regularizers
""")
"""The parts of Keras, public (`keras.AREA`) and private, whose classes are modelling objects. Keras
2 writes `engine`, `experimental` and `mixed_precision`."""

_FUNCTION_AREAS = _words("activations losses metrics ops random")
"""The areas whose functions stand in models by name."""

_EXCEPTIONS = {
    "layers": _words("add average concatenate dot maximum minimum multiply subtract"),
    "utils": _words("FeatureSpace"),
    "applications": _words("CustomScaleLayer LayerScale StochasticDepth preprocess_input"),
}
"""Outside the rule: layers in their functional form, and what Keras saves from areas that
otherwise hold downloaders and readers."""

_GATES = _words("""
    deserialize deserialize_keras_object enable_unsafe_deserialization get get_file load_model
    load_weights model_from_json serialize
""")
"""Functions of Keras that make more of a file than a model; some stand in modelling areas."""

_PURE_BUILTINS = _words("""
    abs all any bool complex divmod enumerate filter float hash int len list map max min pow range
    reversed round slice sorted str sum tuple zip
""")
"""Python's builtins that share their name with functions of `keras.ops` or of users."""

_NEVER = _words("IPython cloudpickle dill distutils joblib pip pkg_resources pytest setuptools")
"""Installed packages, beside Python's own modules, that run or unpickle things."""

_LIBRARIES = _HUB | _words("h5py jax numpy pandas scipy sklearn tensorflow torch")
_LOADER = re.compile(
    r"(load|save|read|write|open|exec|system|unpickle)s?(z|txt|_.*)?"
    r"|eval|from(buffer|file|regex|string)|genfromtxt|get_file|memmap|py_function"
)
"""In those libraries: the names of functions that reach files or native code."""

_SPECIAL = _words("__bytes__ __ellipsis__ __keras_tensor__ __lambda__ __numpy__ __slice__")
"""What Keras rebuilds by itself, without a look at `module`; so too `__tensor__`."""

_NO_NEED = "which no model needs"
_LOOKUPS = _words("IntegerLookup StringLookup TextVectorization")


def problem(entry: Mapping[str, Any]) -> str | None:
    """Says what is wrong with what a serialised object names, or returns `None`.

    Args:
        entry: An object of the parsed JSON whose `class_name` is text.

    Returns:
        The end of a sentence that names the reference.

    Example:
        >>> problem({"module": "os", "class_name": "function", "config": "system"})
        "refers to `os.system`, of Python's own module `os`, which no model needs"
        >>> problem({"module": "keras.layers", "class_name": "Dense", "config": {}})
    """
    module, name, config = entry.get("module"), entry["class_name"], entry.get("config")
    if name in _SPECIAL or name == "__tensor__":
        return None
    if not isinstance(module, str):
        return _vocabulary(config) if is_legacy(entry) and name in _LOOKUPS else None
    if name == "__typespec__":
        name = str(entry.get("spec_name"))
    elif name == "function" or (module == "builtins" and isinstance(config, str)):
        name = str(config)
    package = module.split(".", 1)[0]
    target = f"refers to `{printable(f'{module}.{name}')}`"
    if module == "builtins":
        return None if _is_plain_function(entry) else f"{target}, {_NO_NEED}"
    if package in sys.stdlib_module_names:
        return f"{target}, of Python's own module `{package}`, {_NO_NEED}"
    if package in _KERAS:
        if not _is_modelling(module, name, is_function=entry["class_name"] == "function"):
            return f"{target}, {_NO_NEED}"
        if not _has_own_name(entry, name):
            registered = printable(entry["registered_name"])
            return f"{target} under the foreign registered_name `{registered}`"
    elif package in _NEVER or (package in _LIBRARIES and _LOADER.fullmatch(name)):
        return f"{target}, {_NO_NEED}"
    return _vocabulary(config) if package in _KERAS | _HUB else None


def is_builtin_layer(entry: Mapping[str, Any]) -> str | None:
    """Returns the class name if a serialised object is Keras' own layer or model, else `None`.

    To Keras the public `keras.layers` and the private module of `Dense` name the same class, unless
    a `registered_name` says that it is a custom one.

    Example:
        >>> is_builtin_layer({"module": "keras.layers", "class_name": "Dense"})
        'Dense'
        >>> is_builtin_layer({"module": "keras.layers", "class_name": "GroupedQueryAttention"})
        'GroupQueryAttention'
        >>> is_builtin_layer({"module": "my_package.layers", "class_name": "Dense"})
    """
    module, name = entry.get("module"), entry.get("class_name")
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    area = _area(module)
    holds_layers = area in {"layers", "models", "engine", "applications"} or (
        area == "" and name in {"Layer", "Model", "Sequential"}
    )
    if holds_layers and _is_modelling(module, name) and _has_own_name(entry, name):
        return SPELLINGS.get(name, name) if _is_class_name(name) else None
    return None


def is_legacy(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has the older form, in which a bare `class_name` means a class of Keras."""
    return "module" not in entry and "registered_name" not in entry


def foreign_objects(config: Any) -> Iterator[tuple[str, str | None]]:
    """Yields registered name and module of each object that is of neither Keras nor this package.

    Keras does not load a model before they are registered. Only classes and functions count that
    have a module or a registered name; the module may be unknown.

    Args:
        config: The parsed JSON.

    Example:
        >>> list(foreign_objects({"module": "my_net", "class_name": "Net", "config": {}}))
        [('Net', 'my_net')]
    """
    yield from filter(None, map(foreign, objects(config)))


OURS = "`import snconvert`"
"""What is needed where an object is of this package."""


def needs(config: Any) -> tuple[str, ...]:
    """Returns what has to be there before Keras loads a model, in words.

    Args:
        config: The parsed JSON.

    Example:
        >>> needs({"module": "my_net", "class_name": "Net", "config": {}})
        ('`import my_net`',)
    """
    entries = list(objects(config))
    imports = [OURS] if any(map(_is_ours, entries)) else []
    imports += [
        f"`import {printable(module)}`" if module else f"the code that registers {printable(name)}"
        for name, module in filter(None, map(foreign, entries))
    ]
    return tuple(dict.fromkeys(imports))


def _is_ours(entry: Mapping[str, Any]) -> bool:
    """A function stands in `config`, or by its bare name, which is registered as a class's is."""
    return any(isinstance(x, str) and x.startswith("snconvert>") for x in entry.values())


def foreign(entry: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Returns registered name and module of an object as `foreign_objects`, if it is such a one."""
    name, module = entry.get("class_name"), entry.get("module")
    registered = entry.get("registered_name")
    if not isinstance(name, str) or name in _SPECIAL or "config" not in entry:
        return None
    if name == "function":
        registered = entry["config"]
    if not isinstance(registered, str):
        registered = name
    package = module.partition(".")[0] if isinstance(module, str) else ""
    if package in _KERAS | {"snconvert"} or registered.startswith("snconvert>"):
        return None
    if package in {"", "builtins", "__main__"}:
        return (registered, None) if ">" in registered else None
    return registered, module


def _area(module: str) -> str | None:
    """Returns `layers` for `keras.layers.x`, public or private, and `None` outside Keras.

    On PyTorch, Keras writes its optimizers with private modules of `backend.torch.optimizers`.
    """
    package, *rest = module.split(".")
    if package not in _KERAS:
        return None
    while rest and rest[0] in {"src", "_legacy", "legacy"}:
        del rest[0]
    if rest[:3] == ["backend", "torch", "optimizers"]:
        del rest[:2]
    return rest[0] if rest else ""


def _is_modelling(module: str, name: str, *, is_function: bool = False) -> bool:
    area = _area(module)
    if name in _EXCEPTIONS.get(area or "", ()):
        return True
    if is_function:
        return area in _FUNCTION_AREAS and name not in _GATES and name.isidentifier()
    return name in _TOP_LEVEL if area == "" else area in _CLASS_AREAS and _is_class_name(name)


def _is_class_name(name: str) -> bool:
    return name.isidentifier() and name.lstrip("_")[:1].isupper()


def _has_own_name(entry: Mapping[str, Any], name: str) -> bool:
    """Keras writes no name, or the class's own; Keras 2 registered one layer of an application."""
    registered = entry.get("registered_name")
    if registered is None or registered in ("", name, entry["class_name"]):
        return True
    return name in _EXCEPTIONS["applications"] and bool(registered == f"Custom>{name}")


def _is_plain_function(entry: Mapping[str, Any]) -> bool:
    """Keras writes every function, its own and the user's, as `builtins` and its bare name."""
    kind, name = entry["class_name"], entry.get("config")
    if kind not in {"function", "method", "builtin_function_or_method", "type"}:
        return False
    if not isinstance(name, str) or name in _GATES or "." in name.rpartition(">")[2]:
        return False
    return name in _PURE_BUILTINS or not hasattr(builtins, name)


def _vocabulary(config: Any) -> str | None:
    """Keras keeps vocabularies as lists or as assets; it would open text as a path or URL."""
    if isinstance(config, dict):
        for key in ("vocabulary", "idf_weights"):
            if isinstance(config.get(key), str):
                value = printable(config[key])
                return f"reads its {key} from the path or URL `{value}`, {_NO_NEED}"
    return None
