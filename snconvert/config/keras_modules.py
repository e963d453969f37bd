"""How files spell the private modules of Keras, where they do not name the public ones."""

from __future__ import annotations

_PRIVATE = "keras.src."

OPERATIONS = (f"{_PRIVATE}ops.", "keras.ops")
"""How the modules of the operations begin that stand in graphs (`x * 2`)."""

KERAS_2 = f"{_PRIVATE}engine"
"""How modules begin that only Keras 2 has."""

WRAPPER = ("keras.layers", f"{_PRIVATE}layers.normalization.spectral_normalization")
"""The module of Keras' own `SpectralNormalization`, as Keras versions write it."""


def torch_optimizer(class_name: str) -> str:
    """Returns the module that Keras on PyTorch writes for an optimizer of its own.

    Example:
        >>> torch_optimizer("Adam").rpartition(".")[2]
        'torch_adam'
    """
    return f"{_PRIVATE}backend.torch.optimizers.torch_{class_name.lower()}"
