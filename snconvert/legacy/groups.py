r"""The weights of a `.keras` archive of Keras 2, as those of Keras 3.

Both name a group after the attribute or the class of what it holds. But Keras 2.13 and 2.14 say
`_layer_checkpoint_dependencies` for `layers`, and 2.13 finds each layer that has weights twice
there, so that the next of its class is `dense_2`, not `dense_1`. On Windows a path makes one group,
`layers\dense`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths, snake_case
from snconvert.errors import SourceError, printable
from snconvert.legacy.layer_variables import REPAIR, Variable, shown_shape, wrapper_copies
from snconvert.legacy.optimizer_slots import Stored
from snconvert.legacy.optimizer_state import Trained, has_schedule, relocate_state
from snconvert.legacy.relocation import Relocation
from snconvert.legacy.variables import Variables
from snconvert.weights.contents import Contents, Dataset

_OTHER_LAYERS = "_layer_checkpoint_dependencies"
_OUTER, _INNER = "optimizer/vars/", "optimizer/inner_optimizer/vars/"
_PUBLIC_PARTS = {f"_{part}_dense": f"{part}_dense" for part in ("query", "key", "value", "output")}
"""What Keras 2 calls parts of a MultiHeadAttention -> what Keras 3 does."""


class _Scheme(NamedTuple):
    """How an archive names groups.

    Attributes:
        layers: What it says for `layers`.
        twice: Whether a layer that has weights counts twice.
    """

    layers: str
    twice: bool = False


_SCHEMES = (_Scheme("layers"), _Scheme(_OTHER_LAYERS, twice=True), _Scheme(_OTHER_LAYERS))


def relocation(root: Node, contents: Contents) -> tuple[Relocation, tuple[str, ...]]:
    """Returns where each array of an archive of Keras 2 goes, and what the user should know of it.

    Args:
        root: The model, from its translated configuration (`config.parsing.parse`), with its
            `compile_config` if it has one: by that the optimizer's state is understood.
        contents: What `weights.reading.scan` returns for its `model.weights.h5`.

    Raises:
        SourceError: The arrays are not those that the configuration makes expected.
    """
    stored = _without_backslashes(contents)
    above = {group for path in stored for group in _above(path)}
    schemes = [scheme for scheme in _SCHEMES if scheme.layers in above] or _SCHEMES[:1]
    errors: list[SourceError] = []
    for scheme in schemes:
        try:
            result, notes = _relocation(root, scheme, stored, above)
        except SourceError as error:
            errors.append(error)
        else:
            everything = (*contents.groups, *contents.datasets)
            result.removals = sorted({path.partition("/")[0] for path in everything})
            return result, notes
    raise errors[0]


def of_keras_3(root: Node, contents: Contents, keras_2: bool) -> bool:
    """Whether Keras 3 wrote weights that may be of either, so that all of them stays.

    Args:
        root: As for `relocation`.
        contents: As for `relocation`.
        keras_2: Whether Keras 2 wrote the configuration, for where the weights tell nothing.
    """
    names = {name for path in contents.groups for name in path.split("/")}
    if any("\\" in name for name in names) or _OTHER_LAYERS in names or "metrics" in names:
        return False
    # Behind the iteration Keras 3 has the learning rate, unless that is a schedule.
    behind = [contents.datasets.get(f"{_OUTER}{index}") for index in (1, 2)]
    scalars = [array is not None and array.shape == () for array in behind]
    if behind[0] is None or all(scalars) or has_schedule(root):
        return not keras_2 and names.isdisjoint(_PUBLIC_PARTS)
    return scalars[0]


class _Array(NamedTuple):
    path: str
    dataset: Dataset


def _without_backslashes(contents: Contents) -> dict[str, _Array]:
    """Returns the arrays by the path that they have on other systems than Windows."""
    stored: dict[str, _Array] = {}
    for path, dataset in contents.datasets.items():
        plain = path.replace("\\", "/")
        if plain in stored:
            raise SourceError(f"it holds {printable(plain)} twice", REPAIR)
        stored[plain] = _Array(path, dataset)
    return stored


def _relocation(
    root: Node, scheme: _Scheme, stored: Mapping[str, _Array], above: set[str]
) -> tuple[Relocation, tuple[str, ...]]:
    """Returns the relocation, if the archive names groups so.

    Raises:
        SourceError: It does not.
    """
    paths = group_paths(root)
    variables = Variables(root, paths)
    groups = _groups(root, scheme, variables, above)
    nodes = {group: node for node, group in groups.items() if group and node.first is None}
    places: dict[str, str] = {}
    for path in stored:
        if path.partition("/")[0] in {"optimizer", "metrics"}:
            continue
        node = next((nodes[group] for group in _above(path) if group in nodes), None)
        if node is None:
            raise SourceError(
                f"it holds an array {printable(path)}, which belongs to no layer", REPAIR
            )
        places[f"{paths[node]}/{_renamed(node, path.removeprefix(f'{groups[node]}/'))}"] = path
    shapes = {new: stored[path].dataset.shape for new, path in places.items()}
    for node in groups:
        if node.first is None:
            _check(node, paths[node], variables, shapes)
    sources = {new: stored[path].path for new, path in places.items()}
    result = Relocation(
        moves=[(path, new) for new, path in sources.items()],
        computed=list(wrapper_copies(nodes.values(), paths, sources)),
        groups=[(group, paths[node]) for group, node in nodes.items()],
    )
    state = Stored({array.path: array.dataset.shape for array in _state(stored)})
    trained = Trained(variables.trained(root), variables.once_trained(root), shapes)
    return result, relocate_state(root, trained, state, result)


def _above(path: str) -> Iterator[str]:
    """Yields the groups above a path, the nearest first."""
    while path := path.rpartition("/")[0]:
        yield path


def _groups(root: Node, scheme: _Scheme, variables: Variables, above: set[str]) -> dict[Node, str]:
    """Returns the group of every node in the archive; the root's is empty."""
    groups = {root: ""}
    for node in root.walk():
        prefix = f"{groups[node]}/" if groups[node] else ""
        used: dict[str, int] = {}
        for child in node.children:
            slot = child.slot
            if slot is None or not slot.many:
                groups[child] = prefix + (slot.attribute if slot else "")
                continue
            of_model = slot.attribute == "layers"
            name = snake_case(child.class_name)
            count = used[name] = used.get(name, -1) + 1
            suffix = f"_{count}" if count else ""
            place = scheme.layers if of_model else slot.attribute
            groups[child] = f"{prefix}{place}/{name}{suffix}"
            if scheme.twice and of_model and variables.any_of(child, groups[child] in above):
                used[name] += 1
    return groups


