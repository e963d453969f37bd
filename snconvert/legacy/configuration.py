"""The configuration of a model that an older Keras saved -> the configuration of Keras 3.

What the keys say decides, not the version, except for `hard_sigmoid` and what a missing key means.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from snconvert.config.tree import CONTAINERS
from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, located, printable
from snconvert.legacy import graph, layers, objects, training as compiled
from snconvert.legacy.objects import Entry

_FUNCTIONAL = ("Functional", "Model", "Network")
_REPAIR = "Repair the configuration, or save the model again"
_DAMAGED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
_OLD = ("keras.engine", "keras.src.engine", "tensorflow.", "tf_keras.")


class Translated(NamedTuple):
    """A configuration in the words of Keras 3.

    Attributes:
        config: The root entry of a `config.json` of Keras 3, with its `compile_config`.
        notes: What the user should know: what means something else now, or does not go over.
    """

    config: dict[str, Any]
    notes: tuple[str, ...] = ()


def translate(config: Any, training: Any = None, version: str | None = None) -> Translated:
    """Translates the configuration of a model.

    Args:
        config: The model's configuration: `model_config` of an HDF5 file, `config.json`, or what
            `model.to_json()` returns; one of Keras 3 passes unchanged.
        training: How it was compiled: `training_config` of an HDF5 file.
        version: The version of Keras that wrote it, where the file says it.

    Raises:
        SourceError: It holds what Keras 3 has no word for, or is damaged.
    """
    try:
        if not isinstance(config, dict):
            raise SourceError(f"the configuration is a {type(config).__name__}", _REPAIR)
        keras_2 = _is_keras_2(config, version)
        if not keras_2 and "module" in config:
            return Translated(config)
        return _Translator(keras_2=keras_2).model(objects.plain(config), objects.plain(training))
    except RecursionError as error:
        raise SourceError("the configuration nests too deep", _REPAIR) from error
    except _DAMAGED as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> SourceError:
    return SourceError(
        f"its configuration is damaged ({type(error).__name__}: {printable(error)})", _REPAIR
    )


def _is_keras_2(config: Entry, version: str | None) -> bool:
    """Whether Keras 2 wrote a configuration: the version says it, or the first telling key."""
    version = version or config.get("keras_version")
    if isinstance(version, str) and version[:1].isdigit():
        return int(version.partition(".")[0]) < 3  # noqa: PLR2004 -- the major version in question
    for value in _walk(config):
        module = value.get("module")
        if "batch_input_shape" in value or (isinstance(module, str) and module.startswith(_OLD)):
            return True
        nodes = value.get("inbound_nodes")
        if "batch_shape" in value or value.get("class_name") == "DTypePolicy":
            return False
        if isinstance(nodes, list) and nodes:
            return not isinstance(nodes[0], dict)
    return "module" not in config


def _walk(config: Any) -> Iterator[Entry]:
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            yield value
            value = [*reversed(value.values())]
        stack += [child for child in reversed(value) if isinstance(child, dict | list)]


class _Translator:
    """Translates one model, and keeps what the user should know.

    Args:
        keras_2: Whether Keras 2 wrote it, so that its meanings hold.
    """

    def __init__(self, *, keras_2: bool) -> None:
        self._keras_2 = keras_2
        self._hard: list[str] = []
        self._renamed: dict[str, str] = {}

    def model(self, raw: Entry, training: Any) -> Translated:
        """Translates the whole model with how it was compiled."""
        root = self._entry(raw, None)
        if root["class_name"] == "Sequential" and root["registered_name"] is None:
            _check_shape(root)
        if training is None:
            training = raw.get("compile_config")
        notes = []
        if self._renamed:
            old, new = next(iter(self._renamed.items()))
            notes.append(
                f"Keras 3 allows no slashes in the names of layers: {printable(old)} is now"
                f" {printable(new)}" + _more(len(self._renamed) - 1)
            )
        if self._hard:
            notes.append(
                f"{printable(self._hard[0])}{_more(len(self._hard) - 1)}: `hard_sigmoid` is"
                " another function in Keras 3; it stays what it was as an activation of this"
                " package, so `import snconvert` before Keras loads the model"
            )
        if training:
            compile_config, more = compiled.translate(training, self._keras_2, self._renamed)
            notes += more
            if compile_config is not None:
                root["compile_config"] = compile_config
        return Translated(root, tuple(notes))

    def _entry(self, raw: Any, owner: str | None, name: str | None = None) -> Entry:
        """Translates a layer, model, wrapper or cell.

        Args:
            raw: Its entry.
            owner: The path of what holds it, or `None` for the root.
            name: Its name in Keras 3, where that is another one.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("class_name"), str):
            raise SourceError("a layer has no `class_name`", _REPAIR)
        if isinstance(raw.get("config"), list):  # Sequential of Keras 2.0 to 2.2.2
            own = raw.get("name", "sequential")
            raw = {**raw, "config": {"name": own, "layers": raw["config"]}}
        config = raw.get("config")
        if not isinstance(config, dict):
            raise SourceError(f"{printable(raw['class_name'])} has no `config`", _REPAIR)
        if name is None:
            name = config.get("name", raw.get("name"))
            if isinstance(name, str):
                (name,) = objects.unique([name])
        path = "" if owner is None else f"{owner}/{name}" if owner else str(name)
        with located(path=path or None, class_name=raw["class_name"]):
            try:
                return self._located(raw, {**config, **({"name": name} if name else {})}, path)
            except _DAMAGED as error:
                raise _damaged(error) from error

    def _located(self, raw: Entry, config: Entry, path: str) -> Entry:
        name = raw["class_name"].rpartition(">")[2]
        if objects.is_foreign(raw) and name not in layers.OTHER_HOMES:
            return self._foreign(raw, config, path)
        if name in layers.REFUSED:
            raise SourceError(*layers.REFUSED[name])
        if name in _FUNCTIONAL and "input_layers" in config:
            home, name = "keras.src.models.functional", "Functional"
            config = self._functional(config, path)
        elif name == "Sequential":
            home, config = "keras", self._sequential(config, path)
        elif name in layers.OTHER_HOMES:
            home, config = layers.OTHER_HOMES[name], self._layer(name, config, path)
        elif layers.class_in_keras_3(name) in layers.KNOWN:
            home, config = "keras.layers", self._layer(name, config, path)
            name = layers.class_in_keras_3(name)
        elif "module" in raw:
            raise SourceError("Keras 3 has no such layer", REBUILD)
        else:
            return self._foreign(raw, config, path)
        entry = objects.of_keras(home, name, config)
        if name in {"Functional", *layers.OTHER_HOMES}:
            entry["registered_name"] = name
        return {**entry, **_kept(raw, name)}

    def _foreign(self, raw: Entry, config: Entry, path: str) -> Entry:
        """A class of the user's stays, but for what the base classes of Keras write."""
        if "layers" in config and "input_layers" in config:
            config = self._functional(config, path)
        config.pop("batch_input_shape", None)
        if "dtype" in config:
            config["dtype"] = objects.policy(config["dtype"])
        entry = objects.foreign({**raw, "config": config})
        return {key: value for key, value in entry.items() if key not in _OF_GRAPH}

    def _layer(self, name: str, config: Entry, path: str) -> Entry:
        if name == "Lambda":
            config = layers.lambda_config(config)
        if name == "InputLayer" and "batch_input_shape" in config:
            batch_shape = objects.shape(config["batch_input_shape"])
            config = {"batch_shape": batch_shape, **config}
        config = layers.respell(name, config, keras_2=self._keras_2)
        for key, value in config.items():
            if key == "dtype":
                config[key] = objects.policy(value)
            elif key.endswith("activation"):
                config[key] = self._activation(value, path)
            elif key.endswith("_initializer"):
                config[key] = objects.named(value, "initializers")
            elif key.endswith("_regularizer"):
                config[key] = objects.named(value, "regularizers")
            elif key.endswith("_constraint"):
                config[key] = objects.named(value, "constraints")
        for slot in CONTAINERS.get(name, ()):
            value = config.get(slot.key)
            if slot.many:
                if not isinstance(value, list):
                    raise SourceError(f"its configuration has no list `{slot.key}`", _REPAIR)
                config[slot.key] = [self._entry(item, path) for item in value]
            elif value is not None:
                config[slot.key] = self._entry(value, path)
        if name == "Bidirectional":
            layers.both_directions(config)
        return config

    def _activation(self, value: Any, path: str) -> Any:
        if isinstance(value, str):
            if value == "hard_sigmoid" and self._keras_2:
                self._hard.append(path)
            return objects.activation(value, keras_2=self._keras_2)
        if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
            return value
        return self._entry(value, path)

    def _children(self, config: Entry, path: str) -> tuple[list[Entry], list[Entry]]:
        """Returns the layers of a model, as they were and as Keras 3 spells them."""
        olds = config["layers"]
        if not isinstance(olds, list) or not all(isinstance(old, dict) for old in olds):
            raise SourceError("its configuration has no list `layers`", _REPAIR)
        named = [
            {**old, "name": old["config"]["name"]}
            if "name" not in old and isinstance(old.get("config"), dict)
            else old
            for old in olds
        ]
        names = objects.unique(str(old.get("name", "sequential")) for old in named)
        for old, new in zip(named, names, strict=True):
            if old.get("name", new) != new:
                self._renamed[old["name"]] = new
        return named, [self._entry(old, path, new) for old, new in zip(named, names, strict=True)]

    def _functional(self, config: Entry, path: str) -> Entry:
        olds, news = self._children(config, path)
        if any(isinstance(node, dict) for old in olds for node in old["inbound_nodes"]):
            # Keras 3 wrote it
            for old, new in zip(olds, news, strict=True):
                new.update(name=new["config"].get("name"), inbound_nodes=old["inbound_nodes"])
            return {**config, "layers": news}
        known = graph.called(olds, news, config["output_layers"], _owns_input)
        for old, new in zip(olds, news, strict=True):
            with located(path=f"{path}/{old['name']}".lstrip("/"), class_name=old["class_name"]):
                new["name"] = known[old["name"]].name
                new["inbound_nodes"] = graph.nodes(old, new["class_name"], known)
        return {
            "name": config.get("name"),
            "trainable": True,
            **config,
            "layers": news,
            "input_layers": graph.ends(config["input_layers"], known),
            "output_layers": graph.ends(config["output_layers"], known),
        }

    def _sequential(self, config: Entry, path: str) -> Entry:
        olds, news = self._children(config, path)
        shape = config.get("build_input_shape")
        first = _own_input(olds[0]) if olds else None
        if first is not None:
            shape = first.get("batch_input_shape", first.get("batch_shape"))
        if shape is not None:
            shape = objects.shape(shape)
        if shape is not None and olds and news[0]["class_name"] != "InputLayer":
            news.insert(0, _input_layer(shape, first or news[0]["config"], news[0]))
        result = {
            "name": config.get("name", "sequential"),
            "trainable": True,
            "dtype": "float32",
            **config,
            "layers": news,
        }
        result["dtype"] = objects.policy(result["dtype"])
        result.pop("build_input_shape", None)
        return result if shape is None else {**result, "build_input_shape": shape}


