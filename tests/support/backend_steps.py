"""One step of a GAN's discriminator on any backend: called twice, with a gradient penalty."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import snconvert
from snconvert import layers

STACKS = {
    "Dense": lambda: [layers.SpectralDense(5, activation="tanh")],
    "Conv1D": lambda: [layers.SpectralConv1D(3, 3, activation="tanh")],
    "Conv1DTranspose": lambda: [layers.SpectralConv1DTranspose(3, 3, activation="tanh")],
    "LSTM": lambda: [layers.SpectralLSTM(3, unroll=True)],
}


KINDS = {"quick": ("Conv1DTranspose", "LSTM"), "slow": ("Dense", "Conv1D")}
"""Behind each there is a dense layer in any case."""


def discriminator(kind: str) -> keras.Model:
    """Returns a model with weights of its own and each `u` far from converged."""
    stack = [keras.Input((6,)), keras.layers.Reshape((3, 2)), *STACKS[kind]()]
    model = keras.Sequential([*stack, keras.layers.Flatten(), layers.SpectralDense(1, mode="gain")])
    rng = np.random.default_rng(3)
    for variable in model.weights:
        value = rng.normal(size=variable.shape)
        spread = variable.name.endswith("u")
        variable.assign(value / np.linalg.norm(value) if spread else np.abs(value) * 0.5)
    return model


def discriminator_step(kind: str) -> dict[str, np.ndarray]:
    """Returns the gradients of Wasserstein loss and penalty (Gulrajani et al. 2017,
    arXiv:1704.00028), and the values of u after the calls, by number."""
    model = discriminator(kind)
    real = np.random.default_rng(4).normal(size=(4, 6)).astype("float32")
    gradients, us = _STEPS[keras.backend.backend()](model, real, -2 * real)
    found = {f"gradient {i}": value for i, value in enumerate(gradients)}
    named = zip(model.non_trainable_variables, us, strict=True)
    return found | {f"u {i}": u for i, (v, u) in enumerate(named) if v.name.endswith("u")}


def _loss(real: Any, false: Any, slope: Any) -> Any:
    norm = keras.ops.sqrt(keras.ops.sum(keras.ops.square(slope), axis=-1))
    penalty = keras.ops.mean(keras.ops.square(norm - 1.0))
    return keras.ops.sum(false) - keras.ops.sum(real) + 10.0 * penalty


def _tensorflow(model: keras.Model, real: Any, false: Any) -> Any:
    import tensorflow as tf

    real = tf.constant(real)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            inner.watch(real)
            score = model(real, training=True)
        loss = _loss(score, model(false, training=True), inner.gradient(score, real))
    gradients = outer.gradient(loss, [v.value for v in model.trainable_variables])
    return map(np.array, gradients), [np.array(v) for v in model.non_trainable_variables]


def _torch(model: keras.Model, real: Any, false: Any) -> Any:
    import torch

    real = keras.ops.convert_to_tensor(real).requires_grad_()
    score = model(real, training=True)
    other = model(keras.ops.convert_to_tensor(false), training=True)
    (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
    variables = [v.value for v in model.trainable_variables]
    gradients = torch.autograd.grad(_loss(score, other, slope), variables)
    us = [keras.ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    return [gradient.cpu().numpy() for gradient in gradients], us


def _jax(model: keras.Model, real: Any, false: Any) -> Any:
    import jax

    def loss(trainable: Any, state: Any) -> Any:
        def score(x: Any) -> Any:
            outputs, after = model.stateless_call(trainable, state, x, training=True)
            return outputs.sum(), (outputs, after)

        slope, (outputs, after) = jax.grad(score, has_aux=True)(real)
        other, after = model.stateless_call(trainable, after, false, training=True)
        return _loss(outputs, other, slope), after

    values = [[v.value for v in model.trainable_variables]]
    values.append([v.value for v in model.non_trainable_variables])
    gradients, us = jax.jit(jax.grad(loss, has_aux=True))(*values)
    return map(np.array, gradients), map(np.array, us)


_STEPS = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}


def converged(kind: str) -> dict[str, np.ndarray]:
    """Returns the sigmas by a `u` of another length, after two rounds, and after all of them."""
    model = discriminator(kind)
    found = {}
    for what, rounds in (("as it is", 0), ("two rounds", 2), ("exact", None)):
        if rounds == 0:
            for variable in model.weights:
                if variable.name.endswith("u"):
                    variable.assign(variable * 0.1)
        else:
            snconvert.converge(model, rounds)
        for index, layer in enumerate(model.layers):
            for name, sigma in getattr(layer, "spectral_norms", dict)().items():
                found[f"{what}, {index}/{name}"] = keras.ops.convert_to_numpy(sigma)
    return found


def steps(extent: str) -> dict[str, np.ndarray]:
    """Returns that of the kinds of an extent, as `step {kind}/{what}`."""
    return {
        f"{job} {kind}/{what}": value
        for kind in KINDS[extent]
        for job, results in (("step", discriminator_step(kind)), ("converged", converged(kind)))
        for what, value in results.items()
    }
