"""TensorFlow's variables, made in a tenth of the time.

`VarHandleOp` takes the variable's name for its error messages, as an attribute, and for each value
of an attribute TensorFlow makes a kernel, which takes 0.3 ms and is kept for good: for the tests,
whose models have a hundred thousand variables, a minute and a gigabyte.
"""

from __future__ import annotations

import sys
from functools import wraps
from typing import Any

_OPERATIONS = "tensorflow.python.ops.gen_resource_variable_ops"


def forget_names() -> None:
    """Leaves the names out of error messages, where TensorFlow is loaded."""
    operations: Any = sys.modules.get(_OPERATIONS)
    if operations is None or hasattr(operations.var_handle_op, "__wrapped__"):
        return
    make = operations.var_handle_op

    @wraps(make)
    def without_name(*args: Any, **options: Any) -> Any:
        return make(*args, **options | {"debug_name": ""})

    operations.var_handle_op = without_name
