"""In what form a layer stands in a configuration, and whether a conversion writes it like that.

What is not so is a difference: Keras would not load it, or would train it in another way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from snconvert.config.constraint_entry import (
    CLASS,
    MODULE,
    REGISTERED,
    argument_of,
    factor_of,
    found_in,
    options,
    settings_of,
    unusual,
)
from snconvert.config.tree import Node
from snconvert.core.settings import Settings
from snconvert.errors import SourceError, printable
from snconvert.files.inventory import Stored
from snconvert.files.normalised import is_constrained
from snconvert.files.targets import constraint
from snconvert.files.targets import keras_wrapper as wrapper
from snconvert.files.targets.layer import MODULE as LAYERS
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import RULES
from snconvert.planning.plan import is_wrapper, unsupported

_SAME = ("name", "trainable", "dtype")
"""What a wrapper's configuration and that of the layer inside have in common."""


def form_of(node: Node) -> str:
    """Returns `plain`, `spectral`, `wrapped` in Keras' own wrapper, or `constrained`."""
    if node.spectral is not None:
        return "spectral"
    if is_wrapper(node):
        return "wrapped"
    return "constrained" if is_constrained(node) else "plain"


def flaws(plain: Node, converted: Node, stored: Stored | None) -> Iterator[str]:
    """Yields what is not as a conversion writes it.

    Args:
        plain: The layer before.
        converted: The layer after, in another form.
        stored: What is stored for the layer before.
    """
    form, rule = form_of(converted), RULES.get(plain.builtin or "")
    if rule is None or unsupported(plain):
        yield f"no conversion makes a {printable(plain.class_name)} {form}"
    elif form == "spectral":
        module = converted.entry.get("module")
        if module != LAYERS:
            yield f"its module is {printable(module)}, where {LAYERS} belongs"
    elif form == "wrapped":
        obstacle = wrapper.obstacle(plain, rule, stored)
        if obstacle is not None:
            yield f"it is wrapped, but {obstacle}"
        yield from _wrapper_flaws(converted)
    else:
        obstacle = constraint.why_not(
            plain, rule, built=bool(stored is not None and stored.kernels)
        )
        if obstacle is not None:
            yield f"it is constrained, but {obstacle}"
        yield from _constraint_flaws(converted, rule, stored)


def _wrapper_flaws(node: Node) -> Iterator[str]:
    """Yields in which fields Keras' wrapper is not the one that a conversion makes."""
    entry, inner = node.entry, node.children[0]
    for name in ("module", "registered_name"):
        allowed = wrapper.ENTRY[name]
        if entry.get(name) not in allowed:
            yield f"{name} of its wrapper is {printable(entry.get(name))}"
    config = node.config
    for name in sorted({*config, *_SAME} - {"layer", "power_iterations"}):
        have, wanted = (_plain(it.get(name)) for it in (config, inner.config))
        if name not in _SAME or have != wanted:
            yield f"{printable(name)} of its wrapper is not that of the layer"
    if entry.get("build_config") != inner.entry.get("build_config"):
        yield "build_config of its wrapper is not that of the layer"
    for name in sorted(inner.entry.keys() - {*wrapper.MOVED, "shared_object_id"}):
        yield f"{printable(name)} stands in the layer inside its wrapper"
    rounds = config.get("power_iterations", 1)
    if type(rounds) is not int or rounds < 1:
        yield "power_iterations of its wrapper is no whole number from 1 on"


def _plain(policy: Any) -> Any:
    """Returns a dtype policy without the number that says which objects are one."""
    if not isinstance(policy, dict):
        return policy
    return {key: value for key, value in policy.items() if key != "shared_object_id"}


def _constraint_flaws(node: Node, rule: KernelRule, stored: Stored | None) -> Iterator[str]:
    """Yields which of our constraints are not those that a conversion sets."""
    present, seen = dict(found_in(node.config)), set[Settings]()
    arguments = {argument_of(kernel, node.config) for kernel in rule.kernels_of(node.config)}
    for argument in sorted(present.keys() - arguments):
        yield f"`{printable(argument)}` is of no kernel, but holds {CLASS}"
    for argument in sorted(filter(None, arguments - present.keys())):
        yield f"`{argument}` holds no {CLASS}, as another of its kernels has"
    views = {
        argument_of(kernel.kernel, node.config): unusual(kernel.view)
        for kernel in (stored.kernels if stored is not None else ())
    }
    for argument, held in present.items():
        entry, wanted = node.config[argument], options(Settings(), views.get(argument), None, None)
        expected = {"module": MODULE, "class_name": CLASS, "registered_name": REGISTERED}
        for name in sorted(entry.keys() - {"config", "shared_object_id"} | expected.keys()):
            if name not in expected or entry.get(name) != expected[name]:
                yield f"{printable(name)} of its {argument} is {printable(entry.get(name))}"
        for name in sorted(held.keys() - wanted.keys()):
            yield f"its {argument} has the option {printable(name)}, which {CLASS} does not know"
        try:
            seen.add(settings_of(held))
        except SourceError as error:
            yield error.what
        if held.get("mode") == "gain":
            yield f"its {argument} is of mode gain, which {CLASS} does not know"
        if argument in arguments and held.get("view") != wanted["view"]:
            yield f"its {argument} reads the kernel as another matrix"
        if held.get("factor") is not None and factor_of(held) is None:
            yield f"the factor of its {argument} is {printable(held['factor'])}"
    if len(seen) > 1:
        yield "its constraints are not of one mode, bound and number of power iterations"


def without_defaults(root: Node) -> None:
    """Takes out of a configuration what Keras writes, but a conversion does not.

    That is the default of `training` in calls of its own wrapper.
    """
    for node in root.walk():
        if is_wrapper(node):
            wrapper.drop_default(node)
