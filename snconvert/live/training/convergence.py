"""Following kernels that no training call has moved: weights that were averaged or assigned."""

# ruff: noqa: SLF001 -- what the layers of this package share with it

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

import keras

from snconvert.compat.backends import compiled_step
from snconvert.errors import SelectionError
from snconvert.layers.base import Spectral
from snconvert.layers.constraint import SpectralNorm
from snconvert.layers.errors import check_rounds
from snconvert.layers.projection import without_autograph
from snconvert.live.internals.fitting import all_layers
from snconvert.live.internals.walk import Layer
from snconvert.live.model import check_model
from snconvert.live.training.projection import projections_of


@without_autograph
def converge(model: Layer, rounds: int | None = None) -> None:
    """Brings every `u` of a live model to the kernels that the model has now.

    A training call moves `u` along with its kernel; averaging and assigning weights do not. `u`
    counts as a direction, so that the average of several still serves, but sigma by it is too
    small, and the kernel in use above its bound. Call this after weights were assigned, and for a
    target network with `rounds=1` after each soft update.

    Spectral layers are found wherever they are in the model; kernels and `gamma` stay as they are.
    So do kernels of target `constraint` and of `snconvert.project`, whose next step starts from the
    `u` that this finds. The `u` of a `SpectralProjection` is found whenever `fit` begins. The
    wrapper of target `keras` uses none at inference, and is left alone.

    Args:
        model: A `keras.Model`, or any layer.
        rounds: Rounds of power iteration from the current `u`, two products with the kernel each,
            all in one step that is compiled once for a model, inside `tf.function` too. `None`
            finds the leading singular vector itself, which takes as long as a conversion.

    Raises:
        OptionError: `rounds` is no whole number from 1 on, or `None` while a function is traced.
        SelectionError: Nothing in the model keeps a `u`.

    Example:
        >>> import numpy as np
        >>> import snconvert
        >>> model = snconvert.apply(keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)]))
        >>> _ = model.layers[0].kernel.assign(np.diag([1.0, 2.0, 4.0, 3.0]))
        >>> converge(model, rounds=2)  # about
        >>> converge(model)  # exactly
        >>> np.asarray(model.layers[0].effective_kernel()).diagonal().tolist()
        [0.25, 0.5, 1.0, 0.75]
    """
    check_rounds(rounds)
    check_model(model, "converge")
    follower, projections = _follower_of(model), projections_of(model)
    constrained = [v for v in follower.weights if isinstance(v.constraint, SpectralNorm)]
    if not follower.layers and not constrained and not projections:
        raise SelectionError(
            f"no layer of {model.name} keeps a u",
            "Convert the model, or build it; plain layers and target keras need no converge",
        )
    for variable in constrained:
        variable.constraint.converge(variable, rounds)
    for projection in projections:
        projection.converge(rounds)
    if rounds is None:
        _converge(follower.layers)
    elif follower.layers:
        if rounds not in follower.steps:
            follower.steps[rounds] = _compiled(follower.layers, rounds)
        follower.steps[rounds]()


class _Follower(NamedTuple):
    """The layers of a model that keep a `u`, and the steps over them.

    Variables hold no reference to layers, so that the model may be freed.

    Attributes:
        weights: The variables of the model; when it has others, this follower is outdated.
        layers: The layers that have a `u`.
        steps: Number of rounds -> compiled step over all layers.
    """

    weights: list[Any]
    layers: list[ReferenceType[Spectral]]
    steps: dict[int, Callable[[], None]]


_FOLLOWERS: WeakKeyDictionary[Layer, _Follower] = WeakKeyDictionary()


def _follower_of(model: Layer) -> _Follower:
    weights, follower = model.weights, _FOLLOWERS.get(model)
    if follower is None or [*map(id, follower.weights)] != [*map(id, weights)]:
        layers = [x for x in all_layers(model) if isinstance(x, Spectral) and x._own_kernels()]
        follower = _FOLLOWERS[model] = _Follower(weights, [ref(layer) for layer in layers], {})
    return follower


def _converge(layers: Sequence[ReferenceType[Spectral]], rounds: int | None = None) -> None:
    for layer in _alive(layers):
        layer.converge(rounds)


def _alive(layers: Sequence[ReferenceType[Spectral]]) -> Iterator[Spectral]:
    for reference in layers:
        layer = reference()
        if layer is not None:
            yield layer


def _compiled(layers: Sequence[ReferenceType[Spectral]], rounds: int) -> Callable[[], None]:
    def step() -> None:
        _converge(layers, rounds)

    # Traced now: TensorFlow would warn of calls that trace, of the sixth model on.
    return compiled_step(step, partial(_stateless, layers, step), traced=True)


def _stateless(
    layers: Sequence[ReferenceType[Spectral]],
    step: Callable[[], None],
    jit: Callable[..., Any],
) -> Callable[[], None]:
    owned = [(layer, name) for layer in _alive(layers) for name in layer._own_kernels()]
    us = [layer._u(name) for layer, name in owned]
    read = [*us, *(layer._variable(name) for layer, name in owned)]
    del owned

    def stateless(values: list[Any]) -> list[Any]:
        with keras.StatelessScope(state_mapping=zip(read, values, strict=True)) as scope:
            step()
        return [scope.get_current_value(u) for u in us]

    jitted = jit(stateless)

    def jax_step() -> None:
        for u, value in zip(us, jitted([each.value for each in read]), strict=True):
            u.assign(value)

    return jax_step
