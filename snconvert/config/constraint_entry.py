"""How `snconvert.constraints.SpectralNorm` stands in a layer's configuration.

What the class writes, the file carrier writes too, without keras.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from snconvert.core.matrix_view import MatrixView
from snconvert.core.settings import FIELDS, Settings, settings_in
from snconvert.errors import OptionError, SourceError
from snconvert.kinds.kernel_rule import Config, Kernel

if TYPE_CHECKING:
    from snconvert.linalg.blocks import Array

MODULE = "snconvert.constraints"
CLASS = "SpectralNorm"
REGISTERED = "snconvert>SpectralNorm"

OPTIONS = tuple(name for name in FIELDS if name != "norm")
"""The settings that a constraint has: its norm is that of the matrix."""


def argument_of(kernel: Kernel, config: Config) -> str | None:
    """Returns the entry of a layer's configuration that holds the constraint of a kernel.

    Example:
        >>> argument_of(Kernel("recurrent_kernel", 1, None), {"recurrent_constraint": None})
        'recurrent_constraint'
    """
    name = kernel.constraint or f"{kernel.name.removesuffix('_kernel')}_constraint"
    return name if name in config else None


def found_in(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the arguments of a layer that hold our constraint, with the constraint's options."""
    for name, value in config.items():
        if isinstance(value, dict) and value.get("registered_name") == REGISTERED:
            options = value.get("config")
            yield name, options if isinstance(options, dict) else {}


def settings_of(options: Mapping[str, Any]) -> Settings:
    """Returns how a constraint with some options normalises.

    Raises:
        SourceError: The options contain a value that cannot work.
    """
    try:
        return settings_in({name: options[name] for name in OPTIONS if name in options})
    except OptionError as error:
        raise SourceError(
            f"its constraint is invalid: {error.what}", "Convert the original model again"
        ) from error


def factor_of(options: Mapping[str, Any]) -> float | None:
    """Returns what the conversion has multiplied the kernel by, if it is recorded."""
    factor = options.get("factor")
    if isinstance(factor, int | float) and math.isfinite(factor) and factor > 0:
        return float(factor)
    return None


def entry(
    settings: Settings, view: MatrixView | None, factor: float | None, u: Array | None
) -> dict[str, Any]:
    """Returns a constraint as Keras serialises it."""
    return {
        "module": MODULE,
        "class_name": CLASS,
        "config": options(settings, view, factor, u),
        "registered_name": REGISTERED,
    }


def options(
    settings: Settings, view: MatrixView | None, factor: float | None, u: Array | None
) -> dict[str, Any]:
    """Returns the options of a constraint.

    Args:
        settings: Mode, bound and power iterations.
        view: How the kernel is read as a stack of matrices, if not in the usual way.
        factor: What the conversion has multiplied the kernel by.
        u: float32 `(b, n)`.
    """
    return {
        **{name: getattr(settings, name) for name in OPTIONS},
        "view": view_entry(view),
        "factor": factor,
        "u": None if u is None else encoded(u),
    }


def view_entry(view: MatrixView | None) -> dict[str, list[int]] | None:
    """Returns a view as the options of a constraint hold it."""
    if view is None:
        return None
    return {"split": [*view.split], "axes": [*view.axes], "shape": [*view.shape]}


def unusual(view: MatrixView) -> MatrixView | None:
    """Returns a view, or `None` for `(1, everything else, last axis)`, which needs no words."""
    plain = view.shape[0] == 1 and view.in_order and view.split[-1] == view.shape[2]
    return None if plain else view


def encoded(u: Array) -> str:
    """Returns float32 rows as text: little-endian, in base64.

    Example:
        >>> import numpy as np
        >>> encoded(np.array([[1.0, 0.0]]))
        'AACAPwAAAAA='
    """
    import numpy as np  # noqa: PLC0415 - few runs need it

    return base64.b64encode(np.ascontiguousarray(u, "<f4").tobytes()).decode("ascii")


def decoded(text: Any, blocks: int) -> Array:
    """Returns the float32 rows `(blocks, n)` of a text.

    Raises:
        OptionError: It is no such text.
    """
    import numpy as np  # noqa: PLC0415 - few runs need it

    try:
        data = base64.b64decode(text, validate=True)
        u = np.frombuffer(data, "<f4").astype("float32").reshape(blocks, -1)
    except (TypeError, ValueError, binascii.Error) as error:
        raise OptionError(
            f"u is {str(text)[:40]!r}, which is not {blocks} rows of float32 in base64",
            "Leave it out: it is found on first use",
        ) from error
    if not np.isfinite(u).all():
        raise OptionError("u is not finite", "Leave it out: it is found on first use")
    return u
