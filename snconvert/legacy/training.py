"""How a model was compiled."""

from __future__ import annotations
from typing import Any


def translate(
    training: Any, keras_2: bool, renamed: Any
) -> tuple[dict[str, Any] | None, list[str]]:
    return None, []
