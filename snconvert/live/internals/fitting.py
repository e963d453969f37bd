"""What a running `fit` has of a model, so that a callback can convert the model where it is.

Keras calls the compiled functions by their attribute in every step, on each backend. On JAX it also
keeps the weights to itself between the steps of an epoch.
"""

from __future__ import annotations

import keras

from snconvert.compat.backends import renew_torch_parameters
from snconvert.compat.variables import is_elsewhere
from snconvert.errors import UnsupportedError, printable
from snconvert.live.internals.walk import COMPILED, Layer, descendants


def take_up(model: Layer) -> None:
    """Gives a model the weights that a running `fit` keeps on JAX, and takes up again afterwards.

    Raises:
        UnsupportedError: The model is part of another one, which has them.
    """
    if keras.backend.backend() != "jax":
        return
    for layer in all_layers(model):
        getattr(layer, "jax_state_sync", lambda: None)()
    if any(map(is_elsewhere, model.variables)):
        raise UnsupportedError(
            f"the weights of {printable(model.name)} are with a running fit of a model around it",
            "Call jax_state_sync() of the model that is trained first, or do this in on_epoch_end",
        )


def renew_compiled(model: Layer) -> None:
    """Replaces the functions that were compiled with the layers of before.

    Not by nothing, which a running `fit` would call in its next step.
    """
    for layer in all_layers(model):
        for name in COMPILED:
            if getattr(layer, name, None) is not None:
                setattr(layer, name, None)
                getattr(layer, f"make_{name}", lambda: None)()


def all_layers(model: Layer) -> list[Layer]:
    """Returns a model and every layer below it."""
    return [model, *(layer for _, layer in descendants(model))]


def renew_parameters(model: Layer) -> None:
    """Gives PyTorch the variables that the layers have by now.

    Its modules keep parameters beside Keras' variables, and `zero_grad` and the exporters go by
    those: without this, a copy's gradients would add up from step to step.
    """
    if keras.backend.backend() == "torch":
        # A Sequential's graph is a module, but no layer of it.
        modules = {id(part): part for layer in all_layers(model) for part in layer.modules()}
        for part in modules.values():
            renew_torch_parameters(part)
