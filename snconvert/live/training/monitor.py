"""Sigma of each layer in the logs of `fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from snconvert.compat.callbacks import call_first
from snconvert.core.convolution_map import Convolution
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Norm
from snconvert.errors import KernelError, OptionError, SelectionError
from snconvert.files.targets import norm_of, whole_of
from snconvert.kinds.kernel_rule import Kernel
from snconvert.kinds.table import RULES
from snconvert.linalg.blocks import Array
from snconvert.linalg.following import Follower, norm_along
from snconvert.linalg.kernel_norm import kernel_triplet
from snconvert.live.internals.class_swap import built_for, kernels_by_owner
from snconvert.live.internals.walk import Layer
from snconvert.live.kernels import numbers_of
from snconvert.live.targets import normalisation_of
from snconvert.live.tree import layer_of, plan_for, survey
from snconvert.planning.options import Kinds, Selector
from snconvert.planning.plan import Skip, Step
from snconvert.planning.recipe import Recipe, recipe
from snconvert.planning.selection import Selection


class SigmaMonitor(keras.callbacks.Callback):  # type: ignore[misc] # keras has no types
    """Puts sigma of each layer into the logs of `fit`, for whatever reads them.

    `History`, `CSVLogger`, `TensorBoard`, `EarlyStopping` and others find, at the end of an epoch,

    - `sigma/PATH`: the largest singular value of the kernel as it is stored, by the paths of
      `snconvert.inspect`;
    - `sigma_after/PATH`: that of the kernel with which the layer computes at inference, by the `u`
      that it has now, of layers that are normalised;
    - `sigma/PATH/KERNEL` and `sigma_after/PATH/KERNEL`, of layers with several kernels: each by
      itself, where `sigma/PATH` is the largest.

    A kernel with NaN or infinity has the sigma NaN. The model stays as it is, to the bit. The
    callback may stand anywhere in the list of callbacks: Keras calls it first.

    Args:
        every: Number of epochs from one measurement to the next. The first epoch is measured, each
            `every`-th, and the last; epochs in between repeat what was measured last.
        exact: Whether each sigma is that of `snconvert.inspect`, in float64. Otherwise it is
            followed from the vectors of the epoch before by a few products with the kernel: never
            too large but for rounding, and too small by 3e-4 at most in the trainings of
            `benchmarks/monitor.py`; kernels of up to 8192 numbers are exact either way.
        kinds: The families of layers, all of them by default: see `snconvert.apply`.
        conv: Convolutions beside Dense layers, where `kinds` is not given.
        only: Patterns; where given, a layer must match one of them.
        exclude: Patterns; a layer that matches one of them is left out.
        select: A callable that gets a layer's path and class name and has the last word.
        norm: `matrix` or `operator`: which norm of a convolution sigma is. A converted layer goes
            by its own.

    Raises:
        OptionError: An option has a value that cannot work.
        SelectionError: A pattern matches no layer, or no layer with a kernel is selected; raised
            when `fit` begins.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="dense")])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 4)), np.ones((8, 3))
        >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[SigmaMonitor()])
        >>> sigma = np.linalg.norm(model.get_weights()[0], 2)
        >>> bool(np.isclose(history.history["sigma/dense"][-1], sigma))
        True
    """

    def __init__(
        self,
        every: int = 1,
        *,
        exact: bool = False,
        kinds: Kinds | None = None,
        conv: bool = False,
        only: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        select: Selector | None = None,
        norm: Norm = "matrix",
    ) -> None:
        super().__init__()
        if type(every) is not int or every < 1:
            raise OptionError(f"every is {every!r}", "Give a whole number of epochs, from 1 on")
        if type(exact) is not bool:
            raise OptionError(f"exact is {exact!r}", "Give true or false")
        chosen = recipe(
            kinds=kinds, conv=conv or None, only=only, exclude=exclude, select=select, norm=norm
        )
        self._every, self._exact, self._recipe = every, exact, chosen.looking_at_all()
        self._watched: _Watched | None = None
        self._values: dict[str, float] | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks the selection, and has Keras call this callback first."""
        del logs
        call_first(self)
        self._values = None
        if self.model.built:
            _selected(self.model, self._recipe)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds sigma to the logs."""
        done, last = epoch + 1, (self.params or {}).get("epochs")
        if self._values is None or done % self._every == 0 or done == last:
            if self._watched is None or self._watched.outdated(self.model):
                self._watched = _Watched(self.model, self._recipe, exact=self._exact)
            self._values = self._watched.measure()
        if logs is not None:
            logs.update(self._values)


@dataclass(frozen=True, slots=True)
class _WatchedKernel:
    """One kernel of a built layer.

    Attributes:
        path: The layer's.
        owner: The object that has the kernel: the layer, or a part of it.
        row: Its row.
        view: How it is read.
        conv: The map whose norm sigma is, `None` for that of the matrix.
        search: Finds its sigma.
        normalised: Whether the layer is normalised.
        around: What a target has put around the layer, if one has.
    """

    path: str
    owner: Layer
    row: Kernel
    view: MatrixView
    conv: Convolution | None
    search: Callable[..., float]
    normalised: bool
    around: Layer

    def norms(self) -> tuple[float, float]:
        """Returns sigma of the kernel and of what the layer computes with; NaN for no number."""
        variable = getattr(self.owner, self.row.name)
        value, half = numbers_of(variable), _is_bfloat16(variable)
        try:
            sigma = self.search(value, bfloat16=half)
        except KernelError:
            return math.nan, math.nan
        stored = None
        if self.normalised:
            stored = normalisation_of(self.owner, self.row, self.view, self.around)
        if stored is None or stored.settings is None:
            return sigma, sigma
        if stored.u is None or not np.isfinite(stored.u).all():
            return sigma, math.nan
        by_u = norm_along(value, self.view, self.conv, stored.u, bfloat16=half)
        return sigma, stored.settings.sigma_after(sigma, by_u, stored.gamma)


class _Watched:
    """The selected kernels of a model that are built.

    Args:
        model: The model.
        chosen: Which kernels.
        exact: Whether each sigma is searched for anew.
    """

    def __init__(self, model: Layer, chosen: Recipe, *, exact: bool) -> None:
        self._weights = list(model.weights)
        self._layers: dict[str, list[_WatchedKernel]] = {}
        for outcome in _selected(model, chosen):
            for kernel in _kernels_of(outcome, chosen.settings.norm, exact=exact):
                self._layers.setdefault(kernel.path, []).append(kernel)

    def outdated(self, model: Layer) -> bool:
        """Whether the model has other weights by now, as where layers were built or converted."""
        return [*map(id, self._weights)] != [*map(id, model.weights)]

    def measure(self) -> dict[str, float]:
        """Returns the norms by their names in the logs."""
        values: dict[str, float] = {}
        for path, kernels in self._layers.items():
            norms = [kernel.norms() for kernel in kernels]
            names = ["sigma", "sigma_after"] if kernels[0].normalised else ["sigma"]
            for name, each in zip(names, zip(*norms, strict=True), strict=False):
                values[f"{name}/{path}"] = math.nan if any(map(math.isnan, each)) else max(each)
                if len(kernels) > 1:
                    rows = zip(kernels, each, strict=True)
                    values |= {f"{name}/{path}/{x.row.path}": norm for x, norm in rows}
        return values


def _selected(model: Layer, chosen: Recipe) -> list[Step | Skip]:
    """Returns the layers that a recipe selects, converted or not."""
    root = survey(model, RULES)
    plan = plan_for(root, chosen, RULES, lenient=True)
    selection = Selection(chosen, [node for node in root.walk() if node.path])

    def is_selected(skip: Skip) -> bool:
        known = skip.spectral and skip.rule is not None and skip.rule.kind in chosen.kinds
        return known and skip.node.first is None and selection.why_excluded(skip.node) is None

    selected = [x for x in plan.outcomes if isinstance(x, Step) or is_selected(x)]
    if not selected:
        raise SelectionError(
            f"no layer of {model.name} is selected that has a kernel",
            "See snconvert.inspect for every layer, and kinds, only and exclude",
        )
    return selected


def _kernels_of(outcome: Step | Skip, usual: str, *, exact: bool) -> Iterator[_WatchedKernel]:
    node, rule, layer = outcome.node, outcome.rule, layer_of(outcome.node)
    if rule is None or not layer.built:
        return
    path = outcome.path if isinstance(outcome, Skip) else node.path
    normalised, whole = isinstance(outcome, Skip), whole_of(node)
    around = None if whole is node else layer_of(whole)
    config, norm = layer.get_config(), norm_of(outcome, usual)
    for owner, rows in kernels_by_owner(layer, rule):
        for row in rows:
            shape = tuple(getattr(owner, row.name).shape)
            view = row.view(shape, config)
            conv = row.map_of(norm, shape, config, built_for(layer))
            search = partial(_exact, view=view, conv=conv) if exact else Follower(view, conv)
            yield _WatchedKernel(path, owner, row, view, conv, search, normalised, around)


def _exact(kernel: Array, *, view: MatrixView, conv: Convolution | None, bfloat16: bool) -> float:
    return kernel_triplet(kernel, view, conv, bfloat16=bfloat16).sigma


def _is_bfloat16(variable: Any) -> bool:
    return bool(keras.backend.standardize_dtype(variable.dtype) == "bfloat16")