def _renamed(node: Node, path: str) -> str:
    """Returns what Keras 3 calls a path below the group of a layer."""
    part, slash, rest = path.partition("/")
    if node.builtin == "MultiHeadAttention":
        part = _PUBLIC_PARTS.get(part, part)
    return part + slash + rest


def _check(
    node: Node, group: str, variables: Variables, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Checks the arrays of a layer, or takes note of those of a layer of unknown class.

    Raises:
        SourceError: They are not those that the configuration makes expected.
    """
    expected = variables.own(node)
    if expected is None:
        own = (f"{group}/vars/{index}" for index in itertools.count())
        variables.learn(node, [Variable(path) for path in itertools.takewhile(shapes.get, own)])
        return
    for variable in expected:
        shape = shapes.get(variable.path)
        if shape is None or not variable.fits(shape):
            what = "is missing" if shape is None else f"has the shape {shape}"
            raise SourceError(
                f"the array {variable.path} {what}, but ({shown_shape(variable.shape)}) is"
                " expected by its configuration",
                REPAIR,
                path=node.path,
                class_name=node.title,
            )


def _state(stored: Mapping[str, _Array]) -> Iterator[_Array]:
    """Yields the variables of the optimizer; one around it stores them once more."""
    inside = any(path.startswith(_INNER) for path in stored)
    folder = _INNER if inside else _OUTER
    for index in itertools.count():
        array = stored.get(f"{folder}{index}")
        if array is None:
            return
        yield array
