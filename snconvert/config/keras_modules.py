"""How files spell the private modules of Keras, where they do not name the public ones."""

from __future__ import annotations

_PRIVATE = "keras.src."

ACTIVATIONS = f"{_PRIVATE}activations."
"""Functions of activations, by their private path."""

OPERATIONS = (f"{_PRIVATE}ops.", "keras.ops")
"""How the modules of the operations begin that stand in graphs (`x * 2`)."""

OLDER = (f"{_PRIVATE}engine", "keras.engine", "tensorflow.", "tf_keras.")
"""How the modules begin that Keras 2, tf.keras and tf-keras write."""

FUNCTIONAL = f"{_PRIVATE}models.functional"
"""The module of the class Functional, which has no public one."""

OTHER_HOMES = {
    "CustomScaleLayer": f"{_PRIVATE}applications.inception_resnet_v2",
    "LayerScale": f"{_PRIVATE}applications.convnext",
    "StochasticDepth": f"{_PRIVATE}applications.convnext",
}
"""Layers of Keras' own applications, which Keras 2 registers as custom ones -> their modules."""

WRAPPER = ("keras.layers", f"{_PRIVATE}layers.normalization.spectral_normalization")
"""The module of Keras' own `SpectralNormalization`, as Keras versions write it."""


def torch_optimizer(class_name: str) -> str:
    """Returns the module that Keras on PyTorch writes for an optimizer of its own.

    Example:
        >>> torch_optimizer("Adam").rpartition(".")[2]
        'torch_adam'
    """
    return f"{_PRIVATE}backend.torch.optimizers.torch_{class_name.lower()}"
