"""The weights of a whole model in HDF5, or of `save_weights`, as those of Keras 3.

Keras lists the layers of a model, and the weights of each, and goes by position: names of weights
say neither which layer of which model one belongs to, nor which it is. Names of layers may differ
from those of the configuration, too; if they are the same in another order, they tell more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from snconvert.config.tree import Node
from snconvert.config.weight_groups import group_paths
from snconvert.errors import SourceError, printable
from snconvert.legacy.layer_variables import (
    REPAIR,
    Variable,
    shown_shape,
    variables_by_name,
    wrapper_copies,
)
from snconvert.legacy.optimizer_slots import Stored, first_named
from snconvert.legacy.optimizer_state import Trained, keras3_state, relocate_state
from snconvert.legacy.relocation import Computed, Relocation
from snconvert.legacy.variables import Variables
from snconvert.weights.contents import Attributes, Contents

_OTHER_ORDER = (
    "The file lists its layers in another order than the configuration; weights go by their names"
)


def relocation(
    root: Node, attributes: Attributes, contents: Contents
) -> tuple[Relocation, tuple[str, ...]]:
    """Returns where each array of an HDF5 file goes, and what the user should know of it.

    Args:
        root: The model, from its translated configuration (`config.parsing.parse`), with its
            `compile_config` if it has one: by that the optimizer's state is understood.
        attributes: What `weights.attributes.read_attributes` returns.
        contents: What `weights.reading.scan` returns.

    Raises:
        SourceError: The arrays are not those that the configuration makes expected.
    """
    version = attributes.keras_version or ""
    major = version.partition(".")[0]
    if attributes.layers is None:
        raise SourceError("it lists no layers (`layer_names`), as Keras does", REPAIR)
    if major == "1":
        raise SourceError(
            f"Keras {printable(version)} wrote it, which keeps weights in another form",
            "Load it with Keras 2 (2.2.4 does) and save it again",
        )
    if attributes.top_level:
        raise SourceError(
            f"it holds weights of the model itself ({printable(attributes.top_level[0])}), which"
            " only a subclassed model has",
            "Load it with the Keras that saved it",
        )
    paths = group_paths(root)
    variables = Variables(root, paths)
    keras3 = major.isdecimal() and int(major) > 2  # noqa: PLR2004 - the last of the old ones
    places: dict[str, tuple[str, Variable]] = {}
    names: dict[str, str] = {}
    nodes, listed = _layers(root, variables, attributes.layers)
    layers = _by_name(nodes, listed)
    for node, (name, weights), (instead, _) in zip(nodes, layers, listed, strict=True):
        stored = _stored(weights, contents)
        own = {
            path: path.removeprefix("model_weights/").removeprefix(f"{name}/") for path in stored
        }
        if variables.known(node):
            try:
                order = _order(node, stored, variables.orders(node, keras3=keras3))
            except SourceError as error:
                if name != instead:
                    error.what = f"the file has {printable(instead)} in its place, and {error.what}"
                    error.fix = "Give the configuration of the model that the weights are of"
                raise
        else:
            order = variables_by_name(node, paths, [*own.values()])
            variables.learn(node, order)
        for variable, path in zip(order, stored, strict=True):
            if places.setdefault(variable.path, (path, variable))[0] == path:
                names[variable.path] = own[path]
    notes = () if layers == listed else (_OTHER_ORDER,)
    result = Relocation(removals=_tops(contents))
    result.computed = [
        *_cudnn(places, contents),
        *(_flipped(root, paths, places) if attributes.backend == "theano" else ()),
        *wrapper_copies(root.walk(), paths, {new: path for new, (path, _) in places.items()}),
    ]
    computed = {item.path for item in result.computed}
    result.moves = [(path, new) for new, (path, _) in places.items() if new not in computed]
    optimizer = _stored(attributes.optimizer, contents)
    state = Stored(optimizer, [path.partition("/")[2] for path in optimizer])
    if keras3 and optimizer:
        keras3_state(root, state, result)
        return result, notes
    shapes = {}
    for new, (path, variable) in places.items():
        shapes[new] = variable.shape_of(contents.datasets[path].shape)
    candidates = _candidates(
        variables.once_trained(root), names, state.names, in_order=version.startswith("2.0.")
    )
    trained = Trained(variables.trained(root), candidates, shapes, frozenset(computed))
    return result, notes + relocate_state(root, trained, state, result)


def _candidates(
    lists: list[list[Variable]], names: Mapping[str, str], slots: Sequence[str], *, in_order: bool
) -> list[list[Variable]]:
    """Returns what may have been trained, the likeliest first.

    Args:
        lists: As `Variables.once_trained` returns them.
        names: What the file calls each variable, by its path.
        slots: What the file calls the slots.
        in_order: Whether the Keras that wrote them sorts variables by name, as 2.0 does.
    """
    by_name = [sorted(one, key=lambda variable: names[variable.path]) for one in lists]
    # Where slots have names these say it best: layers may have been frozen otherwise since.
    indices = ((first_named(slots, names[one.path]), one) for one in lists[-1])
    named = [(index, one) for index, one in indices if index is not None]
    named.sort(key=lambda item: item[0])
    others = by_name + lists if in_order else lists + by_name
    return [[one for _, one in named], *others]


def _tops(contents: Contents) -> list[str]:
    """Returns the groups at the top; nothing stays where it is."""
    everything = (*contents.groups, *contents.datasets)
    return sorted({path.partition("/")[0] for path in everything})


_Places = Mapping[str, tuple[str, Variable]]
"""Path in the weights of Keras 3 -> path in the file, and the variable."""


def _cudnn(places: _Places, contents: Contents) -> Iterator[Computed]:
    """Yields the arrays of layers that were made for cuDNN; their bias has another shape."""
    for bias, (path, variable) in places.items():
        if variable.cudnn is None or contents.datasets[path].shape != variable.cudnn:
            continue
        group = bias.rpartition("/")[0]
        kernel, recurrent = (places[f"{group}/{index}"][0] for index in (0, 1))
        yield Computed(f"{group}/0", "cudnn_kernel", (kernel, recurrent))
        yield Computed(f"{group}/1", "cudnn_recurrent_kernel", (recurrent,))
        gates = "lstm" if len(variable.shape or ()) == 1 else "gru"
        yield Computed(bias, f"cudnn_{gates}_bias", (path,))


def _flipped(root: Node, paths: Mapping[Node, str], places: _Places) -> Iterator[Computed]:
    """Yields the kernels that Theano convolved with, where others correlate.

    As Keras 2.2 does for these layers (keras/engine/saving.py, `preprocess_weights_for_loading`).
    """
    for node in root.walk():
        for kernel in _CORRELATED.get(node.builtin or "", ()):
            new = f"{paths[node]}/{kernel}"
            if node.first is None and new in places:
                yield Computed(new, "flipped", (places[new][0],))


_CORRELATED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose"), ("vars/0",)),
    "ConvLSTM2D": ("cell/vars/0", "cell/vars/1"),
}
"""Layers whose kernels Theano took the other way round -> these kernels, below their group."""


_Listed = Sequence[tuple[str, tuple[str, ...]]]
"""Names of layers in the file, each with the paths of its weights."""


def _layers(root: Node, variables: Variables, layers: _Listed) -> tuple[list[Node], _Listed]:
    """Returns the layers that have variables, and as many that the file lists."""
    stored = [(name, weights) for name, weights in layers if weights]
    names = {name for name, _ in layers}
    full = {name for name, _ in stored}
    nodes = [
        node
        for node in root.children
        if (
            variables.orders(node, keras3=False)[0]
            if variables.known(node)
            else node.name in full or node.name not in names
        )
    ]
    if len(nodes) > len(stored):  # of a layer that is not listed it may hold none
        nodes = [node for node in nodes if variables.known(node) or node.name in full]
    if len(nodes) != len(stored):
        strange = full.symmetric_difference(node.name for node in nodes)
        raise SourceError(
            f"it holds weights of {len(stored)} layers, but {len(nodes)} layers of its"
            f" configuration have variables ({printable(', '.join(sorted(strange)[:5]))})",
            REPAIR,
        )
    return nodes, stored


def _by_name(nodes: Sequence[Node], listed: _Listed) -> _Listed:
    """Returns what a file lists in the order of the layers, if they have the same names."""
    # In a translated configuration a name holds no slash.
    named = {name.replace("/", "_"): (name, weights) for name, weights in listed}
    names = [node.name for node in nodes]
    if len(named) < len(listed) or sorted(named) != sorted(names):
        return listed
    return [named[name] for name in names]


def _stored(weights: Sequence[str], contents: Contents) -> Mapping[str, tuple[int, ...]]:
    """Returns the shapes of a layer's weights, by path."""
    stored = {path: contents.datasets[path].shape for path in weights if path in contents.datasets}
    for path in weights:
        if path not in stored:
            raise SourceError(f"there is no array {printable(path)}, which it lists", REPAIR)
    if len(stored) != len(weights):
        raise SourceError(f"{printable(weights[0])} stands next to a weight listed twice", REPAIR)
    return stored


def _order(
    node: Node, stored: Mapping[str, tuple[int, ...]], orders: Sequence[list[Variable]]
) -> list[Variable]:
    """Returns the order of a layer's variables that fits the arrays in the file.

    Raises:
        SourceError: None fits.
    """
    shapes = list(stored.values())
    for order in orders:
        if len(order) == len(shapes) and all(
            variable.fits(shape) for variable, shape in zip(order, shapes, strict=True)
        ):
            return order
    order = orders[0]
    if len(order) != len(shapes):
        what = (
            f"the file holds {len(shapes)} arrays of it, but its configuration makes {len(order)}"
        )
    else:
        path, wanted = next(
            (path, variable.shape)
            for variable, (path, shape) in zip(order, stored.items(), strict=True)
            if not variable.fits(shape)
        )
        belongs = shown_shape(wanted)
        what = f"the shape of {printable(path)} is {stored[path]}, but ({belongs}) is expected"
    raise SourceError(what, REPAIR, path=node.path, class_name=node.title)
