"""The names of the targets, and which settings each can be given.

What a target does stands in its module below `snconvert.files.targets` and, for live models, below
`snconvert.live.targets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from snconvert.core.settings import MODES, NORMS, Settings
from snconvert.errors import OptionError

Target = Literal["layer", "keras", "constraint"]


class Limits(NamedTuple):
    """Which settings a target can be given.

    Attributes:
        norms: The norms that it knows.
        modes: The modes that it knows.
        bound: The one bound that it knows; `None` if any.
        refusal: What is said of another mode or bound, and how to fix it.
    """

    norms: tuple[str, ...] = ("matrix",)
    modes: tuple[str, ...] = MODES
    bound: float | None = None
    refusal: tuple[str, str] = ("", "")


TARGETS: Mapping[str, Limits] = {
    "layer": Limits(norms=NORMS),
    "keras": Limits(
        modes=("hard",),
        bound=1.0,
        refusal=(
            "Keras' own wrapper does mode hard with bound 1 only, not {mode} with bound {bound:g}",
            "Use --target layer",
        ),
    ),
    "constraint": Limits(
        modes=("hard", "cap"),
        refusal=(
            "a constraint has no gamma, so that there is no mode gain",
            "Use --mode hard or cap, or --target layer",
        ),
    ),
}
"""What a converted layer can become."""


def check_target(target: str, settings: Settings) -> None:
    """Raises `OptionError` if a target cannot be given certain settings."""
    limits, mode, bound = TARGETS[target], settings.mode, settings.bound
    if settings.norm not in limits.norms:
        raise OptionError(
            f"the target {target} knows the norm of the kernel's matrix only",
            "Use --target layer, or --norm matrix",
        )
    if mode not in limits.modes or limits.bound not in {None, bound}:
        what, fix = limits.refusal
        raise OptionError(what.format(mode=mode, bound=bound), fix)
