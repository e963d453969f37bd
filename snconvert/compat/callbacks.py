"""The list of callbacks that a running `fit` goes by, which no callback is given."""

from __future__ import annotations

import sys
from typing import Any

import keras


def call_first(callback: Any) -> None:
    """Has Keras call a callback before the others of its list, from the next event on.

    Keras calls callbacks in the order of the list and hands all of them one `logs` of an epoch, so
    that what one of them adds is seen by those behind it only. The list is found where Keras calls
    `on_train_begin` from; a callback that is called by something else stays where it is.

    Args:
        callback: One whose `on_train_begin` is going on.
    """
    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            others = [each for each in caller.callbacks if each is not callback]
            if len(others) < len(caller.callbacks):
                # Another list, as Keras is going through this one.
                caller.callbacks = [callback, *others]
            return
        frame = frame.f_back  # type: ignore[assignment] # `None` ends it
