"""How layers and variables of two live models are trained: what Keras knows, and no file holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras

from snconvert.compat.layers import own_variables, variable_lists
from snconvert.compat.optimizer_choices import kernel_of
from snconvert.config.tree import Node
from snconvert.core.settings import FIELDS
from snconvert.errors import printable
from snconvert.files.targets import TARGETS, target_of
from snconvert.kinds.table import RULES
from snconvert.layers.base import Spectral
from snconvert.live.internals.class_swap import state_of
from snconvert.live.internals.saved_owners import as_before, holds_its_layers
from snconvert.live.internals.walk import Layer, children, descendants
from snconvert.live.targets import IN_MEMORY, is_wrapper
from snconvert.live.tree import layer_of, survey
from snconvert.verification.findings import Findings, compare_settings

_NONE, _BY_LAYER = "NoneType", ", by its layer"


def compare_variables(before: Layer, after: Layer, findings: Findings) -> None:
    """Tells which variables are trained in another way than those of before.

    A conversion gives variables constraints, and changes nothing else of them. Of the layers that
    custom code makes, this tells which are configured otherwise, too.

    Args:
        before: A live model.
        after: Another one, or the same, converted.
        findings: What differs is told here.
    """
    sides = _Side(before), _Side(after)
    for (_, name), (variable, part) in sides[1].ours.items():
        if getattr(variable, name) is not part:
            what = f"its layer's {type(part).__name__} is not on the variable"
            findings.differ(variable.path, what)
    old, new = (side.layers for side in sides)
    for x, y in ((old[route], new[route]) for route in old if route in new):
        wrapped = is_wrapper(x), is_wrapper(y)
        a, b = (x, y) if wrapped[0] == wrapped[1] else map(_inside, (x, y))
        if id(a) not in sides[0].described:
            path = sides[1].paths.get(id(b)) or b.path or b.name
            compare_settings(path, *_configs(a, b), findings)
            counts = [len(list(children(layer))) for layer in (a, b)]
            if counts[0] != counts[1]:
                findings.differ(path, f"holds {counts[0]} layers before, {counts[1]} after")
        _compare_own(sides, a, b, findings)


class _Side:
    """One of two models.

    Attributes:
        layers: All layers below it, by their routes.
        paths: The paths of those that have one in reports, by `id`.
        described: By `id`, those whose configurations it holds.
        trained: By `id`, the variables that a training step changes by gradients.
        ours: By `id` and attribute, the variables that a target has given a part for training, and
            that part.
    """

    def __init__(self, model: Layer) -> None:
        self.layers = dict(descendants(model))
        self.described = {id(model)}
        for layer in (model, *self.layers.values()):
            if id(layer) in self.described and holds_its_layers(layer):
                self.described |= {id(child) for _, child in children(layer)}
        self.trained = {id(variable) for variable in model.trainable_variables}
        nodes = list(survey(model, RULES).walk())
        self.paths = {id(layer_of(node)): node.path for node in nodes}
        self.ours = dict(_ours(nodes))

    def own(self, layer: Layer) -> list[tuple[Any, dict[str, Any]]]:
        """Returns a layer's own variables, and how each is trained."""
        return [
            (
                variable,
                {
                    "trained": id(variable) in self.trained,
                    "regularizer": self._part(variable, "regularizer"),
                    "constraint": self._part(variable, "constraint"),
                },
            )
            for variable in own_variables(layer)
        ]

    def _part(self, variable: Any, name: str) -> str:
        if (id(variable), name) in self.ours:
            return f"{type(self.ours[id(variable), name][1]).__name__}{_BY_LAYER}"
        return _described(getattr(variable, name))


def _inside(layer: Layer) -> Layer:
    return layer.layer if is_wrapper(layer) else layer


def _ours(nodes: Iterable[Node]) -> Iterator[tuple[tuple[int, str], tuple[Any, Any]]]:
    """Yields the parts for training that targets have given variables, by `id` and attribute."""
    for node in nodes:
        target = target_of(node)
        live = None if target is None else IN_MEMORY.get(target.NAME)
        rule = None if live is None else live.rule_of(node)
        if live is not None and rule is not None:
            for variable, name, part in live.parts_of(layer_of(node), rule):
                yield (id(variable), name), (variable, part)


def _compare_own(sides: tuple[_Side, _Side], x: Layer, y: Layer, findings: Findings) -> None:
    """Compares how the variables are trained that a layer has itself."""
    old, new = (side.own(layer) for side, layer in zip(sides, (x, y), strict=True))
    if isinstance(x, Spectral) != isinstance(y, Spectral):
        states = [state_of(layer) if isinstance(layer, Spectral) else [] for layer in (x, y)]
        old_state, new_state = ({id(variable) for variable in state} for state in states)
        old = [pair for pair in old if id(pair[0]) not in old_state]
        for variable, now in new:
            if id(variable) in new_state:
                kernel = kernel_of(variable)  # that of a gamma; u has none, and is never trained
                trained = kernel is not variable and id(kernel) in sides[1].trained
                belongs = {"trained": trained, "regularizer": _NONE, "constraint": _NONE}
                for name, value in belongs.items():
                    if now[name] != value:
                        what = f"{name} is {printable(now[name])}, where {value} belongs"
                        findings.differ(variable.path, what)
        new = [pair for pair in new if id(pair[0]) not in new_state]
    if len(old) == len(new):
        for (_, then), (variable, now) in zip(old, new, strict=True):
            for name, value in then.items():
                other = now[name]
                if value != other and not _is_from_target(value, other):
                    what = f"{name} is {printable(value)} before, {printable(other)} after"
                    findings.differ(variable.path, what)


def _is_from_target(part: Any, other: Any) -> bool:
    """Whether one of two parts of a variable is a target's, and the other is none."""
    return _NONE in {part, other} and any(str(x).endswith(_BY_LAYER) for x in (part, other))


def _configs(x: Layer, y: Layer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the configurations of a layer in two models, without what a conversion changes."""
    configs = _config(x), _config(y)
    changed = {"name"}  # which Keras numbers anew for layers that code makes
    if not any(variable_lists(layer)[1] for layer in (x, y)):
        changed.add("trainable")  # which does nothing else than its variables tell
    if isinstance(x, Spectral) != isinstance(y, Spectral):
        changed |= set(FIELDS)
    for config in configs:
        ours = [name for target in TARGETS.values() for name in target.arguments_in(config)]
        changed |= {name for name in ours if any(each.get(name) is None for each in configs)}
    before, after = ({k: v for k, v in x.items() if k not in changed} for x in configs)
    return before, after


def _config(layer: Layer) -> dict[str, Any]:
    """Returns the configuration of a layer, of one with others inside the plain values of it."""
    with as_before(layer):
        try:
            config = keras.saving.serialize_keras_object(layer.get_config())
        except Exception:  # noqa: BLE001 -- user code raises anything, and no file needs it
            config = {}
    if next(children(layer), None) is not None:
        config = {name: v for name, v in config.items() if not isinstance(v, dict | list)}
    return {**config, "trainable": layer.trainable}


def _described(part: Any) -> str:
    """Returns class and options of a regularizer or constraint, of a bare function its name."""
    config = getattr(part, "get_config", None)
    name = getattr(part, "__name__", type(part).__name__)
    return name if config is None else f"{name} {config()}"