_OF_GRAPH = {"name", "inbound_nodes"}


def _kept(raw: Entry, name: str) -> Entry:
    """Returns what an entry holds beside class and configuration, and still means something."""
    kept = {}
    build = raw.get("build_config")
    shape = build.get("input_shape") if isinstance(build, dict) else None
    if isinstance(shape, list) and name != "MultiHeadAttention":
        with_sizes = all(size is None or type(size) is int for size in shape)
        if with_sizes and shape:
            kept["build_config"] = {"input_shape": shape}
    if type(raw.get("shared_object_id")) is int:
        kept["shared_object_id"] = raw["shared_object_id"]
    return kept


def _own_input(raw: Entry) -> Entry | None:
    """Returns the configuration that says the shape of what a layer or model takes, if any."""
    while isinstance(raw, dict):
        config = raw.get("config")
        if isinstance(config, list):
            config = {"layers": config}
        if not isinstance(config, dict):
            return None
        if "batch_input_shape" in config or "batch_shape" in config:
            return config
        inner = config.get("layers")
        if not isinstance(inner, list) or not inner:
            return None
        raw = inner[0]
    return None


def _owns_input(raw: Entry) -> bool:
    config = raw.get("config")
    holds = isinstance(config, list) or (isinstance(config, dict) and "layers" in config)
    return holds and _own_input(raw) is not None


def _input_layer(shape: Any, first: Entry, before: Entry) -> Entry:
    name = f"{before['config'].get('name', 'sequential')}_input"
    dtype = objects.policy(first.get("dtype"))
    if not isinstance(dtype, str) or dtype.startswith("mixed"):
        dtype = "float32"
    config = {"batch_shape": shape, "dtype": dtype, "sparse": False, "name": name}
    return objects.of_keras("keras.layers", "InputLayer", config)


def _check_shape(root: Entry) -> None:
    if "build_input_shape" not in root["config"]:
        raise SourceError(
            "its configuration does not say the shape of its input, so that Keras does not build"
            " the layers before it loads their weights",
            "Load it with the Keras that saved it, call model.build(input_shape) and save it again",
        )


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""
