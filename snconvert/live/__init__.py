"""The memory carrier: converts live Keras models, whatever their topology; imports keras."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Returns a public function on models: `from snconvert.live import apply` works as well."""
    import snconvert  # noqa: PLC0415 - the one table of public names

    if name != "inspect" and not snconvert._HOME.get(name, "").startswith("live."):  # noqa: SLF001 - as above
        raise AttributeError(f"module 'snconvert.live' has no attribute {name!r}")
    return getattr(snconvert, name)
