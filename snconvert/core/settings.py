"""What a converted layer is told: mode, bound, power iterations and norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from snconvert.errors import OptionError

MODES = ("hard", "cap", "gain")
NORMS = ("matrix", "operator")


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
        above = self.bound
        if self.mode == "gain":
            above = sigma if gamma is None else abs(gamma)
        after = above * (sigma / sigma_u)
        return min(sigma, after) if self.mode == "cap" else after


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises `OptionError` unless `value` is one of `allowed`."""
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}", f"Choose one of {', '.join(allowed)}")
