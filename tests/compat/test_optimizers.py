"""What an optimizer keeps of the variables that it trains."""

from __future__ import annotations

import keras
import numpy as np

from snconvert.compat import optimizers
from snconvert.compat.optimizer_choices import kernel_of, tie


def variables(*names: str) -> list[keras.Variable]:
    return [keras.Variable(np.ones(2, "float32"), name=name) for name in names]


def test_slots() -> None:
    """A built optimizer lists what it trains and its slots; a twin has the options, and no slot."""
    trained = variables("a", "b")
    optimizer = keras.optimizers.Adam(0.25)
    optimizer.build(trained)
    assert all(
        one is two for one, two in zip(optimizers.trained_by(optimizer), trained, strict=True)
    )
    assert len(optimizers.variables_of(optimizer)) == 2 + 2 * 2
    twin = optimizers.unbuilt_twin(optimizer, optimizers.variables_of(optimizer)[:2])
    assert not twin.built
    assert len(optimizers.variables_of(twin)) == 2
    twin.build(trained[:1])
    assert len(optimizers.variables_of(twin)) == 2 + 2
    assert len(optimizers.variables_of(optimizer)) == 2 + 2 * 2
    assert float(twin.learning_rate) == 0.25


def test_parts() -> None:
    """The optimizers inside another one, and which of them trains a variable."""
    first, second = variables("a", "b")
    one, two = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)
    multi = keras.optimizers.MultiOptimizer(lambda v: two if v.name == "b" else one)
    multi.build([first, second])
    assert optimizers.is_multi(multi)
    assert not optimizers.is_multi(one)
    assert optimizers.parts_of(multi) == [one, two]
    assert optimizers.part_for(multi, second) is two
    numbers = optimizers.part_numbers(multi)
    assert [numbers[optimizers.key_of(multi, variable)] for variable in (first, second)] == [0, 1]
    optimizers.set_trained(multi, [second])
    assert [variable.name for variable in optimizers.trained_by(multi)] == ["b"]


def test_trained_by_an_optimizer_inside() -> None:
    """Before Keras 3.12 only the optimizer inside a LossScaleOptimizer lists what is trained."""
    trained = variables("a", "b")
    outer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    outer.build(trained)
    for listed in (trained, []):
        outer._trainable_variables = listed
        optimizers.set_trained(outer, trained[:1])
        assert len(outer._trainable_variables) == (1 if listed else 0)
        found = optimizers.trained_by(outer)
        assert [variable.name for variable in found] == ["a", "b"]


def test_gamma_is_trained_as_its_kernel() -> None:
    """What an optimizer was told of a kernel holds for its gamma: decay, and the optimizer."""
    kernel, other = variables("kernel", "other")
    gamma = keras.Variable(np.ones((), "float32"), name="gamma")
    tie(gamma, kernel)
    assert kernel_of(gamma) is kernel
    assert kernel_of(other) is other
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay([kernel])
    optimizer.build([kernel, gamma, other])
    decayed = [v.name for v in (kernel, gamma, other) if optimizer._use_weight_decay(v)]
    assert decayed == ["other"]
    one, two = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)
    multi = keras.optimizers.MultiOptimizer(lambda v: two if v.name == "kernel" else one)
    multi.build([kernel, gamma, other])
    assert [v.name for v in optimizers.trained_by(two)] == ["kernel", "gamma"]
