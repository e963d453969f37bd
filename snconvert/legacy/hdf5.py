"""The weights of a whole model in HDF5, or of `save_weights`, as those of Keras 3."""

from __future__ import annotations

from snconvert.config.tree import Node
from snconvert.legacy.relocation import Relocation
from snconvert.weights.contents import Attributes, Contents


def relocation(
    root: Node, attributes: Attributes, contents: Contents
) -> tuple[Relocation, tuple[str, ...]]:
    """Returns where each array of an HDF5 file goes, and what the user should know of it.

    Args:
        root: The model, from its translated configuration (`config.parsing.parse`), with its
            `compile_config` if it has one: by that the optimizer's state is understood.
        attributes: What `weights.attributes.read_attributes` returns.
        contents: What `weights.reading.scan` returns.

    Raises:
        SourceError: The arrays are not those that the configuration makes expected.
    """
    raise NotImplementedError
