"""Converting a model where it is, in a callback while `fit` trains it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from live_models import Once, X, within_and_between

import snconvert


def plain() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(6), keras.layers.Dense(6)])


def converted() -> keras.Model:
    return snconvert.apply(plain(), mode="gain")


ACTIONS = {
    "gain": (plain, lambda model: snconvert.apply(model, mode="gain", in_place=True)),
    "bake": (converted, lambda model: snconvert.bake(model, in_place=True)),
}


@pytest.mark.parametrize(("name", "eager"), [("gain", False), ("bake", True)])
def test_a_callback_does_what_is_done_between_two_calls_of_fit(name, eager):
    """Weights and optimizer are to the bit those of fit, conversion, fit."""
    batch, epoch, between = within_and_between(*ACTIONS[name], eager=eager)
    for one, two, three in zip(batch, epoch, between, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


def test_an_evaluation_goes_on():
    """A conversion within `evaluate` changes what the next batches are evaluated with."""
    model = plain()
    model.compile(loss="mse", run_eagerly=True)

    class Convert(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, **_):
            if batch == 0:
                snconvert.apply(model, in_place=True)

    model.evaluate(X, X, batch_size=4, verbose=0, callbacks=[Convert()])
    assert isinstance(model.layers[0], snconvert.SpectralDense)


def test_a_copy_in_a_callback_leaves_fit_alone():
    """`apply` without `in_place` changes nothing of the model that is trained."""
    copies = []
    actions = (lambda model: copies.append(snconvert.apply(model)), lambda _: None)
    runs = []
    for action in actions:
        keras.utils.set_random_seed(3)
        model = plain()
        model.compile("adam", "mse", run_eagerly=True)
        model.fit(X, X, epochs=2, verbose=0, callbacks=[Once(action, batch=True)])
        runs.append(model.get_weights())
    assert isinstance(copies[0].layers[0], snconvert.SpectralDense)
    for one, two in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, two)
