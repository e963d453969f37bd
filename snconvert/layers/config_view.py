"""The configuration of a layer as its rule reads it, without `get_config`.

Keras looks for TensorFlow's types in whatever it writes into a configuration, and imports all of
TensorFlow for that on any backend: several seconds, where a plain layer is built in none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Attributes(Mapping[str, Any]):
    """A view of a layer's configuration by its attributes; what has none is asked of `get_config`.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __getitem__(self, key: str) -> Any:
        for name in (key, f"_{key}"):
            if name in vars(self._layer):
                return vars(self._layer)[name]
        return self._layer.get_config()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layer.get_config())

    def __len__(self) -> int:
        return len(self._layer.get_config())
