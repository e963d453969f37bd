"""The weights of a `.keras` archive of Keras 2, as those of Keras 3."""

from __future__ import annotations

from snconvert.config.tree import Node
from snconvert.legacy.relocation import Relocation
from snconvert.weights.contents import Contents


def relocation(root: Node, contents: Contents) -> tuple[Relocation, tuple[str, ...]]:
    """Returns where each array of an archive of Keras 2 goes, and what the user should know of it.

    Args:
        root: The model, from its translated configuration (`config.parsing.parse`), with its
            `compile_config` if it has one: by that the optimizer's state is understood.
        contents: What `weights.reading.scan` returns for its `model.weights.h5`.

    Raises:
        SourceError: The arrays are not those that the configuration makes expected.
    """
    raise NotImplementedError
