"""Spectral layers whose kernels belong to parts inside: a cell, or projections.

The parts are spectral layers themselves, which keep `u` and `gamma` beside their kernels; the layer
around them passes its options on. The names of its kernels are paths: `cell/recurrent_kernel`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from snconvert.layers.base import Spectral
from snconvert.layers.errors import refuse_adapters


class Composite(Spectral):
    """The base of the layers whose kernels belong to parts; listed before the Keras class.

    Wherever the Keras layer makes such a part, its spectral counterpart takes its place before it
    is built.
    """

    part_class: ClassVar[type[Spectral]]
    """The spectral class of the parts."""

    def __setattr__(self, name: str, value: Any) -> None:
        if type(value) is plain_class(self.part_class):
            value = counterpart(value, self.part_class, self._options())
        super().__setattr__(name, value)

    def parts(self) -> dict[str, Spectral]:
        """Returns the parts that own kernels, by group; none before Keras creates them."""
        groups = dict.fromkeys(kernel.group for kernel in self.rule.kernels)
        parts = {group: getattr(self, group, None) for group in groups}
        return {group: part for group, part in parts.items() if part is not None}

    def kernel_scale(self, name: str, training: bool | None = False) -> Any:
        """Returns `s(sigma)` of the kernel with a path; a training call moves its `u`."""
        group, _, own = name.rpartition("/")
        return self.parts()[group].kernel_scale(own, training)

    def spectral_norms(self) -> dict[str, Any]:
        """Returns sigma of each raw kernel by the current `u`, float32 scalars by kernel path."""
        return {
            f"{group}/{name}": sigma
            for group, part in self.parts().items()
            for name, sigma in part.spectral_norms().items()
        }

    def effective_kernel(self, name: str = "kernel") -> Any:
        """Returns `s(sigma) * W` of the kernel with a path, as inference uses it."""
        group, _, own = name.rpartition("/")
        return self.parts()[group].effective_kernel(own)

    def converge(self, rounds: int | None = None) -> None:
        """Brings each `u` to its kernel, as `Spectral.converge` does."""
        for part in self.parts().values():
            part.converge(rounds)

    def _build_parts(self, *shapes: Any) -> None:
        refuse_adapters(self)
        super(Spectral, self).build(*shapes)  # `Spectral.build` would add state of its own


def plain_class(spectral: type) -> type:
    """Returns the Keras class that a spectral class was made from."""
    return next(cls for cls in spectral.__mro__ if not issubclass(cls, Spectral))


def counterpart(plain: Any, spectral: type[Spectral], options: Mapping[str, Any]) -> Spectral:
    """Returns a spectral layer with the arguments of a Keras layer that is not built yet.

    Args:
        plain: The Keras layer; its arguments are its attributes of the same names.
        spectral: The spectral subclass of its class.
        options: `mode`, `bound` and `power_iterations`.
    """
    renamed = {"output_shape": "partial_output_shape"}  # of EinsumDense
    names = [*inspect.signature(type(plain).__init__).parameters, "implementation"]
    arguments = {
        name: getattr(plain, renamed.get(name, name))
        for name in names
        if hasattr(plain, renamed.get(name, name))
    }
    common = {"name": plain.name, "dtype": plain.dtype_policy, "trainable": plain.trainable}
    return spectral(**{**arguments, **common, **options})
