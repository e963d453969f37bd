"""What will be done to each layer, and why not: the plan that every command speaks of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from snconvert.config.dtype_policies import unsupported
from snconvert.config.references import foreign
from snconvert.config.tree import Node
from snconvert.core.report import HOLDS, OPAQUE
from snconvert.core.settings import FIELDS, Settings
from snconvert.errors import (
    NothingLeftError,
    NothingToConvertError,
    SelectionError,
    UnsupportedError,
    printable,
)
from snconvert.kinds.kernel_rule import KernelRule
from snconvert.kinds.table import SPECTRAL
from snconvert.planning.advice import more_with, option_for
from snconvert.planning.recipe import Recipe
from snconvert.planning.selection import Selection, is_leaf

_REASONS = 4
_MODULE = re.compile(r"[a-zA-Z]\w{0,60}(\.\w{1,60}){0,5}", re.ASCII)  # a name that is safe to print


class Step(NamedTuple):
    """A layer that will be converted, by which rule and how."""

    node: Node
    rule: KernelRule
    settings: Settings


class Already(NamedTuple):
    """How a layer is normalised already.

    Attributes:
        whole: The node that stands for it: a wrapper around it, or the layer itself.
        target: The target that it is of.
        reason: Why it is not converted again.
        options: The settings by their names, as the configuration holds them, right or wrong.
    """

    whole: Node
    target: str
    reason: str
    options: Mapping[str, Any]


class Skip(NamedTuple):
    """A layer that stays as it is.

    Attributes:
        node: The layer.
        reason: Why.
        rule: The rule that covers it, if its kernel is known all the same.
        spectral: Whether it is converted already.
        obstacle: Whether it was selected, but cannot be converted.
        again: Whether it is another place of a layer that is listed before.
        kind: The kind that has to be selected for the layer to be converted, if that is all.
        bound: The bound of one that is converted already, unless its mode has none.
        differs: Whether one that is converted already was to have other settings.
        whole: The node that stands for it, where that is a wrapper around it.
    """

    node: Node
    reason: str
    rule: KernelRule | None = None
    spectral: bool = False
    obstacle: bool = False
    again: bool = False
    kind: str | None = None
    bound: float | None = None
    differs: bool = False
    whole: Node | None = None

    @property
    def path(self) -> str:
        """The layer's path; a layer in a wrapper goes by the wrapper's."""
        return (self.whole or self.node).path


class Plan(NamedTuple):
    """One outcome per layer, in the order of the file; containers are not listed."""

    outcomes: tuple[Step | Skip, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The layers to convert."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Step))

    def scaled(self, factor: float) -> Plan:
        """Returns the plan with `factor` times the bounds."""
        return Plan(
            tuple(
                x._replace(settings=x.settings.scaled(factor)) if isinstance(x, Step) else x
                for x in self.outcomes
            )
        )


def make_plan(
    root: Node,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    already: Callable[[Node], Already | None],
    *,
    lenient: bool = False,
) -> Plan:
    """Returns the plan for a model.

    Layers that are quantized or have LoRA adapters are skipped with the reason; the recipe may not
    name one by its very path.

    Args:
        root: The model.
        recipe: The options.
        rules: The rows to use, by class name.
        already: Returns how a layer is normalised already, if it is.
        lenient: Whether one only looks, and may name any layer.

    Raises:
        SelectionError: A pattern matches no layer.
        UnsupportedError: A layer that is quantized or has LoRA adapters is named.
    """
    leaves = [node for node in root.walk() if is_leaf(node) and node.parent is not None]
    selection = Selection(recipe, [node for node in root.walk() if node.path])
    outcomes = [
        _outcome(node, already(node), recipe, rules, selection, lenient=lenient) for node in leaves
    ]
    named = {*recipe.only, *(override.match for override in recipe.overrides)}
    for outcome in outcomes:
        node = outcome.node
        if isinstance(outcome, Skip) and outcome.obstacle and node.path in named and not lenient:
            raise UnsupportedError(
                outcome.reason,
                "Merge or undo it in Keras first, or do not name the layer",
                path=node.path,
                class_name=node.class_name,
            )
    return Plan(tuple(outcomes))


def _outcome(
    node: Node,
    already: Already | None,
    recipe: Recipe,
    rules: Mapping[str, KernelRule],
    selection: Selection,
    *,
    lenient: bool,
) -> Step | Skip:
    rule = rules.get(node.builtin or str(node.entry.get("registered_name")))
    if already is not None:
        reason, options = already.reason, already.options
        row = SPECTRAL.get(node.spectral) if node.spectral else rule
        asked = row is None or row.kind in recipe.kinds
        # Who only looks, or leaves the layer out, has asked for no other settings.
        other = ""
        if asked and not lenient and selection.why_excluded(node) is None:
            other = _other(options, already.target, selection.settings(node), recipe.target)
        bound = options.get("bound", 1.0)
        known = options.get("mode") != "gain" and isinstance(bound, int | float)
        shown = float(bound) if known else None
        return Skip(
            node,
            reason + other,
            row,
            spectral=True,
            bound=shown,
            differs=bool(other),
            whole=already.whole,
        )
    if rule is None:
        return Skip(node, _no_rule(node))
    excluded = selection.why_excluded(node)
    if excluded:
        return Skip(node, excluded, rule)
    if node.first is not None:
        return Skip(node, f"the same layer as {printable(node.first.path)}", again=True)
    selected, obstacle = rule.kind in recipe.kinds, unsupported(node.config)
    if obstacle:
        return Skip(node, obstacle, rule, obstacle=selected)
    if not selected:
        reason = f"kind {rule.kind} is not selected ({option_for([rule.kind])})"
        return Skip(node, reason, rule, kind=rule.kind)
    return Step(node, rule, selection.settings(node))


def with_obstacles(plan: Plan, why_not: Callable[[Step | Skip, KernelRule], str | None]) -> Plan:
    """Returns a plan with the reasons for layers that a target cannot convert.

    Args:
        plan: A plan.
        why_not: Returns why the target cannot convert a layer of that rule, or `None`.
    """

    def with_obstacle(outcome: Step | Skip) -> Step | Skip:
        rule = outcome.rule
        if rule is None or not (isinstance(outcome, Step) or outcome.kind):
            return outcome
        reason = why_not(outcome, rule)
        return outcome if reason is None else Skip(outcome.node, reason, rule)

    return Plan(tuple(map(with_obstacle, plan.outcomes)))


def nothing_to_convert(plan: Plan) -> SelectionError:
    """Returns the error for a plan without a step, which says why there is none and what to do."""
    skips = [outcome for outcome in plan.outcomes if isinstance(outcome, Skip)]
    done = [skip for skip in skips if skip.spectral and skip.node.first is None]
    left = [skip for skip in skips if not skip.spectral and (skip.rule or skip.node.opaque)]
    why, fixes = _reasons(left), []
    if done:
        what = "nothing left to convert"
        count = f"{len(done)} {'layer is' if len(done) == 1 else 'layers are'} converted already"
        why = "; ".join(filter(None, [f"{count} ({_reasons(done)})", why]))
        if not any(skip.differs for skip in done):  # which say so themselves
            fixes.append("`snconvert remove` or `snconvert bake` undoes that")
    elif left and all(skip.obstacle for skip in left):
        what = "nothing that can be converted"
        fixes.append("Convert the model before it is quantized or given adapters")
    else:
        what = "nothing to convert"
    ways = more_with([skip.kind for skip in skips if skip.kind], 0)
    if ways:
        fixes.append(f"Layers that convert: {', '.join(ways)}")
    choice = ", and --kinds, --only and --exclude" if why else ""
    fixes.append(f"See `snconvert inspect` for every layer{choice}")
    kind = NothingLeftError if done and not any(x.differs for x in done) else SelectionError
    if not why:
        kind, why = NothingToConvertError, "no layer is of a kind that can be (`snconvert rules`)"
    return kind(f"{what}: {why}", ". ".join(fixes))


def _reasons(skips: Sequence[Skip]) -> str:
    """Returns each reason with the first layer that it holds for."""
    reasons: dict[str, str] = {}
    for skip in skips:
        reasons.setdefault(skip.reason, printable(skip.path))
    return "; ".join(f"{path}: {reason}" for reason, path in list(reasons.items())[:_REASONS])


def _other(options: Mapping[str, Any], target: str, wanted: Settings, wanted_target: str) -> str:
    """Returns how a normalised layer differs from what is wanted, and what to do."""
    named: dict[str, tuple[Any, Any]] = {"target": (target, wanted_target)}
    named |= {name: (options.get(name), getattr(wanted, name)) for name in FIELDS}
    other = [
        f"{name} {printable(is_)}, not {want}"
        for name, (is_, want) in named.items()
        if is_ is not None and is_ != want
    ]
    return f", with {', '.join(other)}: `remove` or `bake` it first to change that" if other else ""


def _no_rule(node: Node) -> str:
    if not node.opaque:
        return f"no rule for {node.class_name}"
    _, module = foreign(node.own_entry) or ("", None)
    named = "MODULE" if module is None or not _MODULE.fullmatch(module) else module
    if node.own_entry is not node.entry:
        return f"{HOLDS} (--import {named} shows them)"
    return f"{OPAQUE}a custom class, carried over untouched (--import {named} opens it)"
