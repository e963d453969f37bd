"""What a converted layer of a live model becomes: a module for each target, as for files.

A target that changes layers where they are does all of it here. One that puts another object around
a layer goes through a file (`snconvert.live.by_file`), where `snconvert.files.targets` does it.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras

from snconvert.core.matrix_view import MatrixView
from snconvert.files.targets import TARGETS
from snconvert.files.targets.target import Target
from snconvert.kinds.kernel_rule import Kernel
from snconvert.linalg.stored_u import Normalisation
from snconvert.live.internals.walk import Layer, descendants
from snconvert.live.targets import keras_wrapper
from snconvert.live.targets.constraint import LiveConstraintTarget
from snconvert.live.targets.layer import LiveLayerTarget
from snconvert.live.targets.target import LiveTarget, Normaliser

IN_MEMORY: Mapping[str, LiveTarget] = {
    "layer": LiveLayerTarget(),
    "constraint": LiveConstraintTarget(),
}
"""The targets that change layers where they are, by their names."""

BY_FILE: Mapping[str, Normaliser] = {"keras": keras_wrapper}
"""The targets that put another object around a layer, by their names."""

_ROWS: Mapping[str, Normaliser] = {**IN_MEMORY, **BY_FILE}
_ORDERED = [_ROWS[name] for name in TARGETS if name in _ROWS]


def is_wrapper(layer: Layer) -> bool:
    """Whether a layer is what a target has put around another one."""
    return any(type(layer) is cls for cls in _wrappers())


def wrapping_target(model: Layer) -> Target | None:
    """Returns the target that has put another object around a layer of a model, if one has."""
    classes = {type(layer) for _, layer in descendants(model)}
    return next((target for cls, target in _wrappers().items() if cls in classes), None)


def _wrappers() -> dict[type, Target]:
    return {
        getattr(keras.layers, target.WRAPPER): target
        for target in TARGETS.values()
        if target.WRAPPER is not None
    }


def normalisation_of(
    owner: Layer, kernel: Kernel, view: MatrixView, around: Layer
) -> Normalisation | None:
    """Returns how a kernel of a live layer is normalised already, if it is.

    Args:
        owner: The object that has the kernel: the layer, or a part of it.
        kernel: Its row.
        view: How it is read.
        around: What a target has put around the layer, if one has.
    """
    each = (target.normalisation(owner, kernel, view, around) for target in _ORDERED)
    return next((normalisation for normalisation in each if normalisation is not None), None)
