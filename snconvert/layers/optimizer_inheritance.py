"""What an optimizer is told of a kernel holds for the kernel's `gamma`, too.

With mode `gain` a layer computes with `gamma / sigma * W`: that a kernel must not decay, or that
another optimizer trains it, is meant of `gamma` then. Keras keeps such choices by variable and by
name, outside of files, and takes them at any time, after loading and compiling too. So nothing is
copied: where Keras asks them of a `gamma`, in two places, the answer is that for its kernel.
"""

from __future__ import annotations

import functools
from typing import Any

from snconvert.compat.optimizers import decay_like, train_like

_KERNEL = "_snconvert_kernel"


def tie(gamma: Any, kernel: Any) -> None:
    """Has optimizers treat a `gamma` as its kernel."""
    setattr(gamma, _KERNEL, kernel)
    _install()


def kernel_of(variable: Any) -> Any:
    """Returns the kernel of a `gamma`, and any other variable itself."""
    return getattr(variable, _KERNEL, variable)


@functools.cache
def _install() -> None:
    decay_like(kernel_of)
    train_like(kernel_of)
