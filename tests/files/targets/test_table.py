"""A target is in every table that it belongs to; what is missing is said with the line to add."""

from __future__ import annotations

import pytest
from places import ROOT
from target_examples import EXAMPLES

from snconvert.core.targets import TARGETS as NAMES
from snconvert.files.targets import TARGETS
from snconvert.live.targets import BY_FILE, IN_MEMORY


@pytest.mark.parametrize("name", [*NAMES, *(TARGETS.keys() - NAMES.keys())])
def test_rows(name: str) -> None:
    """Name and limits, module, module for live models, example, documentation."""
    assert name in NAMES, f"add {name!r} to TARGETS in snconvert/core/targets.py"
    assert name in TARGETS, f"add {name!r} to TARGETS in snconvert/files/targets/__init__.py"
    target = TARGETS[name]
    assert name == target.NAME, f"{target} has the name {target.NAME!r}, but the row {name!r}"
    table, rows = ("IN_MEMORY", IN_MEMORY) if target.WRAPPER is None else ("BY_FILE", BY_FILE)
    assert name in rows, f"add {name!r} to {table} in snconvert/live/targets/__init__.py"
    assert name in EXAMPLES, f"add {name!r} to EXAMPLES in tests/support/target_examples.py"
    lines = (ROOT / "docs/targets.md").read_text(encoding="utf-8").splitlines()
    said = any(line.startswith(f"| `{name}`") for line in lines)
    assert said, f"add `{name}` to the table of targets in docs/targets.md"
