"""What the constraint costs in a training step: to the plain step, and to a constraint by SVD.

    python benchmarks/constraint.py [UNITS ...]

Per line one Dense layer of that size, batch 32, SGD, in graph mode; the steps of all variants take
turns. Ratios to the plain step of the same round, medians with quartiles.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from rounds import head, ratios, row, shown, steps_in_turns

import snconvert
from snconvert.layers.constraint import SpectralNorm

ROUNDS = 15


class BySVD(keras.constraints.Constraint):
    """What one would write without this package."""

    def __call__(self, w: tf.Tensor) -> tf.Tensor:
        """Divides by the exact norm."""
        w = tf.convert_to_tensor(w)
        return w / tf.linalg.svd(w, compute_uv=False)[0]


def step_of(units: int, constraint: object, *, projected: bool = False) -> Callable[[], None]:
    """Returns a training step of a model of one layer."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(units, kernel_constraint=constraint)
    model = keras.Sequential([keras.Input((units,)), layer])
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)
    x = tf.constant(np.random.default_rng(0).normal(size=(32, units)), "float32")

    @tf.function
    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - x))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))
        if projected:
            snconvert.project(model)

    step()
    return step


def main(sizes: list[int]) -> None:
    """Prints the table."""
    columns = ("control", "constraint", "project", "by SVD")
    print(head("units", "plain ms", *columns))
    for units in sizes:
        steps = {
            "plain": step_of(units, None),
            "control": step_of(units, None),
            "constraint": step_of(units, SpectralNorm()),
            "project": step_of(units, None, projected=True),
            "by SVD": step_of(units, BySVD()),
        }
        taken = steps_in_turns(steps, ROUNDS)
        once = f"{1e3 * statistics.median(taken['plain']):.1f}"
        print(row([units, once, *(shown(ratios(taken, column)) for column in columns)]), flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [256, 1024])
