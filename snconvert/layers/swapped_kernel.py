"""Spectral layers that compute by the Keras layer's own `call`, with another kernel in its place.

While such a layer is called, its kernel attributes give `s(sigma) * W`, computed once at the start;
otherwise they are the variables. So whatever Keras does with a kernel (split it by gates, hand it
to cuDNN, use it at every time step) it does with the normalised one, and the power iteration runs
once per call.

What is held belongs to the outermost call that is going on in this thread, not to the layer: it is
gone with that call, whatever goes wrong in it, and no other thread sees it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from keras import ops

from snconvert.compat.calls import current_call, training_of
from snconvert.layers.base import Spectral
from snconvert.layers.power_iteration import times

_HELD = "_snconvert_held"
_OUTSIDE = threading.local()  # for a `call` that no `__call__` is around


@dataclass(slots=True)
class Held:
    """What a layer holds while it is called.

    Attributes:
        kernels: Its effective kernels, by name.
        stepping: Whether one time step of several is going on.
        taken: Whether another layer's call took a kernel, ahead of a call of the layer itself.
    """

    kernels: dict[str, Any]
    stepping: bool = False
    taken: bool = False


class HeldKernel:
    """A kernel attribute: the variable, and `s(sigma) * W` while the layer is called.

    Args:
        name: The attribute's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, layer: Any, owner: type | None = None) -> Any:
        if layer is None:
            return self
        if self._name not in vars(layer):
            raise AttributeError(f"{type(layer).__name__} has no {self._name} before it is built")
        held = layer.held
        if held is not None:
            return held.kernels[self._name]
        if _context() is _OUTSIDE or f"_{self._name}_view" not in vars(layer):
            return vars(layer)[self._name]
        # Another layer's call takes the kernel, as a Bidirectional's does to run both directions
        # in one operation of cuDNN. Where there is none, it calls the layer after all.
        layer.begin_holding(call_training())
        layer.held.taken = True
        return layer.held.kernels[self._name]

    def __set__(self, layer: Any, value: Any) -> None:
        vars(layer)[self._name] = value


class Holding(Spectral):
    """What layers share that hold their effective kernels while they are called.

    A class of one's own calls the Keras layer within `holding`:

        class SpectralMine(Holding, Mine):
            rule = KernelRule(...)

            def call(self, inputs, training=None):
                with self.holding(training):
                    return super().call(inputs)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in vars(cls):
            for kernel in cls.rule.kernels:
                setattr(cls, kernel.name, HeldKernel(kernel.name))

    @contextmanager
    def holding(self, training: bool | None) -> Iterator[None]:
        """Holds the effective kernels for the time of a call; a training call moves `u` once."""
        self.begin_holding(training)
        try:
            yield
        finally:
            self.end_holding()

    def begin_holding(self, training: bool | None) -> None:
        """Computes the effective kernels, and holds them until `end_holding`."""
        if self.held is not None and self.held.taken:
            self.held.taken = False
            return
        kernels = {name: self.held_kernel(name, training) for name in self._own_kernels()}
        _store()[self] = Held(kernels)

    def end_holding(self) -> None:
        """Gives the kernel attributes back their variables."""
        _store().pop(self, None)

    @property
    def held(self) -> Held | None:
        """What is held at the moment."""
        return _store().get(self)

    def held_kernel(self, name: str, training: bool | None) -> Any:
        """Returns `s(sigma) * W` in the dtype that the layer computes in."""
        kernel = times(self._raw(name), self.kernel_scale(name, training))
        return ops.cast(kernel, self.compute_dtype) if self.autocast else kernel

    def _variable(self, name: str) -> Any:
        return vars(self)[name]


def call_training() -> bool | None:
    """Returns what `training` is in the innermost call of a layer that is going on."""
    return training_of(_context())


def _context() -> Any:
    """Keras' record of the outermost call that is going on in this thread."""
    return current_call() or _OUTSIDE


def _store() -> WeakKeyDictionary[Any, Held]:
    store: WeakKeyDictionary[Any, Held]
    store = vars(_context()).setdefault(_HELD, WeakKeyDictionary())
    return store
