"""In what form a layer stands in a configuration, and whether a conversion writes it like that.

What is not so is a difference: Keras would not load it, or would train it in another way.
"""

from __future__ import annotations

from collections.abc import Iterator

from snconvert.config.dtype_policies import unsupported
from snconvert.config.tree import Node
from snconvert.errors import printable
from snconvert.files.inventory import StoredLayer
from snconvert.files.targets import target_of
from snconvert.kinds.table import RULES

PLAIN = "plain"


def form_of(node: Node) -> str:
    """Returns the form of the layer that a node stands for: `plain`, or that of its target."""
    target = target_of(node)
    return PLAIN if target is None else target.FORM


def flaws(plain: Node, converted: Node, stored: StoredLayer | None) -> Iterator[str]:
    """Yields in what a layer after is not as a conversion of the layer before writes it.

    Args:
        plain: The layer before.
        converted: The layer after, in another form.
        stored: What is stored for the layer before.
    """
    target, rule = target_of(converted), RULES.get(plain.builtin or "")
    if target is None or rule is None or unsupported(plain.config):
        yield f"no conversion makes a {printable(plain.class_name)} {form_of(converted)}"
        return
    obstacle = target.obstacle(plain, rule, stored)
    if obstacle is not None:
        yield f"it is {target.FORM}, but {obstacle}"
    yield from target.flaws(converted, rule, stored)


def drop_defaults(root: Node) -> None:
    """Takes out of a configuration what Keras writes when it saves a model, but no conversion."""
    for node in root.walk():
        target = target_of(node)
        if target is not None:
            target.drop_defaults(node)
