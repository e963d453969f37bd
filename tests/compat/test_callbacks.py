"""A callback that Keras calls before the others."""

from __future__ import annotations

import keras
import pytest

from snconvert.compat.callbacks import call_first


class Noted(keras.callbacks.Callback):
    """Notes when it is called; comes first if it is `eager`."""

    def __init__(self, calls, *, eager=False):
        super().__init__()
        self.calls, self.eager = calls, eager

    def on_train_begin(self, _=None):
        self.calls.append(("begin", self.eager))
        if self.eager:
            call_first(self)

    def on_epoch_end(self, epoch, _=None):
        self.calls.append((epoch, self.eager))


class Wrapped(keras.callbacks.Callback):
    """Calls another callback, which Keras does not know."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def on_train_begin(self, logs=None):
        self.inner.on_train_begin(logs)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_it_comes_first(place: int) -> None:
    """Every callback is called once for each event, the one that asks for it first, from the event
    after the beginning on; and again in a list that was used before."""
    calls: list[tuple] = []
    callbacks = [Noted(calls), Noted(calls)]
    callbacks.insert(place, Noted(calls, eager=True))
    every = keras.callbacks.CallbackList(callbacks)
    for epoch in range(2):
        calls.clear()
        every.on_train_begin()
        every.on_epoch_end(epoch)
        every.on_train_end()
        assert sorted(calls[:3]) == [("begin", False), ("begin", False), ("begin", True)]
        assert calls[3:] == [(epoch, True), (epoch, False), (epoch, False)]


def test_others_are_left_alone() -> None:
    """What is called by another callback, or by nothing of Keras', changes no list."""
    inner = Noted([], eager=True)
    every = keras.callbacks.CallbackList([Noted([]), Wrapped(inner)])
    before = list(every.callbacks)
    every.on_train_begin()
    assert every.callbacks == before
    inner.on_train_begin()
