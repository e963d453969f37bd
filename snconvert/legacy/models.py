"""Models, wrappers and layers: from the words of older Keras to those of Keras 3."""

from __future__ import annotations

from typing import Any

from snconvert.config import keras_modules
from snconvert.config.tree import CONTAINERS
from snconvert.core.foreign import REBUILD
from snconvert.errors import SourceError, located, printable
from snconvert.legacy import classes, graph, layers, objects, shapes
from snconvert.legacy.objects import Author, Entry
from snconvert.legacy.sharing import share

_FUNCTIONAL = ("Functional", "Model", "Network")
REPAIR = "Repair the configuration, or save the model again"
DAMAGED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What Python raises where a configuration holds values of the wrong kind."""

_TOLD = (
    _HARD := (
        "`hard_sigmoid` is another function in Keras 3; it stays what it was as an activation of"
        " this package, so `import snconvert` before Keras loads the model"
    ),
    _OWN := (
        "code of your own names `hard_sigmoid`, which is another function in Keras 3;"
        " `snconvert>hard_sigmoid` computes what it was"
    ),
    _REGULARIZED := (
        "Keras 3 divides what an activity regularizer adds to the loss by the batch size, which"
        " the Keras that saved the model did not"
    ),
    _APART := (
        "the model shares this layer with another one in it, which Keras 3 cannot load; it becomes"
        " a layer of its own, with the same weights"
    ),
)
"""What is told of layers, in this order."""


def damaged(error: Exception) -> SourceError:
    """Returns the error about a value of the wrong kind."""
    return SourceError(
        f"its configuration is damaged ({type(error).__name__}: {printable(error)})", REPAIR
    )


class Translator:
    """Translates one model, and keeps what the user should know.

    Args:
        author: Which Keras wrote it.
    """

    def __init__(self, author: Author) -> None:
        self._author = author
        self._told: dict[str, list[str]] = {text: [] for text in _TOLD}
        self.renamed: dict[str, str] = {}

    def root(self, raw: Entry) -> Entry:
        """Translates the whole model."""
        root = self._entry(raw, None)
        shapes.check(root)
        self._told[_APART] = share(root, stored_once="module" in raw)
        return root

    def notes(self) -> list[str]:
        """Returns what the user should know."""
        notes = []
        if self.renamed:
            old, new = next(iter(self.renamed.items()))
            notes.append(
                f"Keras 3 allows no slashes in the names of layers: {printable(old)} is now"
                f" {printable(new)}" + _more(len(self.renamed) - 1)
            )
        for text, paths in self._told.items():
            if paths:
                notes.append(f"{printable(paths[0])}{_more(len(paths) - 1)}: {text}")
        return notes

    def _entry(self, raw: Any, owner: str | None, name: str | None = None) -> Entry:
        """Translates a layer, model, wrapper or cell.

        Args:
            raw: Its entry.
            owner: The path of what holds it, or `None` for the root.
            name: Its name in Keras 3, where that is another one.
        """
        if not isinstance(raw, dict) or not isinstance(raw.get("class_name"), str):
            raise SourceError("a layer has no `class_name`", REPAIR)
        if isinstance(raw.get("config"), list):  # Sequential of Keras 2.0 to 2.2.2
            own = raw.get("name", "sequential")
            raw = {**raw, "config": {"name": own, "layers": raw["config"]}}
        config = raw.get("config")
        if not isinstance(config, dict):
            raise SourceError(f"{printable(raw['class_name'])} has no `config`", REPAIR)
        if name is None:
            name = config.get("name", raw.get("name"))
            if isinstance(name, str):
                (name,) = objects.unique([name])
        path = "" if owner is None else f"{owner}/{name}" if owner else str(name)
        with located(path=path or None, class_name=raw["class_name"]):
            try:
                return self._located(raw, {**config, **({"name": name} if name else {})}, path)
            except DAMAGED as error:
                raise damaged(error) from error

    def _located(self, raw: Entry, config: Entry, path: str) -> Entry:
        name = raw["class_name"].removeprefix("Custom>")
        if objects.is_foreign(raw) and name not in keras_modules.OTHER_HOMES:
            return self._foreign(raw, config, path)
        if name in classes.REFUSED:
            raise SourceError(*classes.REFUSED[name])
        if name in _FUNCTIONAL and "input_layers" in config:
            home, name = keras_modules.FUNCTIONAL, "Functional"
            config = self._functional(config, path)
        elif name == "Sequential":
            home, config = "keras", self._sequential(config, path)
        elif name in keras_modules.OTHER_HOMES:
            home, config = keras_modules.OTHER_HOMES[name], self._layer(name, config, path)
        elif not {"module", "trainable"} & {*raw, *config} and self._is_operation(name):
            # Some share their names with layers: `Multiply`.
            raise SourceError(*classes.UNNAMED_OPERATION)
        elif layers.class_in_keras_3(name) in classes.KEYS:
            home, config = "keras.layers", self._layer(name, config, path)
            name = layers.class_in_keras_3(name)
        elif "module" in raw:
            raise SourceError("Keras 3 has no such layer", REBUILD)
        else:
            return self._foreign(raw, config, path)
        entry = objects.of_keras(home, name, config)
        if name in {"Functional", *keras_modules.OTHER_HOMES}:
            entry["registered_name"] = name
        return {**entry, **_kept(raw, name)}

    def _is_operation(self, name: str) -> bool:
        """Whether what says nothing of training is an operation: Keras 3 writes it of any layer."""
        return not self._author.keras_2 and name != "InputLayer"

    def _foreign(self, raw: Entry, config: Entry, path: str) -> Entry:
        """A class of the user's stays, but for what the base classes of Keras write."""
        if "layers" in config and "input_layers" in config:
            config = self._functional(config, path)
        config.pop("batch_input_shape", None)
        if "dtype" in config:
            config["dtype"] = objects.policy(config["dtype"])
        self._note_own(config, path)
        entry = objects.foreign({**raw, "config": config})
        return {key: value for key, value in entry.items() if key not in _OF_GRAPH}

    def _layer(self, name: str, config: Entry, path: str) -> Entry:
        if name == "Lambda":
            config = layers.lambda_config(config)
            self._note_own(config, path)
        if name == "InputLayer" and "batch_input_shape" in config:
            batch_shape = shapes.shape(config["batch_input_shape"])
            config = {"batch_shape": batch_shape, **config}
        config = layers.respell(name, config, self._author)
        regularized = config.get("activity_regularizer") or name == "ActivityRegularization"
        if self._author.standalone and regularized:
            self._told[_REGULARIZED].append(path)
        for key, value in config.items():
            if key == "dtype":
                config[key] = objects.policy(value)
            elif key.endswith("activation"):
                config[key] = self._activation(value, path)
            elif (area := f"{key.rpartition('_')[2]}s") in objects.KNOWN:
                config[key] = objects.named(value, area)
        for slot in CONTAINERS.get(name, ()):
            value = config.get(slot.key)
            if slot.many:
                if not isinstance(value, list):
                    raise SourceError(f"its configuration has no list `{slot.key}`", REPAIR)
                config[slot.key] = [self._entry(item, path) for item in value]
            elif value is not None:
                config[slot.key] = self._entry(_as_trained(value, config), path)
        if name == "Bidirectional":
            layers.both_directions(config)
        return config

    def _note_own(self, config: Entry, path: str) -> None:
        if self._author.keras_2 and objects.names_hard_sigmoid(config):
            self._told[_OWN].append(path)

    def _activation(self, value: Any, path: str) -> Any:
        if objects.is_function(value, "hard_sigmoid"):
            value = "hard_sigmoid"
        if isinstance(value, str):
            if value == "hard_sigmoid" and self._author.keras_2:
                self._told[_HARD].append(path)
            return objects.activation(value, keras_2=self._author.keras_2)
        if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
            return value
        entry = self._entry(value, path)
        entry.pop("shared_object_id", None)
        return entry

    def _children(self, config: Entry, path: str) -> tuple[list[Entry], list[Entry]]:
        """Returns the layers of a model, as they were and as Keras 3 spells them."""
        olds = config["layers"]
        if not isinstance(olds, list) or not all(isinstance(old, dict) for old in olds):
            raise SourceError("its configuration has no list `layers`", REPAIR)
        before = [_name(old) for old in olds]
        names = objects.unique(before)
        named = [{**old, "name": name} for old, name in zip(olds, before, strict=True)]
        for old, new in zip(before, names, strict=True):
            if old and old != new:
                self.renamed.setdefault(old, new)  # those of the whole model come first
        return named, [self._entry(old, path, new) for old, new in zip(named, names, strict=True)]

    def _functional(self, config: Entry, path: str) -> Entry:
        olds, news = self._children(config, path)
        if any(isinstance(node, dict) for old in olds for node in old["inbound_nodes"]):
            # Keras 3 wrote it
            for old, new in zip(olds, news, strict=True):
                new.update(name=new["config"].get("name"), inbound_nodes=old["inbound_nodes"])
            return {**config, "layers": news}
        known = graph.called(olds, news, config["output_layers"], shapes.owns_input)
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
        first = shapes.own_input(olds[0]) if olds else None
        if first is not None:
            shape = first.get("batch_input_shape", first.get("batch_shape"))
        if shape is not None:
            shape = shapes.shape(shape)
        if shape is not None and olds and news[0]["class_name"] != "InputLayer":
            news.insert(
                0, shapes.input_layer(shape, (first or news[0]["config"]).get("dtype"), news[0])
            )
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


def _as_trained(raw: Any, owner: Entry) -> Any:
    """Returns what a wrapper holds, frozen where the wrapper is: Keras 3 goes by what is inside."""
    if owner.get("trainable") is not False or not isinstance(raw.get("config"), dict):
        return raw
    return {**raw, "config": {**raw["config"], "trainable": False}}


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


def _name(raw: Entry) -> str:
    """Returns the name of a layer; a list of layers, as Keras 2.0 to 2.2.2 writes, has none."""
    config = raw.get("config")
    own = config.get("name") if isinstance(config, dict) else None
    return str(raw.get("name", own) or "")


def output_count(root: Entry) -> int:
    """Returns how many outputs a model has."""
    ends = root["config"].get("output_layers")
    return 1 if ends is None or graph.is_leaf(ends) else sum(1 for _ in graph.leaves(ends))


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""
