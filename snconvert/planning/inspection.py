"""What an inspection looks at beside the layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from snconvert.errors import OptionError


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an inspection looks at beside the layers, as `snconvert.inspect` takes it.

    Attributes:
        sigma: The norm of every kernel. Without it no kernel is read, but for what else is asked.
        spectrum: The singular values of every kernel.
        lipschitz: The network's Lipschitz bound.
        samples: With `lipschitz`: at how many points a lower bound is looked for, on the model as
            Keras loads it.
    """

    sigma: bool = True
    spectrum: bool = False
    lipschitz: bool = False
    samples: int = 0

    def __post_init__(self) -> None:
        for name in ("sigma", "spectrum", "lipschitz"):
            if type(getattr(self, name)) is not bool:
                raise OptionError(f"{name} is {getattr(self, name)!r}", "Give true or false")
        if type(self.samples) is not int or self.samples < 0:
            raise OptionError(f"samples is {self.samples!r}", "Give how many points to try")
        if self.samples and not self.lipschitz:
            raise OptionError(
                "samples are points at which the network's Lipschitz bound is tried, which was not"
                " asked for",
                "Use --lipschitz, too, or leave out --samples",
            )

    @classmethod
    def taken_from(cls, options: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Returns the inspection that options ask for, and the other options.

        Raises:
            OptionError: One of them has no such value.
        """
        own = {field.name for field in fields(cls)}
        given = {name: value for name, value in options.items() if value is not None}
        asked = {name: value for name, value in given.items() if name in own}
        rest = {name: value for name, value in given.items() if name not in own}
        if asked.get("sigma") is False and (asked.get("spectrum") or rest.get("certify")):
            raise OptionError(
                "no sigma is to be found, but what is asked for begins with it",
                "Leave out --no-sigma, or --certify and --spectrum",
            )
        return cls(**asked), rest
