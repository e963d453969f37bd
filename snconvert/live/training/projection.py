"""Spectral normalization for a training loop: kernels are scaled after each optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Unpack
from weakref import WeakKeyDictionary

import keras

from snconvert.compat.backends import compiled_step
from snconvert.core.settings import Settings
from snconvert.errors import OptionError, SelectionError
from snconvert.kinds.table import RULES
from snconvert.layers.projection import (
    Memory,
    kernel_u,
    outside_graph,
    projected,
    without_autograph,
)
from snconvert.live.internals.class_swap import kernels_by_owner
from snconvert.live.internals.fitting import take_up
from snconvert.live.internals.optimizer_state import averages
from snconvert.live.internals.walk import Layer
from snconvert.live.model import check_model
from snconvert.live.tree import layer_of, plan_for, survey
from snconvert.planning.options import ProjectionOptions, check_names, with_options
from snconvert.planning.recipe import Recipe, recipe


@with_options(ProjectionOptions)
class SpectralProjection(keras.callbacks.Callback):  # type: ignore[misc] # keras has no types
    """Keeps the largest singular values of kernels at a bound while `fit` trains the model.

    After each optimizer step the selected kernels `W` become `bound / sigma * W` (`hard`) or
    `min(1, bound / sigma) * W` (`cap`), all in one compiled step. The model stays as it is, plain
    layers and all; `u` is kept between the steps and goes with the callback. Frozen kernels are
    left alone. With `steps_per_execution` above 1, it comes after that many steps. Where the
    optimizer averages weights (`use_ema`), what `fit` ends with are the averages, which are
    projected as well.

    Args:
        **options: `snconvert.planning.options.ProjectionOptions`; `None` means not given.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> model.compile("sgd", "mse")
        >>> callback = SpectralProjection(bound=2.0)
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0, callbacks=[callback])
        >>> round(float(np.linalg.norm(model.get_weights()[0], 2)), 2)
        2.0

    Reference:
        Gouk et al. 2018, arXiv:1804.04368, algorithm 2.
    """

    def __init__(self, **options: Unpack[ProjectionOptions]) -> None:
        super().__init__()
        check_names(SpectralProjection, options)
        self._recipe = _checked(recipe(**options))
        self._projection: Projection | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds the kernels and the `u` of each."""
        del logs
        self._projection = Projection(self.model, self._recipe)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Projects."""
        del batch, logs
        take_up(self.model)
        if self._projection is not None:
            self._projection()

    def on_train_end(self, logs: Any = None) -> None:
        """Projects the averages with which Keras has replaced the weights by now, if it has."""
        del logs
        if averages([self.model]):
            Projection(self.model, self._recipe)()


@with_options(ProjectionOptions)
@without_autograph
def project(model: Layer, **options: Unpack[ProjectionOptions]) -> None:
    """Scales the kernels of a model to a bound; to be called after each optimizer step.

    As `SpectralProjection` does, for training loops of one's own. The first call finds the kernels
    and the `u` of each; they are remembered, for as long as the model lives, by the options, and
    each further call does one round from there. It can be called inside `tf.function`.

    Args:
        model: A `keras.Model` that is built, or any layer that holds layers.
        **options: `snconvert.planning.options.ProjectionOptions`; `None` means not given.

    Raises:
        SnconvertError: An option cannot work, or no kernel is selected.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> project(model)
        >>> round(float(np.linalg.norm(model.get_weights()[0], 2)), 2)
        1.0
    """
    check_names(project, options)
    chosen = _checked(recipe(**options))
    check_model(model, "project")
    take_up(model)
    projections = _PROJECTIONS.setdefault(model, [])
    projection = next((one for earlier, one in projections if earlier == chosen), None)
    if projection is None:
        projection = Projection(model, chosen)
        projections.append((chosen, projection))
    projection()


class Projection:
    """The selected kernels of a model, their `u`, and the compiled step over all of them.

    Args:
        model: A built model.
        recipe: Which kernels, and how.

    Raises:
        SelectionError: No kernel is selected.
    """

    def __init__(self, model: Layer, recipe: Recipe) -> None:
        with outside_graph():
            self._kernels = _kernels(model, recipe)
        self._step = _compiled(self._kernels)

    def __call__(self) -> None:
        """Projects every kernel."""
        self._step()

    def converge(self, rounds: int | None) -> None:
        """Brings each `u` to its kernel, which stays as it is."""
        for _, memory, _ in self._kernels:
            memory.converge(rounds)


_Kernels = list[tuple[Any, Memory, Settings]]
_PROJECTIONS: WeakKeyDictionary[Layer, list[tuple[Recipe, Projection]]] = WeakKeyDictionary()


def projections_of(model: Layer) -> list[Projection]:
    """Returns what `project` remembers of a model."""
    return [projection for _, projection in _PROJECTIONS.get(model, ())]


def _checked(chosen: Recipe) -> Recipe:
    settings = chosen.all_settings()
    if any(one.mode == "gain" for one in settings):
        raise OptionError("a projection has no gamma for mode gain", "Choose hard or cap")
    if any(one.norm == "operator" for one in settings):
        raise OptionError("a projection takes the norm of the matrix", "Use norm matrix")
    return chosen


def _kernels(model: Layer, chosen: Recipe) -> _Kernels:
    selected: _Kernels = []
    for step in plan_for(survey(model, RULES), chosen, RULES).steps:
        layer = layer_of(step.node)
        if not layer.built:
            continue
        config = layer.get_config()
        for owner, kernels in kernels_by_owner(layer, step.rule):
            for kernel in kernels:
                variable = getattr(owner, kernel.name)
                if variable.trainable:
                    view = kernel.view(tuple(variable.shape), config)
                    memory = Memory(kernel_u(variable, view), variable, view)
                    selected.append((variable, memory, step.settings))
    if not selected:
        raise SelectionError(
            f"no kernel of {model.name} is selected that is built and trainable",
            "Build the model first; see `snconvert inspect` for every layer, and --kinds, --only"
            " and --exclude",
        )
    return selected


def _compiled(kernels: _Kernels) -> Callable[[], None]:
    def step() -> None:
        for variable, memory, settings in kernels:
            variable.assign(memory.project(variable, settings))

    return compiled_step(step, partial(_stateless, kernels), traced=False)


def _stateless(kernels: _Kernels, jit: Callable[..., Any]) -> Callable[[], None]:
    views = [(memory.view, settings) for _, memory, settings in kernels]

    def all_of(values: list[Any], vectors: list[Any]) -> list[Any]:
        triples = zip(values, vectors, views, strict=True)
        return [projected(value, pair, *view) for value, pair, view in triples]

    jitted = jit(all_of)

    def step() -> None:
        values = [variable.value for variable, _, _ in kernels]
        results = jitted(values, [memory.vectors for _, memory, _ in kernels])
        for (variable, memory, _), (value, vectors) in zip(kernels, results, strict=True):
            variable.assign(value)
            memory.store(vectors)

    return step
