"""The table of layer kinds, and what a row of one's own is made of; see `snconvert.kinds.table`."""

from snconvert.kinds.kernel_rule import (
    KINDS,
    Config,
    Kernel,
    KernelRule,
    Shape,
    dimension,
    input_shape_of,
    positive_integers,
)
from snconvert.kinds.table import RULES, SPECTRAL, table

__all__ = [
    "KINDS",
    "RULES",
    "SPECTRAL",
    "Config",
    "Kernel",
    "KernelRule",
    "Shape",
    "dimension",
    "input_shape_of",
    "positive_integers",
    "table",
]
