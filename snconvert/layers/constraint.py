"""Spectral normalization as a constraint: the kernel is divided after each optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from snconvert.compat.variables import Variable
from snconvert.config import constraint_entry
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.errors import OptionError
from snconvert.layers.errors import LayerOptionError
from snconvert.layers.projection import Memory, kernel_u

Array = np.ndarray[Any, Any]


@keras.saving.register_keras_serializable("snconvert")
class SpectralNorm(keras.constraints.Constraint):  # type: ignore[misc] # keras has no types
    """Keeps the largest singular value of a kernel at, or below, a bound.

    Keras calls a constraint after each step of the optimizer and stores what it returns: the kernel
    times `bound / sigma` (`hard`) or `min(1, bound / sigma)` (`cap`). The layer stays the plain
    Keras layer, and inference costs what it always did. Unlike the layers of this package, the
    gradient does not flow through sigma.

    Sigma comes from `power_iterations` rounds from the `u` of the step before, in float32; a round
    reads the kernel twice, like one of power iteration, and follows it better (see
    `snconvert.layers.projection`). On first use `u` is found from the kernel; it is part of the
    configuration, and so of a saved model. A constraint that several variables share keeps a `u`
    for each; these are not saved, but found again. A frozen variable is not constrained, as Keras'
    optimizers leave it out.

    On JAX, Keras' `fit` is stateless and would forget what a constraint remembers. There `u` stays
    as it was when the step was compiled, and each call does at least 20 rounds from it.
    `snconvert.SpectralProjection` keeps its `u` on every backend.

    For a layer that is built already, setting `layer.kernel_constraint` does nothing in Keras: set
    `layer.kernel.constraint`, and compile a model that was trained before again; or use
    `snconvert.apply(model, target="constraint")`.

    An optimizer with `use_ema` averages what its steps give before it calls the constraint: the
    averages, with which `fit` ends, are above the bound. `snconvert.SpectralProjection` projects
    them.

    Args:
        mode: `hard` or `cap`.
        bound: The largest singular value that `hard` sets and `cap` allows.
        power_iterations: Rounds of power iteration in each step.
        view: How the kernel is read as a stack of matrices: a `snconvert.MatrixView`, or its three
            tuples by name; `None` reads it as `(everything else, last axis)`. The norm is the
            largest over the stack. Grouped and depthwise convolutions need one.
        factor: What a conversion has multiplied the kernel by, for `remove`.
        u: From a saved configuration: float32 rows, little-endian, in base64.

    Raises:
        LayerOptionError: An option has a value that cannot work; also a `ValueError`.

    Example:
        >>> import keras, numpy as np
        >>> layer = keras.layers.Dense(8, kernel_constraint=SpectralNorm(bound=2.0))
        >>> layer.build((None, 4))
        >>> _ = layer.kernel.assign(layer.kernel.constraint(layer.kernel))
        >>> round(float(np.linalg.norm(keras.ops.convert_to_numpy(layer.kernel), 2)), 4)
        2.0

    Reference:
        Miyato et al. 2018, arXiv:1802.05957, algorithm 1; Gouk et al. 2018, arXiv:1804.04368,
        algorithm 2, for the projection after each step.
    """

    def __init__(
        self,
        mode: str = "hard",
        bound: float = 1.0,
        power_iterations: int = 1,
        view: MatrixView | Mapping[str, Any] | None = None,
        factor: float | None = None,
        u: str | None = None,
    ) -> None:
        try:
            self.settings = _settings(mode, bound, power_iterations)
            self.view = _view(view)
            blocks = 1 if self.view is None else self.view.shape[0]
            self._saved = None if u is None else constraint_entry.decoded(u, blocks)
            self.factor = _factor(factor)
        except OptionError as error:
            raise LayerOptionError(error.what, error.fix, class_name="SpectralNorm") from error
        self._known: list[tuple[Any, Memory]] = []

    def __call__(self, w: Any) -> Any:
        """Returns the kernel, a variable or a tensor, scaled to the bound; moves its `u`."""
        view = self.view or MatrixView.of(tuple(w.shape))
        return self._memory(w, view).project(w, self.settings)

    def converge(self, variable: Any, rounds: int | None = None) -> None:
        """Brings the `u` of a kernel to the kernel as it is, as `snconvert.converge` does.

        The kernel stays as it is.

        Args:
            variable: The kernel.
            rounds: Rounds from the current `u`; `None` finds the leading singular vector.
        """
        view = self.view or MatrixView.of(tuple(variable.shape))
        self._memory(variable, view).converge(rounds)

    @property
    def u(self) -> Array | None:
        """The current `u`, float32 `(b, n)`; `None` before the first use, or if there are more."""
        if not self._known:
            return self._saved
        return self._known[0][1].u() if len(self._known) == 1 else None

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor arguments of an equal constraint, with the current `u`."""
        return constraint_entry.options(self.settings, self.view, self.factor, self.u)

    def __reduce__(self) -> Any:
        # A copy has a `u` of its own.
        return type(self).from_config, (self.get_config(),)

    def _memory(self, w: Any, view: MatrixView) -> Memory:
        key, shape = w if isinstance(w, Variable) else None, (view.shape[0], view.shape[2])
        for variable, memory in self._known:
            if variable is key and memory.shape == shape:
                return memory
        saved, self._saved = self._saved, None
        u = saved if saved is not None and saved.shape == shape else kernel_u(w, view)
        memory = Memory(u, key, view)
        self._known.append((key, memory))
        return memory


SpectralNorm.__module__ = "snconvert.constraints"  # which saved files name


def _settings(mode: str, bound: float, power_iterations: int) -> Settings:
    if mode == "gain":
        raise OptionError(
            "a constraint has no gamma, so that there is no mode gain", "Choose hard or cap"
        )
    return Settings(mode, bound, power_iterations)


def _view(view: Any) -> MatrixView | None:
    if view is None or isinstance(view, MatrixView):
        return view
    try:
        split, axes, (b, m, n) = (tuple(map(int, view[x])) for x in ("split", "axes", "shape"))
        if sorted(axes) == list(range(len(split))) and math.prod(split) == b * m * n:
            return MatrixView(split, axes, (b, m, n))
    except (TypeError, KeyError, ValueError):
        pass
    raise OptionError(
        f"view is {view!r}",
        "Give a snconvert.MatrixView, or leave it out for (everything else, last axis)",
    )


def _factor(factor: Any) -> float | None:
    if factor is not None and constraint_entry.factor_of({"factor": factor}) is None:
        raise OptionError(f"factor is {factor!r}", "Leave it out")
    return factor  # type: ignore[no-any-return]
