"""The attributes of HDF5 files that older versions of Keras wrote; runs in the guarded process."""

from __future__ import annotations

from snconvert.weights.contents import Attributes
from snconvert.weights.extent import Extent


def read_attributes(extent: Extent) -> Attributes:
    """Returns what the attributes of a whole model, or of weights only, say.

    Args:
        extent: The bytes of an HDF5 file that `scan` has accepted.

    Raises:
        SourceError: One is damaged, too large, or of a type that Keras does not write.
    """
    raise NotImplementedError
