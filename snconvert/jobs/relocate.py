"""Weights of an older file made those of Keras 3; runs inside the guarded process."""

from __future__ import annotations

from snconvert.legacy.relocation import Relocation
from snconvert.weights.extent import Extent
from snconvert.weights.overlay import Overlay


def relocate(extent: Extent, relocation: Relocation) -> Overlay:
    """Returns the changed blocks that make an older file the `model.weights.h5` of Keras 3.

    The attributes of the root that hold a configuration go; there are no fills, so that
    `extent._replace(changes=Changes(*overlay[:3]))` is the result.

    Args:
        extent: The bytes of the older file, which `scan` has accepted.
        relocation: What goes where.

    Raises:
        SourceError: The file is damaged.
    """
    raise NotImplementedError
