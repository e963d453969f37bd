"""The layer kinds that can be converted: one row of `RULES` per Keras class.

A row says which variables of the layer are kernels, how each is read as a stack of matrices, what
the stored variables must look like, and which spectral class takes the layer's place. The layer
classes, both carriers, the report and the tests loop over this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from snconvert.kinds import attention, conv, dense, embedding, recurrent
from snconvert.kinds.kernel_rule import KernelRule

RULES: Mapping[str, KernelRule] = {
    rule.class_name: rule
    for family in (dense, conv, attention, recurrent, embedding)
    for rule in family.ROWS
}
"""Keras class name -> its rule."""

SPELLINGS = {"GroupedQueryAttention": "GroupQueryAttention"}
"""Keras class, as configurations of Keras 3.16 name it -> as those of every other version do, and
3.16 understands."""

SPECTRAL: Mapping[str, KernelRule] = {rule.spectral_class: rule for rule in RULES.values()}
"""Spectral class name -> the rule of its Keras class."""


def table(extra: Iterable[KernelRule] = ()) -> dict[str, KernelRule]:
    """Returns `RULES` with a caller's rows added; a row of the same class replaces ours."""
    return {**RULES, **{rule.class_name: rule for rule in extra}}
