"""The configuration of a model that an older Keras saved -> the configuration of Keras 3."""

from __future__ import annotations

from typing import Any, NamedTuple


class Translated(NamedTuple):
    """A configuration in the words of Keras 3.

    Attributes:
        config: The root entry of a `config.json` of Keras 3, with its `compile_config`.
        notes: What the user should know: what means something else now, or does not go over.
    """

    config: dict[str, Any]
    notes: tuple[str, ...] = ()


def translate(config: Any, training: Any = None) -> Translated:
    """Translates the configuration of a model.

    Args:
        config: The model's configuration: `model_config` of an HDF5 file, `config.json`, or what
            `model.to_json()` returns; one of Keras 3 passes unchanged.
        training: How it was compiled: `training_config` of an HDF5 file.

    Raises:
        SourceError: It holds what Keras 3 has no word for.
    """
    raise NotImplementedError
