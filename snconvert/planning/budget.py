"""The option `lipschitz`: which other options go with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from snconvert.core.settings import Settings
from snconvert.errors import OptionError

_FARTHEST = 1e15  # bounds as weights of layers


def check_budget(most: Any, target: str, every: Sequence[Settings]) -> None:
    """Raises `OptionError` if the bounds of layers cannot be chosen by what the network's is to be.

    Args:
        most: What the network's bound is to be at most; `None`: nothing is asked for.
        target: What converted layers become.
        every: The settings that layers may have, the general ones first.
    """
    if most is None:
        return
    if type(most) not in {int, float} or not 0 < most < math.inf:
        raise OptionError(
            f"lipschitz is {most!r}",
            "Give what the network's Lipschitz bound is to be at most, a finite number above 0",
        )
    if target != "layer":
        raise OptionError(
            f"the target {target} sets matrix norms, which bound no network with convolutions",
            "Use lipschitz with target layer",
        )
    if any(each.norm != "operator" for each in every):
        raise OptionError(
            "the norm of a convolution's matrix bounds no network",
            "Use --norm operator with --lipschitz, or leave out the norm",
        )
    if any(each.mode == "gain" for each in every):
        raise OptionError(
            "mode gain has no bound that could be chosen", "Use lipschitz with mode hard or cap"
        )
    bounds = {each.bound for each in every}
    if bounds != {1.0} and len(bounds) == 1:
        raise OptionError(
            "lipschitz chooses the bounds, and those given are weights of layers against each"
            f" other: {every[0].bound:g} for all says nothing",
            "Leave out bound, or give single layers one of their own",
        )
    if max(bounds) > _FARTHEST or min(bounds) < 1.0 / _FARTHEST:
        raise OptionError(
            "lipschitz takes bounds as weights of layers against each other, and they are too far"
            " apart",
            f"Give numbers between {1 / _FARTHEST:g} and {_FARTHEST:g}",
        )
