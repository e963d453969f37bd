"""For each target the options of a conversion that the tests do with it."""

from __future__ import annotations

from typing import Any

EXAMPLES: dict[str, dict[str, Any]] = {
    "layer": {"mode": "gain"},
    "keras": {},
    "constraint": {"mode": "cap", "bound": 0.5},
}


def example_of(target: str) -> dict[str, Any]:
    """Returns the options; those of no example where a test says by name that one is missing."""
    return {"target": target, **EXAMPLES.get(target, {})}
