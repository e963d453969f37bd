"""What TensorFlow's own checkpoints and SavedModels hold of a variable's companions.

TensorFlow stores what it reaches from a model by attributes. Keras does not show it the layers in
lists and dicts; it reaches their kernels through the optimizer, but `u`, which is not trained, it
would leave out. So a kernel leads to the states that belong to it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras


def attach(variable: Any, name: str, state: Any) -> None:
    """Has TensorFlow store a state wherever it stores a variable.

    Args:
        variable: A Keras variable; on other backends nothing is done.
        name: By which it is known in checkpoints, from the variable.
        state: Another Keras variable.
    """
    if keras.backend.backend() == "tensorflow":
        variable._track_trackable(state, name, overwrite=True)  # noqa: SLF001 -- no public way


def forget(owner: Any, name: str) -> None:
    """Has TensorFlow leave out what it knows of an object by a name.

    Args:
        owner: A layer or variable; on other backends nothing is done.
        name: Of an attribute, or one that was attached; it may be unknown.
    """
    if keras.backend.backend() == "tensorflow":
        tracking = import_module("tensorflow").__internal__.tracking
        tracking.AutoTrackable._delete_tracking(owner, name)  # noqa: SLF001 -- no public way
