"""What Keras keeps for the time of a call or of loading, and what it keeps of tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from keras.src.backend.common import global_state, masking, variables


def without_autocast() -> AbstractContextManager[Any]:
    """Returns a scope in which variables are read in the dtype in which they are stored."""
    scope: AbstractContextManager[Any] = variables.AutocastScope(None)
    return scope


def current_call() -> Any:
    """Returns Keras' record of the outermost layer call of this thread, or `None` outside of calls.

    Attributes that are set on it are gone with the call.
    """
    return global_state.get_global_attribute("current_call_ctx")


def training_of(call: Any) -> bool | None:
    """Returns what `training` is in a call; `None` where nobody has said."""
    training: bool | None = getattr(call, "training", None)
    return training


def is_loading() -> bool:
    """Whether Keras is building the model of a file, and loads all weights of its layers next.

    Keras notes so only in the scope in which it looks for shared objects of a file.
    """
    return global_state.get_global_attribute("shared_objects/id_to_obj_map") is not None


def set_mask(tensor: Any, mask: Any) -> None:
    """Gives a tensor the mask that the next layers are called with."""
    masking.set_keras_mask(tensor, mask)
