"""Applies to each `gamma` what users set in an optimizer for its kernel.

With mode `gain` a layer computes with `gamma / sigma * W`: that a kernel must not decay, or that
another optimizer trains it, is meant of `gamma` then. Keras keeps such choices by variable and by
name, outside of files, and takes them at any time, after loading and compiling too. So nothing is
copied: where Keras asks them of a `gamma`, in two private methods, the answer is that for its
kernel.
"""

from __future__ import annotations

import functools
from typing import Any

import keras

from snconvert.compat.variables import Variable

_KERNEL = "_snconvert_kernel"


def tie(gamma: Any, kernel: Any) -> None:
    """Has optimizers treat a `gamma` as its kernel."""
    setattr(gamma, _KERNEL, kernel)
    _wrap_weight_decay()
    _wrap_optimizer_map()


def kernel_of(variable: Any) -> Any:
    """Returns the kernel of a `gamma`, and any other variable itself."""
    return getattr(variable, _KERNEL, variable)


@functools.cache
def _wrap_weight_decay() -> None:
    base = keras.optimizers.Optimizer
    use_weight_decay = base._use_weight_decay

    @functools.wraps(use_weight_decay)
    def of_kernel(self: Any, variable: Any) -> Any:
        # By itself a gamma counts only where its very variable was excluded: a name like "gamma"
        # is meant of normalisation layers.
        own = self._var_key(variable) in getattr(self, "_exclude_from_weight_decay", ())
        return not own and use_weight_decay(self, _kernel_in(self, variable))

    base._use_weight_decay = of_kernel


@functools.cache
def _wrap_optimizer_map() -> None:
    multi = getattr(keras.optimizers, "MultiOptimizer", None)
    if multi is None:
        return  # before Keras 3.15
    build = multi.build

    @functools.wraps(build)
    def by_kernel(self: Any, variables: Any) -> Any:
        choose = self._optimizer_map
        vars(self)["_optimizer_map"] = lambda variable: choose(kernel_of(variable))
        try:
            return build(self, variables)
        finally:
            vars(self)["_optimizer_map"] = choose

    multi.build = by_kernel


def _kernel_in(optimizer: Any, variable: Any) -> Any:
    """Returns the kernel of a `gamma` as the kind of variable that the optimizer asks with."""
    if len(variable.shape):
        return variable
    # TensorFlow's variables stand for Keras', which know their kernels.
    index = optimizer._trainable_variables_indices.get(optimizer._var_key(variable))
    kernel = (
        None if index is None else getattr(optimizer._trainable_variables[index], _KERNEL, None)
    )
    if kernel is None:
        return variable
    return kernel if isinstance(variable, Variable) else kernel.value
