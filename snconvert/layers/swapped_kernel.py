"""Spectral layers that compute by the Keras layer's own `call`, with another kernel in its place.

While such a layer is called, its kernel attributes give `s(sigma) * W`, computed once at the start;
otherwise they are the variables. So whatever Keras does with a kernel (split it by gates, hand it
to cuDNN, use it at every time step) it does with the normalised one, and the power iteration runs
once per call.

The normalised kernels belong to the outermost call that is going on in this thread, not to the
layer: they are gone with that call, whatever goes wrong in it, and no other thread sees them.
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

_SWAPS = "_snconvert_swaps"
_OUTSIDE = threading.local()  # for a `call` that no `__call__` is around


@dataclass(slots=True)
class Swap:
    """The kernels that a layer computes with while it is called.

    Attributes:
        kernels: The effective kernels, by name.
        stepping: Whether one time step of several is going on.
        ahead: Whether another layer's call took a kernel, ahead of a call of the layer itself.
    """

    kernels: dict[str, Any]
    stepping: bool = False
    ahead: bool = False


class KernelAttribute:
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
        swap = layer.swap
        if swap is not None:
            return swap.kernels[self._name]
        if _context() is _OUTSIDE or f"_{self._name}_view" not in vars(layer):
            return vars(layer)[self._name]
        # Another layer's call takes the kernel, as a Bidirectional's does to run both directions
        # in one operation of cuDNN. Where there is none, it calls the layer after all.
        layer.begin_swap(call_training())
        layer.swap.ahead = True
        return layer.swap.kernels[self._name]

    def __set__(self, layer: Any, value: Any) -> None:
        vars(layer)[self._name] = value


class SwappedKernels(Spectral):
    """The base of the layers whose kernel attributes are the effective kernels during a call.

    A class of one's own calls the Keras layer within `swapped`:

        class SpectralMine(SwappedKernels, Mine):
            rule = KernelRule(...)

            def call(self, inputs, training=None):
                with self.swapped(training):
                    return super().call(inputs)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in vars(cls):
            for kernel in cls.rule.kernels:
                setattr(cls, kernel.name, KernelAttribute(kernel.name))

    @contextmanager
    def swapped(self, training: bool | None) -> Iterator[None]:
        """Swaps the kernels for the time of a call; a training call moves `u` once."""
        self.begin_swap(training)
        try:
            yield
        finally:
            self.end_swap()

    def begin_swap(self, training: bool | None) -> None:
        """Computes the effective kernels, which the attributes give until `end_swap`."""
        if self.swap is not None and self.swap.ahead:
            self.swap.ahead = False
            return
        kernels = {name: self.computed_kernel(name, training) for name in self._own_kernels()}
        _swaps()[self] = Swap(kernels)

    def end_swap(self) -> None:
        """Gives the kernel attributes back their variables."""
        _swaps().pop(self, None)

    @property
    def swap(self) -> Swap | None:
        """The kernels in the place of the variables, while the layer is called."""
        return _swaps().get(self)

    def computed_kernel(self, name: str, training: bool | None) -> Any:
        """Returns `s(sigma) * W` in the dtype that the layer computes in."""
        kernel = times(self._raw(name), self.kernel_scale(name, training))
        return ops.cast(kernel, self.compute_dtype) if self.autocast else kernel

    def _variable(self, name: str) -> Any:
        return vars(self)[name]


def call_training() -> bool | None:
    """Returns what `training` is in the innermost call of a layer that is going on."""
    return training_of(_context())


def _context() -> Any:
    """Returns Keras' record of the outermost call that is going on in this thread, or our own."""
    return current_call() or _OUTSIDE


def _swaps() -> WeakKeyDictionary[Any, Swap]:
    swaps: WeakKeyDictionary[Any, Swap]
    swaps = vars(_context()).setdefault(_SWAPS, WeakKeyDictionary())
    return swaps
