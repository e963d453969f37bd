"""The patterns of a recipe on the layers of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from snconvert.config.tree import CONTAINERS, Node
from snconvert.core.settings import Settings
from snconvert.errors import OptionError, SelectionError, printable, quoted
from snconvert.planning.options import Selector
from snconvert.planning.patterns import REGEX, expression
from snconvert.planning.recipe import Recipe

_LISTED = 12


class Selection:
    """Patterns of a recipe, each of which must match something.

    Args:
        recipe: The recipe.
        nodes: The layers there are.

    Raises:
        SelectionError: A pattern matches none of them.
    """

    def __init__(self, recipe: Recipe, nodes: Sequence[Node]) -> None:
        self._recipe = recipe
        self._matchers: dict[str, Callable[[str], bool]] = {}
        self._places: dict[Node, list[Node]] = {}
        for node in nodes:
            self._places.setdefault(node.first or node, []).append(node)
        patterns = (*recipe.only, *recipe.exclude, *(item.match for item in recipe.overrides))
        for pattern in patterns:
            matches = self._matchers[pattern] = _matcher(pattern)
            if not any(matches(node.path) for node in nodes):
                paths = [printable(node.path) for node in nodes if is_leaf(node)]
                more = f", ... ({len(paths)} in all)" if len(paths) > _LISTED else ""
                raise SelectionError(
                    f"the pattern {pattern!r} matches no layer",
                    f"The layers are {', '.join(paths[:_LISTED])}{more}",
                )

    def _matches(self, pattern: str, node: Node) -> bool:
        """Whether a pattern matches a layer, or a container around it, in any of its places."""
        matches = self._matchers[pattern]
        above = [node]
        seen = set()  # shared layers in shared models have more places than one cares to walk
        while above:
            container = above.pop()
            first = container.first or container
            if first in seen:
                continue
            seen.add(first)
            for place in self._places.get(first, ()):  # the root is in none
                if matches(place.path):
                    return True
                if place.parent is not None:
                    above.append(place.parent)
        return False

    def why_excluded(self, node: Node) -> str | None:
        """Returns why the recipe leaves the layer out, or `None`."""
        recipe = self._recipe
        for pattern in recipe.exclude:
            if self._matches(pattern, node):
                return f"excluded by {pattern!r}"
        if recipe.only and not any(self._matches(pattern, node) for pattern in recipe.only):
            return "not matched by --only"
        if recipe.select is not None and not _selected(recipe.select, node):
            return "not selected"
        return None

    def settings(self, node: Node) -> Settings:
        """Returns how the layer is to be normalised."""
        settings = self._recipe.settings
        for override in self._recipe.overrides:
            if self._matches(override.match, node):
                settings = replace(settings, **override.changes)
        return settings


def _selected(select: Selector, node: Node) -> bool:
    try:
        return bool(select(node.path, node.class_name))
    except Exception as error:
        call = f"{printable(node.path)!r}, {printable(node.class_name)!r}"
        raise OptionError(
            f"select({call}) raised {type(error).__name__}: {quoted(error)}",
            "Give a function (path: str, class_name: str) -> bool",
        ) from error


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = expression(pattern)
    if pattern.startswith(REGEX):
        return lambda path: compiled.search(path) is not None
    return lambda path: compiled.match(path) is not None


def is_leaf(node: Node) -> bool:
    """Whether a node is a layer by itself, and no container that was opened."""
    return node.spectral is not None or node.builtin not in CONTAINERS
