"""Products of a function's Jacobian with vectors, as each backend computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import keras
import numpy as np

Arrays = list[np.ndarray[Any, Any]]
Function = Callable[[list[Any]], list[Any]]


def forward_product(function: Function, inputs: Arrays, tangents: Arrays) -> Arrays:
    """Returns `J v`, one array for each output.

    Args:
        function: Of tensors, to tensors.
        inputs: Where.
        tangents: `v`, one array for each input.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tf = import_module("tensorflow")
        values = [tf.constant(x) for x in inputs]
        with tf.autodiff.ForwardAccumulator(values, [tf.constant(v) for v in tangents]) as forward:
            outputs = function(values)
        products = [forward.jvp(y, tf.UnconnectedGradients.ZERO) for y in outputs]
        return [product.numpy() for product in products]
    if backend == "torch":
        torch = import_module("torch")
        pair = tuple(map(torch.tensor, inputs)), tuple(map(torch.tensor, tangents))
        _, products = torch.autograd.functional.jvp(lambda *x: tuple(function(list(x))), *pair)
        return [product.detach().numpy() for product in products]
    jax = import_module("jax")
    _, products = jax.jvp(function, (inputs,), (tangents,))
    return list(map(np.asarray, products))


def backward_product(function: Function, inputs: Arrays, weights: Sequence[Any]) -> Arrays:
    """Returns `w J`, one array for each input.

    Args:
        function: As for `forward_product`.
        inputs: Where.
        weights: `w`, one array for each output.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        tf = import_module("tensorflow")
        values = [tf.constant(x) for x in inputs]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            outputs = function(values)
        slopes = tape.gradient(outputs, values, list(weights), tf.UnconnectedGradients.ZERO)
        return [tf.convert_to_tensor(slope).numpy() for slope in slopes]
    if backend == "torch":
        torch = import_module("torch")
        pair = tuple(map(torch.tensor, inputs)), tuple(map(torch.tensor, weights))
        _, slopes = torch.autograd.functional.vjp(lambda *x: tuple(function(list(x))), *pair)
        return [slope.detach().numpy() for slope in slopes]
    jax = import_module("jax")
    _, backward = jax.vjp(function, inputs)
    return list(map(np.asarray, backward(list(weights))[0]))
