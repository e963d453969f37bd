"""Projecting a kernel to its bound after each optimizer step, on every backend.

A projection replaces the kernel by the kernel times `bound / sigma` (`hard`) or `min(1, bound /
sigma)` (`cap`). Sigma comes from following the leading singular vector `u` of a kernel that each
training step changes, so that vectors are remembered from one step to the next.

A round of power iteration reads the kernel twice, `t = W u` and `z = t W`. Where another singular
value overtakes the largest one, it needs many rounds to leave the vector of the old one. The same
two readings carry a second vector at hardly any cost: the direction `p` in which `u` has moved
last. The best vector in the span of both is that of a two by two matrix, so that

    T = orthonormal rows of [W u, W p],  Z = T W,  u' = leading right singular vector of Z,
    sigma = |u' component of Z|,  p' = the part of u' across u

which is LOBPCG without a preconditioner (Knyazev 2001, SIAM J. Sci. Comput. 23(2), algorithm 4.1)
for `W' W`. With `p = 0` it is power iteration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import Any, TypeVar

import keras
import numpy as np
from keras import ops

from snconvert.compat.float64_norms import TINY
from snconvert.compat.variables import Variable, value_of
from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import Settings
from snconvert.layers.errors import EXACT_TRACED, LayerOptionError
from snconvert.layers.initial_u import random_u, warm_u
from snconvert.layers.power_iteration import scale, stacked, times
from snconvert.linalg.power_iteration import Norm

JAX = keras.backend.backend() == "jax"
"""Whether steps are stateless, and remember nothing between two calls."""

_STATELESS_ROUNDS = 20

Array = np.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., None])


def follow(matrix: Any, u: Any, p: Any, rounds: int) -> tuple[Norm, Any, Any]:
    """Follows the leading singular vector for some rounds; there is no gradient.

    Args:
        matrix: float32 `(b, m, n)` or `(m, n)`.
        u: float32 `(b, n)`, unit rows.
        p: float32 `(b, n)`, rows of length 1 or 0.
        rounds: Rounds from `u` and `p`, at least 1.

    Returns:
        The largest norm of the stack, the next `u` and the next `p`. The row of a block of zeros
        stays as it is.

    Example:
        >>> import numpy as np
        >>> kernel, u = np.diag([3.0, 4.0]).astype("float32"), np.full((1, 2), 0.5**0.5, "float32")
        >>> norm, u, p = follow(kernel, u, np.zeros((1, 2), "float32"), 2)
        >>> round(float(norm.sigma), 4)
        4.0
    """
    if len(matrix.shape) == 2:  # noqa: PLR2004 -- the rank of one matrix
        matrix = ops.expand_dims(matrix, 0)
    norm = Norm(0.0, 1.0, False)
    for _ in range(rounds):
        rows, _ = _scaled(ops.matmul(ops.stack([u, p], axis=1), ops.swapaxes(matrix, 1, 2)))
        first = _unit(rows[:, 0])
        second = _unit(_across(rows[:, 1], first))
        columns, unit = _scaled(ops.matmul(ops.stack([first, second], axis=1), matrix))
        one, two = columns[:, 0], columns[:, 1]
        angle = 0.5 * ops.arctan2(2.0 * _dot(one, two), _dot(one, one) - _dot(two, two))
        best = ops.cos(angle) * one + ops.sin(angle) * two
        length = ops.sqrt(_dot(best, best))
        new = ops.where(ops.greater(length, 0.0), ops.divide_no_nan(best, length), u)
        norm = Norm(ops.max(length), unit, unit > TINY)
        u, p = new, _unit(_across(new, u))
    return norm, u, p


def _scaled(rows: Any) -> tuple[Any, Any]:
    """Returns rows divided by their largest entry, and that entry.

    The square of 1e-30 is no float32 number.
    """
    unit = ops.maximum(ops.max(ops.abs(rows)), TINY)
    return ops.divide(rows, unit), unit


def _dot(one: Any, two: Any) -> Any:
    return ops.sum(ops.multiply(one, two), axis=-1, keepdims=True)


def _unit(rows: Any) -> Any:
    """Returns rows as rows of length 1; rows of zeros stay."""
    return ops.divide_no_nan(rows, ops.sqrt(_dot(rows, rows)))


def _across(rows: Any, unit: Any) -> Any:
    """Returns the part of rows that is orthogonal to unit rows."""
    return rows - _dot(rows, unit) * unit


class Memory:
    """The vectors `u` and `p` of one kernel: arrays on JAX, else variables, which graphs can write.

    Args:
        u: float32 `(b, n)`.
        variable: The kernel's variable; `None` for a kernel that is a bare tensor.
        view: How the kernel is read as a stack of matrices.
    """

    def __init__(self, u: Array, variable: Any, view: MatrixView) -> None:
        self.shape = u.shape
        self.view = view
        self._variable = variable
        self._stale = False
        with outside_graph():
            self.vectors = [_stored("u", u), _stored("p", np.zeros_like(u))]

    def project(self, kernel: Any, settings: Settings) -> Any:
        """Returns a kernel scaled to the bound, and remembers its vectors."""
        kernel = ops.stop_gradient(ops.convert_to_tensor(kernel))
        kernel, vectors = projected(kernel, self.vectors, self.view, settings)
        self.store(vectors)
        return kernel

    def store(self, vectors: Sequence[Any]) -> None:
        """Stores the next vectors, or notes that a traced step could not."""
        if any(map(_is_traced, vectors)):
            self._stale = True
        elif JAX:
            self.vectors = list(vectors)
        else:
            for variable, vector in zip(self.vectors, vectors, strict=True):
                variable.assign(vector)

    def converge(self, rounds: int | None) -> None:
        """Brings `u` to the kernel as it is, by some rounds, or exactly for `None`."""
        if self._variable is None:
            return
        if rounds is None:
            u = kernel_u(self._variable, self.view, exact=True)
            vectors = [ops.convert_to_tensor(each) for each in (u, np.zeros_like(u))]
        else:
            kernel = ops.cast(ops.stop_gradient(self._variable.value), "float32")
            u, p = self.vectors
            _, *vectors = follow(stacked(kernel, self.view), u, p, rounds)
        self.store(vectors)

    def u(self) -> Array:
        """Returns `u` as numbers; computes it from the kernel if it could not be stored."""
        if self._stale and self._variable is not None:
            return kernel_u(self._variable, self.view)
        return np.asarray(ops.convert_to_numpy(self.vectors[0]), "float32")


def projected(
    kernel: Any, vectors: Sequence[Any], view: MatrixView, settings: Settings
) -> tuple[Any, list[Any]]:
    """Returns a kernel tensor scaled to the bound, and its next vectors `u` and `p`.

    A stateless JAX computation loses its next vectors, so that it does more rounds.
    """
    u, p = vectors
    rounds = settings.power_iterations
    if _is_traced(kernel) and not _is_traced(u):
        rounds = max(rounds, _STATELESS_ROUNDS)
    norm, u, p = follow(stacked(ops.cast(kernel, "float32"), view), u, p, rounds)
    return times(kernel, scale(norm, settings.mode, settings.bound)), [u, p]


def kernel_u(kernel: Any, view: MatrixView, *, exact: bool = False) -> Array:
    """Returns the `u` of a kernel, or a random one where its numbers are not at hand.

    Args:
        kernel: A variable or a tensor.
        view: How the kernel is read as a stack of matrices.
        exact: Whether the leading singular vector itself is wanted, however large the kernel is.

    Raises:
        LayerOptionError: `exact` is given while a function is traced.
    """
    # Of a variable its own value: within a stateless scope there is only a tracer for it.
    value = value_of(kernel) if isinstance(kernel, Variable) else kernel
    with outside_graph():
        try:
            numbers = np.asarray(ops.convert_to_numpy(value)).astype("float32")
        except (NotImplementedError, TypeError, RuntimeError) as error:
            if exact:
                raise LayerOptionError(*EXACT_TRACED) from error
            # A tensor that is traced: by TensorFlow, by JAX, and within PyTorch's `torch.func`.
            return random_u(view)
    return warm_u(numbers, view, exact=exact)


def outside_graph() -> AbstractContextManager[Any]:
    """Returns a scope outside of the TensorFlow graph that is being traced, if there is one."""
    if keras.backend.backend() != "tensorflow":
        return nullcontext()
    scope: AbstractContextManager[Any] = import_module("tensorflow").init_scope()
    return scope


def without_autograph(function: Function) -> Function:
    """Returns a function that TensorFlow calls as it is, also where it rewrites the caller."""
    if keras.backend.backend() != "tensorflow":
        return function
    autograph = import_module("tensorflow").autograph.experimental
    return autograph.do_not_convert(function)  # type: ignore[no-any-return]


def _stored(name: str, value: Array) -> Any:
    if JAX:
        return value
    return keras.Variable(value, trainable=False, autocast=False, name=name)


def _is_traced(tensor: Any) -> bool:
    """Whether the tensor belongs to a JAX computation being compiled, which has no memory."""
    return JAX and isinstance(tensor, import_module("jax").core.Tracer)
