"""The kernels of `benchmarks/operator_norm.py`."""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

from places import BENCHMARKS


@cache
def benchmark() -> ModuleType:
    """Returns `benchmarks/operator_norm.py` as a module."""
    path = BENCHMARKS / "operator_norm.py"
    spec = importlib.util.spec_from_file_location("operator_norm", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
