"""The settings of a converted layer: mode, bound, power iterations and norm."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from snconvert.errors import OptionError

Mode = Literal["hard", "cap", "gain"]
Norm = Literal["matrix", "operator"]
MODES: tuple[str, ...] = get_args(Mode)
NORMS: tuple[str, ...] = get_args(Norm)


@dataclass(frozen=True, slots=True)
class Settings:
    """How one layer is normalised: its effective kernel is `s(sigma) * kernel`.

    Attributes:
        mode: `hard` (`s = bound / sigma`; Miyato et al. 2018, arXiv:1802.05957), `cap`
            (`s = min(1, bound / sigma)`; Liu et al. 2020, arXiv:2006.10108) or `gain`
            (`s = gamma / sigma` with a trainable `gamma` that starts at sigma; Zhai et al. 2023,
            arXiv:2303.06296).
        bound: The norm that `hard` sets and `cap` allows; finite and above zero.
        power_iterations: Rounds of power iteration in each training step.
        norm: `matrix` or `operator`.

    Raises:
        OptionError: One of them has a value that cannot work.
    """

    mode: str = "hard"
    bound: float = 1.0
    power_iterations: int = 1
    norm: str = "matrix"

    def __post_init__(self) -> None:
        choice("mode", self.mode, MODES)
        choice("norm", self.norm, NORMS)
        number = type(self.bound) in {int, float}
        if not number or not math.isfinite(self.bound) or self.bound <= 0:
            raise OptionError(f"bound is {self.bound!r}", "Give a finite number above 0")
        if type(self.power_iterations) is not int or self.power_iterations < 1:
            raise OptionError(
                f"power_iterations is {self.power_iterations!r}", "Give a whole number from 1 on"
            )
        object.__setattr__(self, "bound", float(self.bound))

    def scaled(self, factor: float) -> Settings:
        """Returns the settings with `factor` times the bound, rounded down to float32.

        Layers compute in float32, which then holds the bound exactly.

        Example:
            >>> Settings(bound=3.0).scaled(0.5).bound, Settings(bound=0.1).scaled(1.0).bound
            (1.5, 0.09999999403953552)
        """
        mantissa, exponent = math.frexp(self.bound * factor)
        bound = math.ldexp(math.floor(math.ldexp(mantissa, 24)), exponent - 24)
        return replace(self, bound=bound)

    def sigma_after(
        self, sigma: float, sigma_u: float | None = None, gamma: float | None = None
    ) -> float:
        """Returns the norm of the effective kernel.

        Args:
            sigma: The norm of the kernel.
            sigma_u: What the layer takes for it, by its `u`; by default the same.
            gamma: That of mode `gain`; by default the kernel's norm.

        Example:
            >>> Settings(mode="cap", bound=2.0).sigma_after(0.5)
            0.5
            >>> Settings(bound=2.0).sigma_after(5.0, 4.0)
            2.5
        """
        sigma_u = sigma if sigma_u is None else sigma_u
        if sigma_u == 0.0:
            return sigma  # as the layers, which then multiply by 1
        # Not `scale`, so that the norm by the right `u` is the bound to the last bit.
        after = abs(_norm_set(sigma, self, gamma)) * (sigma / sigma_u)
        return min(sigma, after) if self.mode == "cap" else after


FIELDS = tuple(field.name for field in fields(Settings))
"""The names of the settings: those of options, and what a spectral layer's configuration adds."""


def scale(sigma: float, settings: Settings, gamma: float | None = None) -> float:
    """Returns `s(sigma)`, by which a kernel is multiplied; 1 for a kernel of zeros.

    On tensors, `snconvert.layers.power_iteration.scale` does the same.

    Args:
        sigma: The norm of the kernel.
        settings: How the kernel is normalised.
        gamma: That of mode `gain`; by default the kernel's norm.

    Example:
        >>> scale(4.0, Settings(bound=2.0)), scale(4.0, Settings("cap", 5.0))
        (0.5, 1.0)
    """
    if sigma == 0.0:
        return 1.0
    factor = _norm_set(sigma, settings, gamma) / sigma
    return min(1.0, factor) if settings.mode == "cap" else factor


def _norm_set(sigma: float, settings: Settings, gamma: float | None) -> float:
    """Returns the norm that a mode sets, or, for `cap`, allows."""
    if settings.mode != "gain":
        return settings.bound
    return sigma if gamma is None else gamma


def settings_in(options: Mapping[str, Any]) -> Settings:
    """Returns the settings among options; those that are not there have their defaults.

    Raises:
        OptionError: One of them has a value that cannot work.
    """
    return Settings(**{name: options[name] for name in FIELDS if name in options})


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises `OptionError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}", f"Choose one of {', '.join(allowed)}")


def check_config(value: Any) -> None:
    """Raises `OptionError` unless `value`, the option `config`, is a path or `None`."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        raise OptionError(
            "config is the text of a configuration, not a path",
            "Write it to a .json file and give its path",
        )
    if not isinstance(value, str | os.PathLike | None):
        raise OptionError(
            f"config is of type {type(value).__name__}, not a path",
            "Give the path of a file that holds what `model.to_json()` returns",
        )
