"""How the variables of two live models are trained: what Keras goes by, and no file holds."""

# ruff: noqa: SLF001 -- Keras has no public way to a layer's own variables

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from snconvert.differing import Findings
from snconvert.errors import printable
from snconvert.layers.spectral import Spectral
from snconvert.live.adoption import state_of
from snconvert.live.constraining import constraints_of
from snconvert.live.survey import layer_of, survey
from snconvert.live.walk import Layer, descendants
from snconvert.rules import RULES

_NONE, _OURS = "NoneType", "SpectralNorm, by its layer"


def compare_variables(before: Layer, after: Layer, found: Findings) -> None:
    """Tells which variables are trained in another way than those of before.

    A conversion gives variables constraints, and changes nothing else of them.

    Args:
        before: A live model.
        after: Another one, or the same, converted.
        found: What differs is told here.
    """
    ours = [dict(_ours(model)) for model in (before, after)]
    for variable, constraint in ours[1].values():
        if variable.constraint is not constraint:
            found.differ(variable.path, "its layer's SpectralNorm is not on the variable")
    one, two = (dict(descendants(model)) for model in (before, after))
    for route in one.keys() & two.keys():
        x, y = one[route], two[route]
        if _is_wrapper(x) != _is_wrapper(y):
            x, y = (part.layer if _is_wrapper(part) else part for part in (x, y))
        pairs = [_own(x, ours[0]), _own(y, ours[1])]
        if len(pairs[0]) == len(pairs[1]):
            for (_, then), (variable, now) in zip(*pairs, strict=True):
                for name, value in then.items():
                    other = now[name]
                    if value != other and {value, other} != {_NONE, _OURS}:
                        what = f"{name} is {printable(value)} before, {printable(other)} after"
                        found.differ(variable.path, what)


def _is_wrapper(layer: Layer) -> bool:
    return type(layer) is keras.layers.SpectralNormalization


def _ours(model: Layer) -> Iterator[tuple[int, tuple[Any, Any]]]:
    """Yields the variables whose layers have our constraint for them, by `id`, and it."""
    for node in survey(model, RULES).walk():
        layer, rule = layer_of(node), RULES.get(node.builtin or "")
        if rule is not None and not node.spectral and layer.built:
            for owner, kernel, _, constraint in constraints_of(layer, rule):
                variable = getattr(owner, kernel.name)
                yield id(variable), (variable, constraint)


def _own(layer: Layer, ours: dict[int, Any]) -> list[tuple[Any, dict[str, Any]]]:
    """Returns a layer's own variables, without those of normalisation, and how each is trained."""
    gone = {id(v) for v in state_of(layer)} if isinstance(layer, Spectral) else set()
    return [
        (
            variable,
            {
                # What is loaded may be frozen by its owner, where it was by the owner's owner.
                "trainable as its layer": variable.trainable == layer.trainable,
                "regularizer": _described(variable.regularizer),
                "constraint": _OURS if id(variable) in ours else _described(variable.constraint),
            },
        )
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables)
        if id(variable) not in gone
    ]


def _described(part: Any) -> str:
    """Returns class and options of a regularizer or constraint, of a bare function its name."""
    config = getattr(part, "get_config", None)
    name = getattr(part, "__name__", type(part).__name__)
    return name if config is None else f"{name} {config()}"
